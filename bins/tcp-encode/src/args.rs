//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use clikit::{Common, read_list};
use dataset::RunPart;
use flowtrack::TagKinds;

use crate::keep::KeepClass;
use crate::labels::LabelFrom;

/// Turns captures into a token dataset: finds TCP conversations as Wireshark does, and encodes
/// those that --keep selects.
///
/// Reads pcap, pcapng and snoop, plain or compressed with gzip, zstd, bzip2, xz or lz4. The summary
/// counts what is left out by reason, and the flow log names the reason of each conversation.
///
/// Exit codes: 0 all done; 1 done, but something was left out and named (a capture damaged in the
/// middle or without a frame that could be read, a selected conversation that tokens cannot hold);
/// 2 failed, nothing written.
#[derive(Parser, Debug)]
#[command(name = "tcp-encode", version, override_usage = USAGE)]
pub struct Args {
    /// INPUT: captures, folders searched in depth for captures, patterns such as 'day/*.pcap', or -
    /// for stdin. OUTPUT, the last path: a new folder, a file that ends in .arrow, .arrows or
    /// .parquet, or - for an Arrow stream on stdout
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Also read the captures and folders of a list: a path a line, or each with a NUL at its end;
    /// - for a list on stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Option<PathBuf>,

    /// Read all inputs as one capture: in order of time where they overlap, such as the two
    /// directions of a tap, and one behind the other where they do not, such as the files that
    /// tcpdump -C and -G or dumpcap -b write. Conversations go on from one file to the next.
    /// `folder` reads the captures of each folder as one: a folder for each tap
    #[arg(long, value_name = "ALL|FOLDER", num_args = 0..=1, require_equals = true,
        default_missing_value = "all", hide_possible_values = true)]
    pub(crate) merge: Option<MergeArg>,

    /// Encode the I-th of N parts of the inputs, for N processes on one machine or several: whole
    /// captures, shared out by their sizes, or whole folders with --merge=folder. The first part
    /// that begins lists the inputs for all. Parts wait in the folder OUTPUT.parts for --join
    #[arg(long, value_name = "I/N")]
    pub(crate) part: Option<RunPart>,

    /// Do nothing where the part is there already
    #[arg(long, requires = "part", conflicts_with = "force")]
    pub(crate) resume: bool,

    /// Make the dataset OUTPUT, the only path, of its parts: check that all are there and of the
    /// same inputs and options, write a manifest and the checksums of the shards, and print the sum
    /// of the summaries
    #[arg(long, conflicts_with_all = ["part", "files_from", "flow_log", "token_table", "traces"])]
    pub(crate) join: bool,

    /// Which conversations to keep; several with commas
    #[arg(long, value_name = "CLASS", value_delimiter = ',', default_value = "complete")]
    pub(crate) keep: Vec<KeepClass>,

    /// Format of the dataset [default: by the extension of OUTPUT, else arrow]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<FormatArg>,

    /// Compression of the dataset's columns [default: lz4, in Parquet zstd]
    #[arg(long, value_name = "CODEC")]
    pub(crate) compression: Option<CompressionArg>,

    /// Token code of the dataset
    #[arg(long, value_name = "CODE", default_value = "field")]
    pub(crate) tokens: TokenCodeArg,

    /// Write a JSON line for each conversation seen, kept or not, in order of first packets; - for
    /// stdout
    #[arg(long, value_name = "FILE")]
    pub flow_log: Option<PathBuf>,

    /// Write a table of the hosts: their addresses, their flows in order of time, and the policies
    /// of their numbers where five flows or more tell them; Arrow or Parquet by its name. Who went
    /// where in which order is a person's
    #[arg(long, value_name = "HOSTS", conflicts_with = "part")]
    pub traces: Option<PathBuf>,

    /// Write a table of the cost of each field in the `field` code: tokens and bits per packet
    #[arg(long, value_name = "FILE")]
    pub token_table: Option<PathBuf>,

    /// Take the frames of a filter of libpcap alone, in the language of tcpdump: 'port 443 and net
    /// 10.0.0.0/8'
    #[arg(long, value_name = "EXPR")]
    pub(crate) filter: Option<String>,

    /// Read UDP datagrams of this port as VXLAN, besides those of 4789 and 8472; may be repeated
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) vxlan_port: Vec<u16>,

    /// Replace addresses and keep their common prefixes (Crypto-PAn), with the key in this file: 32
    /// octets or 64 hexadecimal digits, made with `head -c 32 /dev/urandom > FILE`. Names of
    /// captures become numbers, and flows with options that may hold an address are left out
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) anonymize: Option<PathBuf>,

    /// Label flows by a CSV file with the column `label`, and `group` if it has one. A row is about
    /// the captures, flows or ends that its columns name: `file`; `file` and `first_frame`;
    /// `client_addr` and `client_port`, `server_addr` and `server_port`, or both, with `start_ns`
    /// and `duration_ns`. The narrowest row counts
    #[arg(long, value_name = "CSV", conflicts_with = "label_from")]
    pub(crate) labels: Option<PathBuf>,

    /// Label flows by the path of their capture: a class is a folder, or a capture
    #[arg(long, value_name = "PART")]
    pub(crate) label_from: Option<LabelFrom>,

    /// Separate conversations on the same addresses and ports by VLAN tags, by virtual networks
    /// (VXLAN, Geneve, NVGRE) or by interfaces of pcapng; several with commas [default: by none, as
    /// Wireshark]
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) separate: Vec<TagArg>,

    /// Drop copies of packets: what a mirror of both directions, a bridge or a router shows twice
    /// within this many seconds. A copy has the headers of its original but for link layer, time to
    /// live and traffic class, and the same IP identification
    #[arg(long, value_name = "SECONDS", value_parser = seconds, num_args = 0..=1,
        require_equals = true, default_missing_value = "0.001")]
    pub(crate) dedup: Option<i64>,

    /// Number of threads; it does not change the output [default: one a core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    /// End a conversation after this many seconds of capture time without a packet, and forget it
    /// after twice as many. Memory is then bounded for a capture of any length, except for lines of
    /// --flow-log that wait for earlier conversations to end [default: never, as Wireshark; 120
    /// octets stay of each conversation, 230 with IPv6]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle_timeout: Option<i64>,

    /// Write each flow to a stream soon after its close: when this many seconds of capture time
    /// have passed without a packet of it. Its later packets are counted as late [without a value:
    /// 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, num_args = 0..=1,
        require_equals = true, default_missing_value = "1")]
    pub(crate) live: Option<i64>,

    /// Buffer at most this many mebibytes of packets and conversations per capture. At the limit,
    /// the longest idle conversation is ended as it is, and forgotten later: its next packet begins
    /// another conversation [default: no limit]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_memory: Option<u32>,

    /// Replace outputs that exist: a dataset by the dataset, a flow log by the flow log. Other
    /// files are never replaced
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// Usage: clap knows no list of paths with another path behind it that options may stand between.
const USAGE: &str = "\
tcp-encode [OPTIONS] <INPUT>... <OUTPUT>
       tcp-encode [OPTIONS] --files-from <FILE> <OUTPUT>
       tcp-encode --join <OUTPUT>";

