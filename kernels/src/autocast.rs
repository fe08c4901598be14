//! libtorch's autocast: matrix products in bfloat16, everything else in 32 bits.

use std::marker::PhantomData;

use crate::KernelError;
use crate::ffi::{self, outcome};

/// Guard of bfloat16 autocast on this thread. Until it is dropped, the operators that gain from
/// bfloat16 compute in it; weights, sums and losses stay in 32 bits.
#[derive(Debug)]
pub struct Bf16Autocast {
    cuda: i32,
    /// Makes the guard neither `Send` nor `Sync`, since the setting belongs to the thread.
    _thread: PhantomData<*const ()>,
}

impl Bf16Autocast {
    /// Enables autocast for operators on `device`.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn enable(device: tch::Device) -> Result<Bf16Autocast, KernelError> {
        let cuda = i32::from(device.is_cuda());
        // SAFETY: plain numbers.
        outcome("autocast", unsafe { ffi::lf_autocast_bf16(cuda, 1) })?;
        Ok(Bf16Autocast { cuda, _thread: PhantomData })
    }
}

impl Drop for Bf16Autocast {
    fn drop(&mut self) {
        // SAFETY: plain numbers. Disabling what was enabled has no failure to report.
        unsafe { ffi::lf_autocast_bf16(self.cuda, 0) };
    }
}
