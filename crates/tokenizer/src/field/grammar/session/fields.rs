//! Fields that the packets of a session may have.

use std::ops::RangeInclusive;

use flowtrack::Direction;
use tcpwire::{Flags, option_kind};

use super::packets::least_reset;
use super::windows::MAX_PAYLOAD;
use super::{MAX_TTLS, Phase, Session};
use crate::TokenId;
use crate::field::bucket::{self, Scale, TimeTokens};
use crate::field::delta::{FlagPattern, OptionsDelta, PacketKind, Said, SeqDelta, WindowDelta};
use crate::field::digits::DigitTarget;
use crate::field::field_order::FieldOrder;
use crate::field::grammar::mask::Mask;
use crate::field::grammar::syntax::Syntax;
use crate::field::options::{Element, LAYOUTS};
use crate::field::send_space::SendSpace;
use crate::field::state::AccurateEcn;
use crate::field::vocab;

/// Upper bound on a gap in a session: 2^42 ns, 73 minutes.
const MAX_GAP_NS: u64 = 1 << 42;
/// Upper bound on the gap before the first acknowledgment of something, 2^36 ns: RFC 1122, section
/// 4.2.3.2, allows half a second, and 69 seconds let it be lost a few times.
const MAX_ANSWER_NS: u64 = 1 << 36;
/// Greatest time by which a capture's clock runs back in a session: a network card's queues are
/// read one after another.
const MAX_BACK_NS: u64 = 1 << 20;
/// Greatest number of octets above the acknowledgment that a SACK block may reach.
const MAX_SACKED_OCTETS: i64 = 1 << 30;
/// Greatest number of octets below the acknowledgment that a D-SACK block may reach.
const MAX_REPEATED_OCTETS: i64 = 1 << 24;
/// Greatest distance of a sequence number or an acknowledgment in digits.
const MAX_RAW: i64 = 1 << 30;
/// Number of holes at which a side skips no further octets.
const MAX_HOLES: usize = 16;
/// Number of spare packets above which a packet is captured before its side's FIN.
const SPARE_TO_OVERTAKE: u64 = 4;
/// Index in [`LAYOUTS`] of timestamps and one SACK block in front of their padding.
const SACK_BEFORE_PADDING: usize = 22;
/// Least maximum segment size that a session may spell in digits.
const MIN_MSS: u64 = 64;
/// Greatest number of ticks by which a TSval may move on in digits.
const MAX_TICKS: u64 = 1 << 20;
/// Octets of options that a SYN with payload keeps for its cookie: the shortest one, in whole
/// words.
const FAST_OPEN_OCTETS: usize = 8;
/// Index in [`FLAGS`](vocab::FLAGS) of the flags of a SYN that asks for Accurate ECN.
const ASKS_FOR_ACCURATE_ECN: usize = 5;
/// Index of the flags of a SYN-ACK that grants it, but for those of RFC 3168.
const GRANTS_ACCURATE_ECN: usize = 4;
/// Least kind of an option that a session may spell octet by octet: lower kinds have tokens of
/// their own, or are obsolete.
const MIN_RAW_KIND: u64 = option_kind::PARTIAL_ORDER_PERMITTED as u64;
/// Kinds of options that a session does not spell octet by octet, since their octets have a form or
/// every segment carries them: signatures (RFC 2385, RFC 5925), SCPS, Quick-Start, user timeout,
/// multipath (RFC 8684), Riverbed's, and experiments (RFC 6994).
const STRUCTURED_KINDS: [u8; 13] = [
    option_kind::MD5_SIGNATURE,
    option_kind::SCPS_CAPABILITIES,
    option_kind::SCPS_SNACK,
    option_kind::SCPS_RECORD_BOUNDARY,
    option_kind::SCPS_CORRUPTION,
    option_kind::QUICK_START,
    option_kind::USER_TIMEOUT,
    option_kind::AUTHENTICATION,
    option_kind::MULTIPATH,
    option_kind::RIVERBED_PROBE,
    option_kind::RIVERBED_TRANSPARENCY,
    option_kind::EXPERIMENT_1,
    option_kind::EXPERIMENT_2,
];

/// Returns the token that begins a TTL.
fn ttl_token(ttl: u8) -> TokenId {
    let listed = vocab::TTLS.iter().position(|&t| t == ttl);
    listed.map_or(vocab::TTL_RAW.first, |i| vocab::TTL.at(i))
}

