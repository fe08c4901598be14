//! pcap: a file header, then packet records (draft-ietf-opsawg-pcap).

use std::io::Read;

use super::buffer::Buffer;
use super::{FrameRecord, MAX_PACKET, ReadError, TimestampResolution, cut_short, ensure};
use crate::LinkType;

/// Magic number of captures with microseconds.
const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
/// Magic number of captures with nanoseconds.
const MAGIC_NANO: u32 = 0xa1b2_3c4d;
/// Magic number of Kuznetsov's variant, with eight more octets in each record header.
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// Bit of the link-type field that says that the four highest ones are the length of the frame
/// check sequence, in units of two octets (draft-ietf-opsawg-pcap, section 4).
const CHECK_SEQUENCE_TOLD: u32 = 0x0400_0000;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Parser of pcap records.
pub(super) struct Pcap {
    big_endian: bool,
    /// Length of a record header, in octets.
    record_header: usize,
    length_order: LengthOrder,
    nanos_per_tick: i64,
    resolution: TimestampResolution,
    link: LinkType,
    /// Length of the frame check sequence at the end of each frame, in octets.
    check_sequence: u32,
}

/// Order of the two lengths in a record header. Before version 2.3 the length on the wire came
/// first; in 2.3 the order depends on the writer.
enum LengthOrder {
    /// Captured length first, as in version 2.4.
    CapturedFirst,
    /// Smaller length is the captured one.
    SmallerIsCaptured,
    /// Length on the wire first.
    WireFirst,
}

/// Returns the magic number and whether the file is big-endian; `None` if the number is unknown.
fn magic_of(head: &[u8]) -> Option<(u32, bool)> {
    let octets: [u8; 4] = head.get(..4)?.try_into().ok()?;
    let known = |m: u32| matches!(m, MAGIC_MICRO | MAGIC_NANO | MAGIC_MODIFIED);
    let (little, big) = (u32::from_le_bytes(octets), u32::from_be_bytes(octets));
    if known(little) {
        Some((little, false))
    } else if known(big) {
        Some((big, true))
    } else {
        None
    }
}

/// Reports whether a file that begins with `head` is a pcap file.
pub(super) fn is_magic(head: &[u8]) -> bool {
    magic_of(head).is_some()
}

impl Pcap {
    /// Reads the file header.
    pub(super) fn new<R: Read>(input: &mut Buffer<R>) -> Result<Self, ReadError> {
        let have = input.window().len();
        let Some((magic, big_endian)) = magic_of(input.window()) else {
            return Err(ReadError::NotACapture { found: super::hex(input.window()) });
        };
        if have < 24 {
            return Err(cut_short(0, 1, 24, have));
        }
        let word = |at: usize| {
            let octets = input.window()[at..].first_chunk().copied().unwrap_or_default();
            if big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
        };
        let version = if big_endian { word(4).rotate_left(16) } else { word(4) };
        let network = word(20);
        input.consume(24);
        let nano = magic == MAGIC_NANO;
        Ok(Pcap {
            big_endian,
            record_header: if magic == MAGIC_MODIFIED { 24 } else { 16 },
            length_order: match (version & 0xffff, version >> 16) {
                (2, 0..=2) => LengthOrder::WireFirst,
                (2, 3) => LengthOrder::SmallerIsCaptured,
                _ => LengthOrder::CapturedFirst,
            },
            nanos_per_tick: if nano { 1 } else { 1000 },
            resolution: if nano { TimestampResolution::Nanos } else { TimestampResolution::Micros },
            link: LinkType(network & 0xffff),
            check_sequence: if network & CHECK_SEQUENCE_TOLD != 0 { network >> 28 << 1 } else { 0 },
        })
    }

    /// Reads the next record; `false` at the end.
    #[inline]
    pub(super) fn advance<R: Read>(
        &mut self,
        input: &mut Buffer<R>,
        number: u64,
        record: &mut FrameRecord,
    ) -> Result<bool, ReadError> {
        let head: [u8; 16] = match input.window().first_chunk() {
            Some(head) if self.record_header == 16 => *head,
            _ => match self.header_at_an_edge(input, number)? {
                Some(head) => head,
                None => return Ok(false),
            },
        };
        let words = u128::from_le_bytes(head);
        let word = |n: usize| {
            let word = (words >> (32 * n)) as u32;
            if self.big_endian { word.swap_bytes() } else { word }
        };
        let (seconds, ticks) = (word(0), word(1));
        let (caplen, orig_len) = self.lengths(word(2), word(3));
        if caplen > MAX_PACKET {
            return Err(too_long(input.offset(), number, caplen));
        }
        let whole = self.record_header + caplen as usize;
        if input.window().len() < whole {
            ensure(input, number, whole)?;
        }
        input.consume(whole);
        let fraction_ns = i64::from(ticks) * self.nanos_per_tick;
        *record = FrameRecord {
            interface: 0,
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
        if self.check_sequence != 0 {
            record.remove_check_sequence(self.check_sequence);
        }
        Ok(true)
    }

    /// Returns the first octets of a record header that the window does not hold whole, or that is
    /// longer than 16 octets; `None` at the end.
    #[cold]
    fn header_at_an_edge<R: Read>(
        &self,
        input: &mut Buffer<R>,
        number: u64,
    ) -> Result<Option<[u8; 16]>, ReadError> {
        let there = ensure(input, number, self.record_header)?;
        Ok(input.window().first_chunk().filter(|_| there).copied())
    }

    /// Returns the captured length and the length on the wire.
    #[inline]
    fn lengths(&self, caplen: u32, orig_len: u32) -> (u32, u32) {
        let swap = match self.length_order {
            LengthOrder::CapturedFirst => false,
            LengthOrder::SmallerIsCaptured => caplen > orig_len,
            LengthOrder::WireFirst => true,
        };
        if swap { (orig_len, caplen) } else { (caplen, orig_len) }
    }
}

/// Creates the error of a packet longer than [`MAX_PACKET`].
#[cold]
fn too_long(offset: u64, frame: u64, caplen: u32) -> ReadError {
    let what = format!("expected at most {MAX_PACKET} octets in a packet, found {caplen}");
    ReadError::Damaged { offset, frame, what }
}
