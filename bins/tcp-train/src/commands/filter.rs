//! The tokenizer's grammar as the token filter of generation.

use linformer::TokenFilter;
use tokenizer::field::{self, Constraint, Grammar, Limits, Mask};

use crate::args::Constrain;

/// Bounds on the number of packets of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketBounds {
    /// Smallest number of packets of a flow.
    pub(crate) min: u64,
    /// Largest number of packets of a flow.
    pub(crate) max: u64,
}

/// Effect of the length class in a flow's header on the number of its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LengthClass {
    /// The session has as many packets as its length class allows.
    Enforced,
    /// The session ends where the model ends it; its length class is corrected afterwards.
    Advisory,
}

/// Filter of one flow under generation: masks the tokens that the constraint forbids, and follows
/// whether the flow is a whole session.
#[derive(Debug)]
pub(crate) struct FlowFilter {
    constrain: Constrain,
    length: LengthClass,
    /// Grammar whose tokens are allowed.
    grammar: Grammar,
    /// Grammar of whole sessions, for flows that need not be sessions; `None` once a token has
    /// violated it.
    session: Option<Grammar>,
    /// Tokens allowed next, which [`TokenFilter::allowed`] lends.
    mask: Mask,
    /// Whether the flow's end token was pushed.
    has_ended: bool,
}

/// Mask that allows every token id.
const ALL: [u64; field::VOCAB_SIZE.div_ceil(64)] = {
    let mut words = [u64::MAX; field::VOCAB_SIZE.div_ceil(64)];
    if !field::VOCAB_SIZE.is_multiple_of(64) {
        words[field::VOCAB_SIZE / 64] = (1 << (field::VOCAB_SIZE % 64)) - 1;
    }
    words
};

impl FlowFilter {
    /// Returns the filter of a flow without tokens.
    pub(crate) fn new(
        constrain: Constrain,
        packets: PacketBounds,
        length: LengthClass,
    ) -> FlowFilter {
        let limits = Limits { max_packets: packets.max };
        let is_session = constrain == Constrain::Session;
        let constraint = if is_session { Constraint::Session } else { Constraint::Syntax };
        let grammar = Grammar::new(constraint, limits)
            .with_min_packets(packets.min)
            .with_steady_clock()
            .with_steady_windows();
        FlowFilter {
            constrain,
            length,
            grammar: match length {
                LengthClass::Enforced => grammar,
                LengthClass::Advisory => grammar.with_advisory_length(),
            },
            session: (!is_session).then(|| Grammar::new(Constraint::Session, limits)),
            mask: Mask::default(),
            has_ended: false,
        }
    }

    /// Returns whether the finished flow may have another length class than its header names.
    pub(crate) fn needs_length_class(&self) -> bool {
        self.constrain == Constrain::Session && self.length == LengthClass::Advisory
    }

    /// Returns whether the finished flow is a whole session.
    pub(crate) fn is_session(&self) -> bool {
        match self.constrain {
            Constrain::Session => self.grammar.is_done(),
            Constrain::Syntax | Constrain::None => {
                self.session.as_ref().is_some_and(Grammar::is_done)
            }
        }
    }
}

impl TokenFilter for FlowFilter {
    fn allowed(&mut self) -> &[u64] {
        if self.constrain == Constrain::None {
            return &ALL;
        }
        self.mask = self.grammar.allowed_next();
        self.mask.words()
    }

    fn push(&mut self, token: u16) {
        self.has_ended = token == field::END;
        let follows = |grammar: &mut Grammar| {
            grammar.allowed_next().contains(token) && grammar.push(token).is_ok()
        };
        if self.session.as_mut().is_some_and(|session| !follows(session)) {
            self.session = None;
        }
        if self.constrain != Constrain::None && self.grammar.push(token).is_err() {
            // Not reached: the grammar accepts every token that its mask allows.
            self.has_ended = true;
        }
    }

    fn is_done(&self) -> bool {
        match self.constrain {
            Constrain::None => self.has_ended,
            Constrain::Session | Constrain::Syntax => self.has_ended || self.grammar.is_done(),
        }
    }
}
