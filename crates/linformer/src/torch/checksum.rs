//! Checksum over a whole safetensors file, stored in the file itself: it shows any changed octet.
//!
//! The checksum is a CRC-32C in eight hexadecimal digits, the first value of the metadata, computed
//! with zeros in their place. It appears together with the file, and other readers of safetensors
//! see one more piece of metadata.
//!
//! Invariant: the digits of every file that this crate writes follow [`BEFORE`], directly after the
//! header's length. It holds while safetensors writes `__metadata__` first, with one entry
//! ([`METADATA_KEY`](crate::file::METADATA_KEY)), and serde writes `crc32c` first, as it is
//! declared. The tests `a_model_with_one_octet_changed_is_refused` and
//! `a_training_state_with_one_octet_changed_is_refused` (`tests/it/store.rs`) fail if it breaks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::ModelError;

/// Placeholder for the checksum.
pub(crate) const PLACEHOLDER: &str = "00000000";
/// Octets from the header's length, the first eight, up to the digits.
const BEFORE: &[u8] = br#"{"__metadata__":{"linformer":"{\"crc32c\":\""#;
/// Offset of the first digit in the file.
const DIGITS: usize = 8 + BEFORE.len();
/// Offset of the octet after the last digit.
const AFTER: usize = DIGITS + PLACEHOLDER.len();

/// Writes the checksum into a file that has the placeholder.
pub(crate) fn write(path: &Path) -> Result<(), ModelError> {
    let mut file =
        File::options().read(true).write(true).open(path).map_err(ModelError::io(path))?;
    let crc = compute(&mut file).map_err(ModelError::io(path))?;
    file.seek(SeekFrom::Start(DIGITS as u64)).map_err(ModelError::io(path))?;
    file.write_all(to_hex(crc).as_bytes()).map_err(ModelError::io(path))
}

/// Compares the octets of a file with their checksum. `is_promised`: the metadata names one.
///
/// # Errors
/// If they differ, or if the checksum is promised and not in its place.
pub(crate) fn check(path: &Path, octets: &[u8], is_promised: bool) -> Result<(), ModelError> {
    if octets.len() < AFTER || !octets[8..].starts_with(BEFORE) {
        if is_promised {
            return Err(ModelError::format(
                path,
                "checksum: expected one at the beginning, found none: it is damaged",
            ));
        }
        // A file of an earlier version, without a checksum.
        return Ok(());
    }
    let expected = String::from_utf8_lossy(&octets[DIGITS..AFTER]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&octets[..DIGITS]), PLACEHOLDER.as_bytes());
    let found = to_hex(crc32c::crc32c_append(crc, &octets[AFTER..]));
    if expected == found {
        return Ok(());
    }
    Err(ModelError::format(
        path,
        format!("checksum: expected {expected:?}, found {found:?}: it is damaged"),
    ))
}

fn to_hex(crc: u32) -> String {
    format!("{crc:08x}")
}

/// Computes the CRC-32C of a file from its current position to its end.
fn compute(file: &mut File) -> io::Result<u32> {
    let (mut crc, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc),
            n => crc = crc32c::crc32c_append(crc, &buffer[..n]),
        }
    }
}
