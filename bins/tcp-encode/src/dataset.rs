//! Conversations into rows, rows into a dataset.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use arrowio::{
    Compression, DatasetFormat, DatasetMeta, DatasetWriter, FlowRow, FlowSummary, Tokens,
    WriteOptions, Written,
};
use atomic_output::{AtomicFile, AtomicFolder, Lender, OnExisting};
use clikit::{Console, is_dash};
use flowtrack::Flow;
use tokenizer::TokenCode as _;
use tokenizer::field::{self, Field};
use tokenizer::word16;

use crate::anonymize;
use crate::args::{self, Args, TokenCode};
use crate::capture::{Options, Wanted};

/// Makes rows of conversations.
pub(crate) struct Encoder<'o> {
    options: &'o Options,
    field: Field,
}

impl<'o> Encoder<'o> {
    pub(crate) fn new(options: &'o Options) -> Self {
        Encoder { options, field: Field::default() }
    }

    /// The row of a conversation.
    ///
    /// # Errors
    /// Where its tokens can not say it; the text is the reason.
    pub(crate) fn row(&mut self, wanted: &Wanted<'_>, source: &str) -> Result<FlowRow, String> {
        let packets = wanted.flow.packets.len();
        if self.options.anonymize.is_some() && !options_are_known(wanted.flow) {
            return Err(anonymize::OPTIONS.to_owned());
        }
        let (tokens, mut identity) = match self.options.tokens {
            TokenCode::Field => {
                let mut tokens = Vec::with_capacity(packets * 6 + 16);
                let identity =
                    self.field.encode(wanted.flow, &mut tokens).map_err(|e| e.to_string())?;
                (Tokens::U16(tokens), identity)
            }
            TokenCode::Word16 => {
                let mut words = Vec::with_capacity(packets * 21 + 16);
                let identity =
                    word16::encode(wanted.flow, &mut words).map_err(|e| e.to_string())?;
                (Tokens::I32(words), identity)
            }
        };
        for side in [&mut identity.client, &mut identity.server] {
            side.addr = side.addr.map(|addr| self.options.shown(addr));
        }
        Ok(FlowRow { tokens, identity, summary: Some(summary(wanted, source)) })
    }
}

fn options_are_known(flow: &Flow) -> bool {
    flow.packets.iter().all(|packet| anonymize::options_are_known(flow.options_of(packet)))
}

fn summary(wanted: &Wanted<'_>, source: &str) -> FlowSummary {
    let (mut first_ns, mut last_ns) = (i64::MAX, i64::MIN);
    let (mut packets, mut payload_octets) = ([0; 2], [0; 2]);
    for packet in &wanted.flow.packets {
        first_ns = first_ns.min(packet.time_ns);
        last_ns = last_ns.max(packet.time_ns);
        packets[packet.direction.index()] += 1;
        payload_octets[packet.direction.index()] += u64::from(packet.payload_len);
    }
    FlowSummary {
        duration_ns: if wanted.flow.packets.is_empty() {
            0
        } else {
            last_ns.saturating_sub(first_ns)
        },
        server_port: wanted.flow.server.port,
        ip_version: if wanted.flow.server.addr.is_ipv4() { 4 } else { 6 },
        packets,
        payload_octets,
        completeness: wanted.flow.completeness.bits(),
        close: wanted.verdict.close.name().to_owned(),
        class: wanted.verdict.class.name().to_owned(),
        source: source.to_owned(),
        first_frame: wanted.flow.first_frame,
    }
}

/// Where the rows go: it appears under its name only when [`finish`](Dataset::finish)ed.
pub(crate) struct Dataset<'a> {
    writer: DatasetWriter<'a>,
    appears: Appears,
}

enum Appears {
    AtOnce,
    File(Lender),
    Folder(AtomicFolder),
}

