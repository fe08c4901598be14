//! Results and settings of a comparison.

use crate::continuous::ValueRange;
use crate::learn::{Discriminator, Discriminators, Utility};
use crate::observe::FieldUnit;
use crate::sample::Interval;
use crate::validity::Validity;
use crate::verdicts::VerdictRate;

/// Settings of a comparison: seed, repeats and sizes of samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Settings {
    /// Seed of all random draws; the same seed gives the same result.
    pub seed: u64,
    /// Number of repeated draws behind each value and interval.
    pub repeats: u32,
    /// Maximum number of flows in a sample for distances between flows, whose cost is quadratic.
    pub neighbours: usize,
    /// Maximum number of flows of each side for measures that learn.
    pub learners: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { seed: 1, repeats: 20, neighbours: 1_500, learners: 1_000 }
    }
}

/// Reason why a comparison is impossible.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// One side has fewer flows than the measures need.
    #[error("{side}: expected at least {least} flows, found {found}")]
    TooFew {
        /// Side: `real`, `reference`, `training` or `generated`.
        side: &'static str,
        /// Minimum number of flows.
        least: usize,
        /// Number of flows of that side.
        found: usize,
    },
    /// A flow has a value that no header can encode.
    #[error("{side}: flow {index} (from 0): {error}")]
    Unencodable {
        /// Side: `real`, `reference`, `training` or `generated`.
        side: &'static str,
        /// Index of the flow within its side, from 0.
        index: usize,
        /// Reason of the token code.
        error: tokenizer::EncodeError,
    },
}

/// Distance between real and generated flows, and its noise floor: the same distance between two
/// real samples of the same size.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Measurement {
    /// Distance between real and generated flows.
    pub generated: Interval,
    /// Distance between real and real flows.
    pub floor: Interval,
}

/// Result for one categorical field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct CategoricalField {
    /// Name of the field in reports and metrics.json.
    pub name: &'static str,
    /// Meaning of the field in one sentence.
    pub meaning: &'static str,
    /// Number of different values in all sets together.
    pub values: usize,
    /// Jensen-Shannon divergence in bits, 0 to 1.
    pub jsd_bits: Measurement,
    /// Most frequent values of all flows, in descending order of their share of real flows.
    pub top: Vec<ValueShares>,
}

/// Value of a categorical field, with its shares.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct ValueShares {
    /// Value in words, for readers.
    pub value: String,
    /// Share of the real values, 0 to 1.
    pub real: f64,
    /// Share of the generated values, 0 to 1.
    pub generated: f64,
}

/// Shares of values in bins of equal width over the range of a continuous field. Values outside the
/// range count in the bin at the edge.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Histogram {
    /// Share of the real values in each bin.
    pub real: Vec<f64>,
    /// Share of the generated values in each bin.
    pub generated: Vec<f64>,
}

/// Result for one continuous field.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct ContinuousField {
    /// Name of the field in reports and metrics.json.
    pub name: &'static str,
    /// Meaning of the field in one sentence.
    pub meaning: &'static str,
    /// Unit of values and distances.
    pub unit: FieldUnit,
    /// Range to which values are clipped before distances are taken.
    pub range: ValueRange,
    /// Share of generated values outside the range, 0 to 1.
    pub clipped: f64,
    /// Wasserstein-1 distance, in the unit.
    pub wasserstein1: Measurement,
    /// Kolmogorov-Smirnov distance, 0 to 1.
    pub ks: Measurement,
    /// Histogram over all flows of both sides.
    pub histogram: Histogram,
}

/// Result for the dependence between fields.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Dependence {
    /// Names of the flow features in the correlation matrix.
    pub features: Vec<&'static str>,
    /// Pairwise correlation difference, 0 to 2: root mean square over pairs of features.
    pub pcd: Measurement,
    /// Names of the categorical fields whose pairs are compared.
    pub fields: Vec<&'static str>,
    /// Contingency matrix difference, 0 to 1: mean over pairs of fields.
    pub cmd: Measurement,
}

/// Result for coverage of the real flows and repetition among the generated ones.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Diversity {
    /// Mean number of generated points in a real neighbourhood, relative to the expected number: 1
    /// for equal distributions.
    pub density: Measurement,
    /// Share of real neighbourhoods that contain a generated point.
    pub coverage: Measurement,
    /// Median distance from a flow to its nearest real flow.
    pub nearest: Measurement,
    /// Share of flows that equal an earlier flow of their set in everything except identity.
    pub exact_repeats: Measurement,
    /// Share of flows that equal an earlier flow of their set in everything except identity and
    /// time.
    pub header_repeats: Measurement,
    /// Share of flows that equal a real flow in everything except identity and time.
    pub copies: Measurement,
}

