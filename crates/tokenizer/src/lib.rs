//! Flows into header-field tokens and back: lossless, compact, relative to TCP's state.
//!
//! Knows nothing of Arrow, tensors or files.

mod error;
pub mod field;
mod identity;

pub use error::{DecodeError, EncodeError};
pub use identity::{FlowIdentity, SideIdentity};

/// A token id of the `field` code: at most 1,024 of them.
pub type TokenId = u16;
