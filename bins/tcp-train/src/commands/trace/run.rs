//! `generate --trace`: skeletons, then flows, then rows in order of their starts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use arrowio::{Compression, DatasetFormat, WriteOptions};
use atomic_output::FileKind;
use clikit::{Console, SideOutput, Unit, is_dash};
use linformer::Generator;

use super::flows::{DrawnFlow, Flows};
use super::hosts::GeneratedHosts;
use super::skeletons::{PlannedHost, Skeletons, TraceLimits};
use crate::args::{Constrain, Generate};
use crate::commands::filter::{FlowFilter, LengthClass, PacketBounds};
use crate::commands::folder;
use crate::commands::generate::{Output, generator, job, name_of, sampling};
use crate::commands::memory::peak_memory;
use crate::commands::summary::GenerateSummary;
use crate::level::Level;

/// First start of a trace: 2026-01-01, in nanoseconds since 1970.
const FIRST_START_NS: i64 = 1_767_225_600_000_000_000;

/// Upper bound on the duration of a trace: 50 years of 365 days, since the seconds of pcap end in
/// 2106.
const LONGEST_NS: i64 = 50 * 365 * 86_400 * 1_000_000_000;

/// Hosts tables, which `--traces` may replace.
const HOSTS: FileKind = FileKind { name: "a hosts table", is_at: arrowio::is_hosts };

/// Generates a trace.
///
/// # Errors
/// If the arguments contradict themselves, a model cannot be read, or an output not be written.
pub(in crate::commands) fn generate(args: &Generate, console: &Console) -> anyhow::Result<()> {
    let (Some(trace_model), Some(hosts_path)) = (&args.trace, &args.traces) else {
        bail!("--trace: expected --traces HOSTS, the hosts table to write");
    };
    check(args, hosts_path)?;
    let device = linformer::device(&args.machine.device)?;
    let read = |path: &Path, level| folder::read_model_of(path, level, linformer::Device::Cpu);
    let precision = args.precision.into();
    let of = |path: &Path, level| -> anyhow::Result<Generator> {
        generator(device, read(path, level)?.decoder(precision)?)
    };
    let of_flows = of(&args.checkpoint_path, Level::Flow)?;
    let of_hosts = of(trace_model, Level::Trace)?;
    let packets = PacketBounds { min: args.min_packets_per_flow, max: args.max_packets_per_flow };
    let filter = || FlowFilter::new(args.constrain, packets, LengthClass::Advisory);
    let mut output = Output::create(args, None, console)?;
    let table = SideOutput::create(hosts_path, HOSTS.on_existing(args.force), console)?;
    let started = Instant::now();
    let limits = limits(args);
    let progress = console.progress("generating", args.flows.or(args.hosts), Unit::Items);
    let is_session = args.constrain == Constrain::Session;
    let threads = args.machine.threads();
    let job = job(args, &of_flows, Vec::new());
    let mut flows = Flows::new(&of_flows, job, &filter);
    let mut skeletons =
        Skeletons::new(of_hosts, sampling(args), args.seed, threads, is_session, limits);
    let mut trace = Trace::default();
    let mut summary =
        GenerateSummary { constrain: name_of(args.constrain).to_owned(), ..Default::default() };
    loop {
        let chunk = skeletons.next_chunk()?;
        let Some(last) = chunk.last() else { break };
        let last_ns = last.start_ns;
        let drawn = flows.draw(&chunk)?;
        for (host, flows) in chunk.into_iter().zip(drawn) {
            trace.place(host, flows, limits.duration_ns);
        }
        // No later host starts before the last one.
        trace.write_until(last_ns, &mut output, &mut summary)?;
        progress.set(if args.flows.is_some() { summary.flows } else { trace.hosts_placed });
    }
    trace.write_until(i64::MAX, &mut output, &mut summary)?;
    progress.finish();
    summary.generated = summary.flows + trace.broken;
    summary.tokens = flows.tokens;
    summary.first_fault = flows.first_fault;
    summary.seconds = started.elapsed().as_secs_f64();
    summary.peak_memory = peak_memory();
    if let Some(fault) = &summary.first_fault {
        console.left_out(format!("flows that do not decode, the first of them {fault}"));
    }
    let mut table = write_hosts(trace.hosts, table, hosts_path)?;
    table.flush_and_sync()?;
    output.sink.finish()?;
    table.commit()?;
    console.summary(&summary)
}

