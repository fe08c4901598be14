//! Why a flow was left out, in a form that can be counted.

use arrowio::{ErrorKind, Recovery};
use tokenizer::DecodeError;

/// What was wrong with a flow: by field and reason for counting, and in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// The field that was wrong: of tokens what may stand there, else a column or what was made of
    /// it.
    pub(crate) field: String,
    /// What was wrong with it.
    pub(crate) reason: String,
    /// Where, what was expected and what was found.
    pub(crate) said: String,
}

impl Fault {
    pub(crate) fn new(field: &str, reason: &str, said: impl Into<String>) -> Fault {
        Fault { field: field.to_owned(), reason: reason.to_owned(), said: said.into() }
    }
}

impl From<&DecodeError> for Fault {
    fn from(error: &DecodeError) -> Fault {
        let (field, reason) = match error {
            DecodeError::Misplaced { expected, .. } => (expected, "another token in its place"),
            DecodeError::WrongWord { expected, .. } => (expected, "another word in its place"),
            DecodeError::Truncated { expected, .. } => (expected, "the tokens end before it"),
        };
        Fault::new(field, reason, error.to_string())
    }
}

impl From<&arrowio::Error> for Fault {
    fn from(error: &arrowio::Error) -> Fault {
        match (&error.kind, error.recovery) {
            (ErrorKind::Format { place, expected, .. }, Recovery::NextRow) => {
                let column = place.split(',').next().unwrap_or(place);
                Fault::new(column, &format!("not {expected}"), error.to_string())
            }
            (_, Recovery::NextRow) => Fault::new("row", "unreadable", error.to_string()),
            (_, Recovery::NextFile) => {
                Fault::new("file", "the rest of one cannot be read", format!("rest of {error}"))
            }
        }
    }
}
