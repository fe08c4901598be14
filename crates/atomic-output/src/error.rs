//! Reasons why an output cannot be created or committed.

use std::io;
use std::path::{Path, PathBuf};

/// Result of an operation on an output; the error names the output's path.
pub type Result<T> = std::result::Result<T, Error>;

/// Reason why an output cannot be created or committed, with the path concerned.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Failed system call on an output or on a folder above it.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path that the call failed on.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Failure to create the temporary file or folder of an output.
    #[error("{}: cannot create: {source}", path.display())]
    Create {
        /// Target of the output, not its temporary.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Target without a last component, such as `/` or `..`.
    #[error("{}: not a name for an output", .0.display())]
    NoFileName(PathBuf),
    /// Target of a file at which a folder exists.
    #[error("{}: expected a file, found a folder", .0.display())]
    IsFolder(PathBuf),
    /// Target of a file at which a file exists, under [`OnExisting::Fail`].
    ///
    /// [`OnExisting::Fail`]: crate::OnExisting::Fail
    #[error("{}: expected no file there, found one", .0.display())]
    Exists(PathBuf),
    /// Target of a file at which a file of another kind exists, under [`OnExisting::Replace`].
    ///
    /// [`OnExisting::Replace`]: crate::OnExisting::Replace
    #[error("{}: expected {expected} to replace, found another file", path.display())]
    OtherKind {
        /// File that is there.
        path: PathBuf,
        /// Kind of files that the run replaces.
        expected: &'static str,
    },
    /// Target of a folder that exists with files in it, under [`OnExisting::Fail`].
    ///
    /// [`OnExisting::Fail`]: crate::OnExisting::Fail
    #[error("{}: expected no folder or an empty one, found one that is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Target of a folder that holds a file which no earlier run wrote, under
    /// [`OnExisting::Replace`].
    ///
    /// [`OnExisting::Replace`]: crate::OnExisting::Replace
    #[error(
        "{}: expected a folder of an earlier run to replace, found {name} in it",
        folder.display()
    )]
    ForeignFile {
        /// Folder to be replaced.
        folder: PathBuf,
        /// Name of the file in it that is not of the run's kind.
        name: String,
    },
    /// Folder that another process holds the lock of.
    #[error(
        "{}: expected a folder to write to, found one that another run writes to",
        .0.display()
    )]
    Locked(PathBuf),
}

impl Error {
    /// Returns a function that adds `path` to an error of the operating system.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    /// Returns the kind of the underlying error of the operating system, if there is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } | Error::Create { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_path_and_the_cause_once() {
        let error = Error::at(Path::new("a/b"))(io::Error::other("no room"));
        assert_eq!(error.to_string(), "a/b: no room");
        assert_eq!(error.io_kind(), Some(io::ErrorKind::Other));
        assert_eq!(Error::IsFolder("a".into()).io_kind(), None);
    }
}
