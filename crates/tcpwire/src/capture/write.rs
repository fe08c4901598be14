//! Writing of capture files: pcap and pcapng.

use std::io::{self, Write};

/// LINKTYPE number of Ethernet.
pub const LINKTYPE_ETHERNET: u16 = 1;
/// Snap length that the headers of written captures declare, in octets.
const SNAP_LENGTH: u32 = 262_144;
/// One second in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// Format of a capture file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureFormat {
    /// pcap, version 2.4 (draft-ietf-opsawg-pcap).
    Pcap(TimestampUnit),
    /// pcapng, with one section and one interface (draft-ietf-opsawg-pcapng).
    Pcapng(TimestampUnit),
}

impl CaptureFormat {
    /// Returns the unit of the timestamps.
    #[must_use]
    pub fn unit(self) -> TimestampUnit {
        match self {
            CaptureFormat::Pcap(unit) | CaptureFormat::Pcapng(unit) => unit,
        }
    }

    /// Returns the earliest and the latest time that the format can represent, in nanoseconds since
    /// the Unix epoch.
    #[must_use]
    pub fn times(self) -> (i64, i64) {
        match self {
            CaptureFormat::Pcap(_) => (0, (i64::from(u32::MAX) + 1) * SECOND - 1),
            CaptureFormat::Pcapng(_) => (0, i64::MAX),
        }
    }
}

/// Unit of the timestamps in a written capture: `if_tsresol` in pcapng, the magic number in pcap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampUnit {
    /// Microseconds; finer times are rounded down.
    Micros,
    /// Nanoseconds, the unit of all times in this workspace.
    Nanos,
}

impl TimestampUnit {
    /// Returns the unit in nanoseconds.
    #[must_use]
    pub fn ns(self) -> i64 {
        match self {
            TimestampUnit::Micros => 1_000,
            TimestampUnit::Nanos => 1,
        }
    }
}

/// Error in writing a packet to a capture.
#[derive(thiserror::Error, Debug)]
pub enum WriteError {
    /// The output cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The format cannot represent the time.
    #[error("time of a packet: expected one from {first} to {last} ns since 1970, found {found}")]
    Time {
        /// Earliest time that the format can represent, in nanoseconds since the Unix epoch.
        first: i64,
        /// Latest time that the format can represent, in nanoseconds since the Unix epoch.
        last: i64,
        /// Time of the packet, in nanoseconds since the Unix epoch.
        found: i64,
    },
}

/// Writes packets to a capture file.
///
/// ```
/// use tcpwire::{CaptureFormat, CaptureWriter, TimestampUnit};
///
/// let mut writer = CaptureWriter::new(Vec::new(), CaptureFormat::Pcap(TimestampUnit::Nanos))?;
/// writer.write(1_700_000_000_000_000_001, 1_500, &[0; 54])?;
/// assert_eq!(writer.into_inner().len(), 24 + 16 + 54);
/// # Ok::<(), tcpwire::WriteError>(())
/// ```
#[derive(Debug)]
pub struct CaptureWriter<W> {
    to: W,
    format: CaptureFormat,
    /// Record or block that is being written; the memory is reused.
    block: Vec<u8>,
    /// Number of octets written.
    octets: u64,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the header of a capture of Ethernet frames.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub fn new(mut to: W, format: CaptureFormat) -> io::Result<CaptureWriter<W>> {
        let mut block = Vec::new();
        match format {
            CaptureFormat::Pcap(resolution) => pcap_header(resolution, &mut block),
            CaptureFormat::Pcapng(resolution) => pcapng_header(resolution, &mut block),
        }
        to.write_all(&block)?;
        let octets = block.len() as u64;
        Ok(CaptureWriter { to, format, block, octets })
    }

    /// Writes a packet: its time in nanoseconds since the Unix epoch, its length on the wire, and
    /// those of its octets that are known.
    ///
    /// # Errors
    /// If the format cannot represent the time, or the output cannot be written.
    pub fn write(&mut self, time_ns: i64, wire_len: u32, octets: &[u8]) -> Result<(), WriteError> {
        let (first, last) = self.format.times();
        if time_ns < first || time_ns > last {
            return Err(WriteError::Time { first, last, found: time_ns });
        }
        self.block.clear();
        match self.format {
            CaptureFormat::Pcap(resolution) => {
                pcap_record(resolution, time_ns, wire_len, octets, &mut self.block)
            }
            CaptureFormat::Pcapng(resolution) => {
                pcapng_packet(resolution, time_ns, wire_len, octets, &mut self.block)
            }
        }
        self.octets += self.block.len() as u64;
        Ok(self.to.write_all(&self.block)?)
    }

    /// Returns the number of octets written so far, headers included.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns the output, such as to take away what was written to memory.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }

    /// Returns the output, without flushing it.
    pub fn into_inner(self) -> W {
        self.to
    }
}

/// Appends a pcap file header.
fn pcap_header(resolution: TimestampUnit, out: &mut Vec<u8>) {
    let magic: u32 = match resolution {
        TimestampUnit::Micros => 0xa1b2_c3d4,
        TimestampUnit::Nanos => 0xa1b2_3c4d,
    };
    out.extend_from_slice(&magic.to_le_bytes());
    out.extend_from_slice(&2_u16.to_le_bytes());
    out.extend_from_slice(&4_u16.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&SNAP_LENGTH.to_le_bytes());
    out.extend_from_slice(&u32::from(LINKTYPE_ETHERNET).to_le_bytes());
}

