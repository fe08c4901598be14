//! Errors of the crate.

use std::path::PathBuf;

/// Failure to build, read, write or run a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A configuration value is out of range.
    #[error("model configuration: {field}: expected {expected}, found {found}")]
    Config {
        /// Key of the field, as config.json has it.
        field: &'static str,
        /// Description of the values that would do.
        expected: &'static str,
        /// Value that was found.
        found: String,
    },
    /// This machine has no such device.
    #[error("device {name}: expected cpu, or cuda:n with n below the {found} GPUs found")]
    Device {
        /// Name of the device that was requested.
        name: String,
        /// Number of GPUs found.
        found: i64,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A file has unexpected content.
    #[error("{}: {message}", path.display())]
    Format {
        /// Path of the file.
        path: PathBuf,
        /// Expected and found content.
        message: String,
    },
    /// A file has the weights of a model of another configuration.
    #[error("{}: configuration: {field}: expected {expected}, found {found}", path.display())]
    OtherModel {
        /// Path of the file.
        path: PathBuf,
        /// Key of the first value that differs.
        field: String,
        /// Value that was requested.
        expected: String,
        /// Value in the file.
        found: String,
    },
    /// A kernel refused its input or failed.
    #[error(transparent)]
    Kernel(Box<dyn std::error::Error + Send + Sync>),
    /// An operation of libtorch failed.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A later piece of a sequence came without the state that its earlier pieces left.
    #[error("sequence {sequence}: nothing is remembered of its beginning")]
    Forgotten {
        /// Number that the caller gave to the sequence.
        sequence: u64,
    },
    /// The loss or the gradient is NaN or infinite.
    #[error("step {step}: the {what} is {value}")]
    NotFinite {
        /// Number of the step, from 1.
        step: u64,
        /// Name of the quantity: `loss` or `gradient`.
        what: &'static str,
        /// Value of the quantity.
        value: f64,
    },
}
