//! Conditions on the header of a flow, matched token by token.

use super::header::{CLASS_AT, CloseKind, LENGTH_AT, PORT_AT, SessionClass, write_server_port};
use super::vocab::{self, TokenRange};
use crate::TokenId;

/// Pattern of the headers that some conditions allow.
///
/// A pattern covers the first tokens of a flow, up to the last one that a condition concerns.
/// Generation enumerates these beginnings, and samples the rest of a flow under each.
///
/// ```
/// use tokenizer::field::{BOS, HeaderMatch, HeaderPattern, vocab};
///
/// // Flows to port 443, of any class and length class.
/// let https = HeaderPattern::new(&[], [], &[443]);
/// let port = |number| vocab::PORT.at(vocab::PORTS.iter().position(|&p| p == number).unwrap());
/// let mut tokens = vec![BOS, vocab::FLOW.at(0), vocab::CLASS.at(0), vocab::LENGTH.at(3)];
/// assert_eq!(https.matches(&tokens), HeaderMatch::Partial);
/// tokens.push(port(443));
/// assert_eq!(https.matches(&tokens), HeaderMatch::Full);
/// tokens[4] = port(22);
/// assert_eq!(https.matches(&tokens), HeaderMatch::No);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderPattern {
    /// Tokens of the allowed classes; empty: all.
    classes: Vec<TokenId>,
    /// Tokens of the allowed length classes; empty: all.
    lengths: Vec<TokenId>,
    /// Token sequences of the allowed server ports; empty: all.
    ports: Vec<Vec<TokenId>>,
}

/// Relation of some first tokens of a flow to a [`HeaderPattern`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderMatch {
    /// No flow that begins with the tokens matches the pattern.
    No,
    /// Some flows that begin with the tokens match the pattern, and others may not.
    Partial,
    /// The tokens end where the pattern ends: all flows that begin with them match.
    Full,
}

impl HeaderPattern {
    /// Returns the pattern of flows with a handshake that close in one of these ways, are of one of
    /// these length classes and go to one of these server ports. An empty list allows all.
    #[must_use]
    pub fn new(
        closes: &[CloseKind],
        length_classes: impl IntoIterator<Item = u8>,
        server_ports: &[u16],
    ) -> HeaderPattern {
        let class = |&close| vocab::CLASS.at(SessionClass { close, has_handshake: true }.id());
        let port = |&port| {
            let mut tokens = Vec::new();
            write_server_port(port, &mut tokens);
            tokens
        };
        HeaderPattern {
            classes: closes.iter().map(class).collect(),
            lengths: length_classes.into_iter().map(|n| vocab::LENGTH.at(n.into())).collect(),
            ports: server_ports.iter().map(port).collect(),
        }
    }

    /// Returns whether there are no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.lengths.is_empty() && self.ports.is_empty()
    }

    /// Compares the first tokens of a flow with the pattern. The tokens before the last one must
    /// have matched partially. Tokens beyond the end of the pattern do not match.
    #[must_use]
    pub fn matches(&self, tokens: &[TokenId]) -> HeaderMatch {
        let Some((&token, before)) = tokens.split_last() else { return HeaderMatch::Partial };
        let at = before.len();
        let is_match = match at {
            0 => token == vocab::BOS,
            1 => vocab::FLOW.arg(token).is_some(),
            CLASS_AT => is_among(token, &self.classes, vocab::CLASS),
            LENGTH_AT => is_among(token, &self.lengths, vocab::LENGTH),
            _ => self.ports.iter().any(|port| port.starts_with(&tokens[PORT_AT..])),
        };
        if !is_match {
            HeaderMatch::No
        } else if self.is_end(at, tokens) {
            HeaderMatch::Full
        } else {
            HeaderMatch::Partial
        }
    }

    /// Returns whether the pattern ends at this position of the tokens.
    fn is_end(&self, at: usize, tokens: &[TokenId]) -> bool {
        if !self.ports.is_empty() {
            at >= PORT_AT && self.ports.iter().any(|port| port[..] == tokens[PORT_AT..])
        } else if !self.lengths.is_empty() {
            at == LENGTH_AT
        } else {
            at == CLASS_AT
        }
    }
}

/// Returns whether a token is in the list, or in the range if the list is empty.
fn is_among(token: TokenId, list: &[TokenId], range: TokenRange) -> bool {
    if list.is_empty() { range.arg(token).is_some() } else { list.contains(&token) }
}

#[cfg(test)]
mod tests {
    use super::{HeaderMatch, HeaderPattern};
    use crate::field::{CloseKind, FlowHeader, SessionClass};

    /// Returns the tokens of a header.
    fn tokens(close: CloseKind, length_class: u8, server_port: u16) -> Vec<u16> {
        let class = SessionClass { close, has_handshake: true };
        let mut tokens = Vec::new();
        FlowHeader { class, length_class, server_port, ..FlowHeader::default() }.write(&mut tokens);
        tokens
    }

    /// Matches longer and longer beginnings of `tokens` until one is decided: its length and match.
    fn decide(pattern: &HeaderPattern, tokens: &[u16]) -> (usize, HeaderMatch) {
        (1..=tokens.len())
            .map(|n| (n, pattern.matches(&tokens[..n])))
            .find(|(_, found)| *found != HeaderMatch::Partial)
            .unwrap()
    }

    #[test]
    fn a_pattern_ends_at_its_last_condition() {
        use CloseKind::{Graceful, Reset};
        use HeaderMatch::{Full, No};
        // Port 4711 has no token of its own: it takes three.
        let header = tokens(Reset, 4, 4711);
        for (pattern, expected) in [
            (HeaderPattern::new(&[Reset], [], &[]), (3, Full)),
            (HeaderPattern::new(&[Graceful], [], &[]), (3, No)),
            (HeaderPattern::new(&[Graceful, Reset], 3..=4, &[]), (4, Full)),
            (HeaderPattern::new(&[], [3], &[]), (4, No)),
            (HeaderPattern::new(&[], [], &[443, 4711]), (7, Full)),
            (HeaderPattern::new(&[Reset], [4], &[443]), (5, No)),
            // The high octet of 4712 is that of 4711.
            (HeaderPattern::new(&[], [], &[4712]), (7, No)),
        ] {
            assert_eq!(decide(&pattern, &header), expected, "{pattern:?}");
        }
    }

    #[test]
    fn tokens_beyond_the_pattern_do_not_match() {
        let pattern = HeaderPattern::new(&[], [4], &[]);
        assert_eq!(pattern.matches(&tokens(CloseKind::Reset, 4, 443)[..5]), HeaderMatch::No);
        assert!(HeaderPattern::default().is_empty() && !pattern.is_empty());
    }
}
