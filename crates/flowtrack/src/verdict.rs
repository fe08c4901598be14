//! What a conversation is: whole, or with every reason why not.

use std::fmt;
use std::ops::Range;

use crate::Direction;

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Close {
    /// Both ends sent a FIN (RFC 9293, section 3.6).
    Fin,
    /// A RST, before both ends had sent a FIN (RFC 9293, section 3.5.2).
    Rst,
    /// Not that one could see.
    Open,
}

impl Close {
    /// `fin`, `rst` or `open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Close::Fin => "fin",
            Close::Rst => "rst",
            Close::Open => "open",
        }
    }
}

/// The class of a conversation: each is of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Whole, and closed by both ends' FINs.
    Graceful,
    /// Whole, and ended by a RST.
    Reset,
    /// It begins with a SYN and nothing is missing so far, but its handshake or its end was not
    /// seen.
    Started,
    /// Its end was seen and nothing is missing before it, but no SYN was seen.
    Ended,
    /// Everything else: neither begin nor end was seen, or octets in between are missing.
    Partial,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 5] =
        [Class::Graceful, Class::Reset, Class::Started, Class::Ended, Class::Partial];

    /// Its name, lower case.
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

    /// Whether it is a whole conversation: handshake, both streams without a gap, end.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Class::Graceful | Class::Reset)
    }
}

/// One thing that a whole conversation has and this one lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The opener's SYN (RFC 9293, section 3.5, figure 6, line 2).
    Syn,
    /// The answer to it: a SYN-ACK, or a SYN where both ends open at once (figures 6 and 7).
    SynAck,
    /// The opener's acknowledgment of that (figure 6, line 4).
    Ack,
    /// Octets of a stream, counted from its first: never seen, though later ones or their
    /// acknowledgment were.
    Octets {
        /// Whose stream.
        direction: Direction,
        /// From the first octet missing to one past the last.
        octets: Range<u64>,
    },
    /// The FIN of one end (RFC 9293, section 3.6), where no RST made up for it.
    Fin {
        /// Whose FIN.
        direction: Direction,
    },
}

const fn end_name(direction: Direction) -> &'static str {
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
            Missing::Octets { direction, octets } => {
                write!(
                    f,
                    "octets {}..{} of the {} never seen",
                    octets.start,
                    octets.end,
                    end_name(*direction)
                )
            }
            Missing::Fin { direction } => write!(f, "no FIN from the {}", end_name(*direction)),
        }
    }
}

/// Gaps of one conversation that are named; the others are counted.
pub const MAX_GAPS_LISTED: usize = 8;

/// What was seen of a conversation and what is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The class that follows.
    pub class: Class,
    /// How it ended.
    pub close: Close,
    /// Every reason why it is not whole; of gaps at most [`MAX_GAPS_LISTED`] of each stream.
    pub missing: Vec<Missing>,
    /// Stream octets never seen, client's and server's.
    pub missing_octets: [u64; 2],
    /// Payload octets seen more than once, client's and server's.
    pub repeated_octets: [u64; 2],
    /// The original tcpflowgen's pattern: IPv4, at least seven packets, flags S, SA, A first and
    /// FA, A, FA, A last.
    pub strict: bool,
}
