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

/// Bits per packet of each flow: of the training part alone, or of all.
///
/// # Errors
/// Where the file cannot be read, or a line is no such line.
pub(crate) fn read(path: &Path, is_training: bool) -> anyhow::Result<Vec<f64>> {
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
        if is_training && line.split.as_deref().is_some_and(|part| part != "train") {
            continue;
        }
        found.push(line.bits / line.packets as f64);
    }
    if found.is_empty() {
        bail!("{}: expected a line for each flow, found none", path.display());
    }
    Ok(found)
}
