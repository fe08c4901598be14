//! The subcommand `classify predict`: the class of each flow of a dataset.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;

use anyhow::{Context, bail};
use arrowio::FlowRow;
use clikit::text::{count, percent};
use clikit::{Console, Unit, is_dash};
use linformer::{LinearProbe, Rows};
use serde::Serialize;
use tokenizer::field::{PortMask, packet_spans};

use super::examples::label;
use super::figures::{Confusion, Figures};
use super::folder::{self, ClassifierConfig};
use crate::args::Predict;
use crate::commands::embedder::{Embedder, FlowVectors, Moments};
use crate::commands::flow_rows::{FlowRows, Pace, tokens};
use crate::commands::workers::Workers;

/// Line of the output, for one flow.
#[derive(Serialize)]
struct Verdict<'a> {
    /// Number of the flow, from 1.
    flow: u64,
    /// Name of the likeliest class.
    label: &'a str,
    /// Probability of this class.
    probability: f64,
    /// Difference to the probability of the second likeliest class.
    margin: f64,
    /// Number of packets after which the verdict did not change any more.
    settled: u64,
    /// Number of packets of the flow.
    packets: u64,
    /// Label of the flow in the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<&'a str>,
    client_addr: Option<IpAddr>,
    client_port: Option<u16>,
    server_addr: Option<IpAddr>,
    server_port: Option<u16>,
    source: Option<&'a str>,
    first_frame: Option<u64>,
}

/// Prints the class of each flow.
pub(crate) fn predict(args: &Predict, console: &Console) -> anyhow::Result<()> {
    let device = linformer::device(&args.machine.device)?;
    let (config, mut probes) = folder::read(&args.classifier)?;
    let (threads, batch) = (args.machine.threads(), args.batch as usize);
    let workers = Workers::new(&args.classifier, device, threads, batch)?;
    let moments = moments(args, &config)?;
    if !moments.end {
        probes.truncate(moments.packets.len());
    }
    let port = if config.with_port { PortMask::Shown } else { PortMask::Hidden };
    let embedder = Embedder::new(workers, moments, port);
    let width = config.classes.len() * embedder.width();
    if probes.iter().any(|probe| probe.weight.len() != width) {
        bail!("{}: expected a classifier of its model's vectors", args.classifier.display());
    }
    let judge = Judge { config: &config, probes, embedder };
    let mut rows = FlowRows::open(&args.dataset, args.reading)?;
    let pace = if is_dash(&args.dataset) { Pace::Live } else { Pace::Full };
    let progress = console.progress("judging flows", None, Unit::Items);
    let mut out = std::io::BufWriter::new(console.stdout());
    let mut summary = PredictSummary::new(&config);
    while let Some(chunk) = rows.next_chunk(judge.embedder.tokens_at_once(), pace, console) {
        for (row, opinions) in chunk.iter().zip(judge.opinions(&chunk)?) {
            let flow = summary.flows + 1;
            let at = |name: &str| config.classes.iter().position(|class| class.name == name);
            let known = label(row).map(|name| at(name).ok_or(name)).transpose();
            let known = known.map_err(|name| unknown(args, &config, flow, name))?;
            let verdict = judge.verdict(row, flow, &opinions);
            let text = serde_json::to_string(&verdict).context("standard output")?;
            writeln!(out, "{text}").context("standard output")?;
            summary.add(opinions.last().map_or(0, Opinion::class), known);
        }
        out.flush().context("standard output")?;
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    console.summary(&summary)
}

/// Returns the error for a label that is no class of the classifier.
fn unknown(args: &Predict, config: &ClassifierConfig, flow: u64, name: &str) -> anyhow::Error {
    let classes: Vec<&str> = config.classes.iter().map(|class| class.name.as_str()).collect();
    let (shown, classes) = (args.dataset.display(), classes.join(", "));
    anyhow::anyhow!("{shown}: flow {flow}: label: expected one of {classes}, found '{name}'")
}

/// Returns the moments at which flows are judged.
fn moments(args: &Predict, config: &ClassifierConfig) -> anyhow::Result<Moments> {
    let Some(first) = args.first else {
        return Ok(Moments { packets: config.packets.clone(), end: true });
    };
    if !config.packets.contains(&first) {
        let all: Vec<String> = config.packets.iter().map(u64::to_string).collect();
        bail!("--first {first}: expected one of {}, as the classifier has learnt", all.join(", "));
    }
    let packets = config.packets.iter().copied().filter(|&packets| packets <= first).collect();
    Ok(Moments { packets, end: false })
}

/// Probabilities of the classes at one moment.
struct Opinion(Vec<f32>);

impl Opinion {
    fn class(&self) -> usize {
        (0..self.0.len()).max_by(|&a, &b| self.0[a].total_cmp(&self.0[b])).unwrap_or(0)
    }
}

/// Classifier with its model.
struct Judge<'c> {
    config: &'c ClassifierConfig,
    probes: Vec<LinearProbe>,
    embedder: Embedder,
}

