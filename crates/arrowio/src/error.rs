//! Errors of reading and writing datasets.

use std::io;

/// Error in a dataset, with its file.
#[derive(thiserror::Error, Debug)]
#[error("{path}: {kind}")]
pub struct Error {
    /// Path of the file, or the name of the stream.
    pub path: String,
    /// Position from which a reader continues.
    pub recovery: Recovery,
    /// Cause of the error.
    #[source]
    pub kind: ErrorKind,
}

/// Position from which a [`DatasetReader`](crate::DatasetReader) continues after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// The next row: one row is lost.
    NextRow,
    /// The next file of a folder: the rest of the current file is lost.
    NextFile,
}

/// Cause of an error.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The octets are not a valid dataset.
    #[error("{place}: expected {expected}, found {found}")]
    Format {
        /// Place in the file: an octet offset, a record batch, a column, a row.
        place: String,
        /// Content that a valid dataset has at this place.
        expected: String,
        /// Content of the file at this place.
        found: String,
    },
    /// The token code of the dataset, or its version, is not among those the caller accepts.
    #[error("token code: expected {expected}, found {found}")]
    TokenCode {
        /// Token codes that the caller accepts.
        expected: String,
        /// Token code of the file.
        found: String,
    },
}

impl ErrorKind {
    /// Creates a [`Format`](ErrorKind::Format) error.
    pub(crate) fn format(
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ErrorKind {
        ErrorKind::Format { place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// Prefixes the place of a [`Format`](ErrorKind::Format) error with an enclosing place.
    pub(crate) fn within(self, outer: &str) -> ErrorKind {
        match self {
            ErrorKind::Format { place, expected, found } => {
                ErrorKind::Format { place: format!("{outer}, {place}"), expected, found }
            }
            other => other,
        }
    }

    /// Adds the path; the rest of the file counts as lost.
    pub(crate) fn at(self, path: &str) -> Error {
        Error { path: path.to_owned(), recovery: Recovery::NextFile, kind: self }
    }
}
