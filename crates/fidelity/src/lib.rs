//! How far generated TCP flows are from real ones.
//!
//! [`compare`] takes two sets of flows and gives a [`Comparison`]: validity by arithmetic, distributions field by field
//! beside the noise floor of two real samples of the same size, dependence between fields, diversity and duplicates.
//! Definitions stand with each measure; `docs/evaluation.md` lists them. Knows nothing of files, Arrow or tensors.

mod categorical;
mod compare;
mod continuous;
mod dependence;
mod diversity;
mod observe;
mod options;
mod sample;
mod validity;

pub use categorical::jsd_bits;
pub use compare::{
    Against, CategoricalField, Comparison, ContinuousField, Dependence, Diversity, Error, Settings, compare,
};
pub use continuous::{Range, ks, wasserstein1};
pub use observe::{CATEGORICAL, CONTINUOUS, Observed, Unit};
pub use sample::Interval;
pub use validity::{CHECKS, Check, Validity, validity};
