//! C++ for the CPU and, with feature `cuda`, for GPUs: nothing of size tokens x state is kept.
//!
//! Kernels for AVX-512, AVX2 and any machine are built; the best one is chosen at run time. The
//! same input gives the same bits whatever the number of threads.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi::{self, outcome, owned};
use crate::{CuSeqlens, KernelError, Rotary};

/// What the operator does beside the product.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOptions<'a> {
    /// Added to the sum of the scores.
    pub eps: f64,
    /// Turns `q` and `k` first, by each token's place in its sequence.
    pub rotary: Option<&'a Rotary>,
    /// `[H]`, each above 0 and at most 1: what is left of the state after a token. Absent: all of
    /// it.
    pub decay: Option<&'a Tensor>,
}

impl AttentionOptions<'_> {
    /// Nothing but `eps`.
    #[must_use]
    pub fn new(eps: f64) -> AttentionOptions<'static> {
        AttentionOptions { eps, rotary: None, decay: None }
    }
}

/// States of `S` sequences: `s` `[S, H, D, M]` and `z` `[S, H, D]`.
#[derive(Debug)]
pub struct State {
    /// Sum of `phi(k) v^T`.
    pub s: Tensor,
    /// Sum of `phi(k)`.
    pub z: Tensor,
}

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]` of any strides; the result is `[N, H, M]` and each
/// sequence's final state. `initial` is each sequence's state before its first token: zero where
/// absent. Gradients flow through all.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention_with_state(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    initial: Option<&State>,
    bounds: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<(Tensor, State), KernelError> {
    let mut made = [null_mut(); 3];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the three results.
    let code = unsafe {
        ffi::lf_attention(
            made.as_mut_ptr(),
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            ffi::optional(initial.map(|state| &state.s)),
            ffi::optional(initial.map(|state| &state.z)),
            bounds.tensor().as_ptr(),
            ffi::optional(bounds.starts()),
            ffi::optional(options.rotary.map(|rotary| &rotary.cos)),
            ffi::optional(options.rotary.map(|rotary| &rotary.sin)),
            ffi::optional(options.decay),
            options.eps,
        )
    };
    outcome("attention", code)?;
    let [out, s, z] = owned(made);
    Ok((out, State { s, z }))
}

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]` of any strides; the result is `[N, H, M]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bounds: &CuSeqlens,
    eps: f64,
) -> Result<Tensor, KernelError> {
    Ok(attention_with_state((q, k, v), None, bounds, &AttentionOptions::new(eps))?.0)
}

/// The product of one matrix, `qkv` `[N, 3 H D]`: rotated, attended; the result is `[N, H, D]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention_packed(
    qkv: &Tensor,
    heads: i64,
    bounds: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<Tensor, KernelError> {
    let made = packed(qkv, heads, None, false, bounds, options)?;
    let [out] = owned([made[0]]);
    Ok(out)
}

/// The same where sequences go on: `initial` is each one's state before its first token, zero where
/// absent, and the final states come back too. No gradient flows through states.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention_packed_with_state(
    qkv: &Tensor,
    heads: i64,
    initial: Option<&State>,
    bounds: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<(Tensor, State), KernelError> {
    let [out, s, z] = owned(packed(qkv, heads, initial, true, bounds, options)?);
    Ok((out, State { s, z }))
}

/// The result and, where `states`, the final states: new tensors that nobody owns yet.
fn packed(
    qkv: &Tensor,
    heads: i64,
    initial: Option<&State>,
    states: bool,
    bounds: &CuSeqlens,
    options: &AttentionOptions,
) -> Result<[*mut C_tensor; 3], KernelError> {
    let mut made = [null_mut(); 3];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the three results.
    let code = unsafe {
        ffi::lf_attention_packed(
            made.as_mut_ptr(),
            qkv.as_ptr(),
            heads,
            ffi::optional(initial.map(|state| &state.s)),
            ffi::optional(initial.map(|state| &state.z)),
            i32::from(states),
            bounds.tensor().as_ptr(),
            ffi::optional(bounds.starts()),
            ffi::optional(options.rotary.map(|rotary| &rotary.cos)),
            ffi::optional(options.rotary.map(|rotary| &rotary.sin)),
            ffi::optional(options.decay),
            options.eps,
        )
    };
    outcome("attention_packed", code)?;
    Ok(made)
}

/// One token of each of `B` sequences: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`; the states of `B`
/// sequences change in place. The result is `[B, H, M]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn step(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    state: &mut State,
    decay: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor, KernelError> {
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors; the states are borrowed mutably, and checked to be
    // contiguous floats.
    let code = unsafe {
        ffi::lf_step(
            made.as_mut_ptr(),
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            state.s.as_ptr(),
            state.z.as_ptr(),
            ffi::optional(decay),
            eps,
        )
    };
    outcome("step", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// A causal convolution of each channel that begins anew with each sequence: `x` `[N, channels]`,
/// `weight` `[channels, 1, taps]` as PyTorch's `Conv1d` keeps it, the last tap for the token
/// itself. The result is `[N, channels]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn convolve(x: &Tensor, weight: &Tensor, bounds: &CuSeqlens) -> Result<Tensor, KernelError> {
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors; `made` has room for the result.
    let code = unsafe {
        ffi::lf_convolve(made.as_mut_ptr(), x.as_ptr(), weight.as_ptr(), bounds.tensor().as_ptr())
    };
    outcome("convolve", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// Makes libtorch fill memory with NaN before an operator writes to it, in the whole process: for
/// tests.
pub fn fill_outputs_with_nan(on: bool) {
    // SAFETY: sets a flag of libtorch's.
    unsafe { ffi::lf_fill_outputs(i32::from(on)) }
}

/// Does at least `rounds` float multiply-adds with the instruction set in use, in registers, and
/// answers how many: with a clock, the most that this core can do.
#[must_use]
pub fn multiply_adds(rounds: i64) -> i64 {
    // SAFETY: touches no memory but its own.
    unsafe { ffi::lf_multiply_adds(rounds) }
}

/// Whether these kernels run on tensors of that device, with heads of that size.
#[must_use]
pub fn runs_on(device: tch::Device, head_dim: usize) -> bool {
    match device {
        tch::Device::Cpu => true,
        tch::Device::Cuda(_) => cfg!(feature = "cuda") && head_dim <= 128,
        _ => false,
    }
}

/// The instruction set in use: `avx512`, `avx2` or `baseline`.
#[must_use]
pub fn instruction_set() -> String {
    // SAFETY: the pointer is to a constant string.
    unsafe { CStr::from_ptr(ffi::lf_instruction_set()) }.to_string_lossy().into_owned()
}

/// Uses another instruction set (`best`, `avx512`, `avx2`, `baseline`) from here on, for
/// comparison. False where this machine lacks it. Not to be called while kernels run.
pub fn choose_instruction_set(name: &str) -> bool {
    // SAFETY: the string ends in 0 and outlives the call.
    CString::new(name)
        .is_ok_and(|name| unsafe { ffi::lf_choose_instruction_set(name.as_ptr()) } != 0)
}
