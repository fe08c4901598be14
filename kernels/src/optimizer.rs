//! AdamW as one fused step over all parameters (libtorch's own, which tch does not reach).

use tch::Tensor;

use crate::KernelError;
use crate::ffi::{self, outcome};

/// AdamW's constants (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl AdamW {
    /// One step in place: parameters, their gradients, first and second moments, in the same order.
    /// `step` counts from 1.
    ///
    /// # Errors
    /// Where libtorch refuses.
    ///
    /// # Panics
    /// Where the lists differ in length.
    pub fn step(
        &self,
        params: &[Tensor],
        grads: &[Tensor],
        moments: (&[Tensor], &[Tensor]),
        step: u64,
        (lr, weight_decay): (f64, f64),
    ) -> Result<(), KernelError> {
        let lengths = [grads.len(), moments.0.len(), moments.1.len()];
        assert!(
            lengths.iter().all(|&n| n == params.len()),
            "a gradient and two moments for each parameter"
        );
        let lists = [params, grads, moments.0, moments.1].map(ffi::pointers);
        // SAFETY: each list has as many pointers to live tensors as is said.
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

/// Scales gradients in place so that their common norm is at most `limit`; answers the norm before.
///
/// # Errors
/// Where libtorch refuses.
pub fn clip_grad_norm(grads: &[Tensor], limit: f64) -> Result<f64, KernelError> {
    let list = ffi::pointers(grads);
    let mut norm = 0.0;
    // SAFETY: the list has as many pointers to live tensors as is said; `norm` outlives the call.
    let code =
        unsafe { ffi::lf_clip_grad_norm(list.as_ptr(), list.len() as i64, limit, &raw mut norm) };
    outcome("clip_grad_norm", code)?;
    Ok(norm)
}
