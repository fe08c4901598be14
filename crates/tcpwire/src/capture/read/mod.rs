//! Capture files in: pcap, pcapng and snoop, plain or compressed, from any stream.

mod buffer;
mod pcap;
mod pcapng;
mod snoop;

use std::io::{self, Cursor, Read};

use buffer::Buffer;

use crate::LinkType;

/// The largest packet that is believed, as in Wireshark: 256 KiB.
pub(crate) const MAX_PACKET: u32 = 262_144;

/// The finest step of a capture's clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum TimestampResolution {
    /// Coarser than a microsecond.
    Coarser,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// Finer than a nanosecond: times are cut to nanoseconds.
    Finer,
    /// The record's fraction is a second or more, or its clock ticks faster than 2^64 times a
    /// second: the time is wrong, whatever it says.
    Invalid,
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Number in its capture, from 1, as Wireshark counts.
    pub number: u64,
    /// Capture time, in nanoseconds since the Unix epoch; 0 where the capture has none (simple
    /// packet blocks).
    pub time_ns: i64,
    /// Step of the clock that `time_ns` was taken from.
    pub resolution: TimestampResolution,
    /// Octets on the wire; at least `data.len()` unless the capture is wrong.
    pub orig_len: u32,
    /// What the octets begin with.
    pub link: LinkType,
    /// The octets that were captured.
    pub data: &'a [u8],
}

/// Why a capture can not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream does not begin as a capture does.
    #[error("not a capture: expected a pcap, pcapng or snoop header, found {found}")]
    NotACapture {
        /// The first octets, in hexadecimal, or `nothing`.
        found: String,
    },
    /// The stream ends inside a record.
    #[error(
        "cut short at offset {offset}, in frame {frame}: expected {expected} octets, found {found}"
    )]
    CutShort {
        /// Where the record begins, in (uncompressed) octets.
        offset: u64,
        /// The frame that the record holds or comes before, from 1.
        frame: u64,
        /// Octets that the record asks for.
        expected: u64,
        /// Octets that are there.
        found: u64,
    },
    /// A record contradicts itself or the format.
    #[error("damaged at offset {offset}, in frame {frame}: {what}")]
    Damaged {
        /// Where the record begins, in (uncompressed) octets.
        offset: u64,
        /// The frame that the record holds or comes before, from 1.
        frame: u64,
        /// What was expected and what was found.
        what: String,
    },
    /// The stream could not be read, or not be decompressed.
    #[error("can not be read at offset {offset}, in frame {frame}: {source}")]
    Io {
        /// Where reading stopped, in (uncompressed) octets.
        offset: u64,
        /// The frame that would have come next, from 1.
        frame: u64,
        /// What the stream said.
        source: io::Error,
    },
}

impl ReadError {
    /// Whether nothing of a capture was recognised at all.
    #[must_use]
    pub fn is_not_a_capture(&self) -> bool {
        matches!(self, ReadError::NotACapture { .. })
    }
}

const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Whether a file that begins with `head` is a capture, or is compressed and may hold one. Four
/// octets are enough.
#[must_use]
pub fn is_capture_magic(head: &[u8]) -> bool {
    pcap::is_magic(head)
        || head.starts_with(&PCAPNG)
        || head.starts_with(b"snoo")
        || head.starts_with(&GZIP)
        || head.starts_with(&ZSTD)
}

type Source<'r> = Box<dyn Read + Send + 'r>;

/// A frame by its place: where its octets end before the window, and how many they are.
#[derive(Clone, Copy)]
struct Record {
    time_ns: i64,
    resolution: TimestampResolution,
    orig_len: u32,
    link: LinkType,
    before_window: usize,
    caplen: usize,
}

impl Default for Record {
    fn default() -> Self {
        Record {
            time_ns: 0,
            resolution: TimestampResolution::Micros,
            orig_len: 0,
            link: LinkType::NULL,
            before_window: 0,
            caplen: 0,
        }
    }
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
    Snoop(snoop::Snoop),
}

