//! Constrained decoding: the tokens that may follow, as a mask over the vocabulary.
//!
//! [`Constraint::Syntax`] allows every sequence that decodes. [`Constraint::Session`] allows whole
//! sessions only. A session
//!
//! - opens with a three-way handshake (RFC 9293, section 3.5), and closes with an acknowledged FIN
//!   of both sides or with a RST (section 3.6): of the class `reset` is a session whose first RST
//!   comes before both FINs;
//! - leaves no hole in either sequence space;
//! - carries no payload and no FIN beyond the window that the receiver offered (section 3.8.6);
//! - acknowledges nothing that was not sent; only a packet that does nothing else may be overtaken
//!   by a higher acknowledgment (section 3.10.7);
//! - echoes TSvals that the other side has sent (RFC 7323, section 3.2);
//! - has no run of acknowledgments that neither acknowledge nor answer anything (section 3.10.7.4;
//!   RFC 5681, section 4.2).
//!
//! The close of a session is stricter than that of real ends, so that a passive observer (an
//! intrusion detection system) does not lose track of it: a watcher follows the state of Suricata,
//! and the session ends only where that is closed. No retransmission acknowledges the last FIN, and
//! from the first FIN on no window shrinks, and none grows for a side that still sends.

mod mask;
mod observer;
mod session;
mod syntax;
mod watcher;

use super::codec::misplaced;
use super::parse::{Parser, ParserState, Step};
use super::state::FlowState;
use crate::{DecodeError, FlowIdentity, TokenId};
pub use mask::Mask;
use session::{PacketBounds, Progress, Session};
use syntax::Syntax;

/// Rules that the tokens of a flow must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constraint {
    /// The flow decodes, whatever its packets mean.
    Syntax,
    /// The flow is a whole session: see the list above.
    Session,
}

/// Bounds on the size of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Greatest number of packets in a flow. A session needs 7 packets to open and close, and may
    /// have as many under any limit.
    pub max_packets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_packets: u64::MAX }
    }
}

/// Follows a flow token by token, and computes which tokens may come next.
///
/// ```
/// use tokenizer::field::{BOS, Constraint, END, Grammar, Limits};
///
/// let mut grammar = Grammar::new(Constraint::Session, Limits { max_packets: 20 });
/// while !grammar.is_done() {
///     let allowed = grammar.allowed_next();
///     // A model would choose by probability here.
///     let token = allowed.iter().last().unwrap();
///     grammar.push(token)?;
/// }
/// assert!(grammar.packets() <= 20);
/// # Ok::<(), tokenizer::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grammar {
    constraint: Constraint,
    bounds: PacketBounds,
    parser: Parser,
    /// State of both ends; `None` within the header.
    state: Option<FlowState>,
    /// Option octets of the last packet.
    options: Vec<u8>,
    /// Number of tokens pushed.
    tokens: usize,
    progress: Progress,
}

impl Grammar {
    /// Creates a grammar at the beginning of a flow.
    #[must_use]
    pub fn new(constraint: Constraint, limits: Limits) -> Grammar {
        Grammar {
            constraint,
            bounds: PacketBounds {
                max: limits.max_packets,
                min: 0,
                enforces_length: true,
                has_steady_clock: false,
                has_steady_windows: false,
            },
            parser: Parser::default(),
            state: None,
            options: Vec::new(),
            tokens: 0,
            progress: Progress::default(),
        }
    }

    /// Lets no packet of a session be earlier than the one before. Without it, the clock of a
    /// capture may run back by up to 2^20 ns.
    #[must_use]
    pub fn with_steady_clock(mut self) -> Grammar {
        self.bounds.has_steady_clock = true;
        self
    }

    /// Lets no window of a session take back a unit of its scale or more of an earlier offer (RFC
    /// 9293, section 3.8.6; RFC 7323, section 2.4).
    #[must_use]
    pub fn with_steady_windows(mut self) -> Grammar {
        self.bounds.has_steady_windows = true;
        self
    }

    /// Treats the length class of a session as advisory: the session may have fewer or more packets
    /// than its class says. Call [`set_length_class`](super::set_length_class) when it is done.
    #[must_use]
    pub fn with_advisory_length(mut self) -> Grammar {
        self.bounds.enforces_length = false;
        self
    }

    /// Sets the least number of packets in a session; at most the limit counts.
    #[must_use]
    pub fn with_min_packets(mut self, packets: u64) -> Grammar {
        self.bounds.min = packets.min(self.bounds.max);
        self
    }

    /// Returns whether the flow has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.parser.state == ParserState::Done
    }

    /// Returns the number of complete packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.progress.packets
    }

    /// Returns the number of tokens so far.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Appends a token to the flow.
    ///
    /// # Errors
    /// If the token does not decode here. Tokens that decode but are not in
    /// [`allowed_next`](Self::allowed_next) are accepted; from then on the mask has no meaning.
    pub fn push(&mut self, token: TokenId) -> Result<(), DecodeError> {
        let index = self.tokens;
        let step = self.parser.push(token).map_err(|_| misplaced(index, &self.parser, token))?;
        self.tokens += 1;
        match step {
            Step::PacketStart if self.state.is_none() => {
                self.state = Some(FlowState::new(&FlowIdentity::default(), &self.parser.header));
            }
            Step::Packet => self.end_packet(),
            _ => {}
        }
        Ok(())
    }

    /// Updates the state with the packet that the last token has completed.
    fn end_packet(&mut self) {
        match &mut self.state {
            Some(state) if self.constraint == Constraint::Session => {
                self.progress.update(&self.parser, state, &mut self.options);
            }
            // The syntax depends on no state.
            _ => self.progress.packets += 1,
        }
    }

    /// Returns the tokens that may come next: none once the flow has ended, and at least one before
    /// that.
    #[must_use]
    pub fn allowed_next(&self) -> Mask {
        let mut mask = Mask::default();
        match (self.constraint, &self.state) {
            (Constraint::Session, Some(state)) => {
                Session::new(&self.parser, state, &self.progress, &self.bounds).allowed(&mut mask);
            }
            (Constraint::Session, None) => {
                session::allowed_in_header(&self.parser, &self.bounds, &mut mask);
            }
            (Constraint::Syntax, _) => {
                let is_full = self.progress.packets >= self.bounds.max;
                Syntax::new(&self.parser).allowed(is_full, &mut mask);
            }
        }
        mask
    }
}
