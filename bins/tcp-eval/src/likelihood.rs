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
    from_lines(BufReader::new(File::open(path).with_context(named)?), of).with_context(named)
}

/// As [`read`], of what stands in a file.
///
/// # Errors
/// As there.
pub(crate) fn from_lines(lines: impl BufRead, of: Of) -> anyhow::Result<Vec<f64>> {
    let mut found = Vec::new();
    for (line, number) in lines.lines().zip(1_u64..) {
        let line = line?;
        let place = || format!("line {number}");
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
            bail!("expected lines of flows held out, or --likelihood-held-out; found none")
        }
        Of::Training | Of::Others => bail!("expected a line for each flow, found none"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Of, from_lines};

    #[test]
    fn lines_are_read_or_named() {
        let lines = "{\"bits\":8.0,\"packets\":4,\"split\":\"train\"}\n{\"bits\":9.0,\"packets\":3,\"split\":\"test\"}\n";
        assert_eq!(from_lines(lines.as_bytes(), Of::Others).unwrap(), [2.0, 3.0]);
        assert_eq!(from_lines(lines.as_bytes(), Of::Training).unwrap(), [2.0]);
        assert_eq!(from_lines(lines.as_bytes(), Of::HeldOut).unwrap(), [3.0]);
        for (text, expected) in [
            ("", "found none"),
            ("{}\n", "line 1"),
            ("{\"bits\":1e999,\"packets\":1}", "line 1"),
            ("{\"bits\":1,\"packets\":0}", "line 1"),
        ] {
            let refused = format!("{:#}", from_lines(text.as_bytes(), Of::Training).unwrap_err());
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