/// Reads the frames of a capture one by one: pcap, pcapng or snoop, plain, gzip (also of several
/// members) or zstd.
///
/// Every frame before an error is given; after the error there is nothing more.
pub struct CaptureReader<'r> {
    input: Buffer<Source<'r>>,
    format: Format,
    record: Record,
    frames: u64,
    done: bool,
}

impl<'r> CaptureReader<'r> {
    /// Begins to read; looks at the first octets only.
    ///
    /// # Errors
    /// [`ReadError::NotACapture`] where it does not begin as one; else what made its header
    /// unreadable.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, ReadError> {
        let mut input = Buffer::new(decompressed(Box::new(input)).map_err(at_start)?);
        let have = input.fill(24).map_err(at_start)?;
        let head = &input.window()[..have.min(24)];
        let format = if head.starts_with(&PCAPNG) {
            Format::Pcapng(pcapng::Pcapng::default())
        } else if head.starts_with(b"snoop\0\0\0") {
            Format::Snoop(snoop::Snoop::new(&mut input)?)
        } else if pcap::is_magic(head) {
            Format::Pcap(pcap::Pcap::new(&mut input)?)
        } else {
            return Err(ReadError::NotACapture { found: hex(head) });
        };
        Ok(CaptureReader { input, format, record: Record::default(), frames: 0, done: false })
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// Where the capture is damaged or cut short; the frames before stand.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        Ok(if self.advance()? { Some(self.frame()) } else { None })
    }

    /// Goes to the next frame; `false` at the end. [`next_frame`](Self::next_frame) in two steps,
    /// for loops in which every nanosecond counts: a frame that is handed through `Result` and
    /// `Option` is copied in memory.
    ///
    /// # Errors
    /// Where the capture is damaged or cut short; the frames before stand.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        if self.done {
            return Ok(false);
        }
        // Until the format says that there is a frame.
        self.done = true;
        let (input, record, number) = (&mut self.input, &mut self.record, self.frames + 1);
        let there = match &mut self.format {
            Format::Pcap(pcap) => pcap.advance(input, number, record)?,
            Format::Pcapng(pcapng) => pcapng.advance(input, number, record)?,
            Format::Snoop(snoop) => snoop.advance(input, number, record)?,
        };
        self.done = !there;
        self.frames += u64::from(there);
        Ok(there)
    }

    /// The frame that [`advance`](Self::advance) went to. There is one only if that has just said
    /// `true`; else what this gives means nothing.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        let Record { time_ns, resolution, orig_len, link, before_window, caplen } = self.record;
        let data = self.input.passed(before_window, caplen);
        Frame { number: self.frames, time_ns, resolution, orig_len, link, data }
    }

    /// Frames given so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Offset in the (uncompressed) stream, in octets.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }
}

fn at_start(source: io::Error) -> ReadError {
    ReadError::Io { offset: 0, frame: 1, source }
}

fn hex(octets: &[u8]) -> String {
    if octets.is_empty() {
        return "nothing".to_owned();
    }
    octets.iter().take(4).map(|o| format!("{o:02x}")).collect()
}

/// Looks at the magic number and decompresses where it is one of gzip or zstd.
fn decompressed(mut source: Source<'_>) -> io::Result<Source<'_>> {
    let mut magic = [0u8; 4];
    let mut have = 0;
    while have < magic.len() {
        match source.read(&mut magic[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let whole = Cursor::new(magic).take(have as u64).chain(source);
    Ok(if magic.starts_with(&GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if magic == ZSTD {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Turns a filled window that is too small into the error that says so.
fn cut_short(offset: u64, frame: u64, expected: usize, found: usize) -> ReadError {
    ReadError::CutShort { offset, frame, expected: expected as u64, found: found as u64 }
}

/// Makes sure of `octets` in the window; `Ok(false)` at a clean end of the stream.
#[inline]
fn need<R: Read>(input: &mut Buffer<R>, frame: u64, octets: usize) -> Result<bool, ReadError> {
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
