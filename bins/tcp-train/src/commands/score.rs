//! The subcommand `score`: the probability of each flow of a dataset under a model.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clikit::text::count;
use clikit::{Console, Unit, is_dash};
use dataset::{Part, epoch_order};
use linformer::{CarriedStates, Model};
use serde::Serialize;

use super::data::{Sequences, SplitDataset};
use super::workers::Workers;
use crate::args::Score;
use crate::config::Config;

/// Line of the output, for one distinct flow.
#[derive(Serialize)]
struct FlowScore<'a> {
    /// Index of the flow among the distinct flows of the dataset.
    flow: u32,
    /// Negative log2 probability of the flow.
    bits: f64,
    /// Number of tokens of the flow, with the first and the last.
    tokens: usize,
    /// Number of packets of the flow.
    packets: u64,
    /// Number of flows in the dataset with these tokens.
    copies: u64,
    /// Part of the split that holds the flow: train, validation or test.
    split: &'a str,
    /// Name of the capture that the first copy is from.
    source: &'a str,
}

/// Prints a line of JSON for each flow, or for a sample of them, in the order of the dataset.
pub(crate) fn score(args: &Score, console: &Console) -> anyhow::Result<()> {
    let device = linformer::device(&args.machine.device)?;
    let (threads, batch) = (args.machine.threads(), args.batch as usize);
    let workers = Workers::new(&args.checkpoint_path, device, threads, batch)?
        .with_precision(args.precision.into());
    let mut settings = Config::of_model(&args.checkpoint_path)?.settings;
    settings.batch = args.batch as usize;
    settings.max_sequence_piece = settings.batch;
    let scratch = if is_dash(&args.input_dir) { Path::new(".") } else { &args.input_dir };
    let data = SplitDataset::load(
        &Sequences::Flows(&args.input_dir),
        args.reading,
        scratch,
        &settings,
        console,
    )?;
    let mut flows = sample(data.all(), args.flows, settings.seed);
    if let Some(part) = args.part {
        let tokens: Vec<u64> = flows.iter().map(|&(flow, _)| data.size(flow).0 as u64).collect();
        flows = flows[part.share(&tokens)].to_vec();
    }
    let indices: Vec<u32> = flows.iter().map(|&(flow, _)| flow).collect();
    let bits = bits_by_flow(&workers, &data, &indices, console)?;
    let mut out = std::io::BufWriter::new(console.stdout());
    for ((flow, part), bits) in flows.into_iter().zip(bits) {
        let (tokens, packets) = data.size(flow);
        let (source, copies) = data.origin(flow);
        let line = FlowScore { flow, bits, tokens, packets, copies, split: part.name(), source };
        let text = serde_json::to_string(&line).context("standard output")?;
        writeln!(out, "{text}").context("standard output")?;
    }
    out.flush().context("standard output")?;
    if data.repeats > 0 {
        let repeats = count(data.repeats);
        tracing::info!(
            "{repeats} flows are not scored: as many as the model's settings allow differ in time \
             alone"
        );
    }
    Ok(())
}

/// Samples at most `max` of the flows without replacement, and keeps their order.
fn sample(all: Vec<(u32, Part)>, max: Option<u64>, seed: u64) -> Vec<(u32, Part)> {
    let Some(max) = max.filter(|&max| max < all.len() as u64) else { return all };
    let indices: Vec<u32> = (0..all.len() as u32).collect();
    let mut sampled = epoch_order(&indices, seed, 0);
    sampled.truncate(max as usize);
    sampled.sort_unstable();
    sampled.into_iter().map(|i| all[i as usize]).collect()
}

/// Computes the negative log2 probability of each flow.
fn bits_by_flow(
    workers: &Workers,
    data: &SplitDataset,
    flows: &[u32],
    console: &Console,
) -> anyhow::Result<Vec<f64>> {
    let progress = console.progress("scoring", Some(flows.len() as u64), Unit::Items);
    let bits = workers.map(flows.iter().map(|&flow| data.size(flow).0), |model, group| {
        let bits = bits_of_group(model, data, &flows[group], workers.batch())?;
        progress.inc(bits.len() as u64);
        Ok(bits)
    });
    progress.finish();
    bits
}

fn bits_of_group(
    model: &Model,
    data: &SplitDataset,
    flows: &[u32],
    budget: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut bits: HashMap<u32, f64> = HashMap::new();
    let mut states = CarriedStates::new();
    for row in data.pack(flows, budget) {
        let batch = data.batch(&row);
        let losses = model.losses_with_state(&batch, &mut states)?;
        let mut rest = &losses[..];
        for piece in &row {
            let (own, others) = rest.split_at(piece.tokens());
            *bits.entry(piece.flow).or_default() +=
                own.iter().map(|&nats| f64::from(nats)).sum::<f64>() / std::f64::consts::LN_2;
            rest = others;
        }
    }
    Ok(flows.iter().map(|flow| bits.get(flow).copied().unwrap_or_default()).collect())
}
