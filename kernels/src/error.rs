//! What goes wrong in a kernel.

/// A kernel refused its input, or libtorch failed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The C++ side says why.
    #[error("{operator}: {message}")]
    Refused {
        /// The operator that was called.
        operator: &'static str,
        /// What it expected and what it found.
        message: String,
    },
    /// Weights that do not fit the shape they are said to have.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which weight or size.
        what: String,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
    },
}
