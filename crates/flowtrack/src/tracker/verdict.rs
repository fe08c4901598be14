//! The verdict on a conversation: its class, and every part that is missing.

use std::fmt;
use std::ops::Range;

use super::crossing::TagKinds;
use super::opener::ClientEvidence;
use crate::Direction;

/// End of a conversation, as far as the capture shows it. A FIN or RST counts if its receiver can
/// accept it (RFC 9293, section 3.10.7.4; RFC 5961, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Close {
    /// Both endpoints sent a FIN (RFC 9293, section 3.6).
    Fin,
    /// An endpoint sent a RST before both had sent a FIN (RFC 9293, section 3.5.2).
    Rst,
    /// The capture shows no end.
    Open,
}

impl Close {
    /// Returns the name in summaries and datasets: `fin`, `rst` or `open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Close::Fin => "fin",
            Close::Rst => "rst",
            Close::Open => "open",
        }
    }
}

/// Class of a conversation. Every conversation is of exactly one. Zeek's `conn_state` is finer and
/// looks at the handshake and the close alone; the states given here are those of most
/// conversations of a class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Complete, and closed by both endpoints' FINs. Zeek: `SF`.
    Graceful,
    /// Complete, and aborted by a RST. Zeek: `RSTO` (by the client), `RSTR` (by the server).
    Reset,
    /// Begins with a SYN and misses no octet so far, but the handshake or the close was not seen.
    /// Zeek: `S0` (no answer), `REJ` (refused), `S1` (established), `S2` and `S3` (half closed).
    Started,
    /// Ends with a close and misses no octet before it, but no SYN was seen. Zeek: `OTH`, or `SHR`
    /// and `RSTRH` if a SYN-ACK was seen.
    Ended,
    /// Neither begin nor end was seen, or octets in between are missing. Zeek: `OTH`, or any other
    /// state with lost octets in `missed_bytes`.
    Partial,
}

impl Class {
    /// All classes, complete ones first.
    pub const ALL: [Class; 5] =
        [Class::Graceful, Class::Reset, Class::Started, Class::Ended, Class::Partial];

    /// Returns the name in summaries and datasets, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::Graceful => "graceful",
            Class::Reset => "reset",
            Class::Started => "started",
            Class::Ended => "ended",
            Class::Partial => "partial",
        }
    }

    /// Reports whether the conversation is complete: handshake, both streams without a gap, and a
    /// close or reset.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Class::Graceful | Class::Reset)
    }
}

/// Part of a complete conversation that was not seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The opener's SYN (RFC 9293, section 3.5, figure 6, line 2).
    Syn,
    /// The answer to the SYN: a SYN-ACK, or a SYN where both endpoints open at once (RFC 9293,
    /// section 3.5, figures 6 and 7).
    SynAck,
    /// The opener's acknowledgment of the answer (RFC 9293, section 3.5, figure 6, line 4).
    Ack,
    /// Octets of a stream, counted from its first: never seen, though later ones or their
    /// acknowledgment were.
    Octets {
        /// Direction of the stream.
        direction: Direction,
        /// Range from the first missing octet to one past the last.
        octets: Range<u64>,
    },
    /// The FIN of one endpoint (RFC 9293, section 3.6), in a conversation without a RST.
    Fin {
        /// Direction of the stream that the FIN would close.
        direction: Direction,
    },
}

/// Packets of a conversation that are not of one session of one sender and receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surplus {
    /// A SYN after the close, or after octets of the stream: another connection with the same
    /// initial sequence number.
    SecondHandshake,
    /// Octets or a FIN before the first number of the stream, beyond its FIN, or further behind
    /// than any window reaches: of another stream, or after more than 2^31 octets that were not
    /// seen.
    Strays {
        /// Direction of the octets.
        direction: Direction,
    },
    /// Packets of one direction under several tags in turn.
    Crossing(TagKinds),
}

impl fmt::Display for Surplus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Surplus::SecondHandshake => f.write_str("a second handshake"),
            Surplus::Strays { direction } => {
                write!(f, "octets outside of the stream of the {}", sender(*direction))
            }
            Surplus::Crossing(kinds) => write!(f, "packets of several {kinds} at once"),
        }
    }
}

/// Returns the endpoint that sends in a direction.
const fn sender(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "client",
        Direction::Reverse => "server",
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Syn => write!(f, "no SYN"),
            Missing::SynAck => write!(f, "no SYN-ACK"),
            Missing::Ack => write!(f, "handshake not acknowledged"),
            Missing::Octets { direction, octets: Range { start, end } } => {
                write!(f, "octets {start}..{end} of the {} never seen", sender(*direction))
            }
            Missing::Fin { direction } => write!(f, "no FIN from the {}", sender(*direction)),
        }
    }
}

/// Largest number of gaps of one direction in [`Verdict::missing`]; further gaps are only counted.
pub const MAX_GAPS_LISTED: usize = 8;

/// Judgment of a conversation: what was seen of it, and what is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Class that follows from close and missing parts.
    pub class: Class,
    /// End of the conversation.
    pub close: Close,
    /// Evidence that the client is the one.
    pub client_evidence: ClientEvidence,
    /// Every part that is missing; of gaps at most [`MAX_GAPS_LISTED`] of each direction.
    pub missing: Vec<Missing>,
    /// Everything that is not of one session.
    pub surplus: Vec<Surplus>,
    /// Number of stream octets never seen, the client's and the server's.
    pub missing_octets: [u64; 2],
    /// Number of payload octets seen more than once, the client's and the server's.
    pub repeated_octets: [u64; 2],
    /// Whether the conversation has the pattern that the original tcpflowgen required: IPv4, at
    /// least seven packets, flags S, SA, A first and FA, A, FA, A last.
    pub strict: bool,
}
