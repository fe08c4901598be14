//! The `field` code: what a sender does, relative to what TCP expects.
//!
//! ```
//! use flowtrack::Flow;
//! use tokenizer::field;
//!
//! fn there_and_back(flow: &Flow) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut tokens = Vec::new();
//!     let identity = field::encode(flow, &mut tokens)?;
//!     let again = field::decode(&tokens, &identity)?;
//!     assert_eq!(again.packets.len(), flow.packets.len());
//!     Ok(())
//! }
//! ```

mod bucket;
mod clock;
pub mod doc;
mod grammar;
mod lex;
mod options;
mod say;
mod space;
mod state;
mod tally;
pub mod vocab;

use flowtrack::{Direction, Flow};
use tcpwire::Flags;

use crate::code;
use crate::{DecodeError, EncodeError, FlowIdentity, Invented, TokenCode, TokenId};
pub use grammar::{Grammar, Limits, Mask, Strength};
use lex::{Head, Lexer, Step};
use say::{Say, Shape};
use state::FlowState;
pub use tally::{FieldCost, Tally};
pub use vocab::{BOS, END, VERSION, VOCAB_SIZE};

/// Name of this code, as datasets give it.
pub const NAME: &str = "field";

/// How a flow ends, as its tokens say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Both sides sent a FIN, and nobody a RST.
    Graceful,
    /// Somebody sent a RST.
    Reset,
    /// Neither.
    Open,
}

/// What the head of a flow says about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowHeader {
    /// 4 or 6.
    pub ip_version: u8,
    /// Unit of time of the flow, in nanoseconds.
    pub unit_ns: i64,
    /// How it ends.
    pub close: Close,
    /// Whether it begins with SYN and SYN-ACK.
    pub opened: bool,
    /// Number of packets: at least `2^length_class`, less than twice that (0 and 1 packets are
    /// class 0).
    pub length_class: u8,
    /// The server's port.
    pub server_port: u16,
}

/// The code as a value: it keeps what encoding and decoding need from flow to flow.
#[derive(Clone, Debug, Default)]
pub struct Field {
    state: FlowState,
    say: Say,
    lexer: Lexer,
}

impl TokenCode for Field {
    type Token = TokenId;
    const NAME: &'static str = NAME;
    const VERSION: u32 = VERSION;
    const VOCAB_SIZE: usize = VOCAB_SIZE;

    fn encode(&mut self, flow: &Flow, out: &mut Vec<TokenId>) -> Result<FlowIdentity, EncodeError> {
        let v6 = flow.client.addr.is_ipv6();
        let head = Survey::of(flow, v6)?.head(flow, v6);
        lex::write_head(&head, out);
        let Field { state, say, .. } = self;
        state.restart(FlowIdentity::default(), v6, head.unit_ns(), head.ticks_ns());
        if let Some(first) = flow.packets.first() {
            state.set_start(first.time_ns);
        }
        for packet in &flow.packets {
            say.restart(Shape::from_index(0));
            state.say(packet, flow.options_of(packet), say);
            lex::write_packet(say, head.unit, out);
        }
        out.push(END);
        let mut identity = *state.identity();
        identity.client_port = Some(flow.client.port);
        identity.client.addr = Some(flow.client.addr);
        identity.server.addr = Some(flow.server.addr);
        Ok(identity)
    }

    fn decode(
        &mut self,
        tokens: &[TokenId],
        identity: &FlowIdentity,
        flow: &mut Flow,
    ) -> Result<Invented, DecodeError> {
        let Field { state, lexer, .. } = self;
        lexer.restart();
        code::restart(flow, identity, false);
        let mut begun = false;
        for (index, &token) in tokens.iter().enumerate() {
            match lexer.push(token).map_err(|_| misplaced(index, lexer, token))? {
                Step::More => {}
                Step::Packet if !begun => {
                    begun = true;
                    let head = lexer.head;
                    state.restart(*identity, head.v6, head.unit_ns(), head.ticks_ns());
                    code::restart(flow, identity, head.v6);
                    flow.server.port = head.port;
                }
                Step::Packet => {}
                Step::Said => flow.packets.push(state.resolve(&lexer.say, &mut flow.options)),
                Step::End if index + 1 == tokens.len() => return Ok(Invented::default()),
                Step::End => return Err(misplaced(index + 1, lexer, tokens[index + 1])),
            }
        }
        Err(DecodeError::Truncated { index: tokens.len(), expected: lexer.at.expected() })
    }
}