/// Checks the arguments that a trace does not go with.
fn check(args: &Generate, hosts: &Path) -> anyhow::Result<()> {
    if args.part.is_some() || args.packets.is_some() {
        bail!("--trace: expected neither --part nor --packets, since a trace is one run of hosts");
    }
    if !args.server_port.is_empty() || !args.ends.is_empty() || args.length_class.is_some() {
        bail!("--trace: expected no conditions on flows, since the hosts set them");
    }
    clikit::ensure_distinct_paths(
        &[("--checkpoint-path", &args.checkpoint_path)],
        &[("--output-dir", &args.output_dir), ("--traces", hosts)],
    )?;
    if is_dash(hosts) && is_dash(&args.output_dir) {
        bail!("-: expected one output on stdout, found --output-dir and --traces");
    }
    if !is_dash(hosts) && hosts.starts_with(&args.output_dir) {
        bail!("{}: expected HOSTS beside the dataset, found it in its folder", hosts.display());
    }
    clikit::ensure_free(hosts, HOSTS, args.force)
}

/// Returns the limits of the trace: 100 hosts, if none is given.
fn limits(args: &Generate) -> TraceLimits {
    let is_limited = args.flows.is_some() || args.duration.is_some();
    TraceLimits {
        hosts: args.hosts.unwrap_or(if is_limited { u64::MAX } else { 100 }),
        flows: args.flows.unwrap_or(u64::MAX),
        duration_ns: args.duration.unwrap_or(LONGEST_NS).min(LONGEST_NS),
    }
}

/// Flows that are placed in time, until they are written.
#[derive(Default)]
struct Trace {
    pending: BinaryHeap<Reverse<Pending>>,
    hosts: GeneratedHosts,
    hosts_placed: u64,
    rows: u64,
    /// Number of flows that do not decode.
    broken: u64,
}

/// Flow with its start. Flows are told apart by start, host and index, which are never the same.
struct Pending {
    order: (i64, u64, usize),
    server: (u32, bool),
    flow: DrawnFlow,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Pending) -> bool {
        self.order == other.order
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Pending) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Pending) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Trace {
    /// Places the flows of a host as its skeleton says.
    fn place(&mut self, host: PlannedHost, flows: Vec<Option<DrawnFlow>>, duration_ns: i64) {
        self.hosts_placed += 1;
        let mut before = (0, 0);
        for (index, (head, flow)) in host.heads.into_iter().zip(flows).enumerate() {
            let Some(flow) = flow else {
                self.broken += 1;
                continue;
            };
            let start = head.start_ns(before);
            before = (start, start.saturating_add(flow.duration_ns));
            let start_ns = host.start_ns.saturating_add(start);
            if start_ns > duration_ns {
                break;
            }
            let order = (start_ns, host.number, index);
            let server = (head.server, head.syn.is_v6);
            self.pending.push(Reverse(Pending { order, server, flow }));
        }
    }

    /// Writes the flows that start before a time, in order.
    fn write_until(
        &mut self,
        end_ns: i64,
        output: &mut Output,
        summary: &mut GenerateSummary,
    ) -> anyhow::Result<()> {
        while let Some(next) = self.pending.peek_mut() {
            if next.0.order.0 >= end_ns {
                break;
            }
            let Reverse(Pending { order, server, mut flow }) =
                std::collections::binary_heap::PeekMut::pop(next);
            flow.row.identity.start_ns = Some(FIRST_START_NS.saturating_add(order.0));
            output.sink.write(&flow.row)?;
            summary.add(flow.packets, flow.is_session);
            self.hosts.add(self.rows, order.1, server, &flow);
            self.rows += 1;
        }
        Ok(())
    }
}

/// Writes the hosts table, in the format of its name: Arrow where the name says none.
fn write_hosts(hosts: GeneratedHosts, to: SideOutput, path: &Path) -> anyhow::Result<SideOutput> {
    let format = match DatasetFormat::from_path(path) {
        _ if is_dash(path) => DatasetFormat::Stream,
        named => named.unwrap_or(DatasetFormat::Arrow),
    };
    let options = WriteOptions { format, compression: Compression::Lz4, ..WriteOptions::default() };
    let name = to.name();
    let tool = concat!("tcp-train ", env!("CARGO_PKG_VERSION"));
    Ok(arrowio::write_hosts(&name, to, &hosts.into_rows(), tool, &options)?.1)
}
