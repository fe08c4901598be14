//! The command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, ValueEnum};
use clikit::Common;
use dataset::{CODEC_IDS, RowCodec, RunPart};

use crate::networks::{CLIENT_NETS, Network, SERVER_NETS};

/// Turns a dataset of tokens back into captures.
///
/// Flows from real captures get their own addresses, ports, sequence numbers and times back. For
/// generated flows, whose identity columns are empty, these are drawn from --seed.
///
/// Exit codes: 0 all done; 1 done, but something was left out and named (flows that do not decode);
/// 2 failed, nothing written.
#[derive(Parser, Debug)]
#[command(
    name = "tcp-decode",
    version,
    max_term_width = 110,
    override_usage = "tcp-decode [OPTIONS] <INPUT>... <OUTPUT>\n       \
                      tcp-decode [OPTIONS] --files-from <FILE> <OUTPUT>"
)]
pub struct Args {
    /// INPUT: datasets, each a file or a folder of shards, or - for an Arrow IPC stream on stdin.
    /// OUTPUT, the last path: a capture (compressed if its name ends in .gz), a folder (with
    /// --split, or for one `capture.pcap` in it), or - for a pcap stream on stdout
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Also read the datasets of a list: a path a line, or each with a NUL at its end; - for a list
    /// on stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Option<PathBuf>,

    /// Write the I-th of N captures, for N processes on one machine or several. Each has as many
    /// flows as the others, in the order of their starts, and the part in its name:
    /// flows-00002-of-00004.pcap
    #[arg(long, value_name = "I/N")]
    pub(crate) part: Option<RunPart>,

    /// Token code of a dataset whose metadata name none [default: as its tokens show]
    #[arg(long, value_name = "CODE", value_parser = row_codec())]
    pub(crate) token_code: Option<RowCodec>,

    /// Format of the capture [default: by the extension of OUTPUT, else pcap]
    #[arg(long, value_enum)]
    pub(crate) format: Option<CaptureFileFormat>,

    /// Unit of time in the capture
    #[arg(long, value_enum, default_value_t = ResolutionArg::Auto)]
    pub(crate) resolution: ResolutionArg,

    /// Octets to write as payload: none (headers only, with the true length of the packet), zero,
    /// random (drawn from the seed), or the value of each octet, such as 0x41 or 65
    #[arg(long, value_name = "none|zero|random|OCTET", default_value = DEFAULT_PAYLOAD)]
    pub(crate) payload: PayloadArg,

    /// Split packets that are longer than this many octets on the wire, without the link layer, as
    /// a network card does that sends for the host (segmentation offload); 1500 is Ethernet's
    /// [default: packets as captured or generated]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(128..=65_535))]
    pub(crate) mtu: Option<u32>,

    /// Write one file, or one file per flow
    #[arg(long, value_enum, default_value_t = SplitArg::None)]
    pub(crate) split: SplitArg,

    /// Also write a CSV file with a line per flow: file and frame, endpoints, class and close; -
    /// for stdout
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Also write reports into a folder, as CSV and JSON: packets per flow, failures by field,
    /// flows by class
    #[arg(long, value_name = "FOLDER")]
    pub reports: Option<PathBuf>,

    /// Replace outputs that exist: a capture by the capture, a table or report by the same. Other
    /// files are never replaced
    #[arg(long)]
    pub(crate) force: bool,

    /// Mix the flows into this capture, by time: its frames are written as they are (octets,
    /// lengths and times; several interfaces become one, comments are left out), and generated
    /// flows begin at any time between its first frame and its last one, at addresses that it does
    /// not have
    #[arg(long, value_name = "CAPTURE",
          conflicts_with_all = ["split", "part", "start_time", "flows_per_second"])]
    pub(crate) into: Option<PathBuf>,

    /// Also write a CSV file with a line per packet of the flows: its frame in OUTPUT, and its flow
    /// in the order of --labels
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    pub(crate) packet_labels: Option<PathBuf>,

    /// Memory for sorting flows by time, in MiB; flows beyond it go to temporary files
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) sort_memory: u64,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    #[command(flatten)]
    pub(crate) frame: FrameArgs,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// Values of generated flows that their tokens do not encode.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Generated flows")]
