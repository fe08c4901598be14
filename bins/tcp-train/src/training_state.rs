//! Where a run stands, and what ends it.

use std::collections::VecDeque;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::fields::FieldLoss;
use crate::settings::Settings;

/// Where a run stands, beside weights and optimizer. Stands in every checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    pub settings: Settings,
    pub data: u64,
    pub epoch: u64,
    pub row: usize,
    pub tokens: u64,
    pub packets: f64,
    pub seconds: f64,
    pub best: Option<Best>,
    /// Validations since the best one.
    pub stale: u64,
    /// Nats per token and bits per packet of the last steps.
    pub recent: VecDeque<(f64, f64)>,
    /// Training loss since the last validation.
    pub fields: FieldLoss,
    /// Whether the run went to its end, with the last validation and training.html.
    #[serde(default)]
    pub ended: bool,
}

/// What a count in a checkpoint is at most: a double counts so far by ones.
const MOST: u64 = 1 << 53;

impl Place {
    /// Reads what a checkpoint holds beside weights and optimizer.
    ///
    /// # Errors
    /// Where it is no place in a training run.
    pub fn read(value: serde_json::Value) -> anyhow::Result<Place> {
        let place: Place = serde_json::from_value(value)?;
        place.settings.check()?;
        let counts = [
            ("epoch", place.epoch),
            ("row", place.row as u64),
            ("tokens", place.tokens),
            ("stale", place.stale),
            ("fields", place.fields.largest()),
        ];
        if let Some((name, found)) = counts.into_iter().find(|(_, n)| *n > MOST) {
            bail!("{name}: expected at most {MOST}, found {found}");
        }
        for (name, found) in [("packets", place.packets), ("seconds", place.seconds)] {
            if !(0.0..=MOST as f64).contains(&found) {
                bail!("{name}: expected 0 to {MOST}, found {found}");
            }
        }
        Ok(place)
    }

    /// What ended the run that went to its end, where the settings do not let it go on.
    pub fn has_ended(&self, steps: u64) -> Option<&'static str> {
        self.limit(steps, self.seconds).filter(|_| self.ended).map(|i| REASONS[i])
    }

    /// The limit that the run has reached: an index into [`REASONS`].
    pub fn limit(&self, steps: u64, seconds: f64) -> Option<usize> {
        let settings = &self.settings;
        let limits = [
            self.epoch >= settings.epochs,
            settings.max_steps > 0 && steps >= settings.max_steps,
            settings.max_minutes > 0.0 && seconds >= settings.max_minutes * 60.0,
            settings.patience > 0 && self.stale >= settings.patience,
        ];
        limits.iter().position(|&is_reached| is_reached)
    }
}

/// The validation that went best.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub nats_per_token: f64,
    pub bits_per_packet: f64,
}

/// What may end a run, in the order in which it is told.
pub const REASONS: [&str; 5] = [
    "the last epoch",
    "the number of steps",
    "the time limit",
    "validations that got no better",
    INTERRUPTED,
];
pub const INTERRUPTED: &str = "an interruption";
