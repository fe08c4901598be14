//! A decoder-only transformer with causal linear attention: the model, one training step, sampling.
//!
//! Everything is token ids and a vocabulary size: which token may follow comes in as a
//! [`TokenFilter`]. Knows nothing of packets, of what a token means, or of Arrow. Seeds, devices
//! and paths are arguments; there is no clock here.
//!
//! ```no_run
//! use linformer::{Batch, Device, Model, ModelConfig, Optimizer, Trainer};
//!
//! let config = ModelConfig { vocab_size: 64, ..ModelConfig::tiny() };
//! let model = Model::new(&config, 1, Device::Cpu)?;
//! let mut trainer = Trainer::new(model, Optimizer::default());
//! let batch = Batch::pack([[1_u16, 5, 9, 2].as_slice(), &[1, 7, 2]]);
//! let report = trainer.step(&[batch], 1e-3, None)?;
//! println!("{} nats per token", report.loss);
//! # Ok::<(), linformer::ModelError>(())
//! ```

#[cfg(feature = "torch")]
mod batch;
#[cfg(feature = "torch")]
mod checksum;
mod config;
mod error;
pub mod file;
#[cfg(feature = "torch")]
mod generate;
#[cfg(feature = "torch")]
mod memory;
#[cfg(feature = "torch")]
mod model;
mod sample;
#[cfg(feature = "torch")]
mod store;
#[cfg(feature = "torch")]
mod train;

#[cfg(feature = "torch")]
pub use batch::{Batch, SequencePiece};
pub use config::{Activation, Decay, KEY_ALIASES, ModelConfig, NormKind, Optimizer, Precision};
pub use error::ModelError;
#[cfg(feature = "torch")]
pub use generate::{Generated, Generator, Job, PrefixMatch, Prompt, StopReason};
#[cfg(feature = "torch")]
pub use linformer_kernels::{ProcessGroup, ProcessInfo, TensorMemory};
#[cfg(feature = "torch")]
pub use memory::CarriedStates;
#[cfg(feature = "torch")]
pub use model::{Model, RecurrentState};
pub use sample::{Sampling, TokenFilter, choose};
#[cfg(feature = "torch")]
pub use store::{ensure_same_config, is_training_state};
#[cfg(feature = "torch")]
pub use tch::Device;
#[cfg(feature = "torch")]
pub use train::{StepReport, Trainer};

/// Threads that libtorch uses inside one operation.
#[cfg(feature = "torch")]
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.max(1) as i32);
}

/// The device of that name: `cpu`, `cuda` or `cuda:1`.
///
/// # Errors
/// Where there is no such device.
#[cfg(feature = "torch")]
pub fn device(name: &str) -> Result<Device, ModelError> {
    let unknown =
        || ModelError::Device { name: name.to_owned(), found: tch::Cuda::device_count().max(0) };
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", number)) => number.parse().map_err(|_| unknown())?,
        _ => return Err(unknown()),
    };
    if (number as i64) < tch::Cuda::device_count() {
        Ok(Device::Cuda(number))
    } else {
        Err(unknown())
    }
}
