//! Causal linear attention for libtorch: C++ kernels and their safe Rust interface.
//!
//! For queries and keys `[N, H, D]` and values `[N, H, M]` of `N` tokens in `H` heads:
//!
//! ```text
//! O_t = (sum_{s<=t} phi(q_t).phi(k_s) v_s) / (sum_{s<=t} phi(q_t).phi(k_s) + eps)
//! phi(x) = elu(x) + 1
//! ```
//!
//! Sequences of different lengths lie end to end in one row; [`CuSeqlens`] holds where each begins.
//! [`attention`] has the operator in three forms: [`attention::naive`] is the definition,
//! [`attention::chunked`] is written in libtorch operations and runs on any device, and
//! [`attention::fused`] is C++ for CPUs and CUDA for GPUs (feature `cuda`).
//! `docs/causal-linear-attention.md` has the formulas.
//!
//! The crate also has a causal convolution ([`conv1d`]), rotary positions ([`Rotary`]), a
//! [`Decoder`] that runs a whole model one token at a time on the CPU and a [`DeviceDecoder`] that
//! does so on a GPU, AdamW's fused step ([`AdamW`]),
//! all-reduce over processes ([`ProcessGroup`]), and the heap that CPU tensors are allocated in
//! ([`TensorMemory`]). It knows nothing of the model's training or its data.
//!
//! ```
//! use linformer_kernels::CuSeqlens;
//! use linformer_kernels::attention::{AttentionOptions, Qkv, fused, naive};
//! use tch::{Device, Kind, Tensor};
//!
//! // Two sequences of 5 and 3 tokens, 2 heads, D = M = 16.
//! let cu_seqlens = CuSeqlens::from_lengths(&[5, 3]);
//! let random = || Tensor::randn([8, 2, 16], (Kind::Float, Device::Cpu));
//! let (q, k, v) = (random(), random(), random());
//! let qkv = Qkv { q: &q, k: &k, v: &v };
//! let options = AttentionOptions::new(1e-6);
//!
//! let out = fused::attention(qkv, &cu_seqlens, &options)?; // [N, H, M]
//! assert_eq!(out.size(), [8, 2, 16]);
//! let expected = naive::attention(qkv, &cu_seqlens, &options);
//! assert!(out.allclose(&expected, 1e-4, 1e-5, false));
//! # Ok::<(), linformer_kernels::KernelError>(())
//! ```

pub mod attention;
mod autocast;
pub mod conv1d;
pub mod cpu;
mod cu_seqlens;
mod decoder;
mod device_decoder;
mod error;
mod ffi;
pub mod layers;
mod memory;
mod optimizer;
mod process_group;
mod rotary;
mod rows;
#[doc(hidden)]
pub mod testing;

pub use autocast::Bf16Autocast;
pub use cu_seqlens::CuSeqlens;
pub use decoder::{
    BlockWeights, DecayWeights, Decoder, DecoderShape, DecoderState, DecoderWeights, LinearWeights,
    NormWeights, WeightKind,
};
pub use device_decoder::{DeviceDecoder, DeviceSlots};
pub use error::KernelError;
pub use memory::TensorMemory;
pub use optimizer::{AdamW, AdamWStep, clip_grad_norm};
pub use process_group::{ProcessGroup, ProcessInfo};
pub use rotary::Rotary;
