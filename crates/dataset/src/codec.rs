//! Flows into rows and rows into flows, in either token code.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use arrowio::{CodecId, DatasetMeta, FIELD_1, FlowRow, Tokens};
use flowtrack::{Direction, Flow};
use rand::Rng;
use tcpwire::Flags;
use tokenizer::field::{self, CloseKind, Field, FlowHeader, SessionClass, TimeUnit};
use tokenizer::word16::{self, Word16};
use tokenizer::{DecodeError, EncodeError, FlowIdentity, Synthesized, TokenCode as _};

/// Identifiers of both token codes in their current versions.
pub const CODEC_IDS: [CodecId; 2] = [RowCodec::Field.id(), RowCodec::Word16.id()];

/// Identifiers of all token codes and versions that [`RowDecoder`] decodes.
pub const DECODED_IDS: [CodecId; 3] = [RowCodec::Field.id(), FIELD_1, RowCodec::Word16.id()];

use crate::bases::draw_bases;

/// Number of tokens that hold the first packet of either side in most flows, and the client's first
/// one in every flow.
const OPENING: usize = 32;
const LONGEST_OPENING: usize = 256;

/// Client port of flows that have none: the first of the dynamic ports (RFC 6335, section 6).
const STAND_IN_PORT: u16 = 49_152;

/// Token code of a dataset's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowCodec {
    /// Header fields relative to the flow's state, in tokens of 16 bits.
    Field,
    /// Header words of the original tool, in tokens of 32 bits.
    Word16,
}

impl RowCodec {
    /// Returns the name and version that datasets store.
    #[must_use]
    pub const fn id(self) -> CodecId {
        match self {
            RowCodec::Field => CodecId { name: field::NAME, version: field::VERSION },
            RowCodec::Word16 => CodecId { name: word16::NAME, version: word16::VERSION },
        }
    }

    /// Returns the number of token ids.
    #[must_use]
    pub const fn vocab_size(self) -> usize {
        match self {
            RowCodec::Field => field::VOCAB_SIZE,
            RowCodec::Word16 => word16::VOCAB_SIZE,
        }
    }

    /// Returns the metadata of a dataset in this code. `tool` is the program with its version,
    /// `options` the options that it was called with.
    #[must_use]
    pub fn meta(self, tool: &str, options: BTreeMap<String, String>) -> DatasetMeta {
        let CodecId { name, version } = self.id();
        DatasetMeta {
            token_code: name.to_owned(),
            token_version: version,
            vocab_size: self.vocab_size() as u32,
            tool: tool.to_owned(),
            options,
        }
    }
}

impl FromStr for RowCodec {
    type Err = String;

    fn from_str(text: &str) -> Result<RowCodec, String> {
        let found = [RowCodec::Field, RowCodec::Word16].into_iter().find(|c| c.id().name == text);
        found.ok_or_else(|| format!("expected field or word16, found '{text}'"))
    }
}

/// Encodes flows in one token code, with buffers that are reused.
#[derive(Debug)]
pub struct RowEncoder {
    codec: RowCodec,
    field: Field,
}

impl RowEncoder {
    /// Creates an encoder of a token code.
    #[must_use]
    pub fn new(codec: RowCodec) -> RowEncoder {
        RowEncoder { codec, field: Field::default() }
    }

    /// Encodes a flow into its tokens and its identity. Identity is everything that tokens leave
    /// out: addresses, client port, initial numbers and start time.
    ///
    /// # Errors
    /// If the token code cannot represent the flow.
    pub fn encode(&mut self, flow: &Flow) -> Result<(Tokens, FlowIdentity), EncodeError> {
        // Capacities are the usual number of tokens per packet, and some for the head.
        let packets = flow.packets.len();
        Ok(match self.codec {
            RowCodec::Field => {
                let mut tokens = Vec::with_capacity(packets * 6 + 16);
                let identity = self.field.encode(flow, &mut tokens)?;
                (Tokens::U16(tokens), identity)
            }
            RowCodec::Word16 => {
                let mut words = Vec::with_capacity(packets * 21 + 16);
                let identity = Word16.encode(flow, &mut words)?;
                (Tokens::I32(words), identity)
            }
        })
    }
}

/// Reads the header of a row's flow. The `word16` code has none: its header is computed from the
/// whole flow, which is decoded for it.
fn read_header(row: &FlowRow) -> Result<FlowHeader, DecodeError> {
    match &row.tokens {
        Tokens::U16(tokens) => field::header(tokens),
        Tokens::I32(words) => {
            word16::decode(words, &row.identity).map(|(flow, _)| header_of(&flow))
        }
    }
}

/// Returns the header that a flow would have in the field code, as far as its packets show: a
/// `word16` row has none of its own.
#[must_use]
pub fn header_of(flow: &Flow) -> FlowHeader {
    let any = |all: Flags| flow.packets.iter().any(|p| p.flags.contains(all));
    let close = match (any(Flags::RST), any(Flags::FIN)) {
        (true, _) => CloseKind::Reset,
        (false, true) => CloseKind::Graceful,
        (false, false) => CloseKind::Open,
    };
    FlowHeader {
        ip_version: if flow.client.addr.is_ipv6() { 6 } else { 4 },
        // The code has no times: decoded packets lie a whole number of microseconds apart.
        unit: TimeUnit::Microsecond,
        class: SessionClass { close, has_handshake: any(Flags::SYN | Flags::ACK) },
        server_port: flow.server.port,
        ..FlowHeader::default()
    }
}