impl Session<'_> {
    /// Adds the tokens of the field `least` and of every field after it.
    pub(super) fn fields(&self, least: FieldOrder, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, .. } = self.delta.kind;
        let (side, _) = self.state.pair(d);
        let follows = |order: FieldOrder| least <= order;
        if follows(FieldOrder::Flags) && !pattern.is_rst() {
            // ECE and CWR (RFC 3168, section 6.1); with Accurate ECN a rise by 1 to 3.
            mask.set_first(vocab::FLAGS, 3);
            self.accurate_ecn(mask);
            // RFC 9293, section 3.8.5: urgent data.
            if self.delta.kind.has_payload && pattern != FlagPattern::Syn {
                mask.set(vocab::FLAGS.at(3));
            }
        }
        let kind = self.delta.kind;
        if follows(FieldOrder::Seq) {
            if !kind.has_said(FieldOrder::Seq) {
                self.seq(mask);
            }
            if self.must_retransmit() || self.must_encode_reset() {
                return;
            }
        }
        if follows(FieldOrder::Ack) && !kind.has_said(FieldOrder::Ack) {
            self.ack(mask);
        }
        if follows(FieldOrder::Len) {
            if !kind.has_said(FieldOrder::Len) {
                self.len(mask);
            }
            self.clear_what_packets_say(mask);
            if self.must_encode_len() {
                return;
            }
        }
        if follows(FieldOrder::Window) {
            self.window(mask);
            if side.packets == 0 || self.must_encode_window() {
                return;
            }
            if self.lacks_fast_open() {
                return self.options(mask);
            }
        }
        if follows(FieldOrder::Urgent) && self.delta.flags().contains(Flags::URG) {
            return mask.set(vocab::URGENT.first);
        }
        if follows(FieldOrder::Options) && self.delta.options == OptionsDelta::Expected {
            self.options(mask);
            if self.lacks_fast_open() {
                return;
            }
        }
        let has_timestamps = self.state.will_carry_timestamps(self.delta);
        if follows(FieldOrder::TsVal) && has_timestamps {
            // The lower half of the tokens are values behind the clock. RFC 7323, section 5.3: a
            // receiver drops segments whose TSval is behind the last one.
            let half = vocab::TSVAL.count() / 2;
            let behind = self.ticks_behind();
            mask.set_run(vocab::TSVAL.at(half - behind), half + behind);
            let (least, _) = self.tsval_digits();
            if least <= u16::MAX.into() {
                mask.set(vocab::TSVAL_FORWARD.first);
            }
            // RFC 7323, section 5.2: nobody checks the TSval of a RST.
            if !pattern.is_rst() || !self.must_close() {
                mask.set(vocab::TSVAL_RAW.first);
            }
        }
        // RFC 7323, section 3.2: TSecr is valid if ACK is set.
        if follows(FieldOrder::TsEcr) && has_timestamps && pattern.has_ack() {
            mask.set_first(vocab::TSECR, self.state.echo_candidates(d));
            // Any of the other side's TSvals, where an acknowledgment was overtaken.
            if self.peer_tsvals().next().is_some() {
                mask.set(vocab::TSECR_RAW.first);
            }
        }
        self.ip(least, mask);
        if self.progress.packets == 0 {
            mask.set(vocab::TIME.first);
        } else {
            let (syntax, times) = (Syntax::new(self.parser), self.times());
            if times[0].0 == TimeTokens::Gap && self.most_back() > 0 {
                mask.set(vocab::TIME_BACK.first);
            }
            for (tokens, units) in times {
                syntax.times(tokens, units, mask);
            }
        }
    }

    /// Adds the flags by which SYNs agree on Accurate ECN (RFC 9768, section 3.1).
    fn accurate_ecn(&self, mask: &mut Mask) {
        match (self.delta.kind.pattern, self.state.accurate_ecn()) {
            (FlagPattern::Syn, _) => mask.set(vocab::FLAGS.at(ASKS_FOR_ACCURATE_ECN)),
            (FlagPattern::SynAck, AccurateEcn::Requested) => {
                mask.set(vocab::FLAGS.at(GRANTS_ACCURATE_ECN));
            }
            _ => {}
        }
    }

    /// Returns whether the current packet may carry the counters of Accurate ECN as an option (RFC
    /// 9768, section 3.2.3).
    fn may_carry_counters(&self) -> bool {
        match self.delta.kind.pattern {
            FlagPattern::Syn | FlagPattern::Rst | FlagPattern::RstAck => false,
            FlagPattern::SynAck => self.state.accurate_ecn() == AccurateEcn::Requested,
            _ => matches!(self.state.accurate_ecn(), AccurateEcn::Agreed { .. }),
        }
    }

    /// Removes the tokens of fields that a packet token would have said.
    fn clear_what_packets_say(&self, mask: &mut Mask) {
        let kind = self.delta.kind;
        if kind.may_say(Said::KeepAlive) {
            mask.clear(vocab::SEQ_KEEPALIVE.first);
        }
        if self.delta.seq != SeqDelta::Expected {
            return;
        }
        if kind.may_say(Said::FirstSegment) {
            mask.clear(vocab::ACK_SEG.first);
        }
        if kind.may_say(Said::SameLen) {
            mask.clear(vocab::LEN_SAME.first);
        }
    }

    /// Returns the tokens that may say the time of the current packet, with the whole units that
    /// they may say: those of the gap, or those of the time at which an answer is due.
    fn times(&self) -> [(TimeTokens, RangeInclusive<u64>); 2] {
        let unit_ns = self.parser.header.unit_ns() as u64;
        let least = self.catch_up_ns().div_ceil(unit_ns);
        let most = (self.max_gap_ns() / unit_ns).max(least);
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range allows no time")]
        let none = 1..=0;
        let Some(ahead_ns) = self.state.ahead_ns(self.delta) else {
            return [(TimeTokens::Gap, least..=most), (TimeTokens::Early, none)];
        };
        // The packet comes from `least` to `most` units after the packet before, or the clock ran
        // back.
        let ahead = ahead_ns.unsigned_abs() / unit_ns;
        let late = least.saturating_sub(ahead)..=most.saturating_sub(ahead);
        let early =
            ahead.saturating_sub(most).max(1)..=(ahead + self.most_back()).saturating_sub(least);
        [(TimeTokens::Late, if ahead <= most { late } else { none }), (TimeTokens::Early, early)]
    }

    /// Returns the upper bound on the gap before the current packet. RFC 7323, section 5.5: after
    /// 2^31 ticks of idle time a timestamp clock seems to have gone back.
    pub(super) fn max_gap_ns(&self) -> u64 {
        let most_ns = if self.delta.kind.advances_ack { MAX_ANSWER_NS } else { MAX_GAP_NS };
        // Behind a RST nobody looks at timestamps.
        if self.progress.has_reset { most_ns } else { most_ns.min(self.state.clock_room_ns()) }
    }

    /// Returns by how many ticks the TSval of the current packet may be less than the last one of
    /// its side, and by how many it must be more. RFC 7323, section 5.3: what was captured late
    /// carries an older TSval, which the next packets must not stay behind.
    fn tsval_room(&self) -> (u8, u32) {
        let d = self.delta.kind.direction;
        let last = self.state.sides[d.index()].last_tsval();
        let ahead_of_last = |value: u32| value.wrapping_sub(last) as i32;
        if self.delta.kind.pattern.is_rst() {
            return (0, 0);
        }
        if self.delta.is_retransmission() {
            let noted = self.progress.watcher.stamp(d.index()).map_or(0, ahead_of_last);
            return (noted.saturating_neg().clamp(0, u8::MAX.into()) as u8, 0);
        }
        let highest = self.progress.highest_tsvals[d.index()].map_or(0, ahead_of_last);
        (0, highest.max(0).unsigned_abs())
    }

    /// Returns the greatest number of ticks that the TSval of the current packet may be behind its
    /// clock.
    fn ticks_behind(&self) -> usize {
        let (back, more) = self.tsval_room();
        let d = self.delta.kind.direction;
        let ticks = self.state.ticks_behind(d, more, self.max_gap_ns());
        ticks.max(usize::from(back).min(vocab::TSVAL.count() / 2))
    }

    /// Returns the time in nanoseconds until the TSval of the current packet is not too old.
    fn catch_up_ns(&self) -> u64 {
        let (back, more) = self.tsval_room();
        self.state.catch_up_ns(self.delta, i64::from(more) - i64::from(back))
    }

    /// Returns the least and the greatest number of ticks by which a TSval in digits may be more
    /// than the last one.
    fn tsval_digits(&self) -> (u64, u64) {
        let (_, more) = self.tsval_room();
        (more.into(), MAX_TICKS.max(more.into()))
    }

    /// Returns whether the current packet has to repeat sent octets or to fill a hole.
    pub(super) fn must_retransmit(&self) -> bool {
        let PacketKind { direction: d, pattern, has_payload, .. } = self.delta.kind;
        let space = &self.state.sides[d.index()].space;
        let must_fill = self.must_close() && space.holes() > 0;
        has_payload
            && pattern != FlagPattern::Syn
            && (space.fin().is_some() || must_fill || self.usable_window(d) == 0)
    }

    /// Returns whether the current packet needs a length token, since the expected payload exceeds
    /// the window, or leaves something missing though the session must close.
    pub(super) fn must_encode_len(&self) -> bool {
        let len = u64::from(self.state.decoded_len(self.delta));
        let is_beyond = !self.delta.is_retransmission() && len > self.max_payload();
        self.delta.kind.has_payload && (is_beyond || len < self.least_payload())
    }

    /// Returns the greatest number of octets that the next packet of side `d` may skip. They cost
    /// packets later: as many as fill the hole.
    fn most_skipped(&self, d: Direction) -> u64 {
        let space = &self.state.sides[d.index()].space;
        let is_fin = self.delta.kind.pattern.is_fin();
        let is_late = self.state.has_fin() && !is_fin;
        if space.fin().is_some() || space.holes() >= MAX_HOLES {
            return 0;
        }
        if is_late {
            return u64::from(self.may_overtake_fin(d));
        }
        // The FIN is one of the packets that close the session.
        let packets = self.spare.saturating_sub(if is_fin { 2 } else { 3 }).min(2);
        let octets = packets * MAX_PAYLOAD;
        self.usable_window(d).saturating_sub(1).min(octets).min(u16::MAX.into())
    }

    /// Returns whether the current packet of side `d` may be captured before the FIN that it
    /// follows.
    fn may_overtake_fin(&self, d: Direction) -> bool {
        let kind = self.delta.kind;
        kind.pattern == FlagPattern::Ack
            && !kind.has_payload
            && !self.closes_by_reset()
            && !self.progress.has_reset
            && self.state.sides[d.index()].space.holes() == 0
            && self.owed(d) == 0
            // Payload may come in its place.
            && self.right_edge(d, true) > self.end_of(d)
            && self.spare > SPARE_TO_OVERTAKE
    }

    /// Returns the numbers of full segments that the next packet of side `d` may skip.
    fn skips(&self, d: Direction) -> usize {
        (self.most_skipped(d) / u64::from(self.state.full_segment(d))) as usize
    }

    /// Returns whether the current packet is a RST that needs a sequence token, since the watcher
    /// would not take the next number.
    fn must_encode_reset(&self) -> bool {
        self.delta.kind.pattern.is_rst() && self.must_close() && self.closing_back() > 0
    }

    /// Returns whether a packet of the current side that begins at `start` may go on to the FIN
    /// that was sent.
    fn may_end_in_fin(&self, start: i64) -> bool {
        let space = &self.state.sides[self.delta.kind.direction.index()].space;
        let octets = space.fin().map_or(0, |fin| fin - 1 - start);
        (1..=MAX_PAYLOAD as i64).contains(&octets)
    }

    /// Returns the distance of the number at which the watcher takes a RST from the next one.
    fn closing_back(&self) -> i64 {
        let d = self.delta.kind.direction.index();
        let next = self.state.sides[d].space.snd_nxt();
        if self.progress.watcher.phase() == Phase::Closed {
            return 0;
        }
        next - self.progress.watcher.reset_at(d)
    }

    /// Returns the bounds of the distance of the current packet's sequence number from the next
    /// one, if it lies behind.
    fn back_range(&self) -> (u64, u64) {
        let PacketKind { direction: d, pattern, advances_ack, has_payload, .. } = self.delta.kind;
        let space = &self.state.sides[d.index()].space;
        if self.must_encode_reset() {
            let back = self.closing_back().unsigned_abs();
            return (back, back);
        }
        let least = match pattern {
            // RFC 9293, section 3.10.7.1: what arrives at no connection is answered by a RST at its
            // acknowledgment, old ones too.
            FlagPattern::Rst | FlagPattern::RstAck
                if self.progress.has_reset && self.progress.watcher.phase() == Phase::Closed =>
            {
                1
            }
            FlagPattern::Rst | FlagPattern::RstAck => least_reset(space),
            // Nobody who watches takes an acknowledgment from octets that were acknowledged: it has
            // to come again.
            _ if advances_ack && self.needs_each_ack() => space.snd_una(),
            _ => 1,
        };
        // A payload that comes again begins before the FIN's number, and ends there if the FIN
        // comes with it.
        let first = 1 + u64::from(has_payload && space.fin().is_some());
        let most = if pattern.is_fin() && has_payload { MAX_PAYLOAD + 1 } else { u16::MAX.into() };
        (first, (space.snd_nxt() - least).clamp(0, most as i64).unsigned_abs())
    }

    /// Returns whether each acknowledgment has to be one that observers take: while the session
    /// closes.
    fn needs_each_ack(&self) -> bool {
        self.state.has_fin() || self.progress.has_reset || self.must_close()
    }

    /// Returns the bounds of a distance of 32 bits from the next sequence number, for payload that
    /// comes again from further behind than 16 bits say.
    fn raw_back(&self) -> Option<(u64, u64)> {
        let PacketKind { direction: d, advances_ack, .. } = self.delta.kind;
        let space = &self.state.sides[d.index()].space;
        let least = if advances_ack && self.needs_each_ack() { space.snd_una() } else { 1 };
        let back = (space.snd_nxt() - least).clamp(0, MAX_RAW).unsigned_abs();
        let range = ((1 << 32) - back, (1 << 32) - (u64::from(u16::MAX) + 1));
        (range.0 <= range.1).then_some(range)
    }

    /// Adds sequence numbers other than the expected one.
    pub(super) fn seq(&self, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, has_payload, .. } = self.delta.kind;
        let space = &self.state.sides[d.index()].space;
        let (nearest, furthest) = self.back_range();
        let is_behind = nearest <= furthest;
        if pattern.is_rst() {
            // RFC 9293, section 3.5.2: the number of a RST is the acknowledgment that it answers.
            if is_behind && (!self.must_close() || self.must_encode_reset()) {
                mask.set(vocab::SEQ_BACK.first);
            }
            if is_behind && !self.must_close() {
                mask.set(vocab::SEQ_UNA.first);
                if space.fin() == Some(space.snd_una()) {
                    mask.set(vocab::SEQ_KEEPALIVE.first);
                }
            }
            return;
        }
        // A FIN is sent in order, but captured before octets that it follows.
        if pattern.is_fin() && space.fin().is_none() {
            if self.most_skipped(d) > 0 && !self.must_close() {
                mask.set(vocab::SEQ_FORWARD.first);
                mask.set_first(vocab::SEQ_SKIP, self.skips(d));
            }
            return;
        }
        if pattern.is_fin() && has_payload {
            for k in 0..space.outstanding() {
                if k < vocab::SEQ_OLD.count()
                    && space.oldest(k).is_some_and(|s| self.may_end_in_fin(s.start))
                {
                    mask.set(vocab::SEQ_OLD.at(k));
                }
                if k < vocab::SEQ_NEW.count()
                    && space.newest(k).is_some_and(|s| self.may_end_in_fin(s.start))
                {
                    mask.set(vocab::SEQ_NEW.at(k));
                }
            }
            if is_behind {
                mask.set(vocab::SEQ_BACK.first);
            }
            return;
        }
        if !self.is_established() || !matches!(pattern, FlagPattern::Ack | FlagPattern::PshAck) {
            return;
        }
        if !has_payload {
            if self.may_keep_alive(d) {
                mask.set(vocab::SEQ_KEEPALIVE.first);
            }
            // An acknowledgment that was overtaken by its side's own octets, or by its FIN.
            let has_spent = self.delta.kind.is_duplicate_ack() && self.has_spent_gratuitous_acks(d);
            if is_behind && !has_spent && !self.must_close() {
                mask.set(vocab::SEQ_KEEPALIVE.first);
                mask.set(vocab::SEQ_UNA.first);
                mask.set(vocab::SEQ_BACK.first);
            }
            // An acknowledgment that has overtaken its side's own octets.
            if self.most_skipped(d) > 0 && !has_spent && !self.must_close() {
                mask.set_first(vocab::SEQ_SKIP, self.skips(d));
                mask.set(vocab::SEQ_FORWARD.first);
            }
            return;
        }
        if self.may_keep_alive(d) && !self.delta.kind.advances_ack && !self.must_close() {
            mask.set(vocab::SEQ_KEEPALIVE.first);
        }
        let must_close = self.must_close();
        let holes = if must_close { space.holes().min(1) } else { space.holes() };
        mask.set_first(vocab::SEQ_HOLE, holes);
        if must_close {
            return;
        }
        mask.set_first(vocab::SEQ_OLD, space.outstanding());
        mask.set_first(vocab::SEQ_NEW, space.outstanding());
        // RFC 9293, section 3.8.1: octets come again in other segments too, and though they are
        // acknowledged.
        if is_behind {
            mask.set(vocab::SEQ_BACK.first);
        }
        if space.snd_una() < space.snd_nxt() - i64::from(space.fin().is_some()) {
            mask.set(vocab::SEQ_UNA.first);
        }
        if self.raw_back().is_some() {
            mask.set(vocab::SEQ_RAW.first);
        }
        mask.set_first(vocab::SEQ_SKIP, self.skips(d));
        if self.most_skipped(d) > 0 {
            mask.set(vocab::SEQ_FORWARD.first);
        }
    }

    /// Adds acknowledgments of a part of the received octets.
    pub(super) fn ack(&self, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, advances_ack, .. } = self.delta.kind;
        if pattern.is_syn() || !self.is_established() {
            return;
        }
        // Without ACK any number will do.
        if pattern == FlagPattern::Rst {
            if advances_ack {
                mask.set(vocab::ACK_RAW.first);
            }
            return;
        }
        let may_be_overtaken = self.delta.kind.may_be_overtaken();
        if !advances_ack {
            if (may_be_overtaken || self.is_overtaken_fin()) && self.most_ack_back(d) > 0 {
                mask.set(vocab::ACK_BACK.first);
            }
            return;
        }
        if self.is_overtaken(d) && !may_be_overtaken {
            return;
        }
        if self.must_close() || (pattern.is_fin() && self.must_acknowledge_fin(d)) {
            return;
        }
        let (side, peer) = self.state.pair(d);
        let contiguous = peer.space.contiguous();
        let is_partial = |end: i64| side.last_ack < end && end < contiguous;
        for k in 0..vocab::ACK_SEG.count() {
            if peer.space.oldest(k).is_some_and(|s| is_partial(s.end)) {
                mask.set(vocab::ACK_SEG.at(k));
            }
        }
        for k in 0..vocab::ACK_NEW.count() {
            if peer.space.newest(k).is_some_and(|s| is_partial(s.end)) {
                mask.set(vocab::ACK_NEW.at(k));
            }
        }
        // RFC 5681, section 4.2: an offloaded segment is acknowledged in parts, mostly by whole
        // segments of the wire.
        let full = i64::from(self.state.full_segment(d.reversed()));
        mask.set_first(vocab::ACK_FULL, (self.most_forward(d) / full) as usize);
        if self.most_forward(d) > 0 {
            mask.set(vocab::ACK_FORWARD.first);
        }
        if self.most_forward(d) > u16::MAX.into() {
            mask.set(vocab::ACK_RAW.first);
        }
    }

    /// Returns the greatest number of octets by which side `d` may acknowledge more than it did,
    /// but less than everything received.
    fn most_forward(&self, d: Direction) -> i64 {
        let (side, peer) = self.state.pair(d);
        (peer.space.contiguous() - 1 - side.last_ack).clamp(0, MAX_RAW)
    }

    /// Returns the greatest number of octets by which an acknowledgment of side `d` may be behind
    /// its last one, since it was overtaken (RFC 9293, section 3.10.7.4).
    fn most_ack_back(&self, d: Direction) -> i64 {
        let has_fin = self.state.has_fin() && !self.is_overtaken_fin();
        if self.must_close() || has_fin || self.progress.has_reset {
            return 0;
        }
        let least = self.progress.watcher.least_ack(d.index()).max(1);
        (self.state.pair(d).0.last_ack - least).clamp(0, u16::MAX.into())
    }

    /// Returns whether the current packet is a FIN that was captured after its side's next packet.
    fn is_overtaken_fin(&self) -> bool {
        let kind = self.delta.kind;
        kind.pattern.is_fin() && !kind.has_payload && self.owed(kind.direction) > 0
    }

    /// Iterates over the last TSvals of the receiver of the current packet.
    fn peer_tsvals(&self) -> impl Iterator<Item = u32> {
        let (_, peer) = self.state.pair(self.delta.kind.direction);
        let last = peer.last_tsval();
        peer.tsvals().map(move |value| value.wrapping_sub(last))
    }

    /// Adds the digits of a TSecr that the other side has sent: its distance from the last one.
    fn echo_digits(&self, mask: &mut Mask) {
        let (left, read) = (u32::from(self.parser.digits.left), self.parser.digits.value);
        for by in self.peer_tsvals().map(u64::from) {
            if by >> (8 * left) == read {
                mask.set(vocab::DIGIT.at((by >> (8 * left - 8) & 0xff) as usize));
            }
        }
    }

    /// Returns whether a payload as long as the last one of the side fits into the window.
    pub(super) fn may_repeat_len(&self) -> bool {
        let last = self.state.last_len(self.delta.kind.direction);
        last > 0 && (self.least_payload()..=self.max_payload()).contains(&last.into())
    }

    /// Adds payload lengths that fit into the window.
    pub(super) fn len(&self, mask: &mut Mask) {
        if !self.delta.kind.has_payload {
            return;
        }
        let d = self.delta.kind.direction;
        let (least, max) = (self.least_payload(), self.max_payload());
        if self.may_repeat_len() {
            mask.set(vocab::LEN_SAME.first);
        }
        let full = u64::from(self.state.full_segment(d));
        mask.set_first(vocab::LEN_MULTIPLE, (max / full).saturating_sub(1) as usize);
        mask.set_first(vocab::LEN, buckets_up_to(&bucket::LENGTHS, max));
        if least > 0 {
            // Removes the lengths below the least one.
            let multiples =
                (2..2 + vocab::LEN_MULTIPLE.count() as u64).take_while(|k| k * full < least);
            multiples.for_each(|k| mask.clear(vocab::LEN_MULTIPLE.at(k as usize - 2)));
            let buckets = bucket::LENGTHS.index(least).unwrap_or(0);
            (0..buckets).for_each(|i| mask.clear(vocab::LEN.at(i)));
        }
    }

    /// Adds the digits that may follow in a number.
    pub(super) fn digits(&self, mask: &mut Mask) {
        let digits = &self.parser.digits;
        let (least, most) = match digits.target {
            DigitTarget::SeqBack => self.back_range(),
            DigitTarget::SeqForward => (1, self.most_skipped(self.delta.kind.direction)),
            DigitTarget::TsEcrRaw => return self.echo_digits(mask),
            DigitTarget::AckForward => {
                (1, self.most_forward(self.delta.kind.direction).unsigned_abs())
            }
            DigitTarget::AckRaw if !self.delta.kind.pattern.has_ack() => (0, u64::MAX),
            DigitTarget::AckRaw => {
                let least = u64::from(u16::MAX) + 1;
                (least, self.most_forward(self.delta.kind.direction).unsigned_abs())
            }
            DigitTarget::SeqRaw => self.raw_back().unwrap_or_default(),
            DigitTarget::Urgent => (1, u64::MAX),
            DigitTarget::TsValForward => self.tsval_digits(),
            DigitTarget::TsValRaw if self.delta.kind.pattern.is_rst() => (0, u64::MAX),
            DigitTarget::TsValRaw => self.tsval_digits(),
            DigitTarget::AckBack => {
                (1, self.most_ack_back(self.delta.kind.direction).unsigned_abs())
            }
            DigitTarget::Sack { .. } => return self.sack_digits(mask),
            DigitTarget::Len => (self.least_payload(), self.max_payload()),
            DigitTarget::WindowUp => {
                let expected = self.expected_window();
                (self.min_window().saturating_sub(expected), u64::from(u16::MAX) - expected)
            }
            DigitTarget::WindowDown => {
                (0, self.expected_window().saturating_sub(self.min_window()))
            }
            DigitTarget::Mss => (MIN_MSS, u64::MAX),
            // RFC 791, section 3.1: a datagram whose time to live is zero is destroyed.
            DigitTarget::Ttl => (1, u64::MAX),
            DigitTarget::Id => (u64::from(self.counts_ids()), u64::MAX),
            DigitTarget::OptionKind => (MIN_RAW_KIND, u64::MAX),
            DigitTarget::Gap { back: true } => (0, self.most_back()),
            DigitTarget::Gap { back: false } | DigitTarget::Due { early: false } => {
                let [(_, units), _] = self.times();
                units.into_inner()
            }
            DigitTarget::Due { early: true } => {
                let [_, (_, units)] = self.times();
                units.into_inner()
            }
            _ => (0, u64::MAX),
        };
        Syntax::new(self.parser).digits(
            least.saturating_sub(digits.first),
            most.saturating_sub(digits.first),
            mask,
        );
        match digits.target {
            DigitTarget::OptionKind if self.lacks_fast_open() => {
                *mask = Mask::default();
                mask.set(vocab::DIGIT.at(option_kind::FAST_OPEN.into()));
            }
            DigitTarget::OptionKind => self.option_kinds(mask),
            DigitTarget::Ttl => {
                if let Some(known) = self.known_ttls() {
                    *mask = Mask::default();
                    let raw = known.filter(|&ttl| ttl_token(ttl) == vocab::TTL_RAW.first);
                    raw.for_each(|ttl| mask.set(vocab::DIGIT.at(ttl.into())));
                }
            }
            DigitTarget::OptionLen {
                kind: option_kind::ACCURATE_ECN_0 | option_kind::ACCURATE_ECN_1,
            } => {
                // RFC 9768, section 3.2.3: up to three counters of three octets.
                let invalid = (0..vocab::DIGIT.count()).filter(|len| ![2, 5, 8, 11].contains(len));
                invalid.for_each(|len| mask.clear(vocab::DIGIT.at(len)));
            }
            DigitTarget::OptionLen { kind: option_kind::FAST_OPEN } => {
                // RFC 7413, section 4.1.1: no cookie, or an even number of 4 to 16 octets.
                let is_request = |len: usize| len == 2 && !self.lacks_fast_open();
                let is_valid = |len: usize| {
                    is_request(len) || ((6..=18).contains(&len) && len.is_multiple_of(2))
                };
                let invalid = (0..vocab::DIGIT.count()).filter(|&len| !is_valid(len));
                invalid.for_each(|len| mask.clear(vocab::DIGIT.at(len)));
            }
            _ => {}
        }
    }

    /// Removes the kinds of options that the current packet does not spell octet by octet.
    fn option_kinds(&self, mask: &mut Mask) {
        let counters = [option_kind::ACCURATE_ECN_0, option_kind::ACCURATE_ECN_1];
        if !self.delta.kind.pattern.is_syn() {
            *mask = Mask::default();
            return counters.into_iter().for_each(|kind| mask.set(vocab::DIGIT.at(kind.into())));
        }
        let refused = if self.may_carry_counters() { &[][..] } else { &counters[..] };
        let kinds = STRUCTURED_KINDS.iter().chain(refused);
        kinds.for_each(|&kind| mask.clear(vocab::DIGIT.at(kind.into())));
    }

    /// Adds windows that are large enough.
    pub(super) fn window(&self, mask: &mut Mask) {
        if self.delta.kind.pattern == FlagPattern::Rst {
            // Senders leave 0 in the field.
            return mask.set(vocab::WIN.at(0));
        }
        let side = &self.state.sides[self.delta.kind.direction.index()];
        let (expected, min) = (self.expected_window(), self.min_window());
        // The first window of a side refers to no earlier one.
        if side.packets > 0 && u64::from(side.max_window()) >= min {
            mask.set(vocab::WIN_MAX.first);
        }
        // Without ACK there is no edge.
        if side.packets > 0 && self.delta.kind.pattern.has_ack() {
            let edge = self.state.window_at_same_edge(self.delta);
            if edge.is_some_and(|window| u64::from(window) >= min) {
                mask.set(vocab::WIN_EDGE.first);
            }
            for i in 0..vocab::WIN_ACKED.count() {
                let window = self.state.window_if_acked(self.delta, i);
                if window.is_some_and(|window| u64::from(window) >= min) {
                    mask.set(vocab::WIN_ACKED.at(i));
                }
            }
        }
        for (i, &window) in vocab::WINDOWS.iter().enumerate() {
            if u64::from(window) >= min && (side.packets > 0 || i > 0) {
                mask.set(vocab::WIN.at(i));
            }
        }
        self.syn_sets(min, mask);
        let steps = &bucket::WINDOW_STEPS;
        let up = buckets_up_to(steps, u64::from(u16::MAX) - expected);
        let too_few = match min.saturating_sub(expected) {
            0 => 0,
            least => steps.index(least).unwrap_or(up),
        };
        if too_few < up {
            mask.set_run(vocab::WIN_UP.at(too_few), up - too_few);
        }
        mask.set_first(vocab::WIN_DOWN, buckets_up_to(steps, expected.saturating_sub(min)));
    }

    /// Adds the sets of window and options that a first SYN may have. `min`: its least window.
    fn syn_sets(&self, min: u64, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, .. } = self.delta.kind;
        let has_set = pattern.is_syn() && self.state.sides[d.index()].packets == 0;
        // No set has a cookie.
        if !has_set || self.lacks_fast_open() {
            return;
        }
        for (i, set) in vocab::SYN_SETS.iter().enumerate() {
            if u64::from(set.window) >= min && set.elements().all(|e| self.may_offer(e)) {
                mask.set(vocab::SYN_SET.at(i));
            }
        }
    }

    /// Adds layouts of options.
    pub(super) fn options(&self, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, .. } = self.delta.kind;
        let (side, _) = self.state.pair(d);
        match pattern {
            // RFC 7323, section 3.2: a RST need not carry timestamps.
            FlagPattern::Rst | FlagPattern::RstAck if self.state.agreed(|o| o.timestamps) => {
                mask.set(vocab::LAYOUT.at(1))
            }
            FlagPattern::Rst | FlagPattern::RstAck => {}
            // A repeated SYN carries the options of the first one.
            FlagPattern::Syn | FlagPattern::SynAck if side.packets > 0 => {}
            FlagPattern::Syn if self.lacks_fast_open() => mask.set(vocab::OPT_LIST.first),
            FlagPattern::Syn | FlagPattern::SynAck => {
                for (i, layout) in LAYOUTS.iter().take(vocab::LAYOUT.count()).enumerate() {
                    let has_mss = layout.iter().any(|e| matches!(e, Element::Mss(_)));
                    if has_mss && layout.iter().all(|&e| self.may_offer(e)) {
                        mask.set(vocab::LAYOUT.at(i));
                    }
                }
                mask.set(vocab::OPT_LIST.first);
            }
            _ => {
                // RFC 2018, section 3: four blocks fit into the options, or three with timestamps.
                let has_timestamps = self.state.agreed(|o| o.timestamps);
                let (first, most) = if has_timestamps { (6, 3) } else { (2, 4) };
                let above = if self.sackable_octets() > 0 { most } else { 0 };
                let below = usize::from(self.repeatable_octets() > 0);
                let blocks = if self.state.agreed(|o| o.sack) { above.max(below) } else { 0 };
                mask.set_run(vocab::LAYOUT.at(first), blocks);
                if blocks > 0 {
                    mask.set(vocab::OPT_LIST.first);
                }
                if blocks > 0 && has_timestamps {
                    mask.set(vocab::LAYOUT.at(SACK_BEFORE_PADDING));
                }
                if self.may_carry_counters() {
                    mask.set(vocab::OPT_LIST.first);
                    mask.set_first(vocab::OPT_RECENT, self.state.recent_options());
                    // Any packet may leave them out.
                    mask.set(vocab::LAYOUT.at(usize::from(has_timestamps)));
                }
            }
        }
    }

    /// Returns whether a SYN may carry this option element.
    pub(super) fn may_offer(&self, element: Element) -> bool {
        let (_, peer) = self.state.pair(self.delta.kind.direction);
        match element {
            _ if self.delta.kind.pattern == FlagPattern::Syn => true,
            // RFC 7323, sections 2.2 and 3.2: a SYN-ACK offers window scale and timestamps only if
            // the SYN did. Sessions treat SACK permitted (RFC 2018) alike.
            Element::Ws(_) => peer.offer.scale.is_some(),
            Element::SackPermitted => peer.offer.sack,
            Element::Ts => peer.offer.timestamps,
            _ => true,
        }
    }

    /// Adds the elements of a list of options behind the SYNs: timestamps, if both sides have them
    /// (RFC 7323, section 3.2), blocks of SACK, counters of Accurate ECN.
    fn elements_behind_syns(&self, mask: &mut Mask) {
        let total = self.parser.option_room();
        let lacks_timestamps = self.state.agreed(|o| o.timestamps) && !self.parser.has_timestamps();
        let list = &self.delta.elements.list;
        let has_counters =
            !self.may_carry_counters() || list.iter().any(|e| matches!(e, Element::Raw { .. }));
        let reserved = if lacks_timestamps { Element::Ts.octets() } else { 0 };
        let may_sack =
            self.state.agreed(|o| o.sack) && !list.iter().any(|e| matches!(e, Element::Sack(_)));
        if may_sack {
            let most = match self.sackable_octets() > 0 {
                true => vocab::OPT_SACK.count(),
                false => usize::from(self.repeatable_octets() > 0),
            };
            let fits = |&n: &u8| reserved + Element::Sack(n).octets() <= total;
            mask.set_first(vocab::OPT_SACK, (1..=most as u8).take_while(fits).count());
        }
        if total > reserved {
            mask.set(vocab::OPT_NOP.first);
        }
        if lacks_timestamps {
            mask.set(vocab::OPT_TS.first);
        } else if !has_counters && total >= 2 {
            mask.set(vocab::OPT_RAW.first);
        }
        if !lacks_timestamps && total.is_multiple_of(4) {
            mask.set(vocab::OPT_DONE.first);
        }
    }

    /// Adds the elements of a list of options. Of a SYN's, only padding and unknown kinds come
    /// twice.
    pub(super) fn elements(&self, mask: &mut Mask) {
        if !self.delta.kind.pattern.is_syn() {
            return self.elements_behind_syns(mask);
        }
        let total = self.parser.option_room();
        let reserved = if self.lacks_fast_open() { FAST_OPEN_OCTETS } else { 0 };
        let room = total.saturating_sub(reserved);
        let list = &self.delta.elements.list;
        let is_present = |element: &Element| {
            list.iter().any(|e| std::mem::discriminant(e) == std::mem::discriminant(element))
        };
        let once = [
            (vocab::OPT_MSS, Element::Mss(0)),
            (vocab::OPT_WS, Element::Ws(0)),
            (vocab::OPT_SACK_PERMITTED, Element::SackPermitted),
            (vocab::OPT_TS, Element::Ts),
        ];
        for (range, element) in once {
            if element.octets() <= room && !is_present(&element) && self.may_offer(element) {
                mask.set(range.first);
            }
        }
        // RFC 9293, section 3.2: zeros follow the end of the list.
        if list.last() == Some(&Element::Eol) {
            let next = if total.is_multiple_of(4) { vocab::OPT_DONE } else { vocab::OPT_EOL };
            *mask = Mask::default();
            return mask.set(next.first);
        }
        if room > 0 {
            mask.set(vocab::OPT_NOP.first);
        }
        if room > 0 && !self.lacks_fast_open() {
            mask.set(vocab::OPT_EOL.first);
        }
        if total >= 2 {
            mask.set(vocab::OPT_RAW.first);
        }
        if total.is_multiple_of(4) && !self.lacks_fast_open() {
            mask.set(vocab::OPT_DONE.first);
        }
    }

    /// Returns whether the current packet is a SYN with payload that has no cookie yet (RFC 7413,
    /// section 4.2).
    fn lacks_fast_open(&self) -> bool {
        let kind = self.delta.kind;
        let is_cookie =
            |e: &Element| matches!(e, Element::Raw { kind: option_kind::FAST_OPEN, .. });
        kind.pattern == FlagPattern::Syn
            && kind.has_payload
            && !self.delta.elements.list.iter().any(is_cookie)
    }

    /// Returns the segments of the other side that a SACK block of the current packet may hold:
    /// index of the first one above its acknowledgment, and their number.
    pub(super) fn sackable_segments(&self) -> (usize, usize) {
        let space = &self.state.pair(self.delta.kind.direction).1.space;
        let ack = self.state.decoded_ack(self.delta);
        let above = space.first_above(ack);
        // RFC 2018, section 3: the octet just below a block has not been received. The segment that
        // begins at the acknowledgment is therefore missing.
        let first = usize::from(space.oldest(above).is_some_and(|s| s.start <= ack));
        (first, space.outstanding().saturating_sub(above + first))
    }

    /// Returns the sequence space of the receiver of the current packet.
    fn peer_space(&self) -> &SendSpace {
        &self.state.pair(self.delta.kind.direction).1.space
    }

    /// Returns the number of octets above the acknowledgment of the current packet that its SACK
    /// blocks may hold. RFC 2018, section 3: the octet just above it is missing.
    fn sackable_octets(&self) -> i64 {
        (self.peer_space().snd_nxt() - self.state.decoded_ack(self.delta) - 1)
            .clamp(0, MAX_SACKED_OCTETS)
    }

    /// Adds the digits of a SACK block: the distance of its left edge from the acknowledgment, then
    /// its length, 32 bits each. The first block may be of octets below the acknowledgment.
    fn sack_digits(&self, mask: &mut Mask) {
        let digits = &self.parser.digits;
        let above = self.sackable_octets().unsigned_abs();
        let below = if self.delta.elements.sacks.is_empty() { self.repeatable_octets() } else { 0 };
        let read = 8 * u32::from(8 - digits.left);
        let allow = |first: u64, last: u64, mask: &mut Mask| {
            let prefix = |n: u64| n.checked_shr(64 - read).unwrap_or(0);
            if first <= last && (prefix(first)..=prefix(last)).contains(&digits.value) {
                Syntax::new(self.parser).digits(first, last, mask);
            }
        };
        if digits.left > 4 {
            if above > 0 {
                allow(1 << 32, above << 32 | u64::from(u32::MAX), mask);
            }
            if below > 0 {
                allow(((1 << 32) - below) << 32, u64::MAX, mask);
            }
            return;
        }
        let left = digits.value >> (8 * (4 - digits.left));
        let most = if left <= above { above + 1 - left } else { (1 << 32) - left };
        allow(left << 32 | 1, left << 32 | most, mask);
    }

    /// Returns the number of octets below the acknowledgment of the current packet that a D-SACK
    /// block may hold (RFC 2883, section 4): some came twice though they were captured once.
    fn repeatable_octets(&self) -> u64 {
        (self.state.decoded_ack(self.delta) - 1).clamp(0, MAX_REPEATED_OCTETS).unsigned_abs()
    }

    /// Adds the beginnings of a SACK block.
    pub(super) fn sack_at(&self, mask: &mut Mask) {
        let (first, count) = self.sackable_segments();
        mask.set_run(vocab::SACK_AT.at(first), count.min(vocab::SACK_AT.count() - first));
        // RFC 2883, section 4: a block of octets that came twice is the first one.
        let is_first = self.delta.elements.sacks.is_empty();
        if self.sackable_octets() > 0 || (is_first && self.repeatable_octets() > 0) {
            mask.set(vocab::SACK_RAW.first);
        }
        // Of what came twice, later blocks hold what is above the acknowledgment (RFC 2018, section
        // 4).
        let ack = self.state.decoded_ack(self.delta);
        let end = self.peer_space().snd_nxt();
        for (k, range) in self.peer_space().repeated().enumerate() {
            if is_first || (range.start > ack && range.end <= end) {
                mask.set(vocab::SACK_DUP.at(k));
            }
        }
    }

    /// Adds the numbers of segments that a SACK block from segment `at` on may hold.
    pub(super) fn sack_count(&self, at: u8, mask: &mut Mask) {
        let (first, count) = self.sackable_segments();
        mask.set_first(vocab::SACK_COUNT, (first + count).saturating_sub(at.into()));
    }

    /// Returns the TTLs that the sender of the current packet has shown, but for the last one, if
    /// it may show no others.
    fn known_ttls(&self) -> Option<impl Iterator<Item = u8>> {
        let d = self.delta.kind.direction.index();
        let (ttls, last) = (self.progress.ttls[d], self.state.sides[d].ttl());
        let is_full = ttls[MAX_TTLS - 1].is_some();
        is_full.then(|| ttls.into_iter().flatten().filter(move |&ttl| Some(ttl) != last))
    }

    /// Returns whether the sender of the current packet counts its packets in the IPv4
    /// identification, so that no two in a row have the same. A network may deliver a packet twice
    /// (RFC 6864, section 4.3), so that a repetition may have the same one.
    fn counts_ids(&self) -> bool {
        let (delta, kind) = (self.delta, self.delta.kind);
        let d = kind.direction.index();
        let may_be_copy = kind.pattern.is_rst()
            || (kind.is_duplicate_ack() && delta.window == WindowDelta::Same)
            || self.state.decoded_seq(delta) < self.state.sides[d].space.snd_nxt();
        self.progress.counts_ids[d] && !may_be_copy
    }

    /// Returns the greatest time by which the capture's clock may have run back before the current
    /// packet, in units of the flow: the times of a session are not before its first one.
    fn most_back(&self) -> u64 {
        if self.bounds.has_steady_clock || self.catch_up_ns() > 0 {
            return 0;
        }
        MAX_BACK_NS.min(self.state.elapsed_ns()) / self.parser.header.unit_ns() as u64
    }

    /// Adds the times by which the capture's clock may have run back.
    pub(super) fn gaps_back(&self, mask: &mut Mask) {
        Syntax::new(self.parser).times(TimeTokens::Gap, 1..=self.most_back(), mask);
    }

    /// Adds fields of the IP header.
    pub(super) fn ip(&self, least: FieldOrder, mask: &mut Mask) {
        let is_v6 = self.parser.header.is_v6();
        if least <= FieldOrder::TrafficClass {
            mask.set(vocab::TRAFFIC_CLASS.first);
        }
        if least <= FieldOrder::Ttl {
            match self.known_ttls() {
                None => mask.set_through(vocab::TTL, vocab::TTL_RAW),
                Some(known) => known.for_each(|ttl| mask.set(ttl_token(ttl))),
            }
        }
        if least <= FieldOrder::Df && !is_v6 {
            mask.set(vocab::DF.first);
        }
        if least <= FieldOrder::Id {
            if is_v6 {
                mask.set_through(vocab::LABEL_ZERO, vocab::LABEL_RAW);
            } else {
                mask.set_through(vocab::ID, vocab::ID_RAW);
                if self.counts_ids() {
                    mask.clear(vocab::ID.at(0));
                    mask.clear(vocab::ID_BASE.first);
                }
            }
        }
    }
}

/// Returns the number of buckets whose first value is at most `max`.
fn buckets_up_to(scale: &Scale, max: u64) -> usize {
    match max {
        0 => 0,
        _ => scale.index(max).map_or(scale.count(), |last| last + 1),
    }
}
