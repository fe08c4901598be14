//! The `field` code: header fields, relative to the values that TCP makes likely.
//!
//! [`encode`] compares each packet with the state of both ends, and writes a token for each field
//! that differs from its expected value; [`decode`] goes the other way, with the same state.
//! [`vocab`] lists the tokens. [`Grammar`] computes the tokens that may follow.
//!
//! ```
//! use flowtrack::Flow;
//! use tokenizer::field;
//!
//! fn there_and_back(flow: &Flow) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tokens = Vec::new();
//!     let identity = field::encode(flow, &mut tokens)?;
//!     let again = field::decode(&tokens, &identity)?;
//!     assert_eq!(again.packets.len(), flow.packets.len());
//!     Ok(())
//! }
//! ```

pub(crate) mod bucket;
mod codec;
pub(crate) mod delta;
pub(crate) mod digits;
pub mod doc;
mod field_order;
mod grammar;
pub(crate) mod header;
mod header_pattern;
mod options;
mod outline;
mod parse;
mod send_space;
mod state;
mod stats;
mod survey;
mod time_unit;
mod ts_clock;
mod version_1;
pub mod vocab;
mod write;

pub use codec::{Field, NAME, decode, encode, header, set_length_class};
pub use grammar::{Constraint, Grammar, Limits, Mask};
pub use header::{CloseKind, FlowHeader, SessionClass};
pub use header_pattern::{HeaderMatch, HeaderPattern};
pub use outline::{PacketSpan, PortMask, packet_spans, with_masked_header};
pub use stats::{FieldStats, TokenStats};
pub use time_unit::TimeUnit;
pub use ts_clock::ClockId;
pub use version_1::from_version_1;
pub use vocab::{BOS, END, VERSION, VOCAB_SIZE};
