//! The subcommand `score` with `--calibrate`: how unusual each flow is among benign ones.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use arrowio::FlowRow;
use clikit::text::count;
use clikit::{Console, Unit, is_dash};
use serde::Serialize;

use super::cost::{FlowCost, Part, cost};
use super::flow_rows::{FlowRows, Pace, tokens};
use super::workers::Workers;
use crate::args::Score;

/// Line of the output, for one flow.
#[derive(Serialize)]
struct DetectedFlow<'a> {
    /// Number of the flow, from 1.
    flow: u64,
    /// Conformal p-value: the share of benign flows that cost as much per packet or more.
    p_value: f64,
    /// Bits of the flow, given its class, length class and server port.
    bits: f64,
    /// Number of packets of the flow.
    packets: u64,
    /// Costliest fields of single packets.
    costliest: &'a [Part],
    /// Bits of each field of the flow.
    fields: BTreeMap<&'static str, f64>,
    client_addr: Option<IpAddr>,
    client_port: Option<u16>,
    server_addr: Option<IpAddr>,
    server_port: Option<u16>,
    source: Option<&'a str>,
    first_frame: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

/// Bits per packet of benign flows, ascending.
struct Benign(Vec<f64>);

impl Benign {
    /// Reads the benign flows and their cost.
    fn read(
        path: &Path,
        args: &Score,
        workers: &Workers,
        console: &Console,
    ) -> anyhow::Result<Benign> {
        let mut rows = FlowRows::open(path, args.reading)?;
        let progress = console.progress("calibrating", None, Unit::Items);
        let mut all = Vec::new();
        while let Some(chunk) = rows.next_chunk(workers.tokens_at_once(), Pace::Full, console) {
            let flows: Vec<&[u16]> = chunk.iter().map(tokens).collect();
            let costs = cost(workers, &flows)?;
            all.extend(costs.iter().map(FlowCost::bits_per_packet));
            progress.inc(chunk.len() as u64);
        }
        progress.finish();
        if all.is_empty() {
            bail!("{}: expected benign flows, found none", path.display());
        }
        all.sort_unstable_by(f64::total_cmp);
        Ok(Benign(all))
    }

    /// Returns the conformal p-value of a cost (Vovk et al., Algorithmic Learning in a Random
    /// World, 2.2): for a flow drawn as the benign ones were, it is at most `a` with probability
    /// `a`, or less.
    fn p_value(&self, bits_per_packet: f64) -> f64 {
        let below = self.0.partition_point(|benign| *benign < bits_per_packet);
        (self.0.len() - below + 1) as f64 / (self.0.len() + 1) as f64
    }
}

/// Prints a line of JSON for each flow of the dataset, in order.
pub(crate) fn detect(args: &Score, benign: &Path, console: &Console) -> anyhow::Result<()> {
    if is_dash(benign) && is_dash(&args.input_dir) {
        bail!("-: expected one input on stdin, found --calibrate and --input-dir");
    }
    let device = linformer::device(&args.machine.device)?;
    let (threads, batch) = (args.machine.threads(), args.batch as usize);
    let workers = Workers::new(&args.checkpoint_path, device, threads, batch)?;
    let benign = Benign::read(benign, args, &workers, console)?;
    let mut rows = FlowRows::open(&args.input_dir, args.reading)?;
    let pace = if is_dash(&args.input_dir) { Pace::Live } else { Pace::Full };
    let progress = console.progress("scoring", None, Unit::Items);
    let mut out = std::io::BufWriter::new(console.stdout());
    let mut summary = DetectSummary { benign: benign.0.len() as u64, ..DetectSummary::default() };
    while let Some(chunk) = rows.next_chunk(workers.tokens_at_once(), pace, console) {
        let flows: Vec<&[u16]> = chunk.iter().map(tokens).collect();
        for (row, cost) in chunk.iter().zip(cost(&workers, &flows)?) {
            let p_value = benign.p_value(cost.bits_per_packet());
            summary.add(p_value);
            let text = serde_json::to_string(&line(row, summary.flows, p_value, &cost));
            writeln!(out, "{}", text.context("standard output")?).context("standard output")?;
        }
        out.flush().context("standard output")?;
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    console.summary(&summary)
}

/// Returns the line of a flow.
fn line<'a>(row: &'a FlowRow, flow: u64, p_value: f64, cost: &'a FlowCost) -> DetectedFlow<'a> {
    let summary = row.summary.as_ref();
    DetectedFlow {
        flow,
        p_value,
        bits: cost.bits,
        packets: cost.packets,
        costliest: &cost.costliest,
        fields: cost.by_field().collect(),
        client_addr: row.identity.client.addr,
        client_port: row.identity.client_port,
        server_addr: row.identity.server.addr,
        server_port: summary.map(|summary| summary.server_port),
        source: summary.map(|summary| summary.source.as_str()),
        first_frame: summary.map(|summary| summary.first_frame),
        label: summary.and_then(|summary| summary.label.as_deref()),
    }
}

/// Summary of the run.
#[derive(Default, Serialize)]
struct DetectSummary {
    /// Number of flows scored.
    flows: u64,
    /// Number of benign flows.
    benign: u64,
    /// Number of flows with a p-value of at most 0.01.
    below_1_percent: u64,
    /// Number of flows with a p-value of at most 0.05.
    below_5_percent: u64,
}

impl DetectSummary {
    fn add(&mut self, p_value: f64) {
        self.flows += 1;
        self.below_1_percent += u64::from(p_value <= 0.01);
        self.below_5_percent += u64::from(p_value <= 0.05);
    }
}

impl fmt::Display for DetectSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [flows, benign] = [self.flows, self.benign].map(count);
        writeln!(f, "{flows} flows against {benign} benign ones")?;
        for (share, below) in [(1, self.below_1_percent), (5, self.below_5_percent)] {
            let benign = (self.flows as f64 * f64::from(share) / 100.0).round() as u64;
            let (below, benign) = (count(below), count(benign));
            writeln!(f, "  p-value at most 0.0{share}: {below}, of benign flows about {benign}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p_value_counts_the_benign_flows_that_cost_as_much() {
        let benign = Benign(vec![1.0, 2.0, 2.0, 3.0]);
        let check = |bits: f64, expected: f64| {
            assert!((benign.p_value(bits) - expected).abs() < 1e-12, "{bits}");
        };
        check(0.5, 1.0);
        check(2.0, 0.8);
        check(2.5, 0.4);
        check(9.0, 0.2);
    }

    #[test]
    fn the_promised_share_of_benign_flows_is_below() {
        // Costs of any distribution: here with many ties.
        let costs: Vec<f64> = (0..4000_u64).map(|i| (i * i * 7919 % 1009 / 3) as f64).collect();
        let (calibration, fresh) = costs.split_at(2000);
        let mut calibration = calibration.to_vec();
        calibration.sort_unstable_by(f64::total_cmp);
        let benign = Benign(calibration);
        for promised in [0.01, 0.05, 0.2] {
            let below = fresh.iter().filter(|&&bits| benign.p_value(bits) <= promised).count();
            assert!((below as f64) < 2000.0 * promised * 1.3 + 5.0, "{promised}: {below}");
        }
    }
}
