//! The attention in C++ for CPUs and, with feature `cuda`, for GPUs. Nothing of size tokens times
//! state is kept between forward and backward.
//!
//! The CPU kernels are compiled for AVX-512, for AVX2 and for any machine ([`crate::cpu`] chooses
//! at run time). The same input gives the same bits, whatever the number of threads.

use std::ptr::null_mut;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::{AttentionOptions, AttentionState, Decay, Qkv};
use crate::ffi::{self, outcome, owned};
use crate::{CuSeqlens, KernelError};

/// Largest `D` and `M` that the CUDA kernels have tiles for.
const MAX_CUDA_HEAD_DIM: usize = 128;

/// Computes the attention of each sequence, `[N, H, M]`.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn attention(
    qkv: Qkv,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<Tensor, KernelError> {
    Ok(attention_with_state(qkv, None, cu_seqlens, options)?.0)
}

/// Like [`attention`], with recurrent states: `initial` is each sequence's state before its first
/// token (zero if absent), and the states after the last tokens are returned too. Gradients flow
/// through all of them.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn attention_with_state(
    qkv: Qkv,
    initial: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<(Tensor, AttentionState), KernelError> {
    let segments = cu_seqlens.segments_on(qkv.q.device())?;
    let mut made = [null_mut(); 3];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the three results.
    let code = unsafe {
        ffi::lf_attention(
            made.as_mut_ptr(),
            qkv.q.as_ptr(),
            qkv.k.as_ptr(),
            qkv.v.as_ptr(),
            ffi::optional(initial.map(|state| &state.s)),
            ffi::optional(initial.map(|state| &state.z)),
            cu_seqlens.tensor().as_ptr(),
            ffi::optional(cu_seqlens.starts()),
            ffi::optional(segments.as_ref()),
            ffi::optional(options.rotary.map(|rotary| &rotary.cos)),
            ffi::optional(options.rotary.map(|rotary| &rotary.sin)),
            ffi::optional(options.decay.and_then(Decay::fixed)),
            ffi::optional(options.decay.and_then(Decay::log)),
            options.eps,
        )
    };
    outcome("attention", code)?;
    let [out, s, z] = owned(made);
    Ok((out, AttentionState { s, z }))
}

/// Like [`attention`] for the product of one matrix: `qkv` is `[N, 3 H D]`, and the result is
/// `[N, H, D]`. Its gradient goes into one buffer of that shape.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn attention_packed(
    qkv: &Tensor,
    heads: i64,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<Tensor, KernelError> {
    let made = call_packed(qkv, heads, None, FinalStates::Skip, cu_seqlens, options)?;
    let [out] = owned([made[0]]);
    Ok(out)
}

/// Like [`attention_packed`], with recurrent states as in [`attention_with_state`]. No gradient
/// flows through states.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn attention_packed_with_state(
    qkv: &Tensor,
    heads: i64,
    initial: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<(Tensor, AttentionState), KernelError> {
    let made = call_packed(qkv, heads, initial, FinalStates::Return, cu_seqlens, options)?;
    let [out, s, z] = owned(made);
    Ok((out, AttentionState { s, z }))
}

/// Whether the kernel computes the states after each sequence's last token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FinalStates {
    Return,
    Skip,
}

/// Calls the packed operator. Returns new tensors that nobody owns yet: the output and, with
/// [`FinalStates::Return`], `s` and `z`; else null pointers in their place.
fn call_packed(
    qkv: &Tensor,
    heads: i64,
    initial: Option<&AttentionState>,
    states: FinalStates,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<[*mut C_tensor; 3], KernelError> {
    let segments = cu_seqlens.segments_on(qkv.device())?;
    let mut made = [null_mut(); 3];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the three results.
    let code = unsafe {
        ffi::lf_attention_packed(
            made.as_mut_ptr(),
            qkv.as_ptr(),
            heads,
            ffi::optional(initial.map(|state| &state.s)),
            ffi::optional(initial.map(|state| &state.z)),
            i32::from(states == FinalStates::Return),
            cu_seqlens.tensor().as_ptr(),
            ffi::optional(cu_seqlens.starts()),
            ffi::optional(segments.as_ref()),
            ffi::optional(options.rotary.map(|rotary| &rotary.cos)),
            ffi::optional(options.rotary.map(|rotary| &rotary.sin)),
            ffi::optional(options.decay.and_then(Decay::fixed)),
            ffi::optional(options.decay.and_then(Decay::log)),
            options.eps,
        )
    };
    outcome("attention_packed", code)?;
    Ok(made)
}

/// Advances `B` sequences by one token each: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`. Updates the
/// states in place and returns `[B, H, M]`. No gradient.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn step(
    qkv: Qkv,
    state: &mut AttentionState,
    decay: Option<Decay>,
    eps: f64,
) -> Result<Tensor, KernelError> {
    let factors = decay.map(Decay::factors);
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors; the states are borrowed mutably, and checked to be
    // contiguous floats.
    let code = unsafe {
        ffi::lf_step(
            made.as_mut_ptr(),
            qkv.q.as_ptr(),
            qkv.k.as_ptr(),
            qkv.v.as_ptr(),
            state.s.as_ptr(),
            state.z.as_ptr(),
            ffi::optional(factors.as_ref()),
            eps,
        )
    };
    outcome("step", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// Returns the kind of `q`, `k` and `v` that these kernels take on `device` for numbers of `kind`:
/// GPUs have kernels for bfloat16 and float, CPUs for float and float64.
#[must_use]
pub fn input_kind(device: tch::Device, kind: Kind) -> Kind {
    match (device.is_cuda(), kind) {
        (true, Kind::BFloat16) => Kind::BFloat16,
        (false, Kind::Double) => Kind::Double,
        _ => Kind::Float,
    }
}

/// Returns whether these kernels run on tensors of `device` with heads of `head_dim` elements and
/// such a decay. [`chunked`](super::chunked) runs where they do not.
#[must_use]
pub fn is_supported(device: tch::Device, head_dim: usize, decay: Option<Decay>) -> bool {
    match device {
        tch::Device::Cpu => true,
        tch::Device::Cuda(_) => {
            let has_tiles = head_dim <= MAX_CUDA_HEAD_DIM;
            cfg!(feature = "cuda") && has_tiles && decay.and_then(Decay::log).is_none()
        }
        _ => false,
    }
}
