//! Flows into header-field tokens and back: lossless, compact, relative to TCP's state.
//!
//! Two codes behind one trait, [`TokenCode`]: [`field`], ours, and [`word16`], tcpflowgen's. Knows
//! nothing of Arrow, tensors or files.

#![forbid(unsafe_code)]

mod code;
mod error;
pub mod field;
mod identity;
pub mod word16;

pub use code::{Synthesized, TokenCode};
pub use error::{DecodeError, EncodeError};
pub use identity::{FlowIdentity, SideIdentity};

/// A token id of the `field` code: at most 1,024 of them.
pub type TokenId = u16;
