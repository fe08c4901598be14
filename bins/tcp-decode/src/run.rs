//! From arguments to captures.

use std::path::Path;
use std::time::Instant;

use arrowio::{DatasetReader, ReadOptions};
use atomic_output::AtomicFolder;
use clikit::{Console, Unit, is_dash};
use dataset::{DECODED_IDS, RowCodec};
use flowtrack::{Flow, Packet};

use crate::args::Args;
use crate::background::{Background, BackgroundFrames};
use crate::host_table::HostTable;
use crate::identity::IdentitySampler;
use crate::labels::{LABELS, Label, LabelWriter, PACKET_LABELS, PacketLabelWriter};
use crate::merge::{PacketMerge, PacketSink};
use crate::order::Sorter;
use crate::output::{CAPTURE_OF_FLOW, CaptureOutput, CaptureTarget, OutputPlan};
use crate::reader::PendingReader;
use crate::reports::REPORT;
use crate::write_context::{FinishedTables, WriteContext};

/// Reads the datasets of the command line and writes the captures, the label file and the reports.
///
/// # Errors
/// If the command line contradicts itself, the dataset cannot be opened, or an output cannot be
/// written.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    arrowio::silence_panics();
    let begun = Instant::now();
    let listed = args.files_from.as_deref().map(clikit::read_list).transpose()?;
    let (inputs, output) = clikit::split_paths(&args.paths, listed.unwrap_or_default())?;
    let plan = OutputPlan::new(&args, &output)?;
    let mut outputs = vec![("OUTPUT", output.as_path())];
    outputs.extend(args.labels.as_deref().map(|path| ("--labels", path)));
    outputs.extend(args.packet_labels.as_deref().map(|path| ("--packet-labels", path)));
    outputs.extend(args.reports.as_deref().map(|path| ("--reports", path)));
    if is_dash(&output) && args.labels.as_deref().is_some_and(is_dash) {
        anyhow::bail!("--labels -: expected a file where the capture goes to stdout, found stdout");
    }
    if args.packet_labels.as_deref().is_some_and(is_dash) {
        anyhow::bail!("--packet-labels -: expected a file, found stdout");
    }
    let mut named: Vec<_> = inputs.iter().map(|path| ("INPUT", path.as_path())).collect();
    named.extend(args.into.as_deref().map(|path| ("--into", path)));
    named.extend(args.identity.hosts.as_deref().map(|path| ("--hosts", path)));
    named.extend(args.files_from.as_deref().map(|path| ("--files-from", path)));
    clikit::ensure_distinct_paths(&named, &outputs)?;
    // A label file in the folder of `--split flow` is created in that folder's temporary.
    let elsewhere = args.labels.as_deref().filter(|path| plan.name_in_folder(path).is_none());
    plan.ensure_free(args.force)?;
    if let Some(labels) = elsewhere {
        clikit::ensure_free(labels, LABELS, args.force)?;
    }
    if let Some(labels) = &args.packet_labels {
        clikit::ensure_free(labels, PACKET_LABELS, args.force)?;
    }
    if let Some(folder) = &args.reports {
        clikit::ensure_folder_free(folder, REPORT, args.force)?;
    }
    let read = ReadOptions {
        accepted: &DECODED_IDS,
        token_code: args.token_code.map(RowCodec::id),
        notice: |line| tracing::warn!("{line}"),
    };
    let rows = match &inputs[..] {
        [input] if is_dash(input) => {
            DatasetReader::stream_with("standard input", console.stdin(), &read)?
        }
        inputs if inputs.iter().any(|input| is_dash(input)) => {
            anyhow::bail!("-: expected stdin as the only input, found {} inputs", inputs.len())
        }
        inputs => DatasetReader::open_all(inputs, &read)?,
    };
    let labels =
        elsewhere.map(|path| LabelWriter::create(path, args.force, console)).transpose()?;
    let background = args.into.as_deref().map(Background::survey).transpose()?;
    let mixed = Mixed {
        frames: background.as_ref().map(Background::frames).transpose()?,
        needs_ns: background.as_ref().is_some_and(|background| background.needs_ns),
    };
    let hosts = args.identity.hosts.as_deref().map(HostTable::read).transpose()?;
    let sampler = IdentitySampler::new(&args.identity, background, hosts)?;
    let reader = PendingReader::new(rows, sampler);
    let mut context = WriteContext::new(&args, labels, console);
    context.packet_labels = args
        .packet_labels
        .as_deref()
        .map(|path| PacketLabelWriter::create(path, args.force, console))
        .transpose()?;
    let mut tables = match &plan.target {
        CaptureTarget::Folder(folder) => {
            write_separately(&args, &plan, folder, reader, &mut context)?
        }
        CaptureTarget::File(_) | CaptureTarget::Stdout => {
            write_interleaved(&args, &plan, reader, mixed, &mut context)?
        }
    };
    tables.commit_labels()?;
    tables.commit_reports()?;
    let WriteContext { mut summary, reports, .. } = context;
    summary.classes = reports.written_by_class();
    summary.left_out = reports.failures();
    summary.packets_per_flow = reports.quantiles();
    summary.seconds = begun.elapsed().as_secs_f64();
    if summary.flows_written == 0 {
        tracing::warn!(
            "{}: no flow of it is written: {} is empty",
            inputs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
            output.display()
        );
    }
    console.summary(&summary)
}

