//! A causal depthwise convolution over packed sequences, as before the attention of H3 (arXiv
//! 2212.14052).
//!
//! `x` is `[N, channels]` and `weight` `[channels, 1, taps]`, as PyTorch's `Conv1d` keeps it; the
//! last tap weighs the token itself. Each sequence starts from zeros.

use std::ptr::null_mut;

use tch::{Device, Tensor};

use crate::ffi::{self, outcome, owned};
use crate::{CuSeqlens, KernelError};

/// Returns whether [`causal_conv1d`] runs on tensors of `device`.
#[must_use]
pub fn is_supported(device: Device) -> bool {
    device == Device::Cpu || cfg!(feature = "cuda") && device.is_cuda()
}

/// Convolves each channel, `[N, channels]`, with the C++ or CUDA kernel. `x` is of the kind that
/// [`fused::input_kind`](crate::attention::fused::input_kind) names, on the CPU float; `weight` is
/// float.
///
/// # Errors
/// If shapes, kinds or devices do not fit.
pub fn causal_conv1d(
    x: &Tensor,
    weight: &Tensor,
    cu_seqlens: &CuSeqlens,
) -> Result<Tensor, KernelError> {
    let segments = cu_seqlens.segments_on(x.device())?;
    let mut made = [null_mut(); 1];
    // SAFETY: all pointers are to live tensors; `made` has room for the result.
    let code = unsafe {
        ffi::lf_convolve(
            made.as_mut_ptr(),
            x.as_ptr(),
            weight.as_ptr(),
            cu_seqlens.tensor().as_ptr(),
            ffi::optional(segments.as_ref()),
        )
    };
    outcome("convolve", code)?;
    let [out] = owned(made);
    Ok(out)
}

/// Like [`causal_conv1d`] in libtorch operations: any kind and device.
pub fn causal_conv1d_ref(x: &Tensor, weight: &Tensor, cu_seqlens: &CuSeqlens) -> Tensor {
    let (n, taps) = (x.size()[0], weight.size()[2]);
    let before = cu_seqlens.tokens_before().to_device(x.device());
    let tap = |j: i64| {
        let back = (taps - 1 - j).min(n);
        let shifted = x.narrow(0, 0, n - back).constant_pad_nd([0, 0, back, 0]);
        // A tap that reaches back beyond the start of the sequence sees a zero.
        let is_within = before.ge(taps - 1 - j).to_kind(x.kind()).unsqueeze(-1);
        shifted * is_within * weight.select(2, j).view([1, -1])
    };
    (1..taps).fold(tap(0), |sum, j| sum + tap(j))
}
