//! C++ for the CPU, forward and backward in one pass each: nothing of size tokens x state is kept.
//!
//! Kernels for AVX-512, AVX2 and any machine are built; the best one is chosen at run time. The same input gives the
//! same bits whatever the number of threads.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use tch::Tensor;

use crate::ffi::{self, outcome, owned};
use crate::{Bounds, KernelError, Rotary};

/// States of `S` sequences: `s` `[S, H, D, M]` and `z` `[S, H, D]`.
#[derive(Debug)]
pub struct State {
    /// Sum of `phi(k) v^T`.
    pub s: Tensor,
    /// Sum of `phi(k)`.
    pub z: Tensor,
}

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]` of any strides; the result is `[N, H, M]` and each sequence's final state.
/// `initial` is each sequence's state before its first token: zero where absent. Gradients flow through all.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention_with_state(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    initial: Option<&State>,
    bounds: &Bounds,
    rotary: Option<&Rotary>,
    eps: f64,
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
            ffi::optional(rotary.map(|rotary| &rotary.cos)),
            ffi::optional(rotary.map(|rotary| &rotary.sin)),
            eps,
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
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bounds: &Bounds, eps: f64) -> Result<Tensor, KernelError> {
    Ok(attention_with_state((q, k, v), None, bounds, None, eps)?.0)
}

/// The product of one matrix, `qkv` `[N, 3 H D]`: rotated, attended; the result is `[N, H, D]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn attention_packed(
    qkv: &Tensor,
    heads: i64,
    bounds: &Bounds,
    rotary: Option<&Rotary>,
    eps: f64,
) -> Result<Tensor, KernelError> {
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the result.
    let code = unsafe {
        ffi::lf_attention_packed(
            made.as_mut_ptr(),
            qkv.as_ptr(),
            heads,
            bounds.tensor().as_ptr(),
            ffi::optional(rotary.map(|rotary| &rotary.cos)),
            ffi::optional(rotary.map(|rotary| &rotary.sin)),
            eps,
        )
    };
    outcome("attention_packed", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// One token of each of `B` sequences: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`; the states of `B` sequences change in
/// place. The result is `[B, H, M]`.
///
/// # Errors
/// Where shapes, kinds or devices do not fit.
pub fn step(q: &Tensor, k: &Tensor, v: &Tensor, state: &mut State, eps: f64) -> Result<Tensor, KernelError> {
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors; the states are borrowed mutably, and checked to be contiguous floats.
    let code = unsafe {
        ffi::lf_step(made.as_mut_ptr(), q.as_ptr(), k.as_ptr(), v.as_ptr(), state.s.as_ptr(), state.z.as_ptr(), eps)
    };
    outcome("step", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// The instruction set in use: `avx512`, `avx2` or `baseline`.
#[must_use]
pub fn instruction_set() -> String {
    // SAFETY: the pointer is to a constant string.
    unsafe { CStr::from_ptr(ffi::lf_instruction_set()) }.to_string_lossy().into_owned()
}

/// Uses another instruction set (`best`, `avx512`, `avx2`, `baseline`) from here on, for comparison. False where
/// this machine lacks it. Not to be called while kernels run.
pub fn choose_instruction_set(name: &str) -> bool {
    // SAFETY: the string ends in 0 and outlives the call.
    CString::new(name).is_ok_and(|name| unsafe { ffi::lf_choose_instruction_set(name.as_ptr()) } != 0)
}
