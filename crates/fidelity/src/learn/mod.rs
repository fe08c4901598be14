//! Measures that learn: what can be told apart, and what generated flows teach.

mod auc;
mod discriminate;
mod features;
mod ngram;
mod trees;
mod utility;

pub use auc::auc;
pub(crate) use auc::bootstrap_auc;
pub(crate) use discriminate::discriminate;
pub use discriminate::{Discriminator, Discriminators, HeldOut, Tell};
pub(crate) use features::{Seen, see};
pub use utility::Utility;
pub(crate) use utility::utility;

/// Flows to learn from and to be tried on: real ones and generated ones, and other real ones where
/// there are any. At least as many of `floor` as of `real`: for what is real against real.
pub(crate) struct Material<'a> {
    pub(crate) real: Vec<&'a Seen>,
    pub(crate) generated: Vec<&'a Seen>,
    /// Of the reference where there is one, else real flows that are not among `real`.
    pub(crate) floor: Vec<&'a Seen>,
    /// Whether `floor` comes from other captures.
    pub(crate) has_reference: bool,
}
