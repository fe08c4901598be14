//! The program `tcp-train`: trains a model on a token dataset, and generates token datasets with a
//! model.
//!
//! `main.rs` calls `run` with the parsed [`Args`]. The hidden modules are public for the fuzz
//! targets, which build this library without its feature `torch` and hence without libtorch.

#[doc(hidden)]
pub mod args;
#[cfg(feature = "torch")]
mod commands;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod fields;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod level;
#[doc(hidden)]
pub mod ports;
#[doc(hidden)]
pub mod schedule;
#[doc(hidden)]
pub mod settings;
#[doc(hidden)]
pub mod training_state;

pub use args::Args;
#[cfg(feature = "torch")]
pub use commands::{run, set_passive_wait_policy};
