//! The program `tcp-decode`: a token dataset to captures.
//!
//! `main.rs` calls [`run`] with the parsed [`Args`]; the fuzz targets parse any words into them.

mod args;
mod draw;
mod fault;
mod frame;
mod labels;
mod merge;
mod order;
mod output;
mod ports;
mod reports;
mod run;
mod summary;

pub use args::Args;
pub use run::run;
