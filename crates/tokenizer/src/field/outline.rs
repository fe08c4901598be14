//! Outline of a flow's tokens, read without decoding them: the bounds of packets, and a header that
//! tells nothing of the packets to come.

use flowtrack::Direction;

use super::delta::PacketKind;
use super::header::{PORT_AT, SessionClass, length_class, write_server_port};
use super::vocab;
use crate::TokenId;

/// Server port that stands in every masked header: the commonest one.
const MASKED_PORT: u16 = 443;
/// Number of packets whose length class stands in every masked header.
const MASKED_PACKETS: usize = 16;

/// Tokens of one packet in a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketSpan {
    /// Direction in which the packet travels.
    pub direction: Direction,
    /// Index of the packet's first token.
    pub start: usize,
    /// Index of the token after its last one.
    pub end: usize,
}

/// Treatment of the server port in a masked header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortMask {
    /// Every flow has the same port.
    Hidden,
    /// Every flow has its own port.
    Shown,
}

/// Iterates over the packets of a flow, in order.
pub fn packet_spans(tokens: &[TokenId]) -> impl Iterator<Item = PacketSpan> + '_ {
    let direction = |at: usize| {
        let kind = vocab::PACKET.arg(*tokens.get(at)?)?;
        Some(PacketKind::from_index(kind).direction)
    };
    let is_end = move |at: &usize| direction(*at).is_some() || tokens[*at] == vocab::END;
    (0..tokens.len()).filter_map(move |start| {
        let direction = direction(start)?;
        let end = (start + 1..tokens.len()).find(is_end).unwrap_or(tokens.len());
        Some(PacketSpan { direction, start, end })
    })
}

/// Returns a flow's tokens with a masked header: the class, the length class and a hidden port are
/// those of every other masked flow, so that nothing tells what the packets do not show. Tokens
/// that end within the header are returned as they are.
#[must_use]
pub fn with_masked_header(tokens: &[TokenId], port: PortMask) -> Vec<TokenId> {
    let port_end = match tokens.get(PORT_AT) {
        Some(&token) if vocab::PORT_RAW.arg(token).is_some() => PORT_AT + 3,
        _ => PORT_AT + 1,
    };
    if tokens.len() < port_end {
        return tokens.to_vec();
    }
    let mut masked = tokens[..PORT_AT - 2].to_vec();
    masked.push(vocab::CLASS.at(SessionClass::default().id()));
    masked.push(vocab::LENGTH.at(length_class(MASKED_PACKETS).into()));
    match port {
        PortMask::Hidden => write_server_port(MASKED_PORT, &mut masked),
        PortMask::Shown => masked.extend_from_slice(&tokens[PORT_AT..port_end]),
    }
    masked.extend_from_slice(&tokens[port_end..]);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{doc, encode, header};

    fn tokens(port: u16) -> Vec<TokenId> {
        let mut flow = doc::worked_flow();
        flow.server.port = port;
        let mut tokens = Vec::new();
        encode(&flow, &mut tokens).unwrap();
        tokens
    }

    #[test]
    fn spans_are_the_packets() {
        let (flow, tokens) = (doc::worked_flow(), tokens(443));
        let spans: Vec<PacketSpan> = packet_spans(&tokens).collect();
        let directions: Vec<Direction> = flow.packets.iter().map(|p| p.direction).collect();
        assert_eq!(spans.iter().map(|s| s.direction).collect::<Vec<_>>(), directions);
        assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(spans.last().unwrap().end, tokens.len() - 1);
    }

    #[test]
    fn a_masked_header_tells_nothing_but_the_port_if_it_is_shown() {
        let [listed, raw] = [tokens(22), tokens(4321)];
        assert_ne!(listed.len(), raw.len());
        let masked = [&listed, &raw].map(|all| with_masked_header(all, PortMask::Hidden));
        assert_eq!(masked[0], masked[1]);
        let head = header(&masked[0]).unwrap();
        assert_eq!((head.server_port, head.length_class), (443, 4));
        let mut reset = raw.clone();
        reset[2] = vocab::CLASS.at(1);
        reset[3] = vocab::LENGTH.at(9);
        assert_eq!(with_masked_header(&reset, PortMask::Hidden), masked[1]);
        let shown = with_masked_header(&raw, PortMask::Shown);
        assert_eq!(header(&shown).unwrap().server_port, 4321);
    }

    #[test]
    fn tokens_that_end_in_the_header_stay() {
        for length in 0..6 {
            let cut = &tokens(4321)[..length];
            assert_eq!(with_masked_header(cut, PortMask::Hidden), cut);
        }
    }
}
