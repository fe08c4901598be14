//! A decoder-only transformer with causal linear attention: the model, one training step, sampling.
//!
//! The crate works on token ids and a vocabulary size. Which tokens may follow is a
//! [`TokenFilter`], given from outside. It knows nothing of packets, of the meaning of a token, or
//! of Arrow. Seeds, devices and paths are arguments; it reads no clock.
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
//!
//! Without the feature `torch`, only the parts without libtorch are left: configurations, the
//! parser of model files and the choice of a token.

mod config;
mod error;
pub mod file;
mod sample;
#[cfg(feature = "torch")]
mod torch;

pub use config::{Activation, Decay, KEY_ALIASES, ModelConfig, NormKind, Optimizer, Precision};
pub use error::ModelError;
pub use sample::{Sampling, TokenFilter, choose};
#[cfg(feature = "torch")]
pub use torch::*;
