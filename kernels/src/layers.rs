//! Layers of a model with their gradients: linear layers, SwiGLU and the cross entropy. The kernels
//! are for floats on the CPU; libtorch computes everything else. A result has the same bits for any
//! number of threads where the kernels compute it.

use std::cell::Cell;
use std::ptr::null_mut;

use tch::{Device, Kind, Reduction, Tensor};

use crate::KernelError;
use crate::ffi::{self, outcome, owned};

/// Products of linear layers on a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Products {
    /// Products of floats, in 32 bits.
    Float,
    /// Products of floats rounded to bfloat16, by the kernels.
    Bf16,
    /// Products by libtorch, whose autocast chooses the kind.
    Autocast,
}

thread_local! {
    /// Products of this thread, which [`Bf16Autocast`](crate::Bf16Autocast) changes.
    pub(crate) static PRODUCTS: Cell<Products> = const { Cell::new(Products::Float) };
}

/// Returns whether the kernels have products in bfloat16 on this processor.
#[must_use]
pub fn has_bf16() -> bool {
    // SAFETY: plain numbers.
    unsafe { ffi::lf_has_products(1) != 0 }
}

/// Returns who computes products on `device`, in bfloat16 or in float: the instruction set of the
/// kernels, or libtorch.
#[must_use]
pub fn engine(device: Device, bf16: bool) -> &'static str {
    // SAFETY: plain numbers.
    let has_kernel = device == Device::Cpu && unsafe { ffi::lf_has_products(bf16.into()) != 0 };
    match (has_kernel, bf16) {
        (true, true) => "AVX512_BF16",
        (true, false) => "AVX-512",
        (false, _) => "libtorch",
    }
}

/// Computes `x w^T + bias + residual` of `x`, `[.., inputs]`, and `w`, `[outputs, inputs]`.
///
/// # Errors
/// If shapes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let products = PRODUCTS.get();
    let has_kernel = match products {
        // SAFETY: plain numbers.
        Products::Float => unsafe { ffi::lf_has_products(0) != 0 },
        Products::Bf16 => true,
        Products::Autocast => false,
    };
    if !(has_kernel && is_float_rows(x)) {
        let y = x.linear(weight, bias);
        return Ok(residual.map_or_else(|| y.shallow_clone(), |residual| residual + &y));
    }
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors or null; `made` has room for the result.
    let code = unsafe {
        ffi::lf_linear(
            made.as_mut_ptr(),
            x.as_ptr(),
            weight.as_ptr(),
            ffi::optional(bias),
            ffi::optional(residual),
            i32::from(products == Products::Bf16),
        )
    };
    outcome("linear", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// Computes SwiGLU: `silu` of the first half of each row of `up`, `[.., 2 F]`, times the second.
///
/// # Errors
/// If `F` is no multiple of 16.
pub fn swiglu(up: &Tensor) -> Result<Tensor, KernelError> {
    if !is_float_rows(up) {
        let halves = up.chunk(2, -1);
        return Ok(halves[0].silu() * &halves[1]);
    }
    let mut made = [null_mut(); 1];
    // SAFETY: the pointer is to a live tensor; `made` has room for the result.
    outcome("swiglu", unsafe { ffi::lf_swiglu(made.as_mut_ptr(), up.as_ptr()) })?;
    let [out] = owned(made);
    Ok(out)
}

/// Computes the cross entropy of `scores`, `[N, V]`, for the ids `targets`, `[N]`: `[N]`, in nats.
///
/// # Errors
/// If a target is no id, or shapes do not fit.
pub fn cross_entropy(scores: &Tensor, targets: &Tensor) -> Result<Tensor, KernelError> {
    if !is_float_rows(scores) {
        // -100 is PyTorch's default for targets to ignore, of which there are none.
        let float = scores.to_kind(Kind::Float);
        return Ok(float.cross_entropy_loss::<Tensor>(targets, None, Reduction::None, -100, 0.0));
    }
    let mut made = [null_mut(); 1];
    // SAFETY: the pointers are to live tensors; `made` has room for the result.
    let code =
        unsafe { ffi::lf_cross_entropy(made.as_mut_ptr(), scores.as_ptr(), targets.as_ptr()) };
    outcome("cross_entropy", code)?;
    let [out] = owned(made);
    Ok(out)
}

fn is_float_rows(x: &Tensor) -> bool {
    x.device() == Device::Cpu && x.kind() == Kind::Float && x.dim() == 2
}
