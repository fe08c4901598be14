//! Causal linear attention for libtorch: C++ kernels and their safe Rust face.
//!
//! `O_t = (sum_{s<=t} phi(q_t).phi(k_s) v_s) / (sum_{s<=t} phi(q_t).phi(k_s) + eps)` with `phi(x) =
//! elu(x) + 1`, over sequences of different length laid end to end: `q`, `k` `[N, H, D]`, `v` `[N,
//! H, M]`, and [`CuSeqlens`] that say where each sequence begins. The same operator in three forms:
//! [`naive`] is the definition, [`chunked`] is plain libtorch operations and runs on any device,
//! [`fused`] is C++ for the CPU. `docs/causal-linear-attention.md` has the formulas. Beside them:
//! AdamW's fused step, a [`Decoder`] that runs a whole model one token at a time, and the heap that
//! tensors on the CPU live in.
//!
//! Knows nothing of the model's training or its data.

pub mod chunked;
mod cu_seqlens;
mod decoder;
mod distributed;
mod error;
mod ffi;
pub mod fused;
mod memory;
pub mod naive;
mod optimizer;
mod rotary;

pub use cu_seqlens::CuSeqlens;
pub use decoder::{
    BlockWeights, Decoder, DecoderShape, DecoderState, DecoderWeights, LinearWeights, NormWeights,
};
pub use distributed::{Bf16, ProcessGroup, ProcessInfo};
pub use error::KernelError;
pub use memory::TensorMemory;
pub use optimizer::{AdamW, clip_grad_norm};
pub use rotary::Rotary;

/// `phi(x) = elu(x) + 1`: the feature map, in plain libtorch operations.
pub fn feature_map(x: &tch::Tensor) -> tch::Tensor {
    // relu + exp(min(x, 0)): both halves have a finite gradient everywhere
    x.relu() + x.clamp_max(0.0).exp()
}