pub(crate) struct IdentityArgs {
    /// Networks of the clients, one for IPv4 and one for IPv6; an IP version that is not given has
    /// its default
    #[arg(long, value_name = "NET", value_delimiter = ',', default_value = CLIENT_NETS)]
    pub(crate) client_net: Vec<Network>,

    /// Networks of the servers, one for IPv4 and one for IPv6; an IP version that is not given has
    /// its default
    #[arg(long, value_name = "NET", value_delimiter = ',', default_value = SERVER_NETS)]
    pub(crate) server_net: Vec<Network>,

    /// Time of the first flow: RFC 3339 (2025-01-31T12:00:00.5Z, or +01:00 for Z), or seconds since
    /// 1970
    #[arg(long, value_name = "TIME", default_value = "2025-01-01T00:00:00Z")]
    pub(crate) start_time: StartTime,

    /// Average number of flows that begin per second; the gaps between them are exponential
    #[arg(long, value_name = "RATE", default_value = "10", value_parser = rate)]
    pub(crate) flows_per_second: f64,

    /// Average number of flows of a client: later ones have its ports and clock, and most go to
    /// servers that it used before. With 1 almost every flow has a client of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = flows_per_client)]
    pub(crate) flows_per_client: f64,

    /// Hosts of the dataset, which tcp-encode --traces and tcp-train generate --trace write: flows
    /// of a host get its addresses, ports, clock and IP identifications
    #[arg(long, value_name = "FILE")]
    pub(crate) hosts: Option<PathBuf>,

    /// Seed of all random values: the same seed, dataset and options give the same capture
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Values of the Ethernet header.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Link layer")]
pub(crate) struct FrameArgs {
    /// Ethernet address of all clients
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    pub(crate) client_mac: Mac,

    /// Ethernet address of all servers
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub(crate) server_mac: Mac,

