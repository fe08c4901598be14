//! Hooks for this package's tests and benches; no part of the interface.

use crate::ffi;

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
