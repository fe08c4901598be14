//! What is written while a run goes on: metrics.jsonl and an event file for TensorBoard.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::events::Events;
use super::folder::{EVENTS, METRICS};
use crate::fields::FieldLoss;

/// A line of metrics.jsonl: of a step, or of a validation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) step: u64,
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) values: Map<String, serde_json::Value>,
}

impl Line {
    pub(crate) fn new(step: u64, seconds: f64) -> Line {
        Line { step, seconds, values: Map::new() }
    }

    /// With one more value.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Line {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// With a loss: in nats per token, in bits per packet, and of each field.
    pub(crate) fn with_loss(mut self, name: &str, loss: &FieldLoss) -> Line {
        let fields: Map<_, _> =
            loss.bits().map(|(field, bits)| (field.to_owned(), bits.into())).collect();
        self.values.insert(format!("{name}_fields"), fields.into());
        self.with(&format!("{name}_loss"), loss.nats_per_token())
            .with(&format!("{name}_bits_per_packet"), loss.bits_per_packet())
    }

    /// A value by name.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    /// All numbers, those of tables as `table/name`.
    fn flat(&self) -> Vec<(String, f64)> {
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

/// The open files.
#[derive(Debug)]
pub(crate) struct Metrics {
    lines: BufWriter<File>,
    events: Events,
}

impl Metrics {
    /// Opens the metrics of a folder, to be gone on with after so many steps.
    pub(crate) fn open(folder: &Path, steps: u64) -> anyhow::Result<Metrics> {
        let path = folder.join(METRICS);
        let at = || path.display().to_string();
        let lines = File::options().create(true).append(true).open(&path).with_context(at)?;
        let events = (0..)
            .map(|n| folder.join(format!("{EVENTS}{:010}.tcp-train.{n}", now() as u64)))
            .find(|path| !path.exists())
            .context("event file")?;
        let events =
            Events::create(&events, now(), steps).with_context(|| events.display().to_string())?;
        Ok(Metrics { lines: BufWriter::new(lines), events })
    }

    pub(crate) fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let text = serde_json::to_string(line).context(METRICS)?;
        writeln!(self.lines, "{text}").context(METRICS)?;
        self.events.scalars(now(), line.step, &line.flat()).context(EVENTS)
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.lines.flush().context(METRICS)?;
        self.events.flush().context(EVENTS)
    }
}

/// The lines of a folder's metrics, as far as they are whole.
pub(crate) fn read(folder: &Path) -> Vec<Line> {
    let text = fs::read_to_string(folder.join(METRICS)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
