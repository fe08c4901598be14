//! Errors as Python's exceptions.

use std::io::ErrorKind;

use anyhow::Error;
use pyo3::PyErr;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyOSError, PyPermissionError, PyValueError,
};

/// Returns the exception for an error, with its text on one line: an `OSError` where the system
/// refused, else a `ValueError`.
pub(crate) fn raised(error: impl Into<Error>) -> PyErr {
    let error: Error = error.into();
    let line = clikit::one_line(&error);
    let is_occupied = error.chain().any(|cause| {
        use atomic_output::Error::{Exists, NotEmpty};
        matches!(cause.downcast_ref(), Some(Exists(_) | NotEmpty(_)))
    });
    let of_system = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    match error.chain().find_map(of_system) {
        _ if is_occupied => PyFileExistsError::new_err(line),
        Some(ErrorKind::NotFound) => PyFileNotFoundError::new_err(line),
        Some(ErrorKind::PermissionDenied) => PyPermissionError::new_err(line),
        Some(_) => PyOSError::new_err(line),
        None => PyValueError::new_err(line),
    }
}
