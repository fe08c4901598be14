//! How probable a model finds each flow of a dataset.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use arrowio::Part;
use clikit::text::count;
use clikit::{Console, Unit, is_dash};
use linformer::{CarriedStates, Model};
use serde::Serialize;

use super::data::Data;
use super::folder;
use super::rows::Row;
use crate::args::Score;
use crate::config::Config;

/// A line for a flow.
#[derive(Serialize)]
struct Line<'a> {
    /// Its number among the distinct flows of the dataset.
    flow: u32,
    bits: f64,
    tokens: usize,
    packets: u64,
    /// Times that the dataset holds it.
    copies: u64,
    split: &'a str,
    source: &'a str,
}

/// Prints a line for each flow, in the dataset's order.
pub(crate) fn score(args: &Score, console: &Console) -> anyhow::Result<()> {
    let device = linformer::device(&args.machine.device)?;
    linformer::set_threads(args.machine.threads());
    let model = folder::read_model(&args.checkpoint_path, device)?;
    let mut settings = Config::of_model(&args.checkpoint_path)?.settings;
    settings.batch = args.batch as usize;
    settings.piece = settings.batch;
    let scratch = if is_dash(&args.input_dir) { Path::new(".") } else { &args.input_dir };
    let data = Data::load(&args.input_dir, scratch, &settings, console)?;
    let all = drawn(data.all(), args.flows, settings.seed);
    let flows: Vec<u32> = all.iter().map(|&(flow, _)| flow).collect();
    let bits = bits(&model, &data, data.in_rows(&flows, settings.batch), console)?;
    let mut out = std::io::BufWriter::new(console.stdout());
    for (flow, part) in all {
        let (tokens, packets) = data.size(flow);
        let (source, copies) = data.origin(flow);
        let bits = bits.get(&flow).copied().unwrap_or_default();
        let line = Line { flow, bits, tokens, packets, copies, split: part.name(), source };
        let text = serde_json::to_string(&line).context("standard output")?;
        writeln!(out, "{text}").context("standard output")?;
    }
    out.flush().context("standard output")?;
    if data.repeats > 0 {
        let repeats = count(data.repeats);
        tracing::info!(
            "{repeats} flows are not scored: as many as the model's settings allow differ in time alone"
        );
    }
    Ok(())
}

/// So many of the flows, in their order.
fn drawn(all: Vec<(u32, Part)>, most: Option<u64>, seed: u64) -> Vec<(u32, Part)> {
    let Some(most) = most.filter(|&most| most < all.len() as u64) else { return all };
    let places: Vec<u32> = (0..all.len() as u32).collect();
    let mut taken = arrowio::epoch_order(&places, seed, 0);
    taken.truncate(most as usize);
    taken.sort_unstable();
    taken.into_iter().map(|place| all[place as usize]).collect()
}

/// The bits of each flow.
fn bits(
    model: &Model,
    data: &Data,
    rows: Vec<Row>,
    console: &Console,
) -> anyhow::Result<HashMap<u32, f64>> {
    let progress = console.progress("scoring", Some(rows.len() as u64), Unit::Items);
    let mut bits = HashMap::new();
    let mut memories = CarriedStates::new();
    for row in rows {
        let batch = data.batch(&row);
        let losses = model.losses_with_state(&batch, &mut memories)?;
        let mut rest = &losses[..];
        for piece in &row {
            let (own, others) = rest.split_at(piece.tokens());
            *bits.entry(piece.flow).or_default() +=
                own.iter().map(|&nats| f64::from(nats)).sum::<f64>() / std::f64::consts::LN_2;
            rest = others;
        }
        progress.inc(1);
    }
    progress.finish();
    Ok(bits)
}
