//! Hooks for this package's tests and benches; no part of the interface.

use crate::KernelError;
use crate::ffi::{self, outcome};

/// Clock of the GPU's current stream, by CUDA events.
#[derive(Debug)]
pub struct GpuTimer(*mut ffi::CGpuTimer);

impl GpuTimer {
    /// Starts when the work that is queued now is done.
    ///
    /// # Errors
    /// If there is no GPU, or this was built without the feature `cuda`.
    pub fn start() -> Result<GpuTimer, KernelError> {
        let mut made = std::ptr::null_mut();
        // SAFETY: `made` has room for the one pointer.
        outcome("timer", unsafe { ffi::lf_gpu_timer_start(&raw mut made) })?;
        Ok(GpuTimer(made))
    }

    /// Waits for all that was queued since the start, and returns how long it took, in
    /// microseconds.
    ///
    /// # Errors
    /// If the GPU reports one.
    pub fn stop(self) -> Result<f64, KernelError> {
        let mut microseconds = 0.0;
        // SAFETY: the timer is live until it is dropped.
        outcome("timer", unsafe { ffi::lf_gpu_timer_stop(self.0, &raw mut microseconds) })?;
        Ok(microseconds)
    }
}

impl Drop for GpuTimer {
    fn drop(&mut self) {
        // SAFETY: nobody else owns the timer.
        unsafe { ffi::lf_gpu_timer_free(self.0) }
    }
}

/// Makes libtorch fill memory with NaN before an operator writes to it, in the whole process.
pub fn fill_outputs_with_nan(on: bool) {
    // SAFETY: sets two flags of libtorch's.
    unsafe { ffi::lf_fill_outputs(i32::from(on)) }
}

/// Does at least `rounds` float multiply-adds in registers with the instruction set in use, and
/// returns how many. Timed, they give the peak rate of one core.
#[must_use]
pub fn multiply_adds(rounds: i64) -> i64 {
    // SAFETY: touches no memory but its own.
    unsafe { ffi::lf_multiply_adds(rounds) }
}

pub use crate::ffi::CDecodeApi;
