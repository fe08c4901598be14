//! One message of an Arrow IPC stream or file, before it is decoded.

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;

use super::error::{Result, flatbuffer_error};
use crate::ErrorKind;

/// First four octets of every message.
pub(crate) const CONTINUATION: [u8; 4] = [0xff; 4];
/// Maximum size of a message's metadata in octets. It holds a schema or the lengths of buffers,
/// which take far less.
const MAX_METADATA: usize = 64 << 20;

/// One message: flatbuffer metadata, then a body of buffers.
pub(super) struct Message {
    /// Offset of the message in the input.
    pub(super) start: u64,
    pub(super) metadata: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// Checks the length of a message's metadata.
pub(super) fn metadata_length(length: i32, place: &str) -> Result<usize> {
    usize::try_from(length).ok().filter(|l| *l <= MAX_METADATA).ok_or_else(|| {
        let expected = format!("a length of at most {MAX_METADATA}");
        ErrorKind::format(place, expected, length.to_string())
    })
}

/// Reads the length of a message's body from its metadata.
pub(super) fn body_length(metadata: &[u8], place: &str) -> Result<u64> {
    let length = fb::MessageRef::read_as_root(metadata)
        .and_then(|m| m.body_length())
        .map_err(flatbuffer_error)?;
    u64::try_from(length)
        .map_err(|_| ErrorKind::format(place, "a body of 0 octets or more", length.to_string()))
}
