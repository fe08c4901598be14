//! The instruction set of the CPU kernels: the best one of this machine, unless another is chosen.

use std::ffi::{CStr, CString};

use crate::ffi;

/// Returns the instruction set in use: `avx512`, `avx2` or `baseline`.
#[must_use]
pub fn instruction_set() -> String {
    // SAFETY: the pointer is to a constant string.
    unsafe { CStr::from_ptr(ffi::lf_instruction_set()) }.to_string_lossy().into_owned()
}

/// Chooses the instruction set from here on (`best`, `avx512`, `avx2` or `baseline`), for
/// comparison. Returns false if this machine lacks it. Not to be called while kernels run.
pub fn choose_instruction_set(name: &str) -> bool {
    // SAFETY: the string ends in 0 and outlives the call.
    CString::new(name)
        .is_ok_and(|name| unsafe { ffi::lf_choose_instruction_set(name.as_ptr()) } != 0)
}
