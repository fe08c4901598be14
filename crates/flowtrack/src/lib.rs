//! Packets into flows: which TCP conversation a segment belongs to, what was seen of it and what is missing.
//!
//! Knows nothing of tokens, files or clocks.

mod flow;

pub use flow::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
