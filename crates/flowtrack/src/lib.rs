//! Packets into flows: which TCP conversation a segment belongs to, what was seen of it and what is missing.
//!
//! Knows nothing of tokens, files or clocks.

mod assembler;
mod completeness;
mod conversation;
mod flow;
mod side;
mod tracker;
mod verdict;

pub use assembler::{Assembler, Inserted};
pub use flow::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
pub use tracker::{Cause, Ended, NOT_HELD, Record, Tracker, TrackerOptions};
pub use verdict::{Class, Close, MAX_GAPS_NAMED, Missing, Verdict};
