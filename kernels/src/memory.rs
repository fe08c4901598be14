//! Memory of CPU tensors, which have a heap of their own (`csrc/allocator.cpp`).

use crate::ffi::lf_tensor_memory;

/// Octets allocated to CPU tensors of this process. The heap rounds sizes up, by an eighth at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TensorMemory {
    /// Octets allocated at present.
    pub now: u64,
    /// Largest number of octets allocated at once since the program started.
    pub peak: u64,
}

impl TensorMemory {
    /// Reads both counters of the heap.
    #[must_use]
    pub fn read() -> TensorMemory {
        let (mut now, mut peak) = (0, 0);
        // SAFETY: writes one number through each pointer, both valid.
        unsafe { lf_tensor_memory(&mut now, &mut peak) };
        TensorMemory { now: now.max(0) as u64, peak: peak.max(0) as u64 }
    }
}
