//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng).

use std::io::Read;

use pcap_parser::pcapng::{EPB_MAGIC, IDB_MAGIC, SHB_MAGIC, SPB_MAGIC};

use super::buffer::Buffer;
use super::{FrameRecord, MAX_PACKET, ReadError, TimestampResolution, ensure};
use crate::LinkType;

/// Type of the obsolete packet block, which pcap-parser does not know.
const OPB_MAGIC: u32 = 2;
/// Types of blocks that Wireshark numbers as frames, though they hold no packet: systemd journal
/// exports, custom blocks, and events of sysdig.
const FRAMES_WITHOUT_PACKET: [u32; 6] = [9, 0x0bad, 0x4000_0bad, 0x204, 0x216, 0x221];
/// Largest block that is accepted, in octets, as in Wireshark: 16 MiB.
const MAX_BLOCK: u32 = 16 * 1024 * 1024;
/// Option if_tsresol of an interface: the resolution of its timestamps.
const OPTION_TSRESOL: u16 = 9;
/// Option if_tsoffset of an interface: seconds to add to its timestamps.
const OPTION_TSOFFSET: u16 = 14;
/// Option if_fcslen of an interface: the length of the frame check sequence.
const OPTION_FCSLEN: u16 = 13;
/// Option epb_flags of a packet.
const OPTION_FLAGS: u16 = 2;

/// Interface of the current section, as its description block has it.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Length of the frame check sequence at the end of each frame, in octets.
    check_sequence: u32,
}

/// Clock of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    ticks_per_second: u128,
    offset_s: i64,
    resolution: TimestampResolution,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { ticks_per_second: 1_000_000, offset_s: 0, resolution: TimestampResolution::Micros }
    }
}

impl Clock {
    /// Returns a time in ticks as nanoseconds since the Unix epoch; `None` if that is before the
    /// epoch or too late for the unit.
    #[inline]
    fn time_ns(&self, ticks: u64) -> Option<i64> {
        let ns = match self.resolution {
            TimestampResolution::Nanos => i128::from(ticks),
            TimestampResolution::Micros => i128::from(ticks) * 1000,
            _ => (u128::from(ticks) * 1_000_000_000 / self.ticks_per_second) as i128,
        };
        let ns = ns + i128::from(self.offset_s) * 1_000_000_000;
        i64::try_from(ns).ok().filter(|ns| *ns >= 0)
    }

    /// Returns the clock with an `if_tsresol`: a negative power of ten, or of two if the highest
    /// bit is set.
    fn with_resolution(self, octet: u8) -> Clock {
        let power = u32::from(octet & 0x7f);
        let ticks =
            if octet & 0x80 != 0 { 1u128.checked_shl(power) } else { 10u128.checked_pow(power) };
        let Some(ticks_per_second) = ticks.filter(|t| *t <= u128::from(u64::MAX)) else {
            // No clock ticks so fast: the number is not a time.
            return Clock {
                ticks_per_second: u128::MAX,
                resolution: TimestampResolution::Invalid,
                ..self
            };
        };
        let resolution = match ticks_per_second {
            1_000_000 => TimestampResolution::Micros,
            1_000_000_000 => TimestampResolution::Nanos,
            t if t > 1_000_000 => TimestampResolution::Finer,
            _ => TimestampResolution::Coarser,
        };
        Clock { ticks_per_second, resolution, ..self }
    }
}

/// Byte order of the current section.
#[derive(Clone, Copy, Default)]
struct ByteOrder {
    big_endian: bool,
}

impl ByteOrder {
    fn half(self, octets: &[u8], at: usize) -> u16 {
        let octets = [octets[at], octets[at + 1]];
        if self.big_endian { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) }
    }

    #[inline]
    fn word(self, octets: &[u8], at: usize) -> u32 {
        let octets = [octets[at], octets[at + 1], octets[at + 2], octets[at + 3]];
        if self.big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
    }
}

/// Parser of pcapng blocks.
#[derive(Default)]
pub(super) struct Pcapng {
    order: ByteOrder,
    interfaces: Vec<Interface>,
}

/// Place of a packet in the body of its block, the octets between the two lengths.
struct PacketBlock {
    /// Number of the interface in the section.
    interface: usize,
    /// Time in ticks of the interface's clock.
    ticks: Option<u64>,
    orig_len: u32,
    /// Index of the packet's first octet in the body.
    from: usize,
    /// Number of octets captured.
    caplen: usize,
    /// Length of the frame check sequence at the end of the packet, in octets.
    check_sequence: u32,
}

