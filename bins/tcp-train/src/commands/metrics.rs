//! Metrics that a run writes after each step and validation: metrics.jsonl, and an event file for
//! TensorBoard.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::events::EventWriter;
use super::folder::{EVENTS, METRICS};
use crate::fields::FieldLoss;

/// Line of metrics.jsonl, for a step or for a validation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MetricsLine {
    /// Number of the step, from 1.
    pub(crate) step: u64,
    /// Training time of all sessions of the run, in seconds.
    pub(crate) seconds: f64,
    /// Other keys of the line: numbers, and tables of numbers by field.
    #[serde(flatten)]
    pub(crate) values: Map<String, serde_json::Value>,
}

impl MetricsLine {
    /// Returns a line without values.
    pub(crate) fn new(step: u64, seconds: f64) -> MetricsLine {
        MetricsLine { step, seconds, values: Map::new() }
    }

    /// Adds a number under a name.
    pub(crate) fn with(mut self, name: &str, value: f64) -> MetricsLine {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a loss as `NAME_loss` (nats per token), `NAME_bits_per_packet` and `NAME_fields` (bits
    /// per packet of each field).
    pub(crate) fn with_loss(mut self, name: &str, loss: &FieldLoss) -> MetricsLine {
        let fields: Map<_, _> =
            loss.bits_by_field().map(|(field, bits)| (field.to_owned(), bits.into())).collect();
        self.values.insert(format!("{name}_fields"), fields.into());
        self.with(&format!("{name}_loss"), loss.nats_per_token())
            .with(&format!("{name}_bits_per_packet"), loss.bits_per_packet())
    }

    /// Returns the number with a name, unless the line has none.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    /// Returns all numbers with their TensorBoard tags: `name`, or `table/name` in a table.
    fn scalars(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for (name, value) in &self.values {
            if let Some(value) = value.as_f64() {
                all.push((name.clone(), value));
            }
            for (field, value) in value.as_object().into_iter().flatten() {
                all.extend(value.as_f64().map(|value| (format!("{name}/{field}"), value)));
            }
        }
        all
    }
}

/// Open metrics files of a model folder.
#[derive(Debug)]
pub(crate) struct MetricsWriter {
    lines: BufWriter<File>,
    events: EventWriter,
}

impl MetricsWriter {
    /// Opens metrics.jsonl of a folder to append lines, and creates an event file, for a run that
    /// has made `steps` steps.
    pub(crate) fn open(folder: &Path, steps: u64) -> anyhow::Result<MetricsWriter> {
        let path = folder.join(METRICS);
        let at = || path.display().to_string();
        let lines = File::options().create(true).append(true).open(&path).with_context(at)?;
        let events = (0..)
            .map(|n| folder.join(format!("{EVENTS}{:010}.tcp-train.{n}", now() as u64)))
            .find(|path| !path.exists())
            .context("event file")?;
        let events = EventWriter::create(&events, now(), steps)
            .with_context(|| events.display().to_string())?;
        Ok(MetricsWriter { lines: BufWriter::new(lines), events })
    }

    /// Appends a line to both files.
    pub(crate) fn write(&mut self, line: &MetricsLine) -> anyhow::Result<()> {
        let text = serde_json::to_string(line).context(METRICS)?;
        writeln!(self.lines, "{text}").context(METRICS)?;
        self.events.scalars(now(), line.step, &line.scalars()).context(EVENTS)
    }

    /// Hands all buffered lines to the operating system.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.lines.flush().context(METRICS)?;
        self.events.flush().context(EVENTS)
    }
}

/// Reads the lines of metrics.jsonl in a folder. A line that was cut by a kill is skipped.
pub(crate) fn read_lines(folder: &Path) -> Vec<MetricsLine> {
    let text = fs::read_to_string(folder.join(METRICS)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns the time of day as seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
