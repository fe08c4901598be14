//! Bits that flows take under a model, as `tcp-train score` writes them: JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// One flow. What else stands in the line is not looked at.
#[derive(Deserialize)]
struct Line {
    bits: f64,
    packets: u64,
    split: Option<String>,
}

/// What flows a file of likelihoods is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Those that the model was trained on: where lines name a split, `train` alone.
    Training,
    /// Those of the same dataset that it was not trained on: lines that name another split.
    HeldOut,
    /// All of them.
    Others,
}

/// Bits per packet of each flow.
///
/// # Errors
/// Where the file cannot be read, or a line is no such line.
pub(crate) fn read(path: &Path, of: Of) -> anyhow::Result<Vec<f64>> {
    let named = || path.display().to_string();
    let mut found = Vec::new();
    for (line, number) in BufReader::new(File::open(path).with_context(named)?).lines().zip(1_u64..) {
        let line = line.with_context(named)?;
        let place = || format!("{}: line {number}", path.display());
        let line: Line = serde_json::from_str(&line).with_context(place)?;
        if line.packets == 0 || !line.bits.is_finite() {
            bail!("{}: expected packets from 1 and a number of bits", place());
        }
        // Of the dataset that a model was trained on, parts were held out.
        let is_trained_on = line.split.as_deref().is_none_or(|part| part == "train");
        if of == Of::Others || is_trained_on == (of == Of::Training) {
            found.push(line.bits / line.packets as f64);
        }
    }
    match of {
        _ if !found.is_empty() => Ok(found),
        Of::HeldOut => {
            bail!("{}: expected lines of flows held out, or --likelihood-held-out; found none", path.display())
        }
        Of::Training | Of::Others => bail!("{}: expected a line for each flow, found none", path.display()),
    }
}
