//! The tokenizer's grammar as the model's filter.

use linformer::TokenFilter;
use tokenizer::field::{self, Constraint, Grammar, Limits, Mask};

use crate::args::Constrain;

/// Follows one flow: what may come next, and whether it is still a whole session.
#[derive(Debug)]
pub(crate) struct FlowFilter {
    constrain: Constrain,
    holds_length: bool,
    /// What the flow is held to.
    grammar: Grammar,
    /// The strictest grammar, where the flow is not held to it; `None` once it has been left.
    session: Option<Grammar>,
    mask: Mask,
    ended: bool,
}

/// Every token id.
const ALL: [u64; field::VOCAB_SIZE.div_ceil(64)] = {
    let mut words = [u64::MAX; field::VOCAB_SIZE.div_ceil(64)];
    if !field::VOCAB_SIZE.is_multiple_of(64) {
        words[field::VOCAB_SIZE / 64] = (1 << (field::VOCAB_SIZE % 64)) - 1;
    }
    words
};

impl FlowFilter {
    /// `holds_length`: a session has as many packets as the length class in its head says.
    pub(crate) fn new(
        constrain: Constrain,
        least: u64,
        max_packets: u64,
        holds_length: bool,
    ) -> FlowFilter {
        let limits = Limits { max_packets };
        let strength =
            if constrain == Constrain::Session { Constraint::Session } else { Constraint::Syntax };
        let session =
            (constrain != Constrain::Session).then(|| Grammar::new(Constraint::Session, limits));
        let grammar = Grammar::new(strength, limits).with_min_packets(least);
        let grammar = if holds_length { grammar } else { grammar.with_advisory_length() };
        FlowFilter {
            constrain,
            holds_length,
            grammar,
            session,
            mask: Mask::default(),
            ended: false,
        }
    }

    /// Whether the flow's length class may be another than its head says.
    pub(crate) fn is_any_length(&self) -> bool {
        self.constrain == Constrain::Session && !self.holds_length
    }

    /// Whether the flow, which is done, is a whole session.
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
        self.ended = token == field::END;
        let follows = |grammar: &mut Grammar| {
            grammar.allowed_next().contains(token) && grammar.push(token).is_ok()
        };
        if self.session.as_mut().is_some_and(|session| !follows(session)) {
            self.session = None;
        }
        if self.constrain != Constrain::None && self.grammar.push(token).is_err() {
            self.ended = true; // what the mask allows always follows: not reached
        }
    }

    fn is_done(&self) -> bool {
        match self.constrain {
            Constrain::None => self.ended,
            Constrain::Session | Constrain::Syntax => self.ended || self.grammar.is_done(),
        }
    }
}