/// Where the length class stands in a flow's tokens: after `begin`, `flow` and `class`.
const HEAD_LENGTH: usize = 3;

/// The class of a number of packets: class `n` has from `2^n` to `2^(n+1) - 1`, the last one all
/// beyond.
fn length_class(packets: usize) -> u8 {
    packets.max(1).ilog2().min(vocab::LENGTH.count() as u32 - 1) as u8
}

/// Puts the length class in the head of a flow's tokens right: see [`Grammar::with_any_length`].
pub fn say_length(tokens: &mut [TokenId], packets: usize) {
    if let Some(token) =
        tokens.get_mut(HEAD_LENGTH).filter(|token| vocab::LENGTH.arg(**token).is_some())
    {
        *token = vocab::LENGTH.at(length_class(packets).into());
    }
}

/// Encodes one flow: [`Field`]'s [`encode`](TokenCode::encode). For many flows keep a [`Field`].
///
/// # Errors
/// Where the flow has no packets or holds what no TCP header can: see [`EncodeError`]. `out` is
/// then as it was.
pub fn encode(flow: &Flow, out: &mut Vec<TokenId>) -> Result<FlowIdentity, EncodeError> {
    Field::default().encode(flow, out)
}

/// Decodes one flow: [`Field`]'s [`decode`](TokenCode::decode). For many flows keep a [`Field`].
///
/// # Errors
/// At the first token that may not stand where it stands, and where the tokens end before the flow
/// does.
pub fn decode(tokens: &[TokenId], identity: &FlowIdentity) -> Result<Flow, DecodeError> {
    let mut flow = code::no_flow();
    Field::default().decode(tokens, identity, &mut flow)?;
    Ok(flow)
}

/// Reads the head of a flow alone.
///
/// # Errors
/// As [`decode`].
pub fn header(tokens: &[TokenId]) -> Result<FlowHeader, DecodeError> {
    let mut lexer = Lexer::default();
    for (index, &token) in tokens.iter().enumerate() {
        let step = lexer.push(token).map_err(|_| misplaced(index, &lexer, token))?;
        if step == Step::Packet || matches!(lexer.at, lex::At::Hz(_)) {
            return Ok(header_of(&lexer.head));
        }
    }
    Err(DecodeError::Truncated { index: tokens.len(), expected: lexer.at.expected() })
}

fn header_of(head: &Head) -> FlowHeader {
    FlowHeader {
        ip_version: if head.v6 { 6 } else { 4 },
        unit_ns: head.unit_ns(),
        close: [Close::Graceful, Close::Reset, Close::Open][usize::from(head.class % 3)],
        opened: head.class < 3,
        length_class: head.length,
        server_port: head.port,
    }
}

fn misplaced(index: usize, lexer: &Lexer, found: TokenId) -> DecodeError {
    DecodeError::Misplaced {
        index,
        expected: lexer.at.expected(),
        found,
        meaning: vocab::describe(found),
    }
}

/// What is to be known of a flow before its first packet is said.
#[derive(Default)]
struct Survey {
    /// Every flag seen, by direction.
    flags: [u16; 2],
    /// Whether the server sent a SYN-ACK.
    syn_ack: bool,
    /// Whether every time is a whole number of microseconds.
    micros: bool,
    /// By direction, the first and the last packet with room for timestamps among its options.
    stamped: [Option<(usize, usize)>; 2],
}

