//! Measures that learn: what can be told apart, and what generated flows teach.

mod auc;
mod discriminate;
mod features;
mod folds;
mod ngram;
mod trees;
mod utility;

pub use auc::auc;
pub(crate) use auc::bootstrap_auc;
pub use discriminate::{Discriminator, Discriminators};
pub(crate) use discriminate::{Material, discriminate};
pub(crate) use features::{Seen, see};
pub use utility::Utility;
pub(crate) use utility::utility;
