//! The `word16` code: the 16-bit words of tcpflowgen, so that its datasets and models can be read
//! and compared.
//!
//! A flow is its class, its packets and an end. A packet is 16 words, and one for every two octets
//! of options:
//!
//! | words | meaning |
//! | --- | --- |
//! | 1 | direction: 65540 from the client, 65541 from the server |
//! | 2 | 65543, then the length of TCP header and payload in octets |
//! | 1 | 65542: the header begins |
//! | 2 | source port, destination port |
//! | 4 | sequence number and acknowledgment number, high word first |
//! | 3 | data offset, reserved bits (always 0), flags (the low six) |
//! | 3 | window, checksum (always 0), urgent pointer |
//! | n | option octets, two to a word |
//!
//! The code does not hold time, addresses and IP version, TTL, IP identification, DSCP and ECN, DF
//! and flow label, nor the TCP flags ECE, CWR and AE and the reserved bits. The decoder makes them
//! up, and counts the packets in [`Synthesized`].

use flowtrack::{Direction, Flow, OptionsRef, Packet};
use tcpwire::{Flags, SeqNum};

use crate::code;
use crate::{DecodeError, EncodeError, FlowIdentity, Synthesized, TokenCode};

/// A word: 0 to 65,535, or one of the marks from [`COMPLETE`] on.
pub type Word = i32;

/// Name of this code in dataset metadata.
pub const NAME: &str = "word16";
/// Version of this code: that of tcpflowgen.
pub const VERSION: u32 = 1;
/// Number of different words.
pub const VOCAB_SIZE: usize = 65_546;

/// Class of a flow that opens with exactly SYN, SYN-ACK, ACK and closes with exactly FIN-ACK,
/// ACK, FIN-ACK, ACK.
pub const COMPLETE: Word = 65_536;
/// Class of a flow that opens as [`COMPLETE`], and closes in another way.
pub const START: Word = 65_537;
/// Class of a flow that closes as [`COMPLETE`], and opens in another way.
pub const CLOSE: Word = 65_538;
/// Class of any other flow, and of all flows of fewer than seven packets.
pub const FREE: Word = 65_539;
/// Mark before a packet of the client.
pub const FORWARD: Word = 65_540;
/// Mark before a packet of the server.
pub const REVERSE: Word = 65_541;
/// Mark before the words of a TCP header.
pub const HEADER: Word = 65_542;
/// Mark before the length of TCP header and payload.
pub const SIZE: Word = 65_543;
/// Mark after the last packet of a flow.
pub const END: Word = 65_544;
/// Mark that pads rows; it has no meaning.
pub const PADDING: Word = 65_545;

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);
const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
/// Flags of the first packets of a flow that opens properly.
const OPENING: [Flags; 3] = [Flags::SYN, SYN_ACK, Flags::ACK];
/// Flags of the last packets of a flow that closes properly.
const CLOSING: [Flags; 4] = [FIN_ACK, Flags::ACK, FIN_ACK, Flags::ACK];
/// Flag bits that the code holds: FIN, SYN, RST, PSH, ACK and URG.
const FLAG_BITS: u16 = 0x3f;

/// Returns the class word of a flow, by the rule of tcpflowgen.
#[must_use]
pub fn class_of(flow: &Flow) -> Word {
    let held = Flags::from_bits_retain(FLAG_BITS);
    let flags: Vec<Flags> = flow.packets.iter().map(|p| p.flags & held).collect();
    let is_long = flags.len() >= OPENING.len() + CLOSING.len();
    match (is_long && flags.starts_with(&OPENING), is_long && flags.ends_with(&CLOSING)) {
        (true, true) => COMPLETE,
        (true, false) => START,
        (false, true) => CLOSE,
        (false, false) => FREE,
    }
}

/// Encoder and decoder of the `word16` code; it has no buffers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word16;