/// Writes one capture per flow.
fn write_separately(
    args: &Args,
    plan: &OutputPlan,
    folder: &Path,
    mut reader: PendingReader,
    context: &mut WriteContext<'_>,
) -> anyhow::Result<FinishedTables> {
    let out = AtomicFolder::create(folder, CAPTURE_OF_FLOW.on_existing(args.force))?;
    if let Some(name) = args.labels.as_deref().and_then(|path| plan.name_in_folder(path)) {
        context.labels = Some(LabelWriter::create(&out.path().join(name), false, context.console)?);
    }
    let progress = context.console.progress("writing flows", None, Unit::Items);
    while let Some(mut pending) = reader.next_flow(context)? {
        let format = plan.capture_format(pending.needs_ns());
        let Some((flow, header)) = context.decode(&mut pending, format) else { continue };
        let number = context.summary.flows_written + 1;
        let file = format!("flow-{number:07}.{}", plan.format.extension());
        let (path, target) = (out.path().join(&file), out.target().join(&file));
        let mut capture = CaptureOutput::file_in_folder(&path, &target, format)?;
        context.begin_flow(&file, 1, &flow, &Label::new(pending.row.summary, &header))?;
        for packet in &flow.packets {
            let (octets, wire_len) = context.framer.frame(&flow, packet);
            capture.write(packet.time_ns, wire_len, octets)?;
        }
        context.summary.packets += flow.packets.len() as u64;
        context.summary.count_file(capture.finish()?);
        context.decoder.recycle(flow);
        progress.inc(1);
    }
    let mut tables = context.finish_tables(args)?;
    // Labels in the folder appear with it.
    tables.commit_labels()?;
    out.commit()?;
    Ok(tables)
}

/// Writes one capture with the packets of all flows, or of those of a part, in the order of their
/// times.
fn write_interleaved(
    args: &Args,
    plan: &OutputPlan,
    mut reader: PendingReader,
    mixed: Mixed,
    context: &mut WriteContext<'_>,
) -> anyhow::Result<FinishedTables> {
    let reading = context.console.progress("reading flows", None, Unit::Items);
    let memory = args.sort_memory.saturating_mul(1 << 20).max(1);
    let mut sorter = Sorter::new(memory, reader.meta());
    let mut in_ns = 0;
    while let Some(pending) = reader.next_flow(context)? {
        in_ns += u64::from(pending.needs_ns());
        sorter.push(pending)?;
        reading.inc(1);
    }
    reading.finish();
    let format = plan.capture_format(in_ns > 0 || mixed.needs_ns);
    context.summary.flows_in_nanoseconds = if plan.follows_flows() { in_ns } else { 0 };
    let (capture, file) = match &plan.target {
        CaptureTarget::File(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            (CaptureOutput::file(path, args.force, format)?, name.to_string_lossy().into_owned())
        }
        CaptureTarget::Stdout | CaptureTarget::Folder(_) => {
            (CaptureOutput::stdout(context.console, format)?, "-".into())
        }
    };
    let progress = context.console.progress("writing flows", Some(sorter.count()), Unit::Items);
    let share = args.part.map_or(0..sorter.count(), |part| part.share_of(sorter.count()));
    let mut sorted = sorter.into_sorted()?;
    let mut merge = PacketMerge::new();
    let mut sink = CaptureSink { context, capture, file, background: mixed.frames, frames: 0 };
    for number in 0..share.end {
        let Some(mut pending) = sorted.next_flow()? else { break };
        progress.inc(1);
        if number < share.start {
            continue;
        }
        if let Some((flow, header)) = sink.context.decode(&mut pending, format) {
            merge.push(flow, Label::new(pending.row.summary, &header));
        }
        // Packets before the start of the next flow have no rival that is still to come.
        if let Some(next_ns) = sorted.next_start_ns() {
            merge.write_until(Some(next_ns), &mut sink)?;
        }
    }
    merge.write_until(None, &mut sink)?;
    sink.write_background(None)?;
    let CaptureSink { context, capture, .. } = sink;
    let tables = context.finish_tables(args)?;
    context.summary.count_file(capture.finish()?);
    Ok(tables)
}

/// Capture that the flows are mixed into, if any.
struct Mixed {
    frames: Option<BackgroundFrames>,
    /// Whether it needs times in nanoseconds.
    needs_ns: bool,
}

/// Receiver of merged packets that writes them into one capture.
struct CaptureSink<'w, 'a> {
    context: &'w mut WriteContext<'a>,
    capture: CaptureOutput,
    /// Name of the capture in the label file.
    file: String,
    /// Frames that the packets are mixed into.
    background: Option<BackgroundFrames>,
    /// Number of frames written so far.
    frames: u64,
}

impl CaptureSink<'_, '_> {
    /// Writes the frames of the background up to a time, or all that are left.
    fn write_background(&mut self, until_ns: Option<i64>) -> anyhow::Result<()> {
        if let Some(background) = &mut self.background {
            let written = background.write_until(until_ns, &mut self.capture)?;
            self.context.summary.frames_of_background += written;
            self.frames += written;
        }
        Ok(())
    }
}

impl PacketSink<Label> for CaptureSink<'_, '_> {
    fn write_packet(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        label: &mut Label,
        is_first: bool,
    ) -> anyhow::Result<()> {
        self.write_background(Some(packet.time_ns))?;
        self.frames += 1;
        if is_first {
            self.context.begin_flow(&self.file, self.frames, flow, label)?;
            label.number = self.context.summary.flows_written;
        }
        if let Some(labels) = &mut self.context.packet_labels {
            labels.write(self.frames, label.number)?;
        }
        let (octets, wire_len) = self.context.framer.frame(flow, packet);
        self.capture.write(packet.time_ns, wire_len, octets)?;
        self.context.summary.packets += 1;
        Ok(())
    }

    fn recycle(&mut self, flow: Flow) {
        self.context.decoder.recycle(flow);
    }
}