impl<'a> Dataset<'a> {
    /// Begins the dataset that the command line asks for.
    pub(crate) fn create(args: &Args, console: &Console) -> anyhow::Result<Dataset<'a>> {
        let output = args.output.as_path();
        let meta = meta(args);
        let options = |format| WriteOptions {
            format,
            compression: Compression::Lz4,
            ..WriteOptions::default()
        };
        if is_dash(output) {
            if args.format == Some(args::Format::Parquet) {
                bail!("-: expected a format for a stream (arrow), found parquet");
            }
            let writer = DatasetWriter::to(
                "standard output",
                console.stdout(),
                &meta,
                &options(DatasetFormat::Stream),
            )?;
            return Ok(Dataset { writer, appears: Appears::AtOnce });
        }
        if let Some(format) = file_format(output, args.format) {
            let (file, lender) = AtomicFile::create(output)?.lend();
            let writer =
                DatasetWriter::to(&output.display().to_string(), file, &meta, &options(format))?;
            return Ok(Dataset { writer, appears: Appears::File(lender) });
        }
        clikit::warn_if_named_like_a_file(output, arrowio::DatasetFormat::FILES);
        let existing =
            if args.force { OnExisting::Replace(arrowio::SHARDS) } else { OnExisting::Fail };
        let folder = AtomicFolder::create(output, existing)?;
        let format = if args.format == Some(args::Format::Parquet) {
            DatasetFormat::Parquet
        } else {
            DatasetFormat::Arrow
        };
        let writer = DatasetWriter::folder(folder.path(), &meta, &options(format))?;
        Ok(Dataset { writer, appears: Appears::Folder(folder) })
    }

    /// Adds a row.
    pub(crate) fn write(&mut self, row: &FlowRow) -> anyhow::Result<()> {
        Ok(self.writer.write(row)?)
    }

    /// Writes what is left and gives the dataset its name.
    pub(crate) fn finish(self) -> anyhow::Result<Written> {
        let written = self.writer.finish()?;
        match self.appears {
            Appears::AtOnce => {}
            Appears::File(lender) => lender.commit()?,
            Appears::Folder(folder) => folder.commit()?,
        }
        Ok(written)
    }
}

/// The format of a single file by its name; `None` where the output is a folder.
fn file_format(output: &Path, asked: Option<args::Format>) -> Option<DatasetFormat> {
    if output.is_dir() {
        return None;
    }
    // Of another name, and there: a device or a pipe, which takes a stream.
    let by_name = DatasetFormat::from_path(output)
        .or_else(|| output.exists().then_some(DatasetFormat::Stream))?;
    Some(match asked {
        Some(args::Format::Parquet) => DatasetFormat::Parquet,
        Some(args::Format::Arrow) if by_name == DatasetFormat::Parquet => DatasetFormat::Arrow,
        _ => by_name,
    })
}

fn meta(args: &Args) -> DatasetMeta {
    let keep = crate::keep::KeepSet(args.keep.clone()).to_string();
    let mut options = BTreeMap::from([("keep".to_owned(), keep)]);
    if let Some(idle_ns) = args.idle_timeout {
        options.insert("idle-timeout-ns".to_owned(), idle_ns.to_string());
    }
    if let Some(mib) = args.max_memory {
        options.insert("max-memory-mib".to_owned(), mib.to_string());
    }
    if args.anonymize.is_some() {
        options.insert("anonymize".to_owned(), "crypto-pan".to_owned());
    }
    let (name, version, vocab_size) = match args.tokens {
        TokenCode::Field => (field::NAME, field::VERSION, field::VOCAB_SIZE),
        TokenCode::Word16 => (word16::NAME, word16::VERSION, word16::VOCAB_SIZE),
    };
    DatasetMeta {
        token_code: name.to_owned(),
        token_version: version,
        vocab_size: vocab_size as u32,
        tool: concat!("tcp-encode ", env!("CARGO_PKG_VERSION")).to_owned(),
        options,
    }
}
