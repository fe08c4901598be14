//! Progress of a training run, as checkpoints keep it, and the limits that stop a run.

use std::collections::VecDeque;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::fields::FieldLoss;
use crate::settings::Settings;

/// State of a training run apart from weights and optimizer. Every checkpoint holds one as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainingState {
    /// Settings of the run, with the changes of every `resume` so far.
    pub settings: Settings,
    /// Fingerprint of the dataset, its split and its seed: a run resumes on the same data only.
    #[serde(rename = "data", alias = "dataset_fingerprint")]
    pub dataset_fingerprint: u64,
    /// Index of the current epoch, from 0.
    pub epoch: u64,
    /// Index of the next row of the current epoch.
    pub row: usize,
    /// Number of tokens predicted so far, over all processes.
    pub tokens: u64,
    /// Number of packets trained on so far; pieces of flows count in proportion.
    pub packets: f64,
    /// Training time so far, in seconds, over all sessions of the run.
    pub seconds: f64,
    /// Validation with the lowest loss so far.
    pub best: Option<BestValidation>,
    /// Number of validations since the best one.
    #[serde(rename = "stale", alias = "validations_since_best")]
    pub validations_since_best: u64,
    /// Losses of the latest steps, oldest first.
    #[serde(rename = "recent", alias = "recent_losses")]
    pub recent_losses: VecDeque<StepLoss>,
    /// Training loss by field since the last validation, of this process's share.
    #[serde(rename = "fields", alias = "loss_by_field")]
    pub loss_by_field: FieldLoss,
    /// Whether the run reached one of its limits, validated once more and wrote training.html.
    #[serde(default, rename = "ended", alias = "finished")]
    pub finished: bool,
    /// Id of torchrun's run that wrote the state, by which its restarts know their own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torchrun: Option<String>,
}

/// Largest count that a checkpoint may hold: up to here, a double counts in steps of one.
const MAX_COUNT: u64 = 1 << 53;

impl TrainingState {
    /// Returns the state of a run that has not made a step.
    #[must_use]
    pub fn new(settings: Settings, dataset_fingerprint: u64) -> TrainingState {
        TrainingState {
            settings,
            dataset_fingerprint,
            epoch: 0,
            row: 0,
            tokens: 0,
            packets: 0.0,
            seconds: 0.0,
            best: None,
            validations_since_best: 0,
            recent_losses: VecDeque::new(),
            loss_by_field: FieldLoss::default(),
            finished: false,
            torchrun: None,
        }
    }

    /// Reads the state from the JSON of a checkpoint.
    ///
    /// # Errors
    /// If a value is missing, is of another type or is out of range; the message names its key.
    pub fn from_json(value: serde_json::Value) -> anyhow::Result<TrainingState> {
        let state: TrainingState = serde_json::from_value(value)?;
        state.settings.check()?;
        let counts = [
            ("epoch", state.epoch),
            ("row", state.row as u64),
            ("tokens", state.tokens),
            ("stale", state.validations_since_best),
            ("fields", state.loss_by_field.max_count()),
        ];
        if let Some((key, found)) = counts.into_iter().find(|(_, n)| *n > MAX_COUNT) {
            bail!("{key}: expected at most {MAX_COUNT}, found {found}");
        }
        for (key, found) in [("packets", state.packets), ("seconds", state.seconds)] {
            if !(0.0..=MAX_COUNT as f64).contains(&found) {
                bail!("{key}: expected 0 to {MAX_COUNT}, found {found}");
            }
        }
        Ok(state)
    }

    /// Returns the limit that a finished run has reached, or `None` if the run is unfinished or
    /// its settings have been changed so that it can continue.
    #[must_use]
    pub fn finished_by(&self, steps: u64) -> Option<StopCause> {
        self.reached_limit(steps, self.seconds).filter(|_| self.finished)
    }

    /// Returns the limit that the run has reached after `steps` steps and `seconds` seconds.
    #[must_use]
    pub fn reached_limit(&self, steps: u64, seconds: f64) -> Option<StopCause> {
        let settings = &self.settings;
        let limits = [
            (StopCause::Epochs, self.epoch >= settings.epochs),
            (StopCause::Steps, settings.max_steps > 0 && steps >= settings.max_steps),
            (StopCause::Time, settings.max_minutes > 0.0 && seconds >= settings.max_minutes * 60.0),
            (
                StopCause::Patience,
                settings.patience > 0 && self.validations_since_best >= settings.patience,
            ),
        ];
        limits.into_iter().find(|(_, is_reached)| *is_reached).map(|(cause, _)| cause)
    }
}

/// Loss of one step. Written to JSON as a pair, in the order of the fields.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "(f64, f64)", into = "(f64, f64)")]
pub struct StepLoss {
    /// Mean cross-entropy per predicted token, in nats.
    pub nats_per_token: f64,
    /// Cross-entropy of all tokens of the step, in bits, per packet.
    pub bits_per_packet: f64,
}

impl From<(f64, f64)> for StepLoss {
    fn from((nats_per_token, bits_per_packet): (f64, f64)) -> StepLoss {
        StepLoss { nats_per_token, bits_per_packet }
    }
}

impl From<StepLoss> for (f64, f64) {
    fn from(loss: StepLoss) -> (f64, f64) {
        (loss.nats_per_token, loss.bits_per_packet)
    }
}

/// Validation with the lowest loss of a run; model.safetensors holds the weights of its step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BestValidation {
    /// Number of the step, from 1, after which the validation was made.
    pub step: u64,
    /// Mean cross-entropy per predicted token, in nats.
    pub nats_per_token: f64,
    /// Mean cross-entropy per packet, in bits.
    pub bits_per_packet: f64,
}

/// Cause for which a run stops. Where several apply, the first in this order is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// The dataset was read as often as `epochs` allows.
    Epochs,
    /// The number of steps reached `max_steps`.
    Steps,
    /// The training time reached `max_minutes`.
    Time,
    /// `patience` validations in a row did not lower the loss.
    Patience,
    /// SIGINT or SIGTERM arrived.
    Interrupted,
}

impl StopCause {
    /// All causes, in the order in which they are reported.
    pub const ALL: [StopCause; 5] = [
        StopCause::Epochs,
        StopCause::Steps,
        StopCause::Time,
        StopCause::Patience,
        StopCause::Interrupted,
    ];

    /// Returns the cause as summaries print it, after "ended by".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StopCause::Epochs => "the last epoch",
            StopCause::Steps => "the number of steps",
            StopCause::Time => "the time limit",
            StopCause::Patience => "validations that got no better",
            StopCause::Interrupted => "an interruption",
        }
    }
}
