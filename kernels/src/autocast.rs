//! Matrix products in bfloat16, everything else in 32 bits.

use std::marker::PhantomData;

use crate::KernelError;
use crate::ffi::{self, outcome};
use crate::layers::{self, PRODUCTS, Products};

/// Guard of products in bfloat16 on this thread. Until it is dropped, linear layers on a CPU with
/// AVX512_BF16 compute in it ([`layers::linear`]), and elsewhere those operators that libtorch's
/// autocast chooses. Weights, sums and losses stay in 32 bits.
#[derive(Debug)]
pub struct Bf16Autocast {
    /// Device of libtorch's autocast, as the C interface takes it; none if the kernels compute.
    cuda: Option<i32>,
    /// Makes the guard neither `Send` nor `Sync`, since the setting belongs to the thread.
    _thread: PhantomData<*const ()>,
}

impl Bf16Autocast {
    /// Enables bfloat16 for operators on `device`.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn enable(device: tch::Device) -> Result<Bf16Autocast, KernelError> {
        let has_kernels = !device.is_cuda() && layers::has_bf16();
        let cuda = (!has_kernels).then(|| i32::from(device.is_cuda()));
        if let Some(cuda) = cuda {
            // SAFETY: plain numbers.
            outcome("autocast", unsafe { ffi::lf_autocast_bf16(cuda, 1) })?;
        }
        PRODUCTS.set(if has_kernels { Products::Bf16 } else { Products::Autocast });
        Ok(Bf16Autocast { cuda, _thread: PhantomData })
    }
}

impl Drop for Bf16Autocast {
    fn drop(&mut self) {
        PRODUCTS.set(Products::Float);
        if let Some(cuda) = self.cuda {
            // SAFETY: plain numbers. Disabling what was enabled has no failure to report.
            unsafe { ffi::lf_autocast_bf16(cuda, 0) };
        }
    }
}
