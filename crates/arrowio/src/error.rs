//! What can be wrong with a dataset.

use std::io;

/// What was wrong, and in which file.
#[derive(thiserror::Error, Debug)]
#[error("{path}: {kind}")]
pub struct Error {
    /// The file, or the name of the stream.
    pub path: String,
    /// How much of it is lost.
    pub lost: Lost,
    /// What was wrong.
    #[source]
    pub kind: ErrorKind,
}

/// How much of a file is lost by an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// One row: what follows it can be read.
    Row,
    /// All from there on.
    Rest,
}

/// What was wrong.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what a dataset is.
    #[error("{place}: expected {expected}, found {found}")]
    Format {
        /// Where in the file: an octet offset, a record batch, a column, a row.
        place: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Its tokens are of a code, or a version of one, that the caller does not take.
    #[error("token code: expected {expected}, found {found}")]
    TokenCode {
        /// The codes the caller takes.
        expected: String,
        /// The code of the file.
        found: String,
    },
}

impl ErrorKind {
    pub(crate) fn format(
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ErrorKind {
        ErrorKind::Format { place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// The same, with `place` before the place.
    pub(crate) fn within(self, outer: &str) -> ErrorKind {
        match self {
            ErrorKind::Format { place, expected, found } => {
                ErrorKind::Format { place: format!("{outer}, {place}"), expected, found }
            }
            other => other,
        }
    }

    pub(crate) fn at(self, path: &str) -> Error {
        Error { path: path.to_owned(), lost: Lost::Rest, kind: self }
    }
}