/// Appends a pcap packet record.
fn pcap_record(
    resolution: TimestampUnit,
    time_ns: i64,
    wire_len: u32,
    octets: &[u8],
    out: &mut Vec<u8>,
) {
    let seconds = time_ns.div_euclid(SECOND) as u32;
    let fraction = (time_ns.rem_euclid(SECOND) / resolution.ns()) as u32;
    for word in [seconds, fraction, octets.len() as u32, wire_len] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(octets);
}

/// Appends a pcapng block: type, length, the octets that `body` appends, padded to a multiple of
/// four, and the length again.
fn block(kind: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

/// Appends a section header block and an interface description block.
fn pcapng_header(resolution: TimestampUnit, out: &mut Vec<u8>) {
    block(0x0a0d_0d0a, out, |out| {
        out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        out.extend_from_slice(&1_u16.to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        // Section length: unknown.
        out.extend_from_slice(&(-1_i64).to_le_bytes());
    });
    block(1, out, |out| {
        out.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&SNAP_LENGTH.to_le_bytes());
        // Option if_tsresol (9), one octet: a negative power of ten. Then opt_endofopt (0).
        let digits = match resolution {
            TimestampUnit::Micros => 6,
            TimestampUnit::Nanos => 9,
        };
        out.extend_from_slice(&[9, 0, 1, 0, digits, 0, 0, 0, 0, 0, 0, 0]);
    });
}

/// Appends an enhanced packet block.
fn pcapng_packet(
    resolution: TimestampUnit,
    time_ns: i64,
    wire_len: u32,
    octets: &[u8],
    out: &mut Vec<u8>,
) {
    let time = time_ns.div_euclid(resolution.ns()) as u64;
    block(6, out, |out| {
        for word in [0, (time >> 32) as u32, time as u32, octets.len() as u32, wire_len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(octets);
    });
}

#[cfg(test)]
mod tests {
    use pcap_parser::traits::PcapReaderIterator;
    use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
    use proptest::prelude::*;

    use super::*;

    /// Time, length on the wire and octets of each packet.
    type Packets = Vec<(i64, u32, Vec<u8>)>;

    /// Reads a capture with pcap-parser.
    fn read(format: CaptureFormat, octets: &[u8]) -> Packets {
        let mut reader: Box<dyn PcapReaderIterator> = match format {
            CaptureFormat::Pcap(_) => Box::new(LegacyPcapReader::new(65_536, octets).unwrap()),
            CaptureFormat::Pcapng(_) => Box::new(PcapNGReader::new(65_536, octets).unwrap()),
        };
        let (mut seen, mut unit) = (Vec::new(), 1);
        loop {
            match reader.next() {
                Ok((consumed, block)) => {
                    match block {
                        PcapBlockOwned::LegacyHeader(h) => {
                            unit = if h.is_nanosecond_precision() { 1 } else { 1_000 }
                        }
                        PcapBlockOwned::Legacy(p) => {
                            let time =
                                i64::from(p.ts_sec) * 1_000_000_000 + i64::from(p.ts_usec) * unit;
                            assert_eq!(p.caplen as usize, p.data.len());
                            seen.push((time, p.origlen, p.data.to_vec()));
                        }
                        PcapBlockOwned::NG(Block::SectionHeader(_)) => {}
                        PcapBlockOwned::NG(Block::InterfaceDescription(i)) => {
                            assert_eq!((i.linktype.0, i.snaplen), (1, SNAP_LENGTH));
                            unit = 10_i64.pow(9 - u32::from(i.if_tsresol));
                        }
                        PcapBlockOwned::NG(Block::EnhancedPacket(p)) => {
                            let time = i64::from(p.ts_high) << 32 | i64::from(p.ts_low);
                            seen.push((
                                time * unit,
                                p.origlen,
                                p.data[..p.caplen as usize].to_vec(),
                            ));
                        }
                        PcapBlockOwned::NG(other) => panic!("{other:?}"),
                    }
                    reader.consume(consumed);
                }
                Err(PcapError::Eof) => return seen,
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    const FORMATS: [CaptureFormat; 4] = [
        CaptureFormat::Pcap(TimestampUnit::Micros),
        CaptureFormat::Pcap(TimestampUnit::Nanos),
        CaptureFormat::Pcapng(TimestampUnit::Micros),
        CaptureFormat::Pcapng(TimestampUnit::Nanos),
    ];

    proptest! {
        #[test]
        fn pcap_parser_reads_what_is_written(
            which in 0..4_usize,
            packets in prop::collection::vec(
                (
                    0..4_000_000_000_000_000_000_i64,
                    0..3000_u32,
                    prop::collection::vec(any::<u8>(), 0..100),
                ),
                0..20,
            ),
        ) {
            let format = FORMATS[which];
            let unit = if which % 2 == 0 { 1_000 } else { 1 };
            let mut writer = CaptureWriter::new(Vec::new(), format).unwrap();
            for (time, more, octets) in &packets {
                writer.write(*time, more + octets.len() as u32, octets).unwrap();
            }
            let count = writer.octets();
            let octets = writer.into_inner();
            prop_assert_eq!(count, octets.len() as u64);
            let expected: Packets = packets
                .into_iter()
                .map(|(t, more, o)| (t / unit * unit, more + o.len() as u32, o))
                .collect();
            prop_assert_eq!(read(format, &octets), expected);
        }
    }

    #[test]
    fn a_time_without_room_is_refused() {
        for (format, time) in
            [(FORMATS[0], -1), (FORMATS[0], 4_294_967_296_000_000_000), (FORMATS[3], -1)]
        {
            let mut writer = CaptureWriter::new(Vec::new(), format).unwrap();
            let before = writer.octets();
            let written = writer.write(time, 0, &[]);
            assert!(matches!(written, Err(WriteError::Time { found, .. }) if found == time));
            assert_eq!(writer.octets(), before);
        }
    }
}
