//! From arguments to captures.

use std::path::Path;
use std::time::Instant;

use arrowio::{DatasetReader, FlowRow, Recovery};
use atomic_output::{AtomicFolder, OnExisting};
use clikit::{Console, Unit, is_dash};
use dataset::{CODEC_IDS, RowDecoder, read_header};
use flowtrack::{Flow, Packet};
use tcpwire::CaptureFormat;
use tokenizer::field::FlowHeader;

use crate::args::Args;
use crate::draw::Draw;
use crate::fault::Fault;
use crate::frame::PayloadFramer;
use crate::labels::{Label, Labels};
use crate::merge::{Merge, Sink};
use crate::order::{Sorter, start};
use crate::output::{Capture, Plan, Target};
use crate::reports::Reports;
use crate::summary::Summary;

/// Reads the dataset of `args.input` and writes the captures, the label file and the reports.
///
/// # Errors
/// If the command line contradicts itself, the dataset cannot be opened, or an output cannot be
/// written.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    arrowio::silence_panics();
    let begun = Instant::now();
    let plan = Plan::new(&args)?;
    let mut outputs = vec![("OUTPUT", args.output.as_path())];
    outputs.extend(args.labels.as_deref().map(|path| ("--labels", path)));
    outputs.extend(args.reports.as_deref().map(|path| ("--reports", path)));
    if is_dash(&args.output) && args.labels.as_deref().is_some_and(is_dash) {
        anyhow::bail!("--labels -: expected a file where the capture goes to stdout, found stdout");
    }
    clikit::ensure_distinct_paths(&[("INPUT", &args.input)], &outputs)?;
    let reader = if is_dash(&args.input) {
        DatasetReader::stream("standard input", std::io::stdin(), &CODEC_IDS)?
    } else {
        DatasetReader::open(&args.input, &CODEC_IDS)?
    };
    // Labels that go into the folder of the flows are made with it.
    let apart = args.labels.as_deref().filter(|path| plan.inside(path).is_none());
    let labels = apart.map(|path| Labels::create(path, console)).transpose()?;
    let intake = Intake { draw: Draw::new(&args.identity)?, reader };
    let mut work = Work {
        framer: PayloadFramer::new(&args.frame, args.payload, args.identity.seed),
        labels,
        decoder: RowDecoder::default(),
        reports: Reports::default(),
        written_reports: None,
        summary: Summary::default(),
        console,
    };
    match &plan.target {
        Target::Split(folder) => split(&args, &plan, folder, intake, &mut work)?,
        Target::File(_) | Target::Stdout => interleave(&args, &plan, intake, &mut work)?,
    }
    if let Some(labels) = work.labels.take() {
        labels.finish()?;
    }
    if let Some(reports) = work.written_reports.take() {
        reports.commit()?;
    }
    work.summary.classes = work.reports.classes();
    work.summary.left_out = work.reports.failures();
    work.summary.packets_per_flow = work.reports.quantiles();
    work.summary.seconds = begun.elapsed().as_secs_f64();
    if work.summary.flows_written == 0 {
        tracing::warn!(
            "{}: no flow of it is written: {} is empty",
            args.input.display(),
            args.output.display()
        );
    }
    console.summary(&work.summary)
}

/// Reads rows and completes their identities.
struct Intake {
    reader: DatasetReader,
    draw: Draw,
}

/// What both ways of writing share.
struct Work<'a> {
    framer: PayloadFramer,
    labels: Option<Labels>,
    decoder: RowDecoder,
    reports: Reports,
    /// Those that are to appear once the capture has.
    written_reports: Option<AtomicFolder>,
    summary: Summary,
    console: &'a Console,
}

impl Work<'_> {
    /// Writes what stands beside the capture: whatever there is no room for is found before that
    /// appears.
    fn settle(&mut self, args: &Args) -> anyhow::Result<()> {
        self.labels.as_mut().map_or(Ok(()), Labels::settle)?;
        self.written_reports = args
            .reports
            .as_deref()
            .map(|folder| self.reports.write(folder, existing(args)))
            .transpose()?;
        Ok(())
    }
}

