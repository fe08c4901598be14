//! The program `tcp-decode`: a token dataset to captures.
//!
//! `main.rs` calls [`run`] with the parsed [`Args`]; the fuzz targets parse any words into them.

mod args;
mod background;
mod frame;
mod habits;
mod host_table;
mod hosts;
mod identity;
mod labels;
mod machine;
mod merge;
mod networks;
mod order;
mod output;
mod pending;
mod ports;
mod reader;
mod reject_reason;
mod reports;
mod run;
mod segment;
mod stack;
mod summary;
mod tuples;
mod write_context;

pub use args::Args;
pub use run::run;
