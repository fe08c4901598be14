//! Event files for TensorBoard: records of a length, a checksum, a protocol buffer and a checksum.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// An event file. Times are seconds since 1970.
#[derive(Debug)]
pub(crate) struct Events {
    file: BufWriter<File>,
}

impl Events {
    /// Begins a file for what comes after so many steps: what an earlier file says of later ones
    /// counts no more.
    pub(crate) fn create(path: &Path, time: f64, steps: u64) -> io::Result<Events> {
        let mut events = Events { file: BufWriter::new(File::create_new(path)?) };
        // Event.file_version
        events.record(&[wall_time(time), octets(3, b"brain.Event:2")].concat())?;
        if steps > 0 {
            // Event.step, Event.session_log with SessionLog.status START
            let started = octets(7, &[key(1, 0), varint(1)].concat());
            events.record(&[wall_time(time), key(2, 0), varint(steps + 1), started].concat())?;
        }
        events.flush()?;
        Ok(events)
    }

    /// Writes values of one step.
    pub(crate) fn scalars(
        &mut self,
        time: f64,
        step: u64,
        values: &[(String, f64)],
    ) -> io::Result<()> {
        let value = |(tag, value): &(String, f64)| {
            // Summary.value: tag, simple_value
            octets(
                1,
                &[
                    octets(1, tag.as_bytes()),
                    [key(2, 5), (*value as f32).to_le_bytes().to_vec()].concat(),
                ]
                .concat(),
            )
        };
        let summary: Vec<u8> = values.iter().flat_map(value).collect();
        // Event.step, Event.summary
        self.record(&[wall_time(time), key(2, 0), varint(step), octets(5, &summary)].concat())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked(crc32c::crc32c(&length)).to_le_bytes())?;
        self.file.write_all(data)?;
        self.file.write_all(&masked(crc32c::crc32c(data)).to_le_bytes())
    }
}

/// Checksums of data that may itself hold checksums.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn wall_time(time: f64) -> Vec<u8> {
    [key(1, 1), time.to_le_bytes().to_vec()].concat()
}

fn octets(field: u64, octets: &[u8]) -> Vec<u8> {
    [key(field, 2), varint(octets.len() as u64), octets.to_vec()].concat()
}

/// What stands before a field: its number and how it is coded.
fn key(field: u64, coding: u64) -> Vec<u8> {
    varint(field << 3 | coding)
}

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
    use super::{Events, masked, varint};

    #[test]
    fn a_file_begins_as_tensorboards_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        Events::create(&path, 1.0, 0).unwrap();
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
        Events::create(&path, 1.0, 7).unwrap();
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
        assert_eq!(masked(0x8a91_36aa), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