/// Decodes rows of either token code, with buffers of recycled flows.
#[derive(Debug, Default)]
pub struct RowDecoder {
    field: Field,
    spare: Vec<Flow>,
}

impl RowDecoder {
    /// Decodes a row into its flow, and counts the packets that hold synthesized values. Identity
    /// that the row lacks is zero in the flow.
    ///
    /// # Errors
    /// If a token is not valid where it is, or the tokens end before the flow does.
    pub fn decode(&mut self, row: &FlowRow) -> Result<(Flow, Synthesized), DecodeError> {
        self.decode_with(&row.tokens, &row.identity)
    }

    /// Decodes a row into its flow, with addresses from the documentation ranges where the row has
    /// none (RFC 5737, RFC 3849) and client port 49152 where it has none.
    ///
    /// # Errors
    /// If a token is not valid where it is, or the tokens end before the flow does.
    pub fn decode_with_stand_ins(&mut self, row: &FlowRow) -> Result<Flow, DecodeError> {
        let identity = with_stand_ins(&row.identity, read_header(row)?.ip_version);
        self.decode_with(&row.tokens, &identity).map(|(flow, _)| flow)
    }

    /// Like [`decode_with_stand_ins`](RowDecoder::decode_with_stand_ins), with bases drawn from
    /// `random` where a row without addresses has none, as `tcp-decode` draws them.
    ///
    /// # Errors
    /// If a token is not valid where it is, or the tokens end before the flow does.
    pub fn decode_with_drawn_bases(
        &mut self,
        row: &FlowRow,
        random: &mut impl Rng,
    ) -> Result<Flow, DecodeError> {
        let ip_version = read_header(row)?.ip_version;
        let mut identity = row.identity.clone();
        // A captured flow has its addresses, and lacks the bases that its packets never needed.
        if identity.client.addr.is_none() || identity.server.addr.is_none() {
            for side in [&mut identity.client, &mut identity.server] {
                draw_bases(side, ip_version, random);
            }
        }
        let identity = with_stand_ins(&identity, ip_version);
        self.decode_with(&row.tokens, &identity).map(|(flow, _)| flow)
    }

    /// Decodes the first packets of a row's flow, up to the first one of each side if that comes
    /// early, and returns the result of `look` on them. The flow has no packets if the first one is
    /// not valid.
    pub fn decode_opening<T>(&mut self, row: &FlowRow, look: impl FnOnce(&Flow) -> T) -> T {
        let mut flow = self.empty_flow();
        // Tokens that are cut off are an error, with the packets before the cut decoded.
        match &row.tokens {
            Tokens::U16(tokens) => {
                let _cut = self.field.decode(start(tokens, OPENING), &row.identity, &mut flow);
                let has = |d| flow.packets.iter().any(|packet| packet.direction == d);
                if !(has(Direction::Forward) && has(Direction::Reverse)) {
                    let longest = start(tokens, LONGEST_OPENING);
                    let _cut = self.field.decode(longest, &row.identity, &mut flow);
                }
            }
            Tokens::I32(words) => drop(Word16.decode(words, &row.identity, &mut flow)),
        }
        let seen = look(&flow);
        self.recycle(flow);
        seen
    }

    /// Takes a flow back, whose buffers the next one is decoded into.
    pub fn recycle(&mut self, flow: Flow) {
        self.spare.push(flow);
    }

    fn decode_with(
        &mut self,
        tokens: &Tokens,
        identity: &FlowIdentity,
    ) -> Result<(Flow, Synthesized), DecodeError> {
        let mut flow = self.empty_flow();
        let decoded = match tokens {
            Tokens::U16(tokens) => self.field.decode(tokens, identity, &mut flow),
            Tokens::I32(words) => Word16.decode(words, identity, &mut flow),
        };
        decoded.map(|synthesized| (flow, synthesized))
    }

    fn empty_flow(&mut self) -> Flow {
        self.spare.pop().unwrap_or_else(Flow::empty)
    }
}

fn start<T>(all: &[T], most: usize) -> &[T] {
    &all[..all.len().min(most)]
}

/// Fills the addresses and the client port that an identity lacks.
fn with_stand_ins(identity: &FlowIdentity, ip_version: u8) -> FlowIdentity {
    // RFC 5737, section 3: 192.0.2.0/24 (TEST-NET-1) is for documentation; RFC 3849, section 2:
    // 2001:db8::/32 is. No packet between such addresses is mistaken for real traffic.
    let addr = |n: u8| -> IpAddr {
        match ip_version {
            6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
            _ => Ipv4Addr::new(192, 0, 2, n).into(),
        }
    };
    let mut filled = identity.clone();
    filled.client.addr = filled.client.addr.or(Some(addr(1)));
    filled.server.addr = filled.server.addr.or(Some(addr(2)));
    filled.client_port = filled.client_port.or(Some(STAND_IN_PORT));
    filled
}
