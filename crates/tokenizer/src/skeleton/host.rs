//! Hosts and their flows as values.

use crate::TokenId;
use crate::field::{SessionClass, TimeUnit, vocab as field};

/// SYN of a host: the tokens of the flow code that a flow's first packet begins with, up to its
/// TTL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Syn {
    /// Whether the flow has IPv6 addresses.
    pub is_v6: bool,
    /// Tokens from `packet` on, without those of the IP identification, the flow label and the
    /// time.
    pub tokens: Vec<TokenId>,
}

/// One flow of a host, as its skeleton sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SkeletonFlow {
    /// Start, in nanoseconds since the host's first start.
    pub start_ns: i64,
    /// End, in nanoseconds since the host's first start; not in the tokens.
    pub end_ns: i64,
    /// Number of the server in the trace, in order of first use.
    pub server: u32,
    /// TCP port of the server.
    pub port: u16,
    /// SYN of the flow.
    pub syn: Syn,
    /// Class, as the flow's own header has it.
    pub class: SessionClass,
    /// Binary logarithm of the number of packets, as the flow's own header has it.
    pub length_class: u8,
}

/// All flows of a host, in order of their starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSkeleton {
    /// Time from the first start of the host before in the trace, in nanoseconds.
    pub since_ns: i64,
    /// Unit that all times are whole numbers of.
    pub unit: TimeUnit,
    /// Flows of the host, of which there is at least one.
    pub flows: Vec<SkeletonFlow>,
}

/// Moment that the gap before a flow counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// The flow is the host's first one: it starts with the host.
    First,
    /// End of the flow before.
    After,
    /// Start of the flow before.
    While,
}

/// A flow in a skeleton before its start is known: what the tokens say of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowHead {
    /// Moment that the gap counts from.
    pub anchor: Anchor,
    /// Time from the anchor to the flow's start, in nanoseconds.
    pub gap_ns: i64,
    /// Number of the server in the trace.
    pub server: u32,
    /// TCP port of the server.
    pub port: u16,
    /// SYN of the flow.
    pub syn: Syn,
    /// Class of the flow.
    pub class: SessionClass,
    /// Length class of the flow.
    pub length_class: u8,
}

impl FlowHead {
    /// Returns the start of the flow, from the start and the end of the flow before it in the host,
    /// in nanoseconds.
    #[must_use]
    pub fn start_ns(&self, before: (i64, i64)) -> i64 {
        match self.anchor {
            Anchor::First => 0,
            Anchor::After => before.1.saturating_add(self.gap_ns),
            Anchor::While => before.0.saturating_add(self.gap_ns),
        }
    }

    /// Returns the tokens of the flow code that the flow's header begins with, up to the server's
    /// port. Timestamp clocks may follow, then the SYN.
    #[must_use]
    pub fn prompt(&self, unit: TimeUnit) -> Vec<TokenId> {
        let flow = usize::from(self.syn.is_v6) * 2 + unit as usize;
        let mut tokens = vec![field::BOS, field::FLOW.at(flow), field::CLASS.at(self.class.id())];
        tokens.push(field::LENGTH.at(self.length_class.into()));
        crate::field::header::write_server_port(self.port, &mut tokens);
        tokens
    }
}

/// Returns the SYN that a flow's tokens begin with; `None` if the client's SYN is not the first
/// packet.
#[must_use]
pub fn syn_of(tokens: &[TokenId]) -> Option<Syn> {
    let is_v6 = field::FLOW.arg(*tokens.get(1)?)? >= 2;
    let start = tokens.iter().position(|token| field::PACKET.arg(*token).is_some())?;
    if !is_syn(tokens[start]) {
        return None;
    }
    // Identification, flow label and time are last in a packet, and are not the SYN's habit.
    let rest = &tokens[start..];
    let is_after_ttl =
        |token: &TokenId| *token >= field::DF.first && field::DIGIT.arg(*token).is_none();
    let end = rest.iter().position(is_after_ttl)?;
    Some(Syn { is_v6, tokens: rest[..end].to_vec() })
}

/// Returns whether a token begins a SYN of the client.
pub(super) fn is_syn(token: TokenId) -> bool {
    use crate::field::delta::PacketKind;
    use flowtrack::Direction;
    field::PACKET.arg(token).is_some_and(|index| {
        let kind = PacketKind::from_index(index);
        kind.direction == Direction::Forward && kind.pattern.is_syn()
    })
}
