//! Names of devices, libtorch's threads, and the precision of a thread's products.

use linformer_kernels::Bf16Autocast;
use tch::Device;

use crate::{ModelError, Precision};

/// Sets the number of threads that libtorch uses inside one operation.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.max(1) as i32);
}

impl Precision {
    /// Computes matrix products of this thread in the precision until the guard is dropped, if
    /// there is one.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn enable(self, device: Device) -> Result<Option<Bf16Autocast>, ModelError> {
        match self {
            Precision::F32 => Ok(None),
            Precision::Bf16 => Ok(Some(Bf16Autocast::enable(device)?)),
        }
    }
}

/// Returns the device called `cpu`, `cuda` or, with a number, `cuda:1`.
///
/// # Errors
/// If this machine has no such device.
pub fn device(name: &str) -> Result<Device, ModelError> {
    let unknown =
        || ModelError::Device { name: name.to_owned(), found: tch::Cuda::device_count().max(0) };
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", number)) => number.parse().map_err(|_| unknown())?,
        _ => return Err(unknown()),
    };
    if (number as i64) < tch::Cuda::device_count() {
        Ok(Device::Cuda(number))
    } else {
        Err(unknown())
    }
}
