//! Conversions of libtorch's, the kernels' and I/O errors.

use std::io;
use std::path::Path;

use linformer_kernels::KernelError;

use crate::ModelError;

impl ModelError {
    /// Returns a function that adds the path to an I/O error, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> ModelError {
        move |source| ModelError::Io { path: path.to_owned(), source }
    }

    /// Creates the error of a file with unexpected content.
    pub(crate) fn format(path: &Path, message: impl Into<String>) -> ModelError {
        ModelError::Format { path: path.to_owned(), message: message.into() }
    }
}

impl From<KernelError> for ModelError {
    fn from(error: KernelError) -> ModelError {
        ModelError::Kernel(Box::new(error))
    }
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> ModelError {
        // The lines after the first are libtorch's own backtrace.
        ModelError::Torch(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