    /// VLAN identifier of an 802.1Q tag
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub(crate) vlan: Option<u16>,
}

/// Returns the parser of `--token-code`.
fn row_codec() -> impl TypedValueParser<Value = RowCodec> {
    PossibleValuesParser::new(CODEC_IDS.map(|code| code.name)).try_map(|name| name.parse())
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Format of a capture file: `--format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CaptureFileFormat {
    Pcap,
    Pcapng,
}

impl CaptureFileFormat {
    /// Returns the format that the extension of a path names, without one for compression.
    pub(crate) fn from_extension(path: &Path) -> Option<CaptureFileFormat> {
        if is_gzip(path) {
            return CaptureFileFormat::from_extension(Path::new(path.file_stem()?));
        }
        match path.extension()?.to_str()? {
            "pcapng" | "ntar" => Some(CaptureFileFormat::Pcapng),
            "pcap" | "cap" => Some(CaptureFileFormat::Pcap),
            _ => None,
        }
    }

    /// Returns the usual extension of files in the format.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            CaptureFileFormat::Pcap => "pcap",
            CaptureFileFormat::Pcapng => "pcapng",
        }
    }
}

/// Returns whether the name of a file ends in `.gz`.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Unit of time in a capture: `--resolution`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ResolutionArg {
    /// Microseconds, unless a captured flow has finer times
    Auto,
    /// Microseconds, as most captures have
    Us,
    /// Nanoseconds, which keep every time exactly
    Ns,
}

/// Payload that no tool of docs/tools.md takes for a protocol.
const DEFAULT_PAYLOAD: &str = "0x2e";

/// Octets of the payload in a capture: `--payload`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PayloadArg {
    /// Headers only, with the true length of the packet.
    None,
    /// Random octets, drawn from the seed.
    Random,
    /// Octets of one value.
    Repeated(u8),
}

impl FromStr for PayloadArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PayloadArg, String> {
        let octet = match text {
            "none" => return Ok(PayloadArg::None),
            "random" => return Ok(PayloadArg::Random),
            "zero" => Ok(0),
            _ => match text.strip_prefix("0x") {
                Some(digits) => u8::from_str_radix(digits, 16),
                None => text.parse(),
            },
        };
        octet.map(PayloadArg::Repeated).map_err(|_| {
            format!(
                "expected none, zero, random or an octet (0 to 255, 0x00 to 0xff), found '{text}'"
            )
        })
    }
}

/// Number of files that flows are written to: `--split`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SplitArg {
    /// One file, flows interleaved by time
    None,
    /// One file per flow
    Flow,
}

/// Parses a rate: a finite number above 0.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("expected a number above 0".into()),
    }
}

/// Parses a number of flows: finite, at least 1.
fn flows_per_client(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(flows) if flows >= 1.0 && f64::is_finite(flows) => Ok(flows),
        _ => Err("expected a number from 1 on".into()),
    }
}

/// Ethernet (MAC) address, in the order of its octets on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let parts: Vec<_> =
            text.split([':', '-']).map(|part| u8::from_str_radix(part, 16)).collect();
        let octets: Option<Vec<u8>> = parts.into_iter().map(Result::ok).collect();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets
            .map(Mac)
            .ok_or_else(|| format!("expected six octets such as 02:00:00:00:00:01, found '{text}'"))
    }
}

/// Time of the first generated flow, in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StartTime(pub(crate) i64);

impl FromStr for StartTime {
    type Err = String;

    fn from_str(text: &str) -> Result<StartTime, String> {
        let date = || {
            chrono::DateTime::parse_from_rfc3339(text)
                .ok()?
                .timestamp_nanos_opt()
                .filter(|ns| *ns >= 0)
        };
        date().or_else(|| decimal_ns(text)).map(StartTime).ok_or_else(|| {
            format!(
                "expected a time from 1970 to 2262, such as 2025-01-31T12:00:00Z or 1738324800.5, \
                 found '{text}'"
            )
        })
    }
}

/// Parses seconds with up to nine decimals, and returns nanoseconds.
fn decimal_ns(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
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
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    fn check_time(text: &str, expected: Option<i64>) {
        assert_eq!(text.parse::<StartTime>().ok(), expected.map(StartTime), "{text}");
    }

    #[test]
    fn times_are_read() {
        check_time("1970-01-01T00:00:00Z", Some(0));
        check_time("2024-02-29T23:59:59.000000001Z", Some(1_709_251_199_000_000_001));
        check_time("2024-03-01T01:59:59+02:00", Some(1_709_251_199_000_000_000));
        check_time("1738324800.5", Some(1_738_324_800_500_000_000));
        check_time("1738324800", Some(1_738_324_800_000_000_000));
    }

    #[test]
    fn wrong_times_are_refused() {
        for text in [
            "",
            "-1",
            "1.",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "99999999999",
            "2024-01-01",
            "1969-12-31T23:59:59Z",
            "4905-01-31T02:00:00Z",
        ] {
            check_time(text, None);
        }
    }

    #[test]
    fn payloads_are_read() {
        let read = |text: &str| text.parse::<PayloadArg>().ok();
        assert_eq!(read("none"), Some(PayloadArg::None));
        assert_eq!(read("random"), Some(PayloadArg::Random));
        for (text, octet) in [("zero", 0), ("0", 0), ("65", 65), ("0x41", 65), ("0xff", 255)] {
            assert_eq!(read(text), Some(PayloadArg::Repeated(octet)), "{text}");
        }
        for text in ["", "256", "0x100", "0x", "-1", "zeros", "None"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_ethernet_addresses_are_refused() {
        for text in ["02:00:00:00:00", "02:00:00:00:00:00:01", "zz:00:00:00:00:01"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
        assert_eq!("0a-0b-0c-0d-0e-0f".parse(), Ok(Mac([10, 11, 12, 13, 14, 15])));
    }
}
