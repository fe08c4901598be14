//! Test fixtures that several packages share: captures as flows, datasets, scratch folders, random
//! command lines. Only a dev-dependency of any package; every failure is a panic with its reason.
//!
//! A unit test inside `src` of a package that testkit depends on may use only the items that do not
//! mention types of that package: the package under test and the one that testkit links are two
//! builds, with two sets of types. Tests in `tests/`, benches and examples have no such limit.

#[cfg(feature = "captures")]
pub mod captures;
#[cfg(feature = "command-line")]
pub mod command_line;
#[cfg(feature = "datasets")]
pub mod datasets;
#[cfg(feature = "fits")]
pub mod fits;
#[cfg(feature = "outputs")]
pub mod outputs;
mod repository;
mod scratch;

pub use self::repository::{fuzz_seeds, repository_root, testdata};
pub use self::scratch::Scratch;
