//! snoop: the capture format of Solaris (RFC 1761).

use std::io::Read;

use super::buffer::Buffer;
use super::{FrameRecord, MAX_PACKET, ReadError, TimestampResolution, cut_short, ensure};
use crate::LinkType;

/// Parser of snoop records.
pub(super) struct Snoop {
    link: LinkType,
}

/// Returns the big-endian 32-bit number at `at`.
fn word(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

/// Returns the link type of a snoop datalink number. An unknown number becomes a link type that no
/// parser reads.
fn link_of(data_link: u32) -> LinkType {
    match data_link {
        0 | 2 | 4 => LinkType::ETHERNET,
        8 => LinkType::FDDI,
        26 => LinkType::IPOIB_SNOOP,
        other => LinkType::of_snoop(other),
    }
}

impl Snoop {
    /// Reads the file header.
    pub(super) fn new<R: Read>(input: &mut Buffer<R>) -> Result<Self, ReadError> {
        let have = input.window().len();
        if have < 16 {
            return Err(cut_short(0, 1, 16, have));
        }
        let link = link_of(word(input.window(), 12));
        input.consume(16);
        Ok(Snoop { link })
    }

    /// Reads the next record; `false` at the end.
    pub(super) fn advance<R: Read>(
        &mut self,
        input: &mut Buffer<R>,
        number: u64,
        record: &mut FrameRecord,
    ) -> Result<bool, ReadError> {
        if !ensure(input, number, 24)? {
            return Ok(false);
        }
        let head = input.window();
        let [orig_len, caplen, record_len, seconds, micros] =
            [word(head, 0), word(head, 4), word(head, 8), word(head, 16), word(head, 20)];
        if caplen > MAX_PACKET
            || record_len < 24
            || record_len - 24 < caplen
            || record_len > 2 * MAX_PACKET
        {
            let what =
                format!("expected {caplen} octets in a record, found a record of {record_len}");
            return Err(ReadError::Damaged { offset: input.offset(), frame: number, what });
        }
        ensure(input, number, record_len as usize)?;
        input.consume(record_len as usize);
        *record = FrameRecord {
            interface: 0,
            time_ns: i64::from(seconds) * 1_000_000_000 + i64::from(micros) * 1000,
            resolution: if micros < 1_000_000 {
                TimestampResolution::Micros
            } else {
                TimestampResolution::Invalid
            },
            orig_len,
            link: self.link,
            before_window: (record_len - 24 - caplen) as usize,
            caplen: caplen as usize,
        };
        Ok(true)
    }
}
