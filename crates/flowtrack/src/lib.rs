//! Packets into flows: which TCP conversation a segment belongs to, what was seen of it and what is
//! missing.
//!
//! Knows nothing of tokens, files or clocks.

#![forbid(unsafe_code)]

#[cfg(feature = "tracker")]
mod assembler;
#[cfg(feature = "tracker")]
mod completeness;
#[cfg(feature = "tracker")]
mod conversation;
mod flow;
#[cfg(feature = "tracker")]
mod judge;
#[cfg(feature = "tracker")]
mod keys;
#[cfg(feature = "tracker")]
mod marks;
#[cfg(feature = "tracker")]
mod recency;
#[cfg(feature = "tracker")]
mod side;
#[cfg(feature = "tracker")]
mod tracker;
#[cfg(feature = "tracker")]
mod verdict;

#[cfg(feature = "tracker")]
pub use assembler::{Assembler, Inserted};
pub use flow::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
#[cfg(feature = "tracker")]
pub use marks::Record;
#[cfg(feature = "tracker")]
pub use tracker::{Cause, Ended, NOT_HELD, Tracker, TrackerOptions};
#[cfg(feature = "tracker")]
pub use verdict::{Class, Close, MAX_GAPS_NAMED, Missing, Verdict};
