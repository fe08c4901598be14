//! AdamW as one fused step over all parameters (libtorch's own, which tch does not expose), and
//! clipping of gradients.

use tch::Tensor;

use crate::KernelError;
use crate::ffi::{self, outcome};

/// Constants of AdamW (Loshchilov and Hutter, arXiv 1711.05101), with PyTorch's names.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Decay of the running average of gradients.
    pub beta1: f64,
    /// Decay of the running average of squared gradients.
    pub beta2: f64,
    /// Added to the root of the average of squared gradients.
    pub eps: f64,
}

/// Input of one step: lists in the order of the parameters, all updated in place but `grads`.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep<'a> {
    /// Parameters, which are contiguous.
    pub params: &'a [Tensor],
    /// Gradient of each parameter, of any strides.
    pub grads: &'a [Tensor],
    /// Running average of each gradient, contiguous.
    pub exp_avg: &'a [Tensor],
    /// Running average of each squared gradient, contiguous.
    pub exp_avg_sq: &'a [Tensor],
    /// Number of the step, from 1.
    pub step: u64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl AdamW {
    /// Updates parameters and both averages in place.
    ///
    /// # Errors
    /// If libtorch refuses.
    ///
    /// # Panics
    /// If the lists differ in length.
    pub fn step(&self, input: AdamWStep) -> Result<(), KernelError> {
        let AdamWStep { params, grads, exp_avg, exp_avg_sq, step, lr, weight_decay } = input;
        let lengths = [grads.len(), exp_avg.len(), exp_avg_sq.len()];
        assert!(
            lengths.iter().all(|&n| n == params.len()),
            "a gradient and two averages for each parameter"
        );
        let lists = [params, grads, exp_avg, exp_avg_sq].map(ffi::pointers);
        // SAFETY: each list has `params.len()` pointers to live tensors.
        let code = unsafe {
            ffi::lf_adamw(
                lists[0].as_ptr(),
                lists[1].as_ptr(),
                lists[2].as_ptr(),
                lists[3].as_ptr(),
                params.len() as i64,
                step as f64,
                lr,
                self.beta1,
                self.beta2,
                weight_decay,
                self.eps,
            )
        };
        outcome("adamw", code)
    }
}

/// Scales gradients in place so that their total norm is at most `max_norm`, and returns the norm
/// before scaling.
///
/// # Errors
/// If libtorch refuses.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<f64, KernelError> {
    let list = ffi::pointers(grads);
    let mut norm = 0.0;
    // SAFETY: the list has `list.len()` pointers to live tensors; `norm` outlives the call.
    let code = unsafe {
        ffi::lf_clip_grad_norm(list.as_ptr(), list.len() as i64, max_norm, &raw mut norm)
    };
    outcome("clip_grad_norm", code)?;
    Ok(norm)
}