impl TokenCode for Word16 {
    type Token = Word;
    const NAME: &'static str = NAME;
    const VERSION: u32 = VERSION;
    const VOCAB_SIZE: usize = VOCAB_SIZE;

    /// # Errors
    /// If TCP header and payload of a packet are longer than 65,535 octets.
    fn encode(&mut self, flow: &Flow, out: &mut Vec<Word>) -> Result<FlowIdentity, EncodeError> {
        for (index, p) in flow.packets.iter().enumerate() {
            let size = u64::from(p.payload_len) + 20 + u64::from(p.options.len);
            if size > 0xffff {
                return Err(EncodeError::OutOfRange {
                    index,
                    what: "length of TCP header and payload",
                    value: size,
                });
            }
        }
        out.push(class_of(flow));
        for p in &flow.packets {
            write_packet(flow, p, out);
        }
        out.push(END);
        let mut identity = FlowIdentity {
            start_ns: flow.times_ns().map(|(least, _)| least),
            client_port: Some(flow.client.port),
            ..FlowIdentity::default()
        };
        identity.client.addr = Some(flow.client.addr);
        identity.server.addr = Some(flow.server.addr);
        Ok(identity)
    }

    /// Decodes a flow. Times start at `identity.start_ns`, one microsecond apart; TTLs are 64; the
    /// other values that the code does not hold are zero.
    fn decode(
        &mut self,
        words: &[Word],
        identity: &FlowIdentity,
        flow: &mut Flow,
    ) -> Result<Synthesized, DecodeError> {
        let mut words = Words { words, at: 0 };
        code::restart(flow, identity, identity.client.addr.is_some_and(|a| a.is_ipv6()));
        let mut synthesized = Synthesized::default();
        words.next_if("class (65536 to 65539)", |w| (COMPLETE..=FREE).contains(&w))?;
        while words.peek() != Some(END) {
            read_packet(&mut words, flow, &mut synthesized, identity)?;
        }
        words.at += 1;
        match words.words[words.at..].iter().position(|&w| w != PADDING) {
            None => Ok(synthesized),
            Some(more) => {
                words.at += more;
                Err(words.refuse("nothing, or padding"))
            }
        }
    }
}

/// Encodes one flow: [`Word16`]'s [`encode`](TokenCode::encode).
///
/// # Errors
/// If TCP header and payload of a packet are longer than 65,535 octets. `out` is then unchanged.
pub fn encode(flow: &Flow, out: &mut Vec<Word>) -> Result<FlowIdentity, EncodeError> {
    Word16.encode(flow, out)
}

/// Decodes one flow: [`Word16`]'s [`decode`](TokenCode::decode).
///
/// # Errors
/// At the first misplaced word, and if the words end before the flow does.
pub fn decode(words: &[Word], identity: &FlowIdentity) -> Result<(Flow, Synthesized), DecodeError> {
    let mut flow = Flow::empty();
    let synthesized = Word16.decode(words, identity, &mut flow)?;
    Ok((flow, synthesized))
}

/// Appends the words of one packet.
fn write_packet(flow: &Flow, p: &Packet, out: &mut Vec<Word>) {
    let forward = p.direction == Direction::Forward;
    let options = flow.options_of(p);
    let (from, to) = if forward {
        (flow.client.port, flow.server.port)
    } else {
        (flow.server.port, flow.client.port)
    };
    let words = |n: u32| [(n >> 16) as Word, (n & 0xffff) as Word];
    out.push(if forward { FORWARD } else { REVERSE });
    out.extend([SIZE, p.payload_len as Word + 20 + options.len() as Word, HEADER]);
    out.extend([Word::from(from), Word::from(to)]);
    out.extend(words(p.seq.0));
    out.extend(words(p.ack.0));
    out.extend([5 + options.len() as Word / 4, 0, Word::from(p.flags.bits() & FLAG_BITS)]);
    out.extend([Word::from(p.window), 0, Word::from(p.urgent)]);
    out.extend(
        options
            .chunks(2)
            .map(|c| Word::from(c[0]) << 8 | Word::from(c.get(1).copied().unwrap_or(0))),
    );
}

