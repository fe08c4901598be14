//! Measures that train a model: discrimination of real and generated flows, and utility as training
//! data.

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

/// Training and test flows: real, generated, and further real ones for the floor, which are at
/// least as many as `real`.
pub(crate) struct Material<'a> {
    pub(crate) real: Vec<&'a Seen>,
    pub(crate) generated: Vec<&'a Seen>,
    /// Further real flows: of the reference if there is one, otherwise real flows that are not
    /// among `real`.
    pub(crate) floor: Vec<&'a Seen>,
    /// Whether `floor` comes from other captures than `real`.
    pub(crate) has_reference: bool,
}
