//! Measures that train a model: discrimination of real and generated flows, and utility as training
//! data.

mod auc;
mod discriminate;
mod features;
mod ngram;
mod trees;
mod utility;

pub use auc::auc;
pub(crate) use auc::{WeightedScores, bootstrap_auc, bootstrap_units};
pub use discriminate::{Discriminator, Discriminators, FeatureAuc, HeldOut};
pub(crate) use discriminate::{discriminate, trees_alone};
pub(crate) use features::{LearnerInput, learner_input};
pub(crate) use trees::{FeatureRow, learn_and_score};
pub use utility::Utility;
pub(crate) use utility::utility;

/// Number of bootstrap rounds behind the intervals of measures that learn.
pub(crate) const ROUNDS: u32 = 200;

/// Training and test flows: real, generated, and further real ones for the floor, which are at
/// least as many as `real`.
pub(crate) struct LearnerSample<'a> {
    pub(crate) real: Vec<&'a LearnerInput>,
    pub(crate) generated: Vec<&'a LearnerInput>,
    /// Further real flows: of the reference if there is one, otherwise real flows that are not
    /// among `real`.
    pub(crate) floor: Vec<&'a LearnerInput>,
    /// Whether `floor` comes from other captures than `real`.
    pub(crate) has_reference: bool,
}