impl Judge<'_> {
    /// Returns the opinions of each flow, one for each moment.
    fn opinions(&self, chunk: &[FlowRow]) -> anyhow::Result<Vec<Vec<Opinion>>> {
        let flows: Vec<&[u16]> = chunk.iter().map(tokens).collect();
        let vectors: Vec<FlowVectors> = self.embedder.embed(&flows)?;
        let mut opinions: Vec<Vec<Opinion>> = chunk.iter().map(|_| Vec::new()).collect();
        for (moment, probe) in self.probes.iter().enumerate() {
            let values: Vec<f32> =
                vectors.iter().flat_map(|of_flow| of_flow[moment].iter().copied()).collect();
            let rows = Rows { values: &values, width: self.embedder.width() };
            let all = probe.probabilities(rows)?;
            let each = all.chunks_exact(self.config.classes.len());
            for (opinions, probabilities) in opinions.iter_mut().zip(each) {
                opinions.push(Opinion(probabilities.to_vec()));
            }
        }
        Ok(opinions)
    }

    /// Returns the line of a flow.
    fn verdict<'r>(&'r self, row: &'r FlowRow, flow: u64, opinions: &[Opinion]) -> Verdict<'r> {
        let packets = packet_spans(tokens(row)).count() as u64;
        let class = opinions.last().map_or(0, Opinion::class);
        let changed = opinions.iter().rposition(|opinion| opinion.class() != class);
        let first = changed.map_or(0, |at| at + 1);
        let settled = self.embedder.moments.packets.get(first).copied().unwrap_or(packets);
        let probability = |class: usize| f64::from(opinions.last().map_or(0.0, |o| o.0[class]));
        let second = (0..self.config.classes.len())
            .filter(|&other| other != class)
            .map(probability)
            .fold(0.0, f64::max);
        let rounded = |share: f64| (share * 1e4).round() / 1e4;
        let summary = row.summary.as_ref();
        Verdict {
            flow,
            label: &self.config.classes[class].name,
            probability: rounded(probability(class)),
            margin: rounded(probability(class) - second),
            settled: settled.min(packets),
            packets,
            known: label(row),
            client_addr: row.identity.client.addr,
            client_port: row.identity.client_port,
            server_addr: row.identity.server.addr,
            server_port: summary.map(|summary| summary.server_port),
            source: summary.map(|summary| summary.source.as_str()),
            first_frame: summary.map(|summary| summary.first_frame),
        }
    }
}

/// Summary of the run.
#[derive(Serialize)]
struct PredictSummary {
    flows: u64,
    /// Number of flows with each verdict.
    verdicts: Vec<(String, u64)>,
    /// Flows with a label.
    labelled: u64,
    /// Figures over the flows with a label.
    figures: Option<Figures>,
    #[serde(skip)]
    confusion: Confusion,
}

impl PredictSummary {
    fn new(config: &ClassifierConfig) -> PredictSummary {
        PredictSummary {
            flows: 0,
            verdicts: config.classes.iter().map(|class| (class.name.clone(), 0)).collect(),
            labelled: 0,
            figures: None,
            confusion: Confusion::new(config.classes.len()),
        }
    }

    fn add(&mut self, verdict: usize, known: Option<usize>) {
        self.flows += 1;
        self.verdicts[verdict].1 += 1;
        if let Some(known) = known {
            self.labelled += 1;
            self.confusion.add(known, verdict);
            self.figures = Some(self.confusion.figures());
        }
    }
}

impl fmt::Display for PredictSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} flows", count(self.flows))?;
        for (name, flows) in self.verdicts.iter().filter(|(_, flows)| *flows > 0) {
            writeln!(f, "  {name:<24}{:>10}", count(*flows))?;
        }
        if let Some(figures) = &self.figures {
            let permille = |share: f64| percent((share * 1000.0).round() as u64, 1000);
            write!(
                f,
                "{} flows with labels: macro-F1 {}, balanced accuracy {}, accuracy {}",
                count(self.labelled),
                permille(figures.macro_f1),
                permille(figures.balanced_accuracy),
                permille(figures.accuracy)
            )?;
        }
        Ok(())
    }
}
