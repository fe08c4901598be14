//! Rows of the output dataset, encoded from conversations.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use arrowio::{Compression, DatasetFormat, DatasetMeta, FlowRow};
use clikit::{Console, is_dash};
use dataset::{
    Destination, FlowTraits, Outcome, PartRun, RowCodec, RowEncoder, Sink, SinkOptions, summarize,
};
use flowtrack::Flow;

use crate::anonymize;
use crate::args::{self, Args, CompressionArg, FormatArg, MergeArg, TokenCodeArg};
use crate::judge::Wanted;
use crate::options::ReadOptions;
use crate::task::CaptureTask;

/// Flow that is encoded, with what it shows of its hosts if a hosts table is written.
pub(crate) struct EncodedFlow {
    pub(crate) row: FlowRow,
    pub(crate) traits: Option<FlowTraits>,
}

/// Encoder of conversations, which anonymizes addresses if the options say so.
pub(crate) struct ConversationEncoder<'o> {
    options: &'o ReadOptions,
    encoder: RowEncoder,
}

impl<'o> ConversationEncoder<'o> {
    /// Creates an encoder in the token code of the options.
    pub(crate) fn new(options: &'o ReadOptions) -> Self {
        ConversationEncoder { options, encoder: RowEncoder::new(options.tokens.codec()) }
    }

    /// Encodes a conversation. `task` names the capture of its first packet.
    ///
    /// # Errors
    /// If the token code cannot represent the flow, or an option of it may hold an address that
    /// would not be anonymized. The text is the reason, for the flow log.
    pub(crate) fn encode(
        &mut self,
        wanted: &Wanted<'_>,
        task: &CaptureTask,
    ) -> Result<EncodedFlow, String> {
        if self.options.anonymize.is_some() && !options_are_known(wanted.flow) {
            return Err(anonymize::OPTIONS.to_owned());
        }
        let (tokens, mut identity) = self.encoder.encode(wanted.flow).map_err(|e| e.to_string())?;
        for side in [&mut identity.client, &mut identity.server] {
            side.addr = side.addr.map(|addr| self.options.shown(addr));
        }
        let outcome = Outcome::of_captured(wanted.flow, wanted.verdict);
        let first_frame = wanted.flow.first_frame;
        let mut summary = summarize(wanted.flow, outcome, task.name_of(first_frame));
        if let (Some(labels), Some(file)) = (&self.options.labels, task.file_of(first_frame)) {
            let said = labels.flow(&file.label, wanted.flow);
            (summary.label, summary.group) = (said.label, said.group);
        }
        let traits = self.options.traces.then(|| FlowTraits::of(wanted.flow));
        Ok(EncodedFlow { row: FlowRow { tokens, identity, summary: Some(summary) }, traits })
    }
}

/// Returns whether no option of the flow's packets can hold an address.
fn options_are_known(flow: &Flow) -> bool {
    flow.packets.iter().all(|packet| anonymize::options_are_known(flow.options_of(packet)))
}

/// Fails if something is at OUTPUT that the dataset may not replace.
pub(crate) fn ensure_free(args: &Args, output: &Path) -> anyhow::Result<()> {
    if is_dash(output) {
        return Ok(());
    }
    let asked = args.format.map(FormatArg::format);
    Ok(Destination::at(output, asked).ensure_free(args.force)?)
}

/// Creates the dataset that the command line asks for, with the metadata of [`meta`].
pub(crate) fn create(
    args: &Args,
    output: &Path,
    console: &Console,
) -> anyhow::Result<Sink<'static>> {
    let asked = args.format.map(FormatArg::format);
    let destination = if is_dash(output) {
        Destination::stream("standard output", console.stdout(), asked)?
    } else {
        Destination::at(output, asked)
    };
    if destination.is_folder() {
        clikit::warn_if_named_like_a_file(output, DatasetFormat::FILES);
    }
    let options = sink_options(args, destination.format())?;
    Ok(Sink::create(destination, &meta(args), &options)?)
}

/// Creates a part of the dataset that the command line asks for.
pub(crate) fn create_part(args: &Args, run: &PartRun) -> anyhow::Result<Sink<'static>> {
    let format = format_of_folder(args);
    let options = sink_options(args, format)?;
    Ok(Sink::create_part(run, format, &meta(args), &options)?)
}

/// Returns the format of the files of a folder.
pub(crate) fn format_of_folder(args: &Args) -> DatasetFormat {
    args.format.map_or(DatasetFormat::Arrow, FormatArg::format)
}

/// Returns the options of a dataset in a format.
pub(crate) fn sink_options(args: &Args, format: DatasetFormat) -> anyhow::Result<SinkOptions> {
    if args.compression == Some(CompressionArg::Lz4) && format == DatasetFormat::Parquet {
        bail!("--compression lz4: expected zstd or none for Parquet, since readers disagree");
    }
    let compression = args.compression.map_or(Compression::Lz4, CompressionArg::compression);
    Ok(SinkOptions { force: args.force, stream_batch_tokens: None, compression })
}

/// Returns the dataset's metadata: token code, program, and the options that shape its contents.
pub(crate) fn meta(args: &Args) -> DatasetMeta {
    let keep = args::names(&args.keep);
    let mut options = BTreeMap::from([("keep".to_owned(), keep)]);
    if let Some(idle_ns) = args.idle_timeout {
        options.insert("idle-timeout-ns".to_owned(), idle_ns.to_string());
    }
    if let Some(linger_ns) = args.live {
        options.insert("live-ns".to_owned(), linger_ns.to_string());
    }
    if let Some(mib) = args.max_memory {
        options.insert("max-memory-mib".to_owned(), mib.to_string());
    }
    if !args.vxlan_port.is_empty() {
        let ports: Vec<String> = args.vxlan_port.iter().map(u16::to_string).collect();
        options.insert("vxlan-port".to_owned(), ports.join(","));
    }
    if !args.separate.is_empty() {
        options.insert("separate".to_owned(), args::names(&args.separate));
    }
    if let Some(window_ns) = args.dedup {
        options.insert("dedup-ns".to_owned(), window_ns.to_string());
    }
    if let Some(filter) = &args.filter {
        options.insert("filter".to_owned(), filter.clone());
    }
    if args.labels.is_some() {
        options.insert("labels".to_owned(), "csv".to_owned());
    } else if let Some(from) = args.label_from {
        options.insert("label-from".to_owned(), args::names(&[from]));
    }
    if let Some(merge) = args.merge {
        let value = if merge == MergeArg::All { "true" } else { "folder" };
        options.insert("merge".to_owned(), value.to_owned());
    }
    if args.anonymize.is_some() {
        options.insert("anonymize".to_owned(), "crypto-pan".to_owned());
    }
    args.tokens.codec().meta(concat!("tcp-encode ", env!("CARGO_PKG_VERSION")), options)
}

impl FormatArg {
    /// Returns the format of a dataset's files.
    fn format(self) -> DatasetFormat {
        match self {
            FormatArg::Arrow => DatasetFormat::Arrow,
            FormatArg::Parquet => DatasetFormat::Parquet,
        }
    }
}

impl CompressionArg {
    /// Returns the compression of a dataset's columns.
    fn compression(self) -> Compression {
        match self {
            CompressionArg::None => Compression::None,
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        }
    }
}

impl TokenCodeArg {
    /// Returns the token code of a dataset's rows.
    fn codec(self) -> RowCodec {
        match self {
            TokenCodeArg::Field => RowCodec::Field,
            TokenCodeArg::Word16 => RowCodec::Word16,
        }
    }
}
