//! The `word16` code: tcpflowgen's 16-bit words, so that its datasets and models can be read and
//! compared.
//!
//! A flow is its class, its packets and an end. A packet is 16 words and one for every two octets
//! of options:
//!
//! | words | what |
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
//! What it loses: time, addresses and IP version, TTL, IP identification, DSCP and ECN, DF, flow
//! label, and of the TCP flags ECE, CWR, AE and the reserved bits. Decoding invents those and says
//! so in [`Synthesized`].

use flowtrack::{Direction, Flow, OptionsRef, Packet};
use tcpwire::{Flags, SeqNum};

use crate::code;
use crate::{DecodeError, EncodeError, FlowIdentity, Synthesized, TokenCode};

/// A word: 0 to 65,535, or one of the marks above.
pub type Word = i32;

/// Name of this code, as datasets give it.
pub const NAME: &str = "word16";
/// Version of this code: the original's.
pub const VERSION: u32 = 1;
/// Number of ids: 65,536 words and ten marks.
pub const VOCAB_SIZE: usize = 65_546;

/// The class of a flow that opens with exactly SYN, SYN-ACK, ACK and closes with exactly FIN-ACK,
/// ACK, FIN-ACK, ACK.
pub const COMPLETE: Word = 65_536;
/// The class of a flow with that opening alone.
pub const START: Word = 65_537;
/// The class of a flow with that close alone.
pub const CLOSE: Word = 65_538;
/// The class of any other flow, and of all shorter than seven packets.
pub const FREE: Word = 65_539;
/// The packet comes from the client.
pub const FORWARD: Word = 65_540;
/// The packet comes from the server.
pub const REVERSE: Word = 65_541;
/// The TCP header begins.
pub const HEADER: Word = 65_542;
/// The length of TCP header and payload follows.
pub const SIZE: Word = 65_543;
/// Mark at the end of a flow.
pub const END: Word = 65_544;
/// Nothing: fills rows up.
pub const PADDING: Word = 65_545;

const OPENING: [u16; 3] = [0x02, 0x12, 0x10];
const ENDING: [u16; 4] = [0x11, 0x10, 0x11, 0x10];

/// The class word of a flow, by the original's rule.
#[must_use]
pub fn class_of(flow: &Flow) -> Word {
    let flags: Vec<u16> = flow.packets.iter().map(|p| p.flags.bits() & 0x3f).collect();
    let long = flags.len() >= 7;
    match (long && flags.starts_with(&OPENING), long && flags.ends_with(&ENDING)) {
        (true, true) => COMPLETE,
        (true, false) => START,
        (false, true) => CLOSE,
        (false, false) => FREE,
    }
}

/// The code as a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word16;

impl TokenCode for Word16 {
    type Token = Word;
    const NAME: &'static str = NAME;
    const VERSION: u32 = VERSION;
    const VOCAB_SIZE: usize = VOCAB_SIZE;

    /// # Errors
    /// Where a segment is longer than a word can say.
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
            start_ns: flow.packets.first().map(|p| p.time_ns),
            client_port: Some(flow.client.port),
            ..FlowIdentity::default()
        };
        identity.client.addr = Some(flow.client.addr);
        identity.server.addr = Some(flow.server.addr);
        Ok(identity)
    }

    /// Times are `identity.start_ns` and one microsecond more for every packet; TTL is 64; the rest
    /// of what the code does not hold is zero.
    fn decode(
        &mut self,
        words: &[Word],
        identity: &FlowIdentity,
        flow: &mut Flow,
    ) -> Result<Synthesized, DecodeError> {
        let mut words = Words { words, at: 0 };
        code::restart(flow, identity, identity.client.addr.is_some_and(|a| a.is_ipv6()));
        let mut synthesized = Synthesized::default();
        words.take("class (65536 to 65539)", |w| (COMPLETE..=FREE).contains(&w))?;
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
/// Where a segment is longer than a word can say. `out` is then as it was.
pub fn encode(flow: &Flow, out: &mut Vec<Word>) -> Result<FlowIdentity, EncodeError> {
    Word16.encode(flow, out)
}

/// Decodes one flow: [`Word16`]'s [`decode`](TokenCode::decode).
///
/// # Errors
/// At the first word that may not stand where it stands, and where the words end before the flow
/// does.
pub fn decode(words: &[Word], identity: &FlowIdentity) -> Result<(Flow, Synthesized), DecodeError> {
    let mut flow = Flow::empty();
    let synthesized = Word16.decode(words, identity, &mut flow)?;
    Ok((flow, synthesized))
}

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
    out.extend([5 + options.len() as Word / 4, 0, Word::from(p.flags.bits() & 0x3f)]);
    out.extend([Word::from(p.window), 0, Word::from(p.urgent)]);
    out.extend(
        options
            .chunks(2)
            .map(|c| Word::from(c[0]) << 8 | Word::from(c.get(1).copied().unwrap_or(0))),
    );
}

/// A cursor over words that knows what to say where one is amiss.
struct Words<'a> {
    words: &'a [Word],
    at: usize,
}

impl Words<'_> {
    fn peek(&self) -> Option<Word> {
        self.words.get(self.at).copied()
    }

    fn refuse(&self, expected: &'static str) -> DecodeError {
        match self.peek() {
            None => DecodeError::Truncated { index: self.at, expected },
            Some(word) => DecodeError::WrongWord { index: self.at, expected, found: word },
        }
    }

    fn take(
        &mut self,
        expected: &'static str,
        fits: impl Fn(Word) -> bool,
    ) -> Result<Word, DecodeError> {
        let word = self.peek().filter(|&w| fits(w)).ok_or_else(|| self.refuse(expected))?;
        self.at += 1;
        Ok(word)
    }

    fn word(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        self.take(expected, |w| (0..=0xffff).contains(&w)).map(|w| w as u16)
    }

    fn double(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from(self.word(expected)?) << 16 | u32::from(self.word(expected)?))
    }
}

fn read_packet(
    words: &mut Words<'_>,
    flow: &mut Flow,
    synthesized: &mut Synthesized,
    identity: &FlowIdentity,
) -> Result<(), DecodeError> {
    let forward = words.take("direction or end", |w| w == FORWARD || w == REVERSE)? == FORWARD;
    words.take("size mark (65543)", |w| w == SIZE)?;
    let size = u32::from(words.word("length of TCP header and payload")?);
    words.take("header mark (65542)", |w| w == HEADER)?;
    let ports = [words.word("source port")?, words.word("destination port")?];
    let (seq, ack) = (words.double("sequence number")?, words.double("acknowledgment number")?);
    let offset = words.take("data offset, 5 to 15", |w| (5..=15).contains(&w))? as usize;
    words.take("reserved bits, 0 to 15", |w| (0..=15).contains(&w))?;
    let flags = words.take("flags, 0 to 255", |w| (0..=255).contains(&w))? as u16;
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