impl Intake {
    /// The next flow whose head can be read and whose identity could be completed.
    fn next(&mut self, work: &mut Work<'_>) -> anyhow::Result<Option<(FlowRow, FlowHeader)>> {
        loop {
            let mut row = match self.reader.next() {
                None => return Ok(None),
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    let fault = Fault::from(&error);
                    if error.recovery == Recovery::NextRow {
                        work.summary.flows_read += 1;
                        work.leave_out(None, &fault);
                    } else {
                        work.reports.failed(&fault);
                        work.console.left_out(&fault.said);
                    }
                    continue;
                }
            };
            work.summary.flows_read += 1;
            let header = match read_header(&row) {
                Ok(header) => header,
                Err(error) => {
                    let mut fault = Fault::from(&error);
                    fault.said = format!("flow (row {}): {}", work.summary.flows_read, fault.said);
                    work.leave_out(Some(&row), &fault);
                    continue;
                }
            };
            match self.draw.fill(&mut row, &header)? {
                None => return Ok(Some((row, header))),
                Some(fault) => work.leave_out_named(&row, fault),
            }
        }
    }
}

/// How a flow is named in messages.
fn name(row: &FlowRow) -> String {
    match &row.summary {
        Some(summary) if summary.first_frame > 0 => {
            format!("{}, frame {}", summary.source, summary.first_frame)
        }
        _ => {
            let shown = |addr: Option<std::net::IpAddr>| addr.map_or("?".into(), |a| a.to_string());
            let identity = &row.identity;
            let port = identity.client_port.unwrap_or(0);
            format!(
                "{} port {port} to {}",
                shown(identity.client.addr),
                shown(identity.server.addr)
            )
        }
    }
}

impl Work<'_> {
    fn leave_out(&mut self, row: Option<&FlowRow>, fault: &Fault) {
        let class = row.and_then(|row| row.summary.as_ref()).map(|summary| summary.class.as_str());
        self.reports.left_out(class, fault);
        self.console.left_out(&fault.said);
    }

    fn leave_out_named(&mut self, row: &FlowRow, mut fault: Fault) {
        fault.said = format!("flow ({}): {}", name(row), fault.said);
        self.leave_out(Some(row), &fault);
    }

    /// Decodes a flow; `None` where it had to be left out.
    fn decode(&mut self, row: &FlowRow, format: CaptureFormat) -> Option<Flow> {
        let (flow, synthesized) = match self.decoder.decode(row) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.leave_out_named(row, Fault::from(&error));
                return None;
            }
        };
        if let Some(fault) = unwritable(&flow, format) {
            self.leave_out_named(row, fault);
            return None;
        }
        self.summary.repaired_packets += synthesized.repaired;
        self.summary.packets_without_times += synthesized.packets;
        self.summary.tokens += row.tokens.len() as u64;
        Some(flow)
    }

    /// Counts a flow whose first packet is to be written, and labels it.
    fn begin(
        &mut self,
        file: &str,
        first_frame: u64,
        flow: &Flow,
        label: &Label,
    ) -> anyhow::Result<()> {
        self.summary.flows_written += 1;
        self.reports.written(&label.class, flow.packets.len() as u64);
        match &mut self.labels {
            Some(labels) => {
                labels.write(self.summary.flows_written, file, first_frame, flow, label)
            }
            None => Ok(()),
        }
    }
}

/// What keeps a flow from being written.
fn unwritable(flow: &Flow, format: CaptureFormat) -> Option<Fault> {
    if flow.packets.is_empty() {
        return Some(Fault::new("packets", "none", "expected packets, found none"));
    }
    let (first, last) = format.times();
    let packet = flow.packets.iter().find(|p| p.time_ns < first || p.time_ns > last)?;
    let said = format!("time: expected {first} to {last} ns, found {}", packet.time_ns);
    Some(Fault::new("time", "beyond what the format can say", said))
}

fn existing(args: &Args) -> OnExisting {
    if args.force {
        OnExisting::Replace(&["flow-*.pcap", "flow-*.pcapng", "*.csv", "*.json"])
    } else {
        OnExisting::Fail
    }
}