/// Result for memorisation: whether generated flows repeat the training data.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Memorisation {
    /// Number of flows in each sample.
    pub flows: usize,
    /// Median distance to the nearest flow of the training data.
    pub nearest_training: Measurement,
    /// Median distance to the nearest flow of an equally large real sample that the model has not
    /// seen.
    pub nearest_held_out: Measurement,
    /// Share of flows that are nearer to the training data than to the real flows; 0.5 without
    /// memorisation.
    pub closer_to_training: Measurement,
    /// Share of flows that equal a flow of the training data in everything except identity and
    /// time.
    pub copies: Measurement,
}

/// Distance of one field, by its name.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct FieldDistance {
    /// Name of the field.
    pub name: &'static str,
    /// Distance in the unit of the field: bits for categorical ones, decades for continuous ones.
    pub distance: Measurement,
}

/// Comparison of a part of the flows, or of all flows with other weights.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct PartComparison {
    /// Name of the part.
    pub name: &'static str,
    /// Number of flows, real and generated.
    pub flows: [u64; 2],
    /// Number of packets, real and generated.
    pub packets: [u64; 2],
    /// Distances; `None` where a side has fewer than 40 flows.
    pub distances: Option<PartDistances>,
}

/// Distances of a part of the flows.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct PartDistances {
    /// Share that passes all checks of validity, real and generated.
    pub validity: [f64; 2],
    /// Rates of [`BEHAVIOURS`](crate::BEHAVIOURS); weighted by packets, of those that count flows.
    pub behaviours: Vec<VerdictRate>,
    /// Jensen-Shannon divergence of each categorical field, in bits; weighted by packets, of those
    /// of which a flow has one value.
    pub categorical: Vec<FieldDistance>,
    /// Wasserstein-1 distance of each continuous field, in decades; weighted likewise.
    pub continuous: Vec<FieldDistance>,
    /// Accuracy of trees that tell real from generated flows.
    pub trees: Discriminator,
}

impl PartDistances {
    /// Returns the mean divergence of the categorical fields in bits: of generated flows, and the
    /// floor.
    #[must_use]
    pub fn mean_categorical(&self) -> [f64; 2] {
        mean(&self.categorical)
    }

    /// Returns the mean distance of the continuous fields in decades: of generated flows, and the
    /// floor.
    #[must_use]
    pub fn mean_continuous(&self) -> [f64; 2] {
        mean(&self.continuous)
    }
}

/// Returns the mean distance over some fields: of generated flows, and the floor.
fn mean(fields: &[FieldDistance]) -> [f64; 2] {
    let of = |value: fn(&Measurement) -> f64| {
        fields.iter().map(|f| value(&f.distance)).sum::<f64>() / fields.len().max(1) as f64
    };
    [of(|m| m.generated.value), of(|m| m.floor.value)]
}

/// All results of one comparison.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Comparison {
    /// Settings that the comparison was made with.
    pub settings: Settings,
    /// Number of flows in each sample.
    pub sample: usize,
    /// Number of real flows and of their packets.
    pub real: [u64; 2],
    /// Number of generated flows and of their packets.
    pub generated: [u64; 2],
    /// Whether the floor compares with a second real set; otherwise it compares disjoint halves of
    /// the first.
    pub has_reference: bool,
    /// Validity checks of the real flows.
    pub validity_real: Validity,
    /// Validity checks of the generated flows.
    pub validity_generated: Validity,
    /// Rates of [`BEHAVIOURS`](crate::BEHAVIOURS), in their order.
    pub behaviours: Vec<VerdictRate>,
    /// Results of the categorical fields, in the order of [`CATEGORICAL`](crate::CATEGORICAL).
    pub categorical: Vec<CategoricalField>,
    /// Results of the continuous fields, in the order of [`CONTINUOUS`](crate::CONTINUOUS).
    pub continuous: Vec<ContinuousField>,
    /// All flows, each as often as it has packets.
    pub by_packets: PartComparison,
    /// Flows by their number of packets.
    pub by_length: Vec<PartComparison>,
    /// Dependence between the fields of a flow.
    pub dependence: Dependence,
    /// Coverage, repeats and copies between flows.
    pub diversity: Diversity,
    /// Accuracy of classifiers that tell real from generated flows.
    pub discriminators: Discriminators,
    /// Usefulness of generated flows as training data; `None` where the real flows have fewer than
    /// two classes.
    pub utility: Option<Utility>,
    /// Memorisation of the training data; `None` where no training data was passed.
    pub memorisation: Option<Memorisation>,
}
