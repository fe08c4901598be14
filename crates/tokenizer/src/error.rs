//! Errors of encoding and decoding.

use crate::TokenId;

/// Reason for which a flow cannot be encoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The flow has no packets, so that it has no time and no direction either.
    #[error("the flow has no packets")]
    Empty,
    /// One end has an IPv4 address, the other one an IPv6 address.
    #[error("the ends of the flow are of different IP versions")]
    MixedVersions,
    /// A packet holds a value that no TCP/IP header can.
    #[error("packet {index} (from 0): {what} is {value}, more than a header holds")]
    OutOfRange {
        /// Index of the packet, counted from 0.
        index: usize,
        /// Name of the header field.
        what: &'static str,
        /// Value of the header field.
        value: u64,
    },
}

/// Reason for which tokens cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A token of the `field` code that may not follow the ones before it.
    #[error("token {index} (from 0): expected {expected}, found {found} ({meaning})")]
    Misplaced {
        /// Index of the token, counted from 0.
        index: usize,
        /// Names of the tokens that may stand at this index.
        expected: &'static str,
        /// Id of the token found.
        found: TokenId,
        /// Name of the token found.
        meaning: String,
    },
    /// A word of the `word16` code that may not follow the ones before it.
    #[error("word {index} (from 0): expected {expected}, found {found}")]
    WrongWord {
        /// Index of the word, counted from 0.
        index: usize,
        /// Description of the words that may stand at this index.
        expected: &'static str,
        /// Word found at this index.
        found: i32,
    },
    /// The tokens end before the flow does.
    #[error("token {index} (from 0): expected {expected}, found the end of the tokens")]
    Truncated {
        /// Number of tokens or words.
        index: usize,
        /// Names of the tokens that may stand at this index.
        expected: &'static str,
    },
    /// The identity holds other option octets than the tokens need.
    #[error("column option_digits: expected {expected} octets, found {found}")]
    OptionDigits {
        /// Number of octets that the tokens need.
        expected: usize,
        /// Number of octets that the identity holds.
        found: usize,
    },
}
