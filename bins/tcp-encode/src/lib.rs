//! The program `tcp-encode`: captures to a token dataset.
//!
//! `main.rs` calls [`run`] with the parsed [`Args`]; the fuzz targets parse any words into them.

mod anonymize;
mod args;
mod capture;
mod counts;
mod decision;
mod filter;
mod find;
mod flow_log;
mod hosts;
mod jobs;
mod judge;
mod keep;
mod labels;
mod open_ends;
mod options;
mod parts;
mod rows;
mod run;
mod summary;
mod task;

pub use args::Args;
pub use run::{run, run_into};
