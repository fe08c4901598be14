//! snoop (RFC 1761): Solaris's own capture format.

use std::io::Read;

use super::buffer::Buffer;
use super::{MAX_PACKET, ReadError, Record, TimestampResolution, cut_short, need};
use crate::LinkType;

pub(super) struct Snoop {
    link: LinkType,
}

fn word(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

/// Link type from snoop's own numbers; those not known here get a number that nothing reads.
fn link_of(data_link: u32) -> LinkType {
    match data_link {
        0 | 2 | 4 => LinkType::ETHERNET,
        8 => LinkType::FDDI,
        26 => LinkType::IPOIB_SNOOP,
        other => LinkType(0xfffe_0000 | other & 0xffff),
    }
}

impl Snoop {
    pub(super) fn new<R: Read>(input: &mut Buffer<R>) -> Result<Self, ReadError> {
        let have = input.window().len();
        if have < 16 {
            return Err(cut_short(0, 1, 16, have));
        }
        let link = link_of(word(input.window(), 12));
        input.consume(16);
        Ok(Snoop { link })
    }

    pub(super) fn advance<R: Read>(
        &mut self,
        input: &mut Buffer<R>,
        number: u64,
        record: &mut Record,
    ) -> Result<bool, ReadError> {
        if !need(input, number, 24)? {
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
        need(input, number, record_len as usize)?;
        input.consume(record_len as usize);
        *record = Record {
            time_ns: i64::from(seconds) * 1_000_000_000 + i64::from(micros) * 1000,
            resolution: TimestampResolution::Micros,
            orig_len,
            link: self.link,
            before_window: (record_len - 24 - caplen) as usize,
            caplen: caplen as usize,
        };
        Ok(true)
    }
}
