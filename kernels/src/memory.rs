//! What tensors on the CPU take: they have a heap of their own, `csrc/allocator.cpp`.

use crate::ffi::lf_tensor_memory;

/// Octets in tensors on the CPU, in this process, as the heap hands them out: up to an eighth more
/// than was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TensorMemory {
    /// At present.
    pub now: u64,
    /// At most, since the program started.
    pub peak: u64,
}

impl TensorMemory {
    /// The counts as they are.
    #[must_use]
    pub fn read() -> TensorMemory {
        let (mut now, mut peak) = (0, 0);
        // SAFETY: writes two numbers, to places that are there.
        unsafe { lf_tensor_memory(&mut now, &mut peak) };
        TensorMemory { now: now.max(0) as u64, peak: peak.max(0) as u64 }
    }
}
