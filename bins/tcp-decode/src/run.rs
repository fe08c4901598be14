//! From arguments to captures.

use std::path::Path;
use std::time::Instant;

use arrowio::{DatasetReader, FlowRow};
use clikit::{AtomicFolder, Console, Existing, Unit, is_dash};
use flowtrack::{Flow, Packet};
use tcpwire::CaptureFormat;
use tokenizer::DecodeError;
use tokenizer::field::FlowHeader;

use crate::args::Args;
use crate::codec::{self, CODES};
use crate::draw::Draw;
use crate::frame::Framer;
use crate::labels::{Label, Labels};
use crate::merge::{Merge, Sink};
use crate::order::{Sorter, start};
use crate::output::{Capture, Plan, Target};
use crate::summary::{Histogram, Summary};

/// Runs the program.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let begun = Instant::now();
    let plan = Plan::new(&args)?;
    let mut outputs = vec![("OUTPUT", args.output.as_path())];
    outputs.extend(args.labels.as_deref().map(|path| ("--labels", path)));
    clikit::keep_apart(&[("INPUT", &args.input)], &outputs)?;
    let reader = if is_dash(&args.input) {
        DatasetReader::stream("standard input", std::io::stdin(), &CODES)?
    } else {
        DatasetReader::open(&args.input, &CODES)?
    };
    // Labels that go into the folder of the flows are made with it.
    let apart = args.labels.as_deref().filter(|path| plan.inside(path).is_none());
    let labels = apart.map(Labels::create).transpose()?;
    let intake = Intake { draw: Draw::new(&args.identity)?, reader, console };
    let mut work = Work {
        framer: Framer::new(&args.frame, args.payload, args.identity.seed),
        labels,
        histogram: Histogram::default(),
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
    work.summary.packets_per_flow = work.histogram.quantiles();
    work.summary.seconds = begun.elapsed().as_secs_f64();
    console.summary(&work.summary)
}

/// Reads rows and completes their identities.
struct Intake<'a> {
    reader: DatasetReader,
    draw: Draw,
    console: &'a Console,
}

/// What both ways of writing share.
struct Work<'a> {
    framer: Framer,
    labels: Option<Labels>,
    histogram: Histogram,
    summary: Summary,
    console: &'a Console,
}

impl Intake<'_> {
    /// The next flow whose head can be read.
    fn next(&mut self, summary: &mut Summary) -> anyhow::Result<Option<(FlowRow, FlowHeader)>> {
        loop {
            let mut row = match self.reader.next() {
                None => return Ok(None),
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    *summary.left_out.entry("rest of an unreadable file".into()).or_default() += 1;
                    self.console.left_out(format!("rest of {error}"));
                    continue;
                }
            };
            summary.flows_read += 1;
            match codec::header(&row.tokens) {
                Ok(header) => {
                    self.draw.fill(&mut row.identity, &header)?;
                    return Ok(Some((row, header)));
                }
                Err(error) => {
                    let name = format!("row {}", summary.flows_read);
                    leave_out(summary, self.console, &name, &error);
                }
            }
        }
    }
}

fn leave_out(summary: &mut Summary, console: &Console, name: &str, error: &DecodeError) {
    *summary.left_out.entry(codec::reason(error)).or_default() += 1;
    console.left_out(format!("flow ({name}): {error}"));
}

/// How a flow is named in messages.
fn name(row: &FlowRow) -> String {
    match &row.summary {
        Some(summary) if summary.first_frame > 0 => format!("{}, frame {}", summary.source, summary.first_frame),
        _ => {
            let shown = |addr: Option<std::net::IpAddr>| addr.map_or("?".into(), |a| a.to_string());
            let identity = &row.identity;
            let port = identity.client_port.unwrap_or(0);
            format!("{} port {port} to {}", shown(identity.client.addr), shown(identity.server.addr))
        }
    }
}