impl Pcapng {
    /// Reads blocks up to the next packet; `false` at the end.
    pub(super) fn advance<R: Read>(
        &mut self,
        input: &mut Buffer<R>,
        number: u64,
        record: &mut FrameRecord,
    ) -> Result<bool, ReadError> {
        let (packet, block_len) = loop {
            if !ensure(input, number, 12)? {
                return Ok(false);
            }
            let at = input.offset();
            let damaged = |what: String| ReadError::Damaged { offset: at, frame: number, what };
            let kind = self.begin_block(input.window()).map_err(damaged)?;
            let block_len = self.order.word(input.window(), 4);
            if !(12..=MAX_BLOCK).contains(&block_len) {
                return Err(damaged(format!(
                    "expected a block of 12 to {MAX_BLOCK} octets, found {block_len}"
                )));
            }
            let padded = block_len.next_multiple_of(4) as usize;
            ensure(input, number, padded)?;
            let block = &input.window()[..padded];
            let trailer = self.order.word(block, padded - 4);
            if trailer != block_len {
                return Err(damaged(format!(
                    "expected a block length of {block_len} at its end, found {trailer}"
                )));
            }
            match self.read_block(kind, &block[8..padded - 4]).map_err(damaged)? {
                Some(packet) => break (packet, padded),
                None => input.consume(padded),
            };
        };
        input.consume(block_len);
        let interface = self.interfaces.get(packet.interface);
        let clock = interface.map_or_else(Clock::default, |i| i.clock);
        let time_ns = packet.ticks.and_then(|ticks| clock.time_ns(ticks));
        *record = FrameRecord {
            time_ns: time_ns.unwrap_or(0),
            resolution: time_ns.map_or(TimestampResolution::Invalid, |_| clock.resolution),
            orig_len: packet.orig_len,
            link: interface.map_or(LinkType::NO_PACKET, |i| i.link),
            interface: packet.interface as u32,
            before_window: block_len - 8 - packet.from - packet.caplen,
            caplen: packet.caplen,
        };
        if packet.check_sequence != 0 {
            record.remove_check_sequence(packet.check_sequence);
        }
        Ok(true)
    }

    /// Returns the type of the block that begins with `head`. A section header block sets the byte
    /// order and removes all interfaces.
    fn begin_block(&mut self, head: &[u8]) -> Result<u32, String> {
        if head[..4] == SHB_MAGIC.to_le_bytes() {
            self.order.big_endian = match head[8..12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => {
                    return Err(format!(
                        "expected a byte-order magic, found {}",
                        super::hex(&head[8..12])
                    ));
                }
            };
            self.interfaces.clear();
            return Ok(SHB_MAGIC);
        }
        Ok(self.order.word(head, 0))
    }

    /// Reads the body of a block. Returns the packet, if the block has one.
    fn read_block(&mut self, kind: u32, body: &[u8]) -> Result<Option<PacketBlock>, String> {
        match kind {
            EPB_MAGIC => self.enhanced_packet(body).map(Some),
            SPB_MAGIC => self.simple_packet(body).map(Some),
            OPB_MAGIC => self.obsolete_packet(body).map(Some),
            IDB_MAGIC => {
                let interface = self.interface(body)?;
                self.interfaces.push(interface);
                Ok(None)
            }
            SHB_MAGIC => section(self.order, body).map(|()| None),
            _ if FRAMES_WITHOUT_PACKET.contains(&kind) => Ok(Some(PacketBlock {
                interface: usize::MAX,
                ticks: None,
                orig_len: 0,
                from: 0,
                caplen: 0,
                check_sequence: 0,
            })),
            _ => Ok(None),
        }
    }

