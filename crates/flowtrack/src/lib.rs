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
#[cfg(feature = "tracker")]
mod direction_state;
mod flow;
#[cfg(feature = "tracker")]
mod judge;
#[cfg(feature = "tracker")]
mod lru;
#[cfg(feature = "tracker")]
mod table;
#[cfg(feature = "tracker")]
mod tracker;
#[cfg(feature = "tracker")]
mod tuples;
#[cfg(feature = "tracker")]
mod verdict;

#[cfg(feature = "tracker")]
pub use assembler::{Assembler, Inserted};
pub use flow::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
#[cfg(feature = "tracker")]
pub use table::ConversationSummary;
#[cfg(feature = "tracker")]
pub use tracker::{EndReason, FinishedConversation, Tracker, TrackerOptions, UNENCODABLE};
#[cfg(feature = "tracker")]
pub use verdict::{Class, Close, MAX_GAPS_LISTED, Missing, Verdict};
