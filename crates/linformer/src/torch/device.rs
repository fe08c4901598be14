//! Names of devices, and libtorch's threads.

use tch::Device;

use crate::ModelError;

/// Sets the number of threads that libtorch uses inside one operation.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.max(1) as i32);
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