impl Work<'_> {
    /// Decodes a flow; `None` where it had to be left out.
    fn decode(&mut self, row: &FlowRow, format: CaptureFormat) -> Option<Flow> {
        let (flow, invented) = match codec::decode(row) {
            Ok(decoded) => decoded,
            Err(error) => {
                leave_out(&mut self.summary, self.console, &name(row), &error);
                return None;
            }
        };
        let (first, last) = format.times();
        if let Some(packet) = flow.packets.iter().find(|p| p.time_ns < first || p.time_ns > last) {
            *self.summary.left_out.entry("time: beyond what the format can say".into()).or_default() += 1;
            let found = packet.time_ns;
            self.console.left_out(format!("flow ({}): time: expected {first} to {last} ns, found {found}", name(row)));
            return None;
        }
        if flow.packets.is_empty() {
            *self.summary.left_out.entry("flow: no packets".into()).or_default() += 1;
            self.console.left_out(format!("flow ({}): expected packets, found none", name(row)));
            return None;
        }
        self.summary.repaired_packets += invented.repaired;
        self.summary.packets_without_times += invented.packets;
        self.summary.tokens += row.tokens.len() as u64;
        Some(flow)
    }

    /// Counts a flow whose first packet is to be written, and labels it.
    fn begin(&mut self, file: &str, first_frame: u64, flow: &Flow, label: &Label) -> anyhow::Result<()> {
        self.summary.flows_written += 1;
        *self.summary.classes.entry(label.class.clone()).or_default() += 1;
        self.histogram.add(flow.packets.len() as u64);
        match &mut self.labels {
            Some(labels) => labels.write(self.summary.flows_written, file, first_frame, flow, label),
            None => Ok(()),
        }
    }
}

/// Whether times of a flow may be finer than microseconds.
fn needs_ns(row: &FlowRow, header: &FlowHeader) -> bool {
    header.unit_ns % 1_000 != 0 || start(row) % 1_000 != 0
}

/// One capture per flow.
fn split(args: &Args, plan: &Plan, folder: &Path, mut intake: Intake<'_>, work: &mut Work<'_>) -> anyhow::Result<()> {
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    let out = AtomicFolder::create(folder, existing)?;
    if let Some(name) = args.labels.as_deref().and_then(|path| plan.inside(path)) {
        work.labels = Some(Labels::create(&out.path().join(name))?);
    }
    let progress = work.console.progress("writing flows", None, Unit::Items);
    while let Some((row, header)) = intake.next(&mut work.summary)? {
        let format = plan.capture_format(needs_ns(&row, &header));
        let Some(flow) = work.decode(&row, format) else { continue };
        let file = format!("flow-{:07}.{}", work.summary.flows_written + 1, plan.format.extension());
        let mut capture = Capture::inner(&out.path().join(&file), &out.target().join(&file), format)?;
        work.begin(&file, 1, &flow, &Label::new(row.summary, &header))?;
        for packet in &flow.packets {
            let (octets, wire_len) = work.framer.frame(&flow, packet);
            capture.write(packet.time_ns, wire_len, octets)?;
        }
        work.summary.packets += flow.packets.len() as u64;
        work.summary.octets += capture.finish()?;
        work.summary.files += 1;
        progress.inc(1);
    }
    if let Some(labels) = work.labels.take() {
        labels.finish()?;
    }
    out.commit()
}

/// One capture with the flows interleaved by time.
fn interleave(args: &Args, plan: &Plan, mut intake: Intake<'_>, work: &mut Work<'_>) -> anyhow::Result<()> {
    let reading = work.console.progress("reading flows", None, Unit::Items);
    let mut sorter = Sorter::new(args.sort_memory.saturating_mul(1 << 20).max(1), intake.reader.meta());
    let mut any_needs_ns = false;
    while let Some((row, header)) = intake.next(&mut work.summary)? {
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
            if let Ok(header) = codec::header(&row.tokens) {
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
    fn packet(&mut self, flow: &Flow, packet: &Packet, label: &mut Label, is_first: bool) -> anyhow::Result<()> {
        if is_first {
            self.work.begin(&self.file, self.work.summary.packets + 1, flow, label)?;
        }
        let (octets, wire_len) = self.work.framer.frame(flow, packet);
        self.capture.write(packet.time_ns, wire_len, octets)?;
        self.work.summary.packets += 1;
        Ok(())
    }
}