    /// Reads an interface description block.
    fn interface(&self, body: &[u8]) -> Result<Interface, String> {
        at_least(body, 8, "an interface description")?;
        let mut clock = Clock::default();
        let (mut resolution, mut check_sequence) = (None, 0);
        for (code, value) in options(self.order, &body[8..])? {
            match (code, value.len()) {
                (OPTION_TSRESOL, 1) if resolution.is_none() => resolution = Some(value[0]),
                (OPTION_TSOFFSET, 8) => {
                    let (a, b) = (self.order.word(value, 0), self.order.word(value, 4));
                    let (high, low) = if self.order.big_endian { (a, b) } else { (b, a) };
                    clock.offset_s = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                (OPTION_FCSLEN, 1) => {
                    // The specification counts bits, writers count octets.
                    let len = u32::from(value[0]);
                    check_sequence = if len >= 8 { len / 8 } else { len };
                }
                _ => {}
            }
        }
        if let Some(octet) = resolution {
            clock = clock.with_resolution(octet);
        }
        let link = LinkType(u32::from(self.order.half(body, 0)));
        Ok(Interface { link, snaplen: self.order.word(body, 4), clock, check_sequence })
    }

    /// Reads an enhanced packet block.
    fn enhanced_packet(&self, body: &[u8]) -> Result<PacketBlock, String> {
        at_least(body, 20, "an enhanced packet")?;
        let word = |at| self.order.word(body, at);
        let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
        self.packet(body, word(0) as usize, ticks, word(12), word(16))
    }

    /// Reads an obsolete packet block, whose interface number has 16 bits.
    fn obsolete_packet(&self, body: &[u8]) -> Result<PacketBlock, String> {
        at_least(body, 20, "a packet")?;
        let word = |at| self.order.word(body, at);
        let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
        self.packet(body, usize::from(self.order.half(body, 0)), ticks, word(12), word(16))
    }

    /// Returns the packet of a block whose fixed fields take 20 octets.
    fn packet(
        &self,
        body: &[u8],
        interface: usize,
        ticks: u64,
        caplen: u32,
        orig_len: u32,
    ) -> Result<PacketBlock, String> {
        if interface >= self.interfaces.len() {
            return Err(format!(
                "expected one of {} interfaces, found number {interface}",
                self.interfaces.len()
            ));
        }
        if caplen > MAX_PACKET {
            return Err(format!(
                "expected at most {MAX_PACKET} octets in a packet, found {caplen}"
            ));
        }
        at_least(body, 20 + caplen as usize, "a packet")?;
        let caplen = caplen as usize;
        let rest = body.get(20 + caplen.next_multiple_of(4)..).unwrap_or_default();
        let told = if rest.is_empty() { None } else { self.check_sequence_by_flags(rest) };
        Ok(PacketBlock {
            interface,
            ticks: Some(ticks),
            orig_len,
            from: 20,
            caplen,
            check_sequence: told.unwrap_or(self.interfaces[interface].check_sequence),
        })
    }

    /// Returns the length of the frame check sequence that a packet's own flags tell, in octets.
    #[cold]
    fn check_sequence_by_flags(&self, packet_options: &[u8]) -> Option<u32> {
        let options = options(self.order, packet_options).ok()?;
        let (_, flags) = options.iter().find(|(code, _)| *code == OPTION_FLAGS)?;
        let len = self.order.word(flags.get(..4)?, 0) >> 5 & 0x0f;
        (len > 0).then_some(len)
    }

    /// Reads a simple packet block, which has no time and no captured length: the packet belongs to
    /// the first interface and is cut to that interface's snap length.
    fn simple_packet(&self, body: &[u8]) -> Result<PacketBlock, String> {
        at_least(body, 4, "a simple packet")?;
        let Some(interface) = self.interfaces.first() else {
            return Err("expected an interface before a simple packet, found none".to_owned());
        };
        let orig_len = self.order.word(body, 0);
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let caplen = orig_len.min(snaplen);
        if caplen > MAX_PACKET {
            return Err(format!(
                "expected at most {MAX_PACKET} octets in a packet, found {caplen}"
            ));
        }
        at_least(body, 4 + caplen as usize, "a simple packet")?;
        let check_sequence = interface.check_sequence;
        let caplen = caplen as usize;
        Ok(PacketBlock { interface: 0, ticks: None, orig_len, from: 4, caplen, check_sequence })
    }
}

/// Checks a section header block.
fn section(order: ByteOrder, body: &[u8]) -> Result<(), String> {
    at_least(body, 16, "a section header")?;
    match order.half(body, 4) {
        1 => {}
        major => return Err(format!("expected pcapng version 1, found {major}")),
    }
    options(order, &body[16..]).map(|_| ())
}

/// Checks the length of a block's body.
fn at_least(body: &[u8], octets: usize, what: &str) -> Result<(), String> {
    if body.len() >= octets {
        return Ok(());
    }
    Err(format!("expected {octets} octets in {what} block, found {}", body.len()))
}

/// Returns the options of a block as pairs of code and value, up to opt_endofopt.
fn options(order: ByteOrder, mut octets: &[u8]) -> Result<Vec<(u16, &[u8])>, String> {
    let mut found = Vec::new();
    while octets.len() >= 4 {
        let (code, len) = (order.half(octets, 0), usize::from(order.half(octets, 2)));
        if code == 0 {
            break;
        }
        let Some(value) = octets.get(4..4 + len) else {
            return Err(format!(
                "expected option {code} of {len} octets, found {}",
                octets.len() - 4
            ));
        };
        found.push((code, value));
        octets = octets.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}
