//! What goes wrong with a model.

use std::path::PathBuf;

/// A model that cannot be built, read, written or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A configuration value that makes no model.
    #[error("model configuration: {field}: expected {expected}, found {found}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// No such device on this machine.
    #[error("device {name}: expected cpu, or cuda:n with n below the {found} GPUs found")]
    Device {
        /// What was asked for.
        name: String,
        /// GPUs found.
        found: i64,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        message: String,
    },
    /// Weights of a model of another configuration.
    #[error("{}: configuration: {field}: expected {expected}, found {found}", path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// The first value that differs.
        field: String,
        /// What was asked for.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A kernel refused.
    #[cfg(feature = "torch")]
    #[error(transparent)]
    Kernel(#[from] linformer_kernels::KernelError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A later piece of a sequence without what the earlier ones left behind.
    #[error("sequence {sequence}: nothing is remembered of its beginning")]
    Forgotten {
        /// The caller's number for it.
        sequence: u64,
    },
    /// The loss or the gradient is no number any more.
    #[error("step {step}: the {what} is {value}")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// `loss` or `gradient`.
        what: &'static str,
        /// Its value.
        value: f64,
    },
}

#[cfg(feature = "torch")]
impl ModelError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> ModelError {
        move |source| ModelError::Io { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &std::path::Path, message: impl Into<String>) -> ModelError {
        ModelError::Format { path: path.to_owned(), message: message.into() }
    }
}

#[cfg(feature = "torch")]
impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> ModelError {
        ModelError::Torch(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
