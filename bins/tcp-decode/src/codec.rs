//! Rows into flows, in either token code.

use arrowio::{FlowRow, TokenCode, Tokens};
use flowtrack::Flow;
use tcpwire::Flags;
use tokenizer::field::{self, Close, FlowHeader};
use tokenizer::word16::{self, Invented};
use tokenizer::{DecodeError, FlowIdentity};

/// The codes that are read.
pub(crate) const CODES: [TokenCode; 2] = [
    TokenCode { name: field::NAME, version: field::VERSION },
    TokenCode { name: word16::NAME, version: word16::VERSION },
];

/// What the head of a row says. The original's code has no head: there the whole flow is looked at.
pub(crate) fn header(tokens: &Tokens) -> Result<FlowHeader, DecodeError> {
    match tokens {
        Tokens::U16(tokens) => field::header(tokens),
        Tokens::I32(words) => word16::decode(words, &FlowIdentity::default()).map(|(flow, _)| header_of(&flow)),
    }
}

/// The flow, and what had to be made up.
pub(crate) fn decode(row: &FlowRow) -> Result<(Flow, Invented), DecodeError> {
    match &row.tokens {
        Tokens::U16(tokens) => field::decode(tokens, &row.identity).map(|flow| (flow, Invented::default())),
        Tokens::I32(words) => word16::decode(words, &row.identity),
    }
}

fn header_of(flow: &Flow) -> FlowHeader {
    let any = |all: Flags| flow.packets.iter().any(|p| p.flags.has(all));
    let close = match (any(Flags::RST), any(Flags::FIN)) {
        (true, _) => Close::Reset,
        (false, true) => Close::Graceful,
        (false, false) => Close::Open,
    };
    FlowHeader {
        ip_version: if flow.client.addr.is_ipv6() { 6 } else { 4 },
        unit_ns: 1_000,
        close,
        opened: any(Flags::SYN.with(Flags::ACK)),
        length_class: 0,
        server_port: flow.server.port,
    }
}

/// What was wrong with a flow, without the place: for counting.
pub(crate) fn reason(error: &DecodeError) -> String {
    match error {
        DecodeError::Misplaced { expected, .. } | DecodeError::WrongWord { expected, .. } => {
            format!("tokens: expected {expected}, found another")
        }
        DecodeError::Truncated { expected, .. } => format!("tokens: expected {expected}, found the end"),
    }
}