/// Whether times of a flow may be finer than microseconds.
fn needs_ns(row: &FlowRow, header: &FlowHeader) -> bool {
    header.unit_ns() % 1_000 != 0 || start(row) % 1_000 != 0
}

/// One capture per flow.
fn split(
    args: &Args,
    plan: &Plan,
    folder: &Path,
    mut intake: Intake,
    work: &mut Work<'_>,
) -> anyhow::Result<()> {
    let out = AtomicFolder::create(folder, existing(args))?;
    if let Some(name) = args.labels.as_deref().and_then(|path| plan.inside(path)) {
        work.labels = Some(Labels::create(&out.path().join(name), work.console)?);
    }
    let progress = work.console.progress("writing flows", None, Unit::Items);
    while let Some((row, header)) = intake.next(work)? {
        let format = plan.capture_format(needs_ns(&row, &header));
        let Some(flow) = work.decode(&row, format) else { continue };
        let file =
            format!("flow-{:07}.{}", work.summary.flows_written + 1, plan.format.extension());
        let mut capture =
            Capture::inner(&out.path().join(&file), &out.target().join(&file), format)?;
        work.begin(&file, 1, &flow, &Label::new(row.summary, &header))?;
        for packet in &flow.packets {
            let (octets, wire_len) = work.framer.frame(&flow, packet);
            capture.write(packet.time_ns, wire_len, octets)?;
        }
        work.summary.packets += flow.packets.len() as u64;
        work.summary.octets += capture.finish()?;
        work.summary.files += 1;
        work.decoder.recycle(flow);
        progress.inc(1);
    }
    work.settle(args)?;
    if let Some(labels) = work.labels.take() {
        labels.finish()?;
    }
    Ok(out.commit()?)
}

/// One capture with the flows interleaved by time.
fn interleave(
    args: &Args,
    plan: &Plan,
    mut intake: Intake,
    work: &mut Work<'_>,
) -> anyhow::Result<()> {
    let reading = work.console.progress("reading flows", None, Unit::Items);
    let mut sorter =
        Sorter::new(args.sort_memory.saturating_mul(1 << 20).max(1), intake.reader.meta());
    let mut any_needs_ns = false;
    while let Some((row, header)) = intake.next(work)? {
        any_needs_ns |= needs_ns(&row, &header);
        sorter.push(row)?;
        reading.inc(1);
    }
    reading.finish();
    let format = plan.capture_format(any_needs_ns);
    let (capture, file) = match &plan.target {
        Target::File(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            (Capture::file(path, format)?, name.to_string_lossy().into_owned())
        }
        Target::Stdout | Target::Split(_) => (Capture::stdout(work.console, format)?, "-".into()),
    };
    let progress = work.console.progress("writing flows", Some(sorter.count()), Unit::Items);
    let mut sorted = sorter.sorted()?;
    let mut merge = Merge::new();
    let mut wire = Wire { work, capture, file };
    while let Some(row) = sorted.next_row()? {
        if let Some(flow) = wire.work.decode(&row, format) {
            // The head was read once already.
            if let Ok(header) = read_header(&row) {
                merge.open(flow, Label::new(row.summary, &header));
            }
        }
        progress.inc(1);
        if let Some(next) = sorted.next_start() {
            merge.run_until(Some(next), &mut wire)?;
        }
    }
    merge.run_until(None, &mut wire)?;
    let Wire { work, capture, .. } = wire;
    work.settle(args)?;
    work.summary.octets += capture.finish()?;
    work.summary.files += 1;
    Ok(())
}

/// Packets on their way into one capture.
struct Wire<'w, 'a> {
    work: &'w mut Work<'a>,
    capture: Capture,
    file: String,
}

impl Sink<Label> for Wire<'_, '_> {
    fn packet(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        label: &mut Label,
        is_first: bool,
    ) -> anyhow::Result<()> {
        if is_first {
            self.work.begin(&self.file, self.work.summary.packets + 1, flow, label)?;
        }
        let (octets, wire_len) = self.work.framer.frame(flow, packet);
        self.capture.write(packet.time_ns, wire_len, octets)?;
        self.work.summary.packets += 1;
        Ok(())
    }

    fn done(&mut self, flow: Flow) {
        self.work.decoder.recycle(flow);
    }
}
