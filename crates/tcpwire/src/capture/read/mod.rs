//! Reading of capture files: pcap, pcapng and snoop, plain or compressed, from any stream.

mod buffer;
mod compressed;
mod foreign;
mod merge;
mod pcap;
mod pcapng;
mod snoop;

use std::io::{self, Read};

use buffer::Buffer;
use compressed::Trailer;

pub use foreign::foreign_format;
pub use merge::{CaptureEnd, CaptureInput, MergedReader, OpenCapture};

use crate::LinkType;

/// Largest packet that is accepted, in octets, as in Wireshark: 256 KiB.
pub(crate) const MAX_PACKET: u32 = 262_144;

/// Resolution of a captured frame's timestamp: `if_tsresol` in pcapng, the magic number in pcap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum TimestampResolution {
    /// Coarser than microseconds, such as seconds.
    Coarser,
    /// Microseconds, the usual resolution.
    Micros,
    /// Nanoseconds, the unit of [`Frame::time_ns`].
    Nanos,
    /// Finer than nanoseconds; the time is rounded down.
    Finer,
    /// No time that a flow can hold: the record's fraction is a second or more, the interface's
    /// clock would tick faster than 2^64 times a second, the time is before 1970 or after
    /// 2262-04-11, or the record has none (pcapng's simple packet blocks).
    Invalid,
}

/// One frame of a capture: a packet with its link-layer header.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Number of the frame in its capture, from 1, as Wireshark counts.
    pub number: u64,
    /// Capture time, in nanoseconds since the Unix epoch; 0 if the resolution is
    /// [`Invalid`](TimestampResolution::Invalid) for the lack of a time.
    pub time_ns: i64,
    /// Resolution of the clock that `time_ns` comes from.
    pub resolution: TimestampResolution,
    /// Length on the wire, in octets, without a frame check sequence that the capture tells of; at
    /// least `data.len()` unless the capture is wrong.
    pub orig_len: u32,
    /// Type of the link-layer header at the start of `data`.
    pub link: LinkType,
    /// Number of the interface in its section of a pcapng file, from 0; 0 in other formats.
    pub interface: u32,
    /// Octets that were captured, without the frame check sequence.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// Returns the link-layer address of the frame's sender: that of Ethernet, or six octets in a
    /// Linux cooked header. Other link layers give none.
    #[must_use]
    pub fn sender(&self) -> Option<[u8; 6]> {
        let at = match self.link {
            LinkType::ETHERNET => 6,
            LinkType::LINUX_SLL if self.data.get(4..6)? == [0, 6] => 6,
            LinkType::LINUX_SLL2 if *self.data.get(11)? == 6 => 12,
            _ => return None,
        };
        self.data.get(at..)?.first_chunk().copied()
    }
}

/// Error in reading a capture. Offsets count octets after decompression.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream does not begin like a capture.
    #[error("not a capture: expected a pcap, pcapng or snoop header, found {found}")]
    NotACapture {
        /// First octets in hexadecimal, with the name of a known format, or `nothing`.
        found: String,
    },
    /// The stream ends within a record.
    #[error(
        "cut short at offset {offset}, in frame {frame}: expected {expected} octets, found {found}"
    )]
    CutShort {
        /// Offset of the record.
        offset: u64,
        /// Number of the frame in the record or after it, from 1.
        frame: u64,
        /// Number of octets that the record announces.
        expected: u64,
        /// Number of octets left in the stream.
        found: u64,
    },
    /// A record contradicts itself or the format.
    #[error("damaged at offset {offset}, in frame {frame}: {what}")]
    Damaged {
        /// Offset of the record.
        offset: u64,
        /// Number of the frame in the record or after it, from 1.
        frame: u64,
        /// Expectation and finding, as a message.
        what: String,
    },
    /// The stream cannot be read or decompressed.
    #[error("can not be read at offset {offset}, in frame {frame}: {source}")]
    Io {
        /// Offset where reading stopped.
        offset: u64,
        /// Number of the next frame, from 1.
        frame: u64,
        /// Error of the stream.
        source: io::Error,
    },
}

impl ReadError {
    /// Reports whether the input is not a capture at all, rather than a damaged one.
    #[must_use]
    pub fn is_not_a_capture(&self) -> bool {
        matches!(self, ReadError::NotACapture { .. })
    }
}

/// Block type of pcapng's section header, a palindrome of line ends.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reports whether a file that begins with `head` is a capture, or is compressed and may be one.
/// Four octets are enough.
#[must_use]
pub fn is_capture_magic(head: &[u8]) -> bool {
    pcap::is_magic(head)
        || head.starts_with(&PCAPNG)
        || head.starts_with(b"snoo")
        || compressed::is_magic(head)
}

/// Octets of a capture, decompressed.
type Source<'r> = Box<dyn Read + Send + 'r>;

/// A frame whose octets are still in the buffer, before its window.
#[derive(Clone, Copy)]
struct FrameRecord {
    time_ns: i64,
    resolution: TimestampResolution,
    orig_len: u32,
    link: LinkType,
    interface: u32,
    /// Distance from the end of the frame's octets to the start of the window.
    before_window: usize,
    /// Number of octets captured.
    caplen: usize,
}

impl FrameRecord {
    /// Removes a frame check sequence of `octets` from the end of the frame.
    #[cold]
    fn remove_check_sequence(&mut self, octets: u32) {
        let wire_len = self.orig_len.max(self.caplen as u32).saturating_sub(octets);
        let captured = self.caplen.saturating_sub(wire_len as usize);
        self.orig_len = wire_len;
        self.caplen -= captured;
        self.before_window += captured;
    }
}

