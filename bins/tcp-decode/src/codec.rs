//! Rows into flows, in either token code.

use std::net::Ipv4Addr;

use arrowio::{CodecId, FlowRow, Tokens};
use flowtrack::{Completeness, Endpoint, Flow};
use tcpwire::Flags;
use tokenizer::field::{self, CloseKind, Field, FlowHeader, SessionClass, TimeUnit};
use tokenizer::word16::{self, Word16};
use tokenizer::{DecodeError, Synthesized, TokenCode as _};

/// The codes that are read.
pub(crate) const CODES: [CodecId; 2] = [
    CodecId { name: field::NAME, version: field::VERSION },
    CodecId { name: word16::NAME, version: word16::VERSION },
];

/// So many tokens hold the first packet of most flows, and of every one.
const OPENING: usize = 32;
const LONGEST_OPENING: usize = 256;

/// What the head of a row says. The original's code has no head: there the whole flow is looked at.
pub(crate) fn header(row: &FlowRow) -> Result<FlowHeader, DecodeError> {
    match &row.tokens {
        Tokens::U16(tokens) => field::header(tokens),
        Tokens::I32(words) => {
            word16::decode(words, &row.identity).map(|(flow, _)| header_of(&flow))
        }
    }
}

/// Decodes flows, with the memory of those that are done with.
#[derive(Default)]
pub(crate) struct Decoder {
    field: Field,
    word16: Word16,
    spare: Vec<Flow>,
}

impl Decoder {
    /// The flow, and what had to be made up.
    pub(crate) fn decode(&mut self, row: &FlowRow) -> Result<(Flow, Synthesized), DecodeError> {
        let mut flow = self.spare.pop().unwrap_or_else(no_flow);
        let decoded = match &row.tokens {
            Tokens::U16(tokens) => self.field.decode(tokens, &row.identity, &mut flow),
            Tokens::I32(words) => self.word16.decode(words, &row.identity, &mut flow),
        };
        decoded.map(|synthesized| (flow, synthesized))
    }

    /// What `look` makes of the flow's first packets, identity apart: there are none where the
    /// tokens do not say any.
    pub(crate) fn opening<T>(&mut self, row: &FlowRow, look: impl FnOnce(&Flow) -> T) -> T {
        let mut flow = self.spare.pop().unwrap_or_else(no_flow);
        // Cut off, it is refused, with the packets before the cut in place.
        match &row.tokens {
            Tokens::U16(tokens) => {
                let _cut = self.field.decode(start(tokens, OPENING), &row.identity, &mut flow);
                if flow.packets.is_empty() {
                    let _cut =
                        self.field.decode(start(tokens, LONGEST_OPENING), &row.identity, &mut flow);
                }
            }
            Tokens::I32(words) => drop(self.word16.decode(words, &row.identity, &mut flow)),
        }
        let seen = look(&flow);
        self.done(flow);
        seen
    }

    /// Takes a flow back.
    pub(crate) fn done(&mut self, flow: Flow) {
        self.spare.push(flow);
    }
}

fn start<T>(all: &[T], most: usize) -> &[T] {
    &all[..all.len().min(most)]
}

/// A flow without packets.
pub(crate) fn no_flow() -> Flow {
    let nobody = Endpoint { addr: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
    Flow {
        client: nobody,
        server: nobody,
        first_frame: 0,
        packets: Vec::new(),
        options: Vec::new(),
        completeness: Completeness::default(),
    }
}

fn header_of(flow: &Flow) -> FlowHeader {
    let any = |all: Flags| flow.packets.iter().any(|p| p.flags.contains(all));
    let close = match (any(Flags::RST), any(Flags::FIN)) {
        (true, _) => CloseKind::Reset,
        (false, true) => CloseKind::Graceful,
        (false, false) => CloseKind::Open,
    };
    FlowHeader {
        ip_version: if flow.client.addr.is_ipv6() { 6 } else { 4 },
        unit: TimeUnit::Microsecond,
        class: SessionClass { close, has_handshake: any(Flags::SYN | Flags::ACK) },
        server_port: flow.server.port,
        ..FlowHeader::default()
    }
}