impl Args {
    /// Returns the paths of the captures, with those of `--files-from`, and that of the dataset.
    ///
    /// # Errors
    /// If one of both is missing, or the list cannot be read.
    pub(crate) fn split_paths(&self) -> anyhow::Result<(Vec<PathBuf>, PathBuf)> {
        let listed = self.files_from.as_deref().map(read_list).transpose()?;
        clikit::split_paths(&self.paths, listed.unwrap_or_default())
    }
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Format of the dataset: `--format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FormatArg {
    /// Arrow IPC, a file or a stream
    Arrow,
    /// Parquet, a row group per batch
    Parquet,
}

/// Compression of the dataset: `--compression`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Columns as they are, for readers that map the file
    None,
    /// LZ4 frames: fast; in Arrow alone
    Lz4,
    /// Zstandard: smaller files than LZ4
    Zstd,
}

/// Captures that are read as one: `--merge`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum MergeArg {
    /// All captures of the inputs
    All,
    /// Captures that lie in one folder
    Folder,
}

/// Token code of the dataset: `--tokens`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TokenCodeArg {
    /// Header fields, relative to TCP's state: lossless
    Field,
    /// 16-bit words of tcpflowgen, without times
    Word16,
}

/// Tag that separates conversations: `--separate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TagArg {
    /// VLAN identifiers, also of several tags
    Vlan,
    /// Virtual network identifiers of VXLAN, Geneve and NVGRE
    Vni,
    /// Interfaces of a pcapng file
    Interface,
}

impl TagArg {
    /// Returns the kinds of tags that the values of `--separate` name.
    pub(crate) fn kinds(values: &[TagArg]) -> TagKinds {
        let kind = |value: &TagArg| match value {
            TagArg::Vlan => TagKinds::VLAN,
            TagArg::Vni => TagKinds::VNI,
            TagArg::Interface => TagKinds::INTERFACE,
        };
        values.iter().map(kind).collect()
    }
}

/// Returns the names of an option's values, with commas.
pub(crate) fn names<T: ValueEnum>(values: &[T]) -> String {
    let names: Vec<String> = values
        .iter()
        .filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
        .collect();
    names.join(",")
}

/// Parses seconds, with or without a fraction, and returns nanoseconds.
fn seconds(text: &str) -> Result<i64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s < 1e9 => Ok((s * 1e9) as i64),
        _ => Err(format!("expected a number of seconds over 0, found '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;
    use testkit::command_line;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_words_are_a_command_line_or_refused(words in command_line::words::<Args>()) {
            command_line::parse::<Args>(&words);
        }
    }

    #[test]
    fn seeds() {
        command_line::replay_seeds::<Args>();
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