/// Cursor over words, with the errors of misplaced ones.
struct Words<'a> {
    words: &'a [Word],
    at: usize,
}

impl Words<'_> {
    /// Returns the next word without reading it.
    fn peek(&self) -> Option<Word> {
        self.words.get(self.at).copied()
    }

    /// Creates the error for the next word.
    fn refuse(&self, expected: &'static str) -> DecodeError {
        match self.peek() {
            None => DecodeError::Truncated { index: self.at, expected },
            Some(word) => DecodeError::WrongWord { index: self.at, expected, found: word },
        }
    }

    /// Reads a word that `fits`.
    fn next_if(
        &mut self,
        expected: &'static str,
        fits: impl Fn(Word) -> bool,
    ) -> Result<Word, DecodeError> {
        let word = self.peek().filter(|&w| fits(w)).ok_or_else(|| self.refuse(expected))?;
        self.at += 1;
        Ok(word)
    }

    /// Reads a 16-bit value.
    fn word(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        self.next_if(expected, |w| (0..=0xffff).contains(&w)).map(|w| w as u16)
    }

    /// Reads a 32-bit value, high word first.
    fn double(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from(self.word(expected)?) << 16 | u32::from(self.word(expected)?))
    }
}

/// Reads one packet, and appends it to `flow`.
fn read_packet(
    words: &mut Words<'_>,
    flow: &mut Flow,
    synthesized: &mut Synthesized,
    identity: &FlowIdentity,
) -> Result<(), DecodeError> {
    let forward = words.next_if("direction or end", |w| w == FORWARD || w == REVERSE)? == FORWARD;
    words.next_if("size mark (65543)", |w| w == SIZE)?;
    let size = u32::from(words.word("length of TCP header and payload")?);
    words.next_if("header mark (65542)", |w| w == HEADER)?;
    let ports = [words.word("source port")?, words.word("destination port")?];
    let (seq, ack) = (words.double("sequence number")?, words.double("acknowledgment number")?);
    let offset = words.next_if("data offset, 5 to 15", |w| (5..=15).contains(&w))? as usize;
    words.next_if("reserved bits, 0 to 15", |w| (0..=15).contains(&w))?;
    let flags = words.next_if("flags, 0 to 255", |w| (0..=255).contains(&w))? as u16;
    let window = words.word("window")?;
    words.word("checksum")?;
    let urgent = words.word("urgent pointer")?;
    let start = flow.options.len();
    while flow.options.len() - start < (offset - 5) * 4 {
        let Some(word @ 0..=0xffff) = words.peek() else { break };
        flow.options.extend_from_slice(&(word as u16).to_be_bytes());
        words.at += 1;
    }
    let header = offset as u32 * 4;
    if flow.options.len() - start < (offset - 5) * 4 || size < header {
        synthesized.repaired += 1;
    }
    flow.options.resize(start + (offset - 5) * 4, 0);
    synthesized.packets += 1;
    let (client, server) = if forward { (ports[0], ports[1]) } else { (ports[1], ports[0]) };
    if flow.packets.is_empty() {
        (flow.client.port, flow.server.port) = (client, server);
    }
    flow.packets.push(Packet {
        time_ns: identity.start_ns.unwrap_or(0).saturating_add(1000 * flow.packets.len() as i64),
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        payload_len: size.saturating_sub(header),
        flow_label: 0,
        options: OptionsRef { start: start as u32, len: ((offset - 5) * 4) as u8 },
        flags: Flags::from_bits_retain(flags),
        window,
        urgent,
        ip_id: 0,
        ttl: 64,
        traffic_class: 0,
        dont_fragment: !flow.client.addr.is_ipv6(),
        direction: if forward { Direction::Forward } else { Direction::Reverse },
    });
    Ok(())
}

const _: () = assert!(PADDING as usize + 1 == VOCAB_SIZE);
