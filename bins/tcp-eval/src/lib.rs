//! The program `tcp-eval`: compares generated flows with real ones.
//!
//! `main.rs` calls [`run`] with the parsed [`Args`]; the fuzz targets parse any words into them,
//! and read any octets as [`likelihood`] lines.

pub mod likelihood;

mod args;
mod external_tools;
mod flows;
mod report;
mod run;
mod summary;

pub use args::Args;
pub use run::run;
