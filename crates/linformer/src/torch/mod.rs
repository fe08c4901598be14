//! Everything that needs libtorch: the model, its files, training and generation.

mod batch;
mod carried;
mod checksum;
mod device;
mod error;
mod generate;
mod model;
mod probe;
mod state;
mod store;
mod train;
mod whitening;

pub use linformer_kernels::{Decoder, ProcessGroup, ProcessInfo, TensorMemory};
pub use tch::Device;

pub use batch::{Batch, SequencePiece};
pub use carried::CarriedStates;
pub use device::{device, set_threads};
pub use generate::{Generated, Generator, Job, PrefixMatch, Prompt, StopReason};
pub use model::{HiddenStates, Model, RecurrentState};
pub use probe::{LinearProbe, Rows, nearest};
pub use store::{ensure_same_config, is_training_state};
pub use train::{StepReport, Trainer};
pub use whitening::{Whitening, WhiteningSums};
