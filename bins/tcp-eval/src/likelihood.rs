//! Reads the bits that a model assigns to each flow: JSON lines, as `tcp-train score` writes them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Score of one flow. Other keys of the JSON object are ignored.
#[derive(Deserialize)]
struct FlowScore {
    /// Negative log-likelihood of the whole flow, in bits.
    bits: f64,
    /// Number of packets of the flow, at least 1.
    packets: u64,
    /// Part of the dataset that holds the flow: `train`, or the name of a held-out part.
    split: Option<String>,
}

/// Selection of flows from a file of likelihoods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LikelihoodSet {
    /// Flows that the model was trained on: lines of the split `train`, or without a split.
    Training,
    /// Flows of the training dataset that were held out: lines of any other split.
    HeldOut,
    /// All flows, whatever their split.
    All,
}

/// Returns the bits per packet of each flow of `set` in a file, in the order of its lines.
///
/// # Errors
/// If the file cannot be read, a line is not a score, or no line belongs to `set`.
pub(crate) fn read(path: &Path, set: LikelihoodSet) -> anyhow::Result<Vec<f64>> {
    let shown = || path.display().to_string();
    from_lines(BufReader::new(File::open(path).with_context(shown)?), set).with_context(shown)
}

/// Returns the bits per packet of each flow of `set`, in the order of `lines`.
///
/// # Errors
/// If `lines` cannot be read, a line is not a score, or no line belongs to `set`.
pub fn from_lines(lines: impl BufRead, set: LikelihoodSet) -> anyhow::Result<Vec<f64>> {
    let mut bits_per_packet = Vec::new();
    for (line, number) in lines.lines().zip(1_u64..) {
        let line = line?;
        let place = || format!("line {number}");
        let score: FlowScore = serde_json::from_str(&line).with_context(place)?;
        if score.packets == 0 || !score.bits.is_finite() {
            bail!("{}: expected packets from 1 and a number of bits", place());
        }
        // A score names a split only if the dataset is the one that the model was trained on.
        let is_trained_on = score.split.as_deref().is_none_or(|part| part == "train");
        if set == LikelihoodSet::All || is_trained_on == (set == LikelihoodSet::Training) {
            bits_per_packet.push(score.bits / score.packets as f64);
        }
    }
    match set {
        _ if !bits_per_packet.is_empty() => Ok(bits_per_packet),
        LikelihoodSet::HeldOut => {
            bail!("expected lines of flows held out, or --likelihood-held-out; found none")
        }
        LikelihoodSet::Training | LikelihoodSet::All => {
            bail!("expected a line for each flow, found none")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LikelihoodSet, from_lines};

    #[test]
    fn lines_are_read_or_named() {
        let lines = concat!(
            r#"{"bits":8.0,"packets":4,"split":"train"}"#,
            "\n",
            r#"{"bits":9.0,"packets":3,"split":"test"}"#,
            "\n",
        );
        assert_eq!(from_lines(lines.as_bytes(), LikelihoodSet::All).unwrap(), [2.0, 3.0]);
        assert_eq!(from_lines(lines.as_bytes(), LikelihoodSet::Training).unwrap(), [2.0]);
        assert_eq!(from_lines(lines.as_bytes(), LikelihoodSet::HeldOut).unwrap(), [3.0]);
        for (text, expected) in [
            ("", "found none"),
            ("{}\n", "line 1"),
            ("{\"bits\":1e999,\"packets\":1}", "line 1"),
            ("{\"bits\":1,\"packets\":0}", "line 1"),
        ] {
            let refused =
                format!("{:#}", from_lines(text.as_bytes(), LikelihoodSet::Training).unwrap_err());
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
