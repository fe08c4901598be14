//! Arrays of numpy.

use pyo3::prelude::*;
use pyo3::types::PyByteArray;

/// Number that an array may hold.
pub(crate) trait Element: Copy {
    /// Name of its numpy type.
    const DTYPE: &'static str;
    /// Writes the number into octets of its size, in the order of this machine.
    fn write(self, to: &mut [u8]);
}

macro_rules! elements {
    ($($kind:ty: $name:literal),*) => {$(
        impl Element for $kind {
            const DTYPE: &'static str = $name;
            fn write(self, to: &mut [u8]) {
                to.copy_from_slice(&self.to_ne_bytes());
            }
        }
    )*};
}

elements!(u8: "bool", u16: "uint16", u32: "uint32", i32: "int32", i64: "int64");

/// Creates a numpy array of `len` numbers, which owns its memory and may be written.
pub(crate) fn array<'py, T: Element>(
    py: Python<'py>,
    len: usize,
    values: impl Iterator<Item = T>,
) -> PyResult<Bound<'py, PyAny>> {
    let octets = PyByteArray::new_with(py, len * size_of::<T>(), |octets| {
        for (to, value) in octets.chunks_exact_mut(size_of::<T>()).zip(values) {
            value.write(to);
        }
        Ok(())
    })?;
    py.import("numpy")?.call_method1("frombuffer", (octets, T::DTYPE))
}
