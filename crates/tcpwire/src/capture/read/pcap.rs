//! pcap: a file header, then records.

use std::io::Read;

use pcap_parser::pcap::parse_pcap_header;

use super::buffer::Buffer;
use super::{MAX_PACKET, ReadError, Record, TimestampResolution, cut_short, need};
use crate::LinkType;

const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
const MAGIC_NANO: u32 = 0xa1b2_3c4d;
/// Kuznetsov's variant: eight more octets in each record header.
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(super) struct Pcap {
    big_endian: bool,
    record_header: usize,
    swap_lengths: Swap,
    nanos_per_tick: i64,
    resolution: TimestampResolution,
    link: LinkType,
}

/// Before version 2.3 the two lengths of a record stood the other way round; in 2.3 it depends on
/// the writer.
enum Swap {
    Never,
    WhereLarger,
    Always,
}

fn magic_of(head: &[u8]) -> Option<(u32, bool)> {
    let octets: [u8; 4] = head.get(..4)?.try_into().ok()?;
    let known = |m: u32| matches!(m, MAGIC_MICRO | MAGIC_NANO | MAGIC_MODIFIED);
    let (little, big) = (u32::from_le_bytes(octets), u32::from_be_bytes(octets));
    if known(little) {
        Some((little, false))
    } else if known(big) && big != MAGIC_MODIFIED {
        Some((big, true))
    } else {
        None
    }
}

pub(super) fn is_magic(head: &[u8]) -> bool {
    magic_of(head).is_some()
}

impl Pcap {
    pub(super) fn new<R: Read>(input: &mut Buffer<R>) -> Result<Self, ReadError> {
        let have = input.window().len();
        let Some((magic, big_endian)) = magic_of(input.window()) else {
            return Err(ReadError::NotACapture { found: super::hex(input.window()) });
        };
        if have < 24 {
            return Err(cut_short(0, 1, 24, have));
        }
        let Ok((_, header)) = parse_pcap_header(input.window()) else {
            return Err(ReadError::NotACapture { found: super::hex(input.window()) });
        };
        input.consume(24);
        let nano = magic == MAGIC_NANO;
        Ok(Pcap {
            big_endian,
            record_header: if magic == MAGIC_MODIFIED { 24 } else { 16 },
            swap_lengths: match (header.version_major, header.version_minor) {
                (2, 0..=2) => Swap::Always,
                (2, 3) => Swap::WhereLarger,
                _ => Swap::Never,
            },
            nanos_per_tick: if nano { 1 } else { 1000 },
            resolution: if nano { TimestampResolution::Nanos } else { TimestampResolution::Micros },
            // The upper bits may say how long the frame check sequence is.
            link: LinkType(header.network.0 as u32 & 0xffff),
        })
    }

    #[inline]
    pub(super) fn advance<R: Read>(
        &mut self,
        input: &mut Buffer<R>,
        number: u64,
        record: &mut Record,
    ) -> Result<bool, ReadError> {
        let head: [u8; 16] = match input.window().first_chunk() {
            Some(head) if self.record_header == 16 => *head,
            _ => match self.header_at_an_edge(input, number)? {
                Some(head) => head,
                None => return Ok(false),
            },
        };
        let word = |at: usize| {
            let octets = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if self.big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
        };
        let (seconds, ticks) = (word(0), word(4));
        let (caplen, orig_len) = self.lengths(word(8), word(12));
        if caplen > MAX_PACKET {
            return Err(too_long(input.offset(), number, caplen));
        }
        let whole = self.record_header + caplen as usize;
        if input.window().len() < whole {
            need(input, number, whole)?;
        }
        input.consume(whole);
        let fraction_ns = i64::from(ticks) * self.nanos_per_tick;
        *record = Record {
            time_ns: i64::from(seconds) * NANOS_PER_SECOND + fraction_ns,
            resolution: if fraction_ns < NANOS_PER_SECOND {
                self.resolution
            } else {
                TimestampResolution::Invalid
            },
            orig_len,
            link: self.link,
            before_window: 0,
            caplen: caplen as usize,
        };
        Ok(true)
    }

    /// The first octets of a record header, where the window has to be moved for it or it is a
    /// longer one.
    #[cold]
    fn header_at_an_edge<R: Read>(
        &self,
        input: &mut Buffer<R>,
        number: u64,
    ) -> Result<Option<[u8; 16]>, ReadError> {
        let there = need(input, number, self.record_header)?;
        Ok(input.window().first_chunk().filter(|_| there).copied())
    }

    #[inline]
    fn lengths(&self, caplen: u32, orig_len: u32) -> (u32, u32) {
        let swap = match self.swap_lengths {
            Swap::Never => false,
            Swap::WhereLarger => caplen > orig_len,
            Swap::Always => true,
        };
        if swap { (orig_len, caplen) } else { (caplen, orig_len) }
    }
}

#[cold]
fn too_long(offset: u64, frame: u64, caplen: u32) -> ReadError {
    let what = format!("expected at most {MAX_PACKET} octets in a packet, found {caplen}");
    ReadError::Damaged { offset, frame, what }
}
