//! Levels of models: flows, or the hosts that open them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokenizer::{field, skeleton};

/// Sequences that a model is trained on: `--level`.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// One flow a sequence: its packets
    Flow,
    /// One host a sequence: when it opens flows, and to which servers
    Trace,
}

impl Level {
    /// Returns the level whose code has this number of token ids.
    #[must_use]
    pub fn of_vocab_size(size: usize) -> Option<Level> {
        Level::value_variants().iter().copied().find(|level| level.vocab_size() == size)
    }

    /// Returns the number of token ids of the level's code.
    #[must_use]
    pub fn vocab_size(self) -> usize {
        match self {
            Level::Flow => field::VOCAB_SIZE,
            Level::Trace => skeleton::VOCAB_SIZE,
        }
    }

    /// Returns name and version of the level's code.
    #[must_use]
    pub fn code(self) -> (&'static str, u32) {
        match self {
            Level::Flow => (field::NAME, field::VERSION),
            Level::Trace => (skeleton::NAME, skeleton::VERSION),
        }
    }

    /// Returns what a model of the level is called in messages.
    #[must_use]
    pub fn model_name(self) -> &'static str {
        match self {
            Level::Flow => "a model of flows",
            Level::Trace => "a model of traces (--level trace)",
        }
    }
}