impl Survey {
    /// Looks at every packet once; refuses what no header can hold.
    fn of(flow: &Flow, v6: bool) -> Result<Survey, EncodeError> {
        if flow.packets.is_empty() {
            return Err(EncodeError::Empty);
        }
        if flow.server.addr.is_ipv6() != v6 {
            return Err(EncodeError::MixedVersions);
        }
        let mut survey = Survey { micros: true, ..Survey::default() };
        let mut before = flow.packets.first().map_or(0, |p| p.time_ns);
        for (index, p) in flow.packets.iter().enumerate() {
            check(flow, v6, index, before)?;
            before = p.time_ns;
            survey.micros = survey.micros && p.time_ns % vocab::UNITS_NS[1] == 0;
            let d = p.direction.index();
            survey.flags[d] |= p.flags.bits();
            survey.syn_ack |=
                p.direction == Direction::Reverse && p.flags.contains(Flags::SYN | Flags::ACK);
            if p.options.len >= 12 {
                survey.stamped[d] =
                    Some((survey.stamped[d].map_or(index, |(first, _)| first), index));
            }
        }
        Ok(survey)
    }

    fn head(&self, flow: &Flow, v6: bool) -> Head {
        let length = length_class(flow.packets.len());
        let ticks = self.stamped.map(|s| tick_of(flow, s));
        // Microseconds where every time of the flow is a whole number of them, else nanoseconds.
        // Coarser captures are kept in microseconds, since one cannot tell them from a short flow's
        // chance.
        let unit = u8::from(self.micros);
        Head { v6, unit, class: self.class(), length, port: flow.server.port, ticks }
    }

    fn class(&self) -> u8 {
        let [client, server] = self.flags;
        let close = if Flags::from_bits_retain(client | server).contains(Flags::RST) {
            1
        } else if Flags::from_bits_retain(client & server).contains(Flags::FIN) {
            0
        } else {
            2
        };
        if Flags::from_bits_retain(client).contains(Flags::SYN) && self.syn_ack {
            close
        } else {
            close + 3
        }
    }
}

/// Refuses what no header can hold. `before` is the time of the packet before.
fn check(flow: &Flow, v6: bool, index: usize, before: i64) -> Result<(), EncodeError> {
    let p = &flow.packets[index];
    let refuse = |what, value: u64| Err(EncodeError::OutOfRange { index, what, value });
    if p.flags.bits() > 0xfff {
        return refuse("flags", p.flags.bits().into());
    }
    if !p.options.len.is_multiple_of(4) || p.options.len > 40 {
        return refuse("options length", p.options.len.into());
    }
    if p.options.start as usize + usize::from(p.options.len) > flow.options.len() {
        return refuse("options start", p.options.start.into());
    }
    if p.flow_label > if v6 { 0xf_ffff } else { 0 } {
        return refuse("flow label", p.flow_label.into());
    }
    if v6 && p.ip_id != 0 {
        return refuse("IPv6 identification", p.ip_id.into());
    }
    if v6 && p.dont_fragment {
        return refuse("IPv6 don't-fragment bit", 1);
    }
    if p.time_ns.checked_sub(before).is_none_or(|gap| gap == i64::MIN) {
        return refuse("time", p.time_ns as u64);
    }
    Ok(())
}

/// The tick of one side's timestamp clock, estimated between the first and the last of its packets
/// that carry one.
fn tick_of(flow: &Flow, stamped: Option<(usize, usize)>) -> u8 {
    let Some((first, last)) = stamped.map(|(a, b)| (&flow.packets[a], &flow.packets[b])) else {
        return 0;
    };
    let value = |p| options::timestamp_value(flow.options_of(p));
    let (Some(v0), Some(v1)) = (value(first), value(last)) else { return 0 };
    let ticks = i64::from(v1.wrapping_sub(v0) as i32);
    let elapsed = last.time_ns.saturating_sub(first.time_ns);
    if ticks <= 0 || elapsed < 20_000_000 {
        return 0;
    }
    // Within a fifth of a known tick; between two of them, or on a short flow, the usual one is as
    // good a guess.
    let near = |tick_ns: i64| {
        let (elapsed, known) = (5.0 * elapsed as f64, ticks as f64 * tick_ns as f64);
        elapsed > 4.0 * known && elapsed < 6.0 * known
    };
    vocab::TICKS_NS.iter().position(|&tick_ns| near(tick_ns)).unwrap_or(0) as u8
}
