//! Tokens that keep a flow decodable.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::mask::Mask;
use crate::field::bucket::TimeTokens;
use crate::field::delta::OptionsDelta;
use crate::field::field_order::FieldOrder;
use crate::field::parse::{Parser, ParserState};
use crate::field::time_unit::TimeUnit;
use crate::field::ts_clock::ClockId;
use crate::field::vocab;

/// Tokens of times whose bucket holds at least one whole unit, by unit of time.
static TIMES: LazyLock<[Mask; TimeUnit::ALL.len()]> = LazyLock::new(|| {
    TimeUnit::ALL.map(|unit| {
        let mut mask = Mask::default();
        for tokens in [TimeTokens::Gap, TimeTokens::Late, TimeTokens::Early] {
            for i in 0..tokens.range().count() {
                let b = tokens.bucket(unit, i);
                if b.first < b.end {
                    mask.set(tokens.range().at(i));
                }
            }
        }
        mask
    })
});

/// Rules of the token order alone, which the parser's state decides.
#[derive(Clone, Copy)]
pub(super) struct Syntax<'a> {
    parser: &'a Parser,
}

impl<'a> Syntax<'a> {
    /// Creates the rules for the next token of `parser`.
    pub(super) fn new(parser: &'a Parser) -> Syntax<'a> {
        Syntax { parser }
    }

    /// Adds every token that the parser accepts next. `is_full`: no packet may follow.
    pub(super) fn allowed(self, is_full: bool, mask: &mut Mask) {
        match self.parser.state {
            ParserState::Start => mask.set(vocab::BOS),
            ParserState::Flow => mask.set_all(vocab::FLOW),
            ParserState::Class => mask.set_all(vocab::CLASS),
            ParserState::Length => mask.set_all(vocab::LENGTH),
            ParserState::Port => mask.set_through(vocab::PORT, vocab::PORT_RAW),
            ParserState::TsClock(side) => {
                self.clocks(side, mask);
                mask.set_all(vocab::PACKET);
            }
            ParserState::BetweenPackets => {
                mask.set(vocab::END);
                if !is_full {
                    mask.set_all(vocab::PACKET);
                }
            }
            ParserState::Fields(order) => self.fields(order, mask),
            _ => self.inside(mask),
        }
    }

    /// Adds the timestamp clocks of `side` (0: client, 1: server) and of those after it.
    pub(super) fn clocks(self, least: u8, mask: &mut Mask) {
        for token in (0..vocab::TS_CLOCK.count()).map(|i| vocab::TS_CLOCK.at(i)) {
            let may_follow =
                |&(side, clock): &(usize, ClockId)| side >= least.into() && !clock.is_default();
            if ClockId::from_token(token).filter(may_follow).is_some() {
                mask.set(token);
            }
        }
    }

    /// Adds the tokens of `order` and of every field after it.
    fn fields(self, order: FieldOrder, mask: &mut Mask) {
        let first = match order {
            FieldOrder::Flags => vocab::FLAGS,
            FieldOrder::Seq => vocab::SEQ_UNA,
            FieldOrder::Ack => vocab::ACK_SEG,
            FieldOrder::Len => vocab::LEN_SAME,
            FieldOrder::Window => vocab::WIN_EDGE,
            FieldOrder::Urgent => vocab::URGENT,
            FieldOrder::Options => vocab::LAYOUT,
            FieldOrder::TsVal => vocab::TSVAL,
            FieldOrder::TsEcr => vocab::TSECR,
            FieldOrder::TrafficClass => vocab::TRAFFIC_CLASS,
            FieldOrder::Ttl => vocab::TTL,
            FieldOrder::Df | FieldOrder::Id | FieldOrder::Time => vocab::DF,
        };
        // The table lists fields in their order, so that later fields are a run of ids. Only the
        // values of options lie between the options and the timestamps.
        if first.first <= vocab::LAYOUT.first {
            mask.set_through(first, vocab::OPT_RECENT);
        }
        let delta = &self.parser.delta;
        if !delta.kind.pattern.is_syn() {
            mask.clear_all(vocab::SYN_SET);
        }
        for (field, first, last) in [
            (FieldOrder::Seq, vocab::SEQ_UNA, vocab::SEQ_RAW),
            (FieldOrder::Ack, vocab::ACK_SEG, vocab::ACK_RAW),
            (FieldOrder::Len, vocab::LEN_SAME, vocab::LEN_RAW),
        ] {
            if delta.kind.has_said(field) {
                mask.clear_through(first, last);
            }
        }
        if delta.options != OptionsDelta::Expected {
            mask.clear_all(vocab::LAYOUT);
            mask.clear_through(vocab::OPT_LIST, vocab::OPT_RECENT);
        }
        if order < FieldOrder::Df {
            mask.set_through(
                if first.first <= vocab::LAYOUT.first { vocab::TSVAL } else { first },
                vocab::TTL_RAW,
            );
        }
        let is_v6 = self.parser.header.is_v6();
        if order <= FieldOrder::Df && !is_v6 {
            mask.set(vocab::DF.first);
        }
        if order <= FieldOrder::Id {
            if is_v6 {
                mask.set_through(vocab::LABEL_ZERO, vocab::LABEL_RAW);
            } else {
                mask.set_through(vocab::ID, vocab::ID_RAW);
            }
        }
        mask.set(vocab::TIME_BACK.first);
        mask.set_mask(&TIMES[self.parser.header.unit as usize]);
    }

    /// Adds the tokens of times that hold one of these whole units.
    pub(super) fn times(self, tokens: TimeTokens, units: RangeInclusive<u64>, mask: &mut Mask) {
        if units.is_empty() {
            return;
        }
        let unit = self.parser.header.unit;
        let [first, last] = [*units.start(), *units.end()].map(|units| tokens.index(units, unit));
        mask.set_run_of(&TIMES[unit as usize], tokens.range().at(first), last + 1 - first);
    }

    /// Adds the tokens that may follow within a value or within a list of options.
    pub(super) fn inside(self, mask: &mut Mask) {
        match self.parser.state {
            ParserState::Digits => self.digits(0, u64::MAX, mask),
            ParserState::MssValue => mask.set_through(vocab::MSS, vocab::MSS_RAW),
            ParserState::WsValue => mask.set_through(vocab::WS, vocab::WS_RAW),
            ParserState::SackBlock { .. } => {
                mask.set_all(vocab::SACK_AT);
                mask.set_through(vocab::SACK_DUP, vocab::SACK_RAW);
            }
            ParserState::SackCount { .. } => mask.set_all(vocab::SACK_COUNT),
            ParserState::Element => self.elements(mask),
            ParserState::TimeBack => {
                // A gap of zero has one spelling: without `time.back`.
                self.times(TimeTokens::Gap, 1..=u64::MAX, mask);
            }
            _ => {}
        }
    }

    /// Adds the digits that may follow in a number from `least` to `most`.
    pub(super) fn digits(self, least: u64, most: u64, mask: &mut Mask) {
        let (low, high) = self.parser.digits.range(least, most);
        // A number that has left its range, by tokens that were not allowed, has no next digit.
        let count = (usize::from(high) + 1).saturating_sub(low.into());
        mask.set_run(vocab::DIGIT.at(low.into()), count);
    }

    /// Adds the option elements that fit into the 40 option octets of a TCP header.
    fn elements(self, mask: &mut Mask) {
        let room = self.parser.option_room();
        let sized = [
            (vocab::OPT_NOP, 1),
            (vocab::OPT_EOL, 1),
            (vocab::OPT_MSS, 4),
            (vocab::OPT_WS, 3),
            (vocab::OPT_SACK_PERMITTED, 2),
            (vocab::OPT_RAW, 2),
            (vocab::OPT_OCTETS, 1),
        ];
        for (range, octets) in sized {
            if octets <= room {
                mask.set(range.first);
            }
        }
        if room >= 10 && !self.parser.has_timestamps() {
            mask.set(vocab::OPT_TS.first);
        }
        mask.set_first(vocab::OPT_SACK, room.saturating_sub(2) / 8);
        // RFC 9293, section 3.1: the data offset counts 32-bit words.
        if room.is_multiple_of(4) {
            mask.set(vocab::OPT_DONE.first);
        }
    }
}
