//! What a comparison finds, and how it is made.

use crate::continuous::Range;
use crate::learn::{Discriminators, Utility};
use crate::observe::Unit;
use crate::sample::Interval;
use crate::validity::Validity;

/// How a comparison is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Settings {
    /// Seed of every draw.
    pub seed: u64,
    /// Repeated draws behind each value and interval.
    pub repeats: u32,
    /// Flows at most in a sample for distances between flows, which take the square of that many
    /// steps.
    pub neighbours: usize,
    /// Flows at most of each side for measures that learn.
    pub learners: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { seed: 1, repeats: 20, neighbours: 1_500, learners: 1_000 }
    }
}

/// Why a comparison can not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Too few flows on one side.
    #[error("{side}: expected at least {least} flows, found {found}")]
    TooFew {
        /// `real`, `reference`, `training` or `generated`.
        side: &'static str,
        /// Flows needed.
        least: usize,
        /// Flows found.
        found: usize,
    },
    /// A flow that no header can hold.
    #[error("{side}: flow {index} (from 0): {error}")]
    Unsayable {
        /// `real`, `reference`, `training` or `generated`.
        side: &'static str,
        /// Its index.
        index: usize,
        /// What is wrong with it.
        error: tokenizer::EncodeError,
    },
}

/// A distance beside the floor: the same between two real samples of the same size.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Against {
    /// Real against generated.
    pub generated: Interval,
    /// Real against real.
    pub floor: Interval,
}

/// One categorical field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct CategoricalField {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Different values in all sets.
    pub values: usize,
    /// Jensen-Shannon divergence in bits.
    pub jsd_bits: Against,
    /// The most frequent values of all flows, most frequent in the real ones first.
    pub top: Vec<Bar>,
}

/// One value of a categorical field, and its shares.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Bar {
    /// The value in words.
    pub value: String,
    /// Of the real values.
    pub real: f64,
    /// Of the generated values.
    pub generated: f64,
}

/// Shares of values in even steps over the range of a continuous field; what lies outside counts at
/// the edge.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Histogram {
    /// Of the real values.
    pub real: Vec<f64>,
    /// Of the generated values.
    pub generated: Vec<f64>,
}

/// One continuous field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct ContinuousField {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Unit.
    pub unit: Unit,
    /// The range of the distances.
    pub range: Range,
    /// Share of generated values outside the range.
    pub clipped: f64,
    /// Wasserstein-1 distance, in the unit.
    pub wasserstein1: Against,
    /// Kolmogorov-Smirnov distance, 0 to 1.
    pub ks: Against,
    /// All flows.
    pub histogram: Histogram,
}

/// How fields hang together.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Dependence {
    /// Names of the flow features that are correlated with each other.
    pub features: Vec<&'static str>,
    /// Pairwise correlation difference, 0 to 2: root mean square over pairs of features.
    pub pcd: Against,
    /// Names of the fields of which pairs are held against each other.
    pub fields: Vec<&'static str>,
    /// Contingency matrix difference, 0 to 1: mean over pairs of fields.
    pub cmd: Against,
}

/// Whether generated flows cover the real ones, and repeat none.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Diversity {
    /// Generated points per real neighbourhood; 1 is even.
    pub density: Against,
    /// Share of real neighbourhoods that hold a generated point.
    pub coverage: Against,
    /// Median distance from a flow to the nearest real one.
    pub nearest: Against,
    /// Share of flows that repeat an earlier one of their set in everything but identity.
    pub exact_repeats: Against,
    /// Share of flows that repeat an earlier one of their set in everything but identity and time.
    pub header_repeats: Against,
    /// Share of flows that are among the real ones, in everything but identity and time.
    pub copies: Against,
}

/// Whether generated flows repeat what the model was trained on.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Memorisation {
    /// Flows of each sample.
    pub flows: usize,
    /// Median distance to the nearest flow of the training data.
    pub nearest_training: Against,
    /// Median distance to the nearest of as many real flows that the model has not seen.
    pub nearest_held_out: Against,
    /// Share of flows that are nearer to the training data than to the real flows; 0.5 where
    /// neither is.
    pub closer_to_training: Against,
    /// Share of flows that are in the training data, in everything but identity and time.
    pub copies: Against,
}

/// Everything that was found.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Comparison {
    /// How it was made.
    pub settings: Settings,
    /// Flows in each sample.
    pub sample: usize,
    /// Real flows and packets.
    pub real: [u64; 2],
    /// Generated flows and packets.
    pub generated: [u64; 2],
    /// Whether the floor comes from a second real set; else from disjoint halves of the first.
    pub has_reference: bool,
    /// Of the real flows.
    pub validity_real: Validity,
    /// Of the generated flows.
    pub validity_generated: Validity,
    /// Field by field.
    pub categorical: Vec<CategoricalField>,
    /// Field by field.
    pub continuous: Vec<ContinuousField>,
    /// Between fields.
    pub dependence: Dependence,
    /// Between flows.
    pub diversity: Diversity,
    /// Whether real and generated flows can be told apart.
    pub discriminators: Discriminators,
    /// What generated flows teach; absent where the real flows have fewer than two classes.
    pub utility: Option<Utility>,
    /// Absent without the training data.
    pub memorisation: Option<Memorisation>,
}
