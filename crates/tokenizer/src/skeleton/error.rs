//! Errors of encoding and decoding hosts.

use crate::TokenId;

/// Reason for which a host cannot be encoded, or tokens cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SkeletonError {
    /// The host has no flow, so that it has no SYN either.
    #[error("the host has no flows")]
    Empty,
    /// A flow holds a value that the code does not express.
    #[error("flow {index} of the host (from 0): expected {expected}, found {found}")]
    Flow {
        /// Index of the flow, counted from 0.
        index: usize,
        /// Values that the code expresses.
        expected: &'static str,
        /// Value of the flow.
        found: String,
    },
    /// A token that may not follow the ones before it.
    #[error("token {index} (from 0): expected {expected}, found {found} ({meaning})")]
    Misplaced {
        /// Index of the token, counted from 0.
        index: usize,
        /// Kind of tokens that may stand at this index.
        expected: &'static str,
        /// Id of the token found.
        found: TokenId,
        /// Name of the token found.
        meaning: String,
    },
    /// The tokens end before the host does.
    #[error("token {index} (from 0): expected {expected}, found the end of the tokens")]
    Truncated {
        /// Number of tokens of the host.
        index: usize,
        /// Kind of tokens that may stand at this index.
        expected: &'static str,
    },
    /// There are other ends than the tokens have flows.
    #[error("ends of the host's flows: expected {expected}, found {found}")]
    Ends {
        /// Number of flows in the tokens.
        expected: usize,
        /// Number of ends that are given.
        found: usize,
    },
}
