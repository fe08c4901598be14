//! Errors of flatbuffer metadata.

use arrow_format::ipc as fb;

use crate::ErrorKind;

pub(super) type Result<T> = std::result::Result<T, ErrorKind>;

/// Converts an error of the flatbuffer reader. Its text names Rust types of arrow-format, which
/// tell the owner of the file nothing.
pub(super) fn flatbuffer_error(_: fb::planus::Error) -> ErrorKind {
    let expected = "offsets, lengths and kinds that fit together";
    ErrorKind::format("metadata", expected, "one that does not")
}
