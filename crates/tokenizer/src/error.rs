//! What can be wrong with a flow or with tokens.

use crate::TokenId;

/// Why a flow cannot be encoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// There is no packet to say.
    #[error("the flow has no packets")]
    Empty,
    /// One end has an IPv4 address, the other an IPv6 address.
    #[error("the ends of the flow are of different IP versions")]
    MixedVersions,
    /// A packet holds a value that no header can.
    #[error("packet {index} (from 0): {what} is {value}, more than a header holds")]
    OutOfRange {
        /// Index of the packet, from 0.
        index: usize,
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Why tokens cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A token that may not stand where it stands.
    #[error("token {index} (from 0): expected {expected}, found {found} ({meaning})")]
    Misplaced {
        /// Index of the token, from 0.
        index: usize,
        /// The fields that may stand there.
        expected: &'static str,
        /// The id found.
        found: TokenId,
        /// What the id means elsewhere.
        meaning: String,
    },
    /// A word of the `word16` code that may not stand where it stands.
    #[error("word {index} (from 0): expected {expected}, found {found}")]
    WrongWord {
        /// Index of the word, from 0.
        index: usize,
        /// What may stand there.
        expected: &'static str,
        /// The word found.
        found: i32,
    },
    /// The tokens end before the flow does.
    #[error("token {index} (from 0): expected {expected}, found the end of the tokens")]
    Truncated {
        /// Number of tokens.
        index: usize,
        /// The fields that may stand there.
        expected: &'static str,
    },
}
