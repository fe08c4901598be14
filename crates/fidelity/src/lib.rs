//! How far generated TCP flows are from real ones.
//!
//! [`compare`] takes two sets of flows and gives a [`Comparison`]: validity by arithmetic,
//! distributions field by field beside the noise floor of two real samples of the same size,
//! dependence between fields, diversity and duplicates, what learners can tell apart, what
//! generated flows teach, and what is remembered of the training data. Definitions stand with each
//! measure; `docs/evaluation.md` lists them. Knows nothing of files, Arrow or tensors.

#![forbid(unsafe_code)]

mod categorical;
mod compare;
mod comparison;
mod continuous;
mod dependence;
mod diversity;
mod label;
mod learn;
mod likelihood;
mod observe;
mod options;
mod sample;
mod set;
mod targets;
mod validity;
mod verdicts;

pub use categorical::jsd_bits;
pub use compare::{Sides, compare};
pub use comparison::{
    Against, Bar, CategoricalField, Comparison, ContinuousField, Dependence, Diversity, Error,
    Histogram, Memorisation, Settings,
};
pub use continuous::{Range, ks, wasserstein1};
pub use label::flag_letters;
pub use learn::{Discriminator, Discriminators, HeldOut, Tell, Utility, auc};
pub use likelihood::{Membership, membership};
pub use observe::{CATEGORICAL, CONTINUOUS, Observed, Unit};
pub use sample::Interval;
pub use targets::{Target, targets};
pub use validity::{CHECKS, Check, Validity, validity};
pub use verdicts::{Said, VerdictRate, rates};
