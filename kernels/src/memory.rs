//! Memory that the C library keeps.

/// Gives memory that was freed back to the system. glibc keeps it, in holes between what is in use: with tensors of another
/// size at each step, as rows of flows have them, the holes grow for hours. Elsewhere than on glibc nothing is done.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            /// malloc.h: releases free memory from the top of the heap and whole free pages within it.
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: takes any number; what it releases is not in use.
        unsafe { malloc_trim(0) };
    }
}
