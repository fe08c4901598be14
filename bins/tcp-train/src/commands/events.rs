//! Event files for TensorBoard: TFRecord files of `Event` protocol buffers.
//!
//! A record is the length of its data, the checksum of the length, the data and the checksum of the
//! data. The messages `Event`, `Summary` and `SessionLog` are those of TensorFlow's `event.proto`
//! and `summary.proto`; field numbers are taken from there.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writer of one event file. Times are seconds since 1970.
#[derive(Debug)]
pub(crate) struct EventWriter {
    file: BufWriter<File>,
}

impl EventWriter {
    /// Creates an event file for a run that has made `steps` steps. TensorBoard discards the later
    /// steps of earlier event files.
    pub(crate) fn create(path: &Path, time: f64, steps: u64) -> io::Result<EventWriter> {
        let mut events = EventWriter { file: BufWriter::new(File::create_new(path)?) };
        // Event.file_version
        events.record(&[wall_time(time), length_delimited(3, b"brain.Event:2")].concat())?;
        if steps > 0 {
            // Event.step, Event.session_log with SessionLog.status START
            let started = length_delimited(7, &[tag(1, VARINT), varint(1)].concat());
            events
                .record(&[wall_time(time), tag(2, VARINT), varint(steps + 1), started].concat())?;
        }
        events.flush()?;
        Ok(events)
    }

    /// Writes the tagged values of one step.
    pub(crate) fn scalars(
        &mut self,
        time: f64,
        step: u64,
        values: &[(String, f64)],
    ) -> io::Result<()> {
        let value = |(name, value): &(String, f64)| {
            // Summary.value: tag, simple_value
            let number = [tag(2, FIXED32), (*value as f32).to_le_bytes().to_vec()].concat();
            length_delimited(1, &[length_delimited(1, name.as_bytes()), number].concat())
        };
        let summary: Vec<u8> = values.iter().flat_map(value).collect();
        // Event.step, Event.summary
        let summary = length_delimited(5, &summary);
        self.record(&[wall_time(time), tag(2, VARINT), varint(step), summary].concat())
    }

    /// Hands all buffered records to the operating system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Writes a record around its data.
    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked_crc(crc32c::crc32c(&length)).to_le_bytes())?;
        self.file.write_all(data)?;
        self.file.write_all(&masked_crc(crc32c::crc32c(data)).to_le_bytes())
    }
}

/// Masks a CRC-32C as TFRecord does, for data that may itself hold checksums.
fn masked_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Encodes the field `Event.wall_time`, a double.
fn wall_time(time: f64) -> Vec<u8> {
    [tag(1, FIXED64), time.to_le_bytes().to_vec()].concat()
}

/// Encodes a field that is a string or a message: tag, length, octets.
fn length_delimited(field: u64, octets: &[u8]) -> Vec<u8> {
    [tag(field, LENGTH_DELIMITED), varint(octets.len() as u64), octets.to_vec()].concat()
}

/// Wire types of protocol buffers, the lower three bits of a tag.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// Encodes the tag of a field: its number and its wire type.
fn tag(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

/// Encodes a number in groups of seven bits, the lowest first, with a high bit on all but the last.
fn varint(mut n: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    while n >= 0x80 {
        octets.push(n as u8 | 0x80);
        n >>= 7;
    }
    octets.push(n as u8);
    octets
}

#[cfg(test)]
mod tests {
    use super::{EventWriter, masked_crc, varint};

    #[test]
    fn a_file_begins_as_tensorboards_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        EventWriter::create(&path, 1.0, 0).unwrap();
        let octets = std::fs::read(&path).unwrap();
        assert_eq!(octets[..8], 24_u64.to_le_bytes());
        // The masked CRC-32C of that length, as TensorFlow writes it.
        assert_eq!(octets[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(octets.len(), 12 + 24 + 4);
        assert_eq!(octets[12..21], [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(&octets[21..36], b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn a_later_file_says_from_which_step_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        EventWriter::create(&path, 1.0, 7).unwrap();
        // step 8, session_log { status: START }
        assert!(
            std::fs::read(&path).unwrap()[40..]
                .windows(6)
                .any(|some| some == [0x10, 8, 0x3a, 2, 8, 1])
        );
    }

    #[test]
    fn numbers_and_checksums() {
        assert_eq!((varint(1), varint(300)), (vec![1], vec![0xac, 2]));
        assert_eq!(
            masked_crc(0x8a91_36aa),
            0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
