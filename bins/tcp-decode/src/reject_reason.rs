//! Reasons why flows are left out, in a form that can be counted.

use arrowio::{ErrorKind, Recovery};
use tokenizer::DecodeError;

/// Reason why a flow was left out: by field and kind for the reports, and as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RejectReason {
    /// Field that is wrong: the expected token, the column, or the value that the flow lacks.
    pub(crate) field: String,
    /// Kind of fault in the field, the same text for every flow that has it.
    pub(crate) reason: String,
    /// Message with the position, the expected value and the found one.
    pub(crate) message: String,
}

impl RejectReason {
    /// Creates a reason from its three texts.
    pub(crate) fn new(field: &str, reason: &str, message: impl Into<String>) -> RejectReason {
        RejectReason { field: field.to_owned(), reason: reason.to_owned(), message: message.into() }
    }
}

impl From<&DecodeError> for RejectReason {
    fn from(error: &DecodeError) -> RejectReason {
        let (field, reason) = match error {
            DecodeError::Misplaced { expected, .. } => (expected, "another token in its place"),
            DecodeError::WrongWord { expected, .. } => (expected, "another word in its place"),
            DecodeError::Truncated { expected, .. } => (expected, "the tokens end before it"),
            DecodeError::OptionDigits { .. } => (&"column option_digits", "more or fewer octets"),
        };
        RejectReason::new(field, reason, error.to_string())
    }
}

impl From<&arrowio::Error> for RejectReason {
    fn from(error: &arrowio::Error) -> RejectReason {
        match (&error.kind, error.recovery) {
            (ErrorKind::Format { place, expected, .. }, Recovery::NextRow) => {
                // `place` is a column and a row, "column client_addr, row 3".
                let column = place.split(',').next().unwrap_or(place);
                RejectReason::new(column, &format!("not {expected}"), error.to_string())
            }
            (_, Recovery::NextRow) => RejectReason::new("row", "unreadable", error.to_string()),
            (_, Recovery::NextFile) => RejectReason::new(
                "file",
                "the rest of one cannot be read",
                format!("rest of {error}"),
            ),
        }
    }
}