impl Default for FrameRecord {
    fn default() -> Self {
        FrameRecord {
            time_ns: 0,
            resolution: TimestampResolution::Micros,
            orig_len: 0,
            link: LinkType::NULL,
            interface: 0,
            before_window: 0,
            caplen: 0,
        }
    }
}

/// Parser of one capture format.
enum FormatReader {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
    Snoop(snoop::Snoop),
}

/// Reads the frames of a capture one by one: pcap, pcapng or snoop, plain or compressed by gzip,
/// zstd, bzip2, xz or lz4, also in several members.
///
/// All frames before an error are given; after the error the reader is at its end.
pub struct CaptureReader<'r> {
    input: Buffer<Source<'r>>,
    format: FormatReader,
    record: FrameRecord,
    frames: u64,
    /// Whether the end or an error was reached.
    done: bool,
    /// Octets after the end of a compressed stream.
    trailer: Trailer,
}

impl<'r> CaptureReader<'r> {
    /// Begins to read a capture: reads its header.
    ///
    /// # Errors
    /// [`ReadError::NotACapture`] if the input does not begin like a capture; otherwise the reason
    /// why its header cannot be read.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, ReadError> {
        let (source, trailer) = compressed::decompress(Box::new(input)).map_err(at_start)?;
        let mut input = Buffer::new(source);
        let have = input.fill(24).map_err(at_start)?;
        let head = &input.window()[..have.min(24)];
        let format = if head.starts_with(&PCAPNG) {
            FormatReader::Pcapng(pcapng::Pcapng::default())
        } else if head.starts_with(b"snoop\0\0\0") {
            FormatReader::Snoop(snoop::Snoop::new(&mut input)?)
        } else if pcap::is_magic(head) {
            FormatReader::Pcap(pcap::Pcap::new(&mut input)?)
        } else {
            return Err(ReadError::NotACapture { found: hex(head) });
        };
        let record = FrameRecord::default();
        Ok(CaptureReader { input, format, record, frames: 0, done: false, trailer })
    }

    /// Returns the next frame, or `None` at the end.
    ///
    /// # Errors
    /// If the capture is damaged or cut short. Frames read before are valid.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        Ok(if self.advance()? { Some(self.frame()) } else { None })
    }

    /// Moves to the next frame and returns whether there is one. With [`frame`](Self::frame) this
    /// is [`next_frame`](Self::next_frame) in two steps, for loops in which every nanosecond
    /// counts: a frame returned through `Result` and `Option` is copied in memory.
    ///
    /// # Errors
    /// If the capture is damaged or cut short. Frames read before are valid.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        if self.done {
            return Ok(false);
        }
        // An error leaves the function below, and the reader at its end.
        self.done = true;
        let (input, record, number) = (&mut self.input, &mut self.record, self.frames + 1);
        let there = match &mut self.format {
            FormatReader::Pcap(pcap) => pcap.advance(input, number, record)?,
            FormatReader::Pcapng(pcapng) => pcapng.advance(input, number, record)?,
            FormatReader::Snoop(snoop) => snoop.advance(input, number, record)?,
        };
        self.done = !there;
        self.frames += u64::from(there);
        Ok(there)
    }

    /// Returns the frame that [`advance`](Self::advance) moved to. Unless the last call of
    /// `advance` returned `true`, the value is meaningless.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        let FrameRecord { time_ns, resolution, orig_len, link, interface, before_window, caplen } =
            self.record;
        let data = self.input.consumed_before(before_window, caplen);
        Frame { number: self.frames, time_ns, resolution, orig_len, link, interface, data }
    }

    /// Returns the number of frames so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns whether octets after the end of a compressed stream were passed over, zeros apart.
    #[must_use]
    pub fn has_trailing_garbage(&self) -> bool {
        self.trailer.is_there()
    }

    /// Returns the offset in the stream, in octets after decompression.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }
}

/// Creates the error of a stream whose first octets cannot be read.
fn at_start(source: io::Error) -> ReadError {
    ReadError::Io { offset: 0, frame: 1, source }
}

/// Returns the first four octets in hexadecimal with the name of their format, or `nothing`.
fn hex(octets: &[u8]) -> String {
    if octets.is_empty() {
        return "nothing".to_owned();
    }
    let shown: String = octets.iter().take(4).map(|o| format!("{o:02x}")).collect();
    match foreign_format(octets) {
        Some(format) => format!("{shown} ({format})"),
        None => shown,
    }
}

/// Creates the error of a record that ends after `found` of its `expected` octets.
fn cut_short(offset: u64, frame: u64, expected: usize, found: usize) -> ReadError {
    ReadError::CutShort { offset, frame, expected: expected as u64, found: found as u64 }
}

/// Fills the window with at least `octets`. Returns `false` at the end of the stream, which is
/// clean if no octet is left.
#[inline]
fn ensure<R: Read>(input: &mut Buffer<R>, frame: u64, octets: usize) -> Result<bool, ReadError> {
    let found = match input.fill(octets) {
        Ok(found) => found,
        Err(source) => {
            return Err(ReadError::Io {
                offset: input.offset() + input.window().len() as u64,
                frame,
                source,
            });
        }
    };
    if found >= octets {
        Ok(true)
    } else if found == 0 {
        Ok(false)
    } else {
        Err(cut_short(input.offset(), frame, octets, found))
    }
}
