//! Errors of the kernels.

/// Failure of a kernel: refused input, or an error of libtorch.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The C++ side refused its input or failed.
    #[error("{operator}: {message}")]
    Refused {
        /// Name of the operator.
        operator: &'static str,
        /// Message of the C++ side: what was expected and what was found.
        message: String,
    },
    /// A weight, size or environment variable has an unexpected value.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Name of the weight, size or variable.
        what: String,
        /// Description of the values that would do.
        expected: String,
        /// Value that was found.
        found: String,
    },
}
