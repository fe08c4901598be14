//! A checksum over all of a safetensors file, which stands in the file itself: one octet changed
//! anywhere is found.
//!
//! It is a CRC-32C in eight hexadecimal digits at the beginning of the metadata, computed with
//! zeros in their place. The file and its checksum appear together, and other readers of
//! safetensors see a piece of metadata.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::ModelError;

/// What stands there before it is computed, and while it is.
pub(crate) const NONE_YET: &str = "00000000";
/// What a file begins with, after the eight octets of the header's length, up to the digits.
const BEFORE: &[u8] = br#"{"__metadata__":{"linformer":"{\"crc32c\":\""#;
/// Where the digits stand.
const AT: usize = 8 + BEFORE.len();
/// Where what follows them begins.
const AFTER: usize = AT + NONE_YET.len();

/// Puts the checksum into a file that was written with zeros in its place.
pub(crate) fn put(path: &Path) -> Result<(), ModelError> {
    let mut file =
        File::options().read(true).write(true).open(path).map_err(ModelError::io(path))?;
    let crc = of_file(&mut file).map_err(ModelError::io(path))?;
    file.seek(SeekFrom::Start(AT as u64)).map_err(ModelError::io(path))?;
    file.write_all(text(crc).as_bytes()).map_err(ModelError::io(path))
}

/// Holds a file's octets against their checksum. `is_promised`: the metadata names one.
pub(crate) fn check(path: &Path, octets: &[u8], is_promised: bool) -> Result<(), ModelError> {
    if octets.len() < AFTER || !octets[8..].starts_with(BEFORE) {
        return match is_promised {
            true => Err(ModelError::format(
                path,
                "checksum: expected one at the beginning, found none: it is damaged",
            )),
            // As programs wrote it that knew of none.
            false => Ok(()),
        };
    }
    let expected = String::from_utf8_lossy(&octets[AT..AFTER]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&octets[..AT]), NONE_YET.as_bytes());
    let found = text(crc32c::crc32c_append(crc, &octets[AFTER..]));
    if expected == found {
        return Ok(());
    }
    Err(ModelError::format(
        path,
        format!("checksum: expected {expected:?}, found {found:?}: it is damaged"),
    ))
}

fn text(crc: u32) -> String {
    format!("{crc:08x}")
}

fn of_file(file: &mut File) -> io::Result<u32> {
    let (mut crc, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(crc),
            n => crc = crc32c::crc32c_append(crc, &piece[..n]),
        }
    }
}
