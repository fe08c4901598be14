//! Which tokens may follow: a mask over the vocabulary, so that what is sampled is always a flow.
//!
//! `Syntax` lets through every sequence that decodes. `Session` lets through whole sessions alone:
//! opened by a three-way handshake, closed by FIN from both sides (acknowledged) or by a RST, every
//! hole in sequence space filled, no payload and no FIN beyond the window that was offered,
//! acknowledgments of nothing that was not sent (RFC 9293, sections 3.5, 3.6, 3.8.6 and 3.10.7),
//! and no rows of acknowledgments that say nothing and answer nothing (section 3.10.7.4; RFC 5681,
//! section 4.2). Where a connection closes it is stricter than real ends are, so that those who
//! watch without knowing what the ends know (an intrusion detection system) do not lose track of
//! it: no RST follows on an own FIN that is not acknowledged, nothing that comes again acknowledges
//! the last FIN, and from the first FIN on no window is taken back, and none opens further for the
//! side that goes on sending.

use std::sync::LazyLock;

use flowtrack::Direction;
use tcpwire::{Flags, option_kind};

use super::bucket::{self, gap_bucket};
use super::codec::misplaced;
use super::delta::{FlagPattern, PacketDelta, PacketKind, SeqDelta};
use super::digits::DigitTarget;
use super::field_order::FieldOrder;
use super::header::{CloseKind, TimeUnit};
use super::options::{Element, LAYOUTS};
use super::parse::{Parser, ParserState, Step};
use super::state::{FlowState, LEAST_FULL, Side};
use super::ts_clock::ClockId;
use super::vocab::{self, Range, VOCAB_SIZE};
use crate::{DecodeError, FlowIdentity, TokenId};

/// Words of a mask.
const WORDS: usize = VOCAB_SIZE.div_ceil(64);
/// The longest gap in a sampled session: 2^42 ns, 73 minutes.
const LONGEST_GAP_NS: u64 = 1 << 42;
/// The longest payload in a sampled session, so that headers fit beside it into one IP packet.
const LONGEST_PAYLOAD: u64 = 57_344;
/// Packets that may follow once a session is closed, and SYNs that may be repeated.
const REPEATS: u64 = 4;
/// Acknowledgments of nothing new that a side may send in a row with nothing to answer: windows
/// open, captures lose packets.
const MAX_GRATUITOUS_ACKS: i64 = 2;
/// Holes that may be open at once in a sampled session.
const HOLES: usize = 4;
/// The least maximum segment size of a sampled session that is not from the list.
const LEAST_MSS: u64 = 64;
/// The least kind of an option that a sampled session holds as octets: those below have tokens of
/// their own, or are obsolete.
const LEAST_RAW_KIND: u64 = option_kind::PARTIAL_ORDER_PERMITTED as u64;
/// Kinds of options that are not said as octets, since their octets have a form or they stand in
/// every segment: signatures (RFC 2385, RFC 5925), SCPS, Quick-Start, user time-out, multipath (RFC
/// 8684), Riverbed's, and experiments (RFC 6994).
const FORMED: [u8; 13] = [
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
/// Packets in which every session can be opened and closed: lower limits count as this one.
const SHORTEST: u64 = 7;
/// With fewer packets to spare, windows stay open for the FINs: a packet may close both, and counts
/// itself.
const SPARE_TO_SHUT: u64 = 3;
/// The lowest length class that holds a session: 4 to 7 packets.
const SHORTEST_CLASS: usize = 2;

/// A set of token ids: bit `t % 64` of word `t / 64` for token `t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mask([u64; WORDS]);

impl Mask {
    /// The words, lowest ids first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Whether `token` is in the set.
    #[must_use]
    pub fn contains(&self, token: TokenId) -> bool {
        self.0.get(usize::from(token) / 64).is_some_and(|w| w >> (token % 64) & 1 == 1)
    }

    /// Number of tokens in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    /// The tokens of the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                (left != 0).then(|| {
                    left &= left - 1;
                    (i * 64) as TokenId + bit as TokenId
                })
            })
        })
    }

    fn set(&mut self, token: TokenId) {
        self.0[usize::from(token) / 64] |= 1 << (token % 64);
    }

    fn clear(&mut self, token: TokenId) {
        self.0[usize::from(token) / 64] &= !(1 << (token % 64));
    }

    fn set_first(&mut self, range: Range, count: usize) {
        self.set_run(range.first, count.min(range.count()));
    }

    fn set_all(&mut self, range: Range) {
        self.set_run(range.first, range.count());
    }

    fn set_run(&mut self, first: TokenId, count: usize) {
        run(first, count, |word, bits| self.0[word] |= bits);
    }

    fn clear_run(&mut self, first: TokenId, count: usize) {
        run(first, count, |word, bits| self.0[word] &= !bits);
    }

    fn set_through(&mut self, first: Range, last: Range) {
        self.set_run(first.first, usize::from(last.first + last.len - first.first));
    }
}

/// The bits of `count` ids from `first` on, word by word.
fn run(first: TokenId, count: usize, mut each: impl FnMut(usize, u64)) {
    let (mut at, end) = (usize::from(first), usize::from(first) + count);
    while at < end {
        let (word, bit) = (at / 64, at % 64);
        let n = (64 - bit).min(end - at);
        each(word, (u64::MAX >> (64 - n)) << bit);
        at += n;
    }
}

/// The gaps that whole units can say, by unit of time.
static GAPS: LazyLock<[Mask; TimeUnit::ALL.len()]> = LazyLock::new(|| {
    TimeUnit::ALL.map(|unit| {
        let mut mask = Mask::default();
        for i in 0..vocab::TIME.count() {
            let b = gap_bucket(unit, i);
            if b.first < b.end {
                mask.set(vocab::TIME.at(i));
            }
        }
        mask
    })
});

/// How much a mask demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constraint {
    /// Every flow decodes.
    Syntax,
    /// Every flow is a whole session.
    Session,
}

/// When a flow has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Packets that a flow has at most. A session needs 7 to open and close: it may have as many
    /// under any limit.
    pub max_packets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_packets: u64::MAX }
    }
}

/// Follows a flow token by token and says what may come next.
#[derive(Clone, Debug)]
pub struct Grammar {
    constraint: Constraint,
    limits: Limits,
    /// Packets that a session has at least.
    least: u64,
    /// Whether a session has as many packets as its length class says.
    enforces_length: bool,
    parser: Parser,
    state: Option<FlowState>,
    /// Option octets of the last packet.
    arena: Vec<u8>,
    tokens: usize,
    packets: u64,
    reset: bool,
    /// Whether a packet has acknowledged and done nothing else: others take no handshake for whole
    /// without one.
    has_plain_ack: bool,
    after_close: u64,
    /// The right edge of the furthest window that each side has offered, as an offset in the other
    /// side's space.
    edges: [i64; 2],
    /// The right edge of the window that each side has offered last; where others may not have
    /// noted it, the lesser one.
    latest: [i64; 2],
    /// The window that each side has offered last, in octets as others count them (a client's by
    /// the shift that it offered, agreed on or not); where they may not have noted it, the greater
    /// one.
    widest: [i64; 2],
    /// Packets of the other side that each side is still to answer: those with payload, SYN or FIN,
    /// and keep-alives. Below 0: acknowledgments of nothing new that it has sent since, and that
    /// answer none.
    owed: [i64; 2],
    /// What others take for the next octet of each side, up to the first FIN: payload behind a hole
    /// does not count.
    seen: [i64; 2],
}

impl Grammar {
    /// A grammar at the beginning of a flow.
    #[must_use]
    pub fn new(constraint: Constraint, limits: Limits) -> Grammar {
        Grammar {
            constraint,
            limits,
            least: 0,
            enforces_length: true,
            parser: Parser::default(),
            state: None,
            arena: Vec::new(),
            tokens: 0,
            packets: 0,
            reset: false,
            has_plain_ack: false,
            after_close: 0,
            edges: [0; 2],
            latest: [0; 2],
            widest: [0; 2],
            owed: [0; 2],
            seen: [0; 2],
        }
    }

    /// The same where the length class of a session is what was meant, and need not be what it
    /// comes to. Its token is then put right when it is done: [`set_length_class`](super::set_length_class).
    #[must_use]
    pub fn with_advisory_length(mut self) -> Grammar {
        self.enforces_length = false;
        self
    }

    /// The same where a session has at least so many packets, no more than its limit allows.
    #[must_use]
    pub fn with_min_packets(mut self, packets: u64) -> Grammar {
        self.least = packets.min(self.limits.max_packets);
        self
    }

    /// Whether the flow has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.parser.state == ParserState::Done
    }

    /// Number of whole packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Number of tokens so far.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes in a token.
    ///
    /// # Errors
    /// Where it does not decode here. What [`allowed_next`](Self::allowed_next) forbids beyond that is
    /// let through.
    pub fn push(&mut self, token: TokenId) -> Result<(), DecodeError> {
        let index = self.tokens;
        let step = self.parser.push(token).map_err(|_| misplaced(index, &self.parser, token))?;
        self.tokens += 1;
        match step {
            Step::PacketStart if self.state.is_none() => {
                self.state = Some(FlowState::new(FlowIdentity::default(), &self.parser.header));
            }
            Step::Packet => self.said(),
            _ => {}
        }
        Ok(())
    }

    fn said(&mut self) {
        self.packets += 1;
        if self.constraint == Constraint::Syntax {
            return;
        }
        self.after_close += u64::from(self.closed());
        self.arena.clear();
        let Some(state) = &mut self.state else { return };
        let delta = &self.parser.delta;
        let (d, o) = (delta.kind.direction.index(), delta.kind.direction.reversed().index());
        let (seq, next) = (state.decoded_seq(delta), state.sides[d].space.next());
        let is_closing = state.sides.iter().any(|side| side.space.fin().is_some());
        let had_fin = state.sides[d].space.fin().is_some();
        let is_before =
            !delta.kind.pattern.is_syn() && !delta.kind.pattern.is_fin() && seq == next - 1;
        let packet = state.decode(delta, &mut self.arena);
        self.reset |= packet.flags.contains(Flags::RST);
        self.has_plain_ack |= delta.kind.pattern == FlagPattern::Ack && packet.payload_len == 0;
        // Keep-alives are for the other end alone (RFC 1122, section 4.2.3.6), and so is what is
        // like one.
        let is_keepalive = is_before && packet.payload_len <= 1;
        if packet.payload_len > 0
            || packet.flags.contains(Flags::SYN)
            || packet.flags.contains(Flags::FIN)
            || is_keepalive
        {
            self.owed[o] = self.owed[o].max(0) + 1;
        }
        let is_duplicate_ack = is_duplicate_ack(delta.kind) && !is_keepalive;
        self.owed[d] -= i64::from(is_duplicate_ack || self.owed[d] > 0);
        let is_probe = packet.payload_len == 1
            && seq == self.seen[d]
            && self.latest[o] <= state.sides[o].last_ack;
        if !is_closing && !is_probe && !packet.flags.contains(Flags::RST) {
            let end =
                seq + i64::from(packet.flags.contains(Flags::SYN)) + i64::from(packet.payload_len);
            let is_behind =
                self.seen[d] < state.sides[d].space.una() && !packet.flags.contains(Flags::FIN);
            if (seq <= self.seen[d] && self.seen[d] < end) || is_behind {
                self.seen[d] = end;
            }
        }
        // A SYN-ACK that is sent again offers what the first one did: others may have seen that one
        // alone.
        let is_again = packet.flags.contains(Flags::SYN) && self.edges[d] > 0;
        if !packet.flags.contains(Flags::ACK) {
            return;
        }
        // The window of a SYN is not scaled (RFC 7323, section 2.2).
        let direction = delta.kind.direction;
        let scales = [state.scale(direction), state.offered_scale(direction)];
        let scales = if packet.flags.contains(Flags::SYN) { [0; 2] } else { scales };
        let [window, counted] = scales.map(|scale| i64::from(packet.window) << scale);
        let edge = state.sides[d].last_ack + window;
        // Others do not note the window of a probe or a keep-alive, nor, while a session closes, of
        // what comes again.
        let is_unnoted = is_probe
            || is_keepalive
            || (is_closing && (repeats(delta) || (had_fin && packet.flags.contains(Flags::FIN))));
        self.latest[d] = if is_unnoted { self.latest[d].min(edge) } else { edge };
        self.widest[d] = if is_unnoted { self.widest[d].max(counted) } else { counted };
        // What comes on a side's FIN and behind it stays inside the window before: others watch no
        // further.
        if state.sides[d].space.fin().is_none() && !is_again && !is_unnoted {
            self.edges[d] = self.edges[d].max(edge);
        }
    }

    /// The tokens that may come next. Empty once the flow has ended, and never before.
    #[must_use]
    pub fn allowed_next(&self) -> Mask {
        let mut mask = Mask::default();
        match (self.constraint, &self.state) {
            (Constraint::Session, Some(state)) => Session::new(self, state).allowed(&mut mask),
            (constraint, _) => self.syntax(constraint, &mut mask),
        }
        mask
    }

    /// Whether the session's class is one that ends with a RST.
    fn to_be_reset(&self) -> bool {
        matches!(self.parser.header.class.close, CloseKind::Reset)
    }

    /// Whether the session has ended, as its class demands.
    fn closed(&self) -> bool {
        let Some(state) = &self.state else { return false };
        let [c, s] = &state.sides;
        if c.space.holes() + s.space.holes() > 0 {
            return false;
        }
        let acked = |side: &Side, by: &Side| side.space.fin().is_some_and(|fin| by.last_ack >= fin);
        if self.to_be_reset() { self.reset } else { acked(c, s) && acked(s, c) }
    }

    /// Packets that the flow has at most: the limit, and in a session what its length class says.
    fn most(&self) -> u64 {
        let limit = self.limits.max_packets;
        match (self.constraint, usize::from(self.parser.header.length_class)) {
            (Constraint::Syntax, _) => limit,
            (Constraint::Session, class)
                if class + 1 >= vocab::LENGTH.count() || !self.enforces_length =>
            {
                limit.max(SHORTEST)
            }
            (Constraint::Session, class) => limit.max(SHORTEST).min((2 << class) - 1),
        }
    }

    /// Packets that a session has at least, also by its length class.
    fn least(&self) -> u64 {
        if self.enforces_length {
            self.least.max(1 << self.parser.header.length_class)
        } else {
            self.least
        }
    }

    /// The length classes of sessions within the limits.
    fn lengths(&self, mask: &mut Mask) {
        let highest =
            (self.limits.max_packets.max(SHORTEST).ilog2() as usize).min(vocab::LENGTH.count() - 1);
        let lowest = (self.least.max(1).ilog2() as usize).clamp(SHORTEST_CLASS, highest);
        mask.set_run(vocab::LENGTH.at(lowest), highest + 1 - lowest);
    }

    // --- what decodes ------------------------------------------------------------------------------------------

    fn syntax(&self, constraint: Constraint, mask: &mut Mask) {
        let full = self.packets >= self.limits.max_packets;
        let session = constraint == Constraint::Session;
        match self.parser.state {
            ParserState::Start => mask.set(vocab::BOS),
            ParserState::Flow => mask.set_all(vocab::FLOW),
            // Sessions are graceful or reset, and opened.
            ParserState::Class => {
                mask.set_first(vocab::CLASS, if session { 2 } else { vocab::CLASS.count() })
            }
            ParserState::Length if session => self.lengths(mask),
            ParserState::Length => mask.set_all(vocab::LENGTH),
            ParserState::Port => mask.set_through(vocab::PORT, vocab::PORT_RAW),
            ParserState::TsClock(side) => {
                self.clocks(side, mask);
                if session {
                    mask.set(vocab::PACKET.at(opening().index()));
                } else {
                    mask.set_all(vocab::PACKET);
                }
            }
            ParserState::BetweenPackets => {
                mask.set(vocab::END);
                if !full {
                    mask.set_all(vocab::PACKET);
                }
            }
            ParserState::Fields(order) => self.fields(order, mask),
            _ => self.inside(mask),
        }
    }

    fn clocks(&self, least: u8, mask: &mut Mask) {
        for token in (0..vocab::TS_CLOCK.count()).map(|i| vocab::TS_CLOCK.at(i)) {
            let follows =
                |&(side, clock): &(usize, ClockId)| side >= least.into() && !clock.is_default();
            if ClockId::from_token(token).filter(follows).is_some() {
                mask.set(token);
            }
        }
    }

    fn fields(&self, order: FieldOrder, mask: &mut Mask) {
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
        if first.first <= vocab::LAYOUT.first {
            mask.set_through(first, vocab::OPT_LIST);
        }
        if order < FieldOrder::Df {
            mask.set_through(
                if first.first <= vocab::LAYOUT.first { vocab::TSVAL } else { first },
                vocab::TTL_RAW,
            );
        }
        if order <= FieldOrder::Df && !self.parser.header.is_v6() {
            mask.set(vocab::DF.first);
        }
        if order <= FieldOrder::Id {
            match self.parser.header.is_v6() {
                true => mask.set_through(vocab::LABEL_ZERO, vocab::LABEL_RAW),
                false => mask.set_through(vocab::ID, vocab::ID_RAW),
            }
        }
        mask.set(vocab::TIME_BACK.first);
        self.gaps(0..u64::MAX, mask);
    }

    /// Gaps whose buckets reach into `range_ns` and begin before its end.
    fn gaps(&self, range_ns: std::ops::Range<u64>, mask: &mut Mask) {
        let gaps = &GAPS[self.parser.header.unit as usize];
        for (word, of) in mask.0.iter_mut().zip(gaps.0) {
            *word |= of;
        }
        // Buckets that end before the range, or begin beyond it.
        let (unit, count) = (self.parser.header.unit, vocab::TIME.count());
        let least = range_ns.start.div_ceil(self.parser.header.unit_ns() as u64);
        let first = bucket::GAPS.index(range_ns.start).unwrap_or(count - 1);
        let first = first + usize::from(gap_bucket(unit, first).end <= least);
        let end = range_ns
            .end
            .checked_sub(1)
            .map_or(0, |ns| bucket::GAPS.index(ns).map_or(count, |i| i + 1));
        // Where the unit can say none of them: the shortest wait that it can.
        let shortest = (first..count).find(|&i| mask.contains(vocab::TIME.at(i)));
        let end = shortest.map_or(end, |i| end.max(i + 1));
        mask.clear_run(vocab::TIME.first, first);
        mask.clear_run(vocab::TIME.first + end as TokenId, vocab::TIME.count() - end);
    }

    /// Places where the parser alone knows what follows.
    fn inside(&self, mask: &mut Mask) {
        match self.parser.state {
            ParserState::Digits => self.digits(0, u64::MAX, mask),
            ParserState::MssValue => mask.set_through(vocab::MSS, vocab::MSS_RAW),
            ParserState::WsValue => mask.set_through(vocab::WS, vocab::WS_RAW),
            ParserState::SackBlock { .. } => {
                mask.set_all(vocab::SACK_AT);
                mask.set_all(vocab::SACK_RAW);
            }
            ParserState::SackCount { .. } => mask.set_all(vocab::SACK_COUNT),
            ParserState::Element => self.elements(mask),
            ParserState::TimeBack => {
                self.gaps(0..u64::MAX, mask);
                // No time back is no time.
                mask.clear(vocab::TIME.first);
            }
            _ => {}
        }
    }

    /// The digits that may follow, for a number from `least` to `most`.
    fn digits(&self, least: u64, most: u64, mask: &mut Mask) {
        let (low, high) = self.parser.digits.range(least, most);
        mask.set_run(vocab::DIGIT.at(low.into()), usize::from(high - low) + 1);
    }

    fn elements(&self, mask: &mut Mask) {
        let room = self.parser.room();
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
        if room.is_multiple_of(4) {
            mask.set(vocab::OPT_DONE.first);
        }
    }
}

/// The packet that every session begins with.
fn opening() -> PacketKind {
    PacketKind {
        direction: Direction::Forward,
        pattern: FlagPattern::Syn,
        has_payload: false,
        advances_ack: false,
    }
}

/// Whether a packet acknowledges nothing new and does nothing else, but for the window: or it is a
/// keep-alive.
fn is_duplicate_ack(kind: PacketKind) -> bool {
    kind.pattern == FlagPattern::Ack && !kind.has_payload && !kind.advances_ack
}

/// Whether a packet repeats what was sent before, or fills a hole.
fn repeats(delta: &PacketDelta) -> bool {
    matches!(
        delta.seq,
        SeqDelta::RetransmitOldest(_) | SeqDelta::RetransmitNewest(_) | SeqDelta::FillHole(_)
    )
}

/// What may follow in a whole session, once its head is said.
struct Session<'a> {
    grammar: &'a Grammar,
    state: &'a FlowState,
    /// Packets that the session has left beside those that it needs to close.
    spare: u64,
    /// Whether each side that has not sent its FIN must keep room for it: one has, or packets run
    /// out.
    is_tight: bool,
}

impl<'a> Session<'a> {
    fn new(grammar: &'a Grammar, state: &'a FlowState) -> Session<'a> {
        let mut session = Session { grammar, state, spare: 0, is_tight: false };
        session.spare = session.spare();
        let is_closing = state.sides.iter().any(|side| side.space.fin().is_some());
        session.is_tight = is_closing || (!grammar.to_be_reset() && session.spare < SPARE_TO_SHUT);
        session
    }

    fn allowed(&self, mask: &mut Mask) {
        match self.grammar.parser.state {
            ParserState::BetweenPackets => self.packets(mask),
            ParserState::Fields(order) => self.fields(order, mask),
            ParserState::MssValue => mask.set_through(vocab::MSS, vocab::MSS_RAW),
            ParserState::WsValue => mask.set_all(vocab::WS),
            ParserState::SackBlock { .. } => self.sack_at(mask),
            ParserState::SackCount { at, .. } => self.sack_count(at, mask),
            ParserState::Digits => self.digits(mask),
            ParserState::Element => self.elements(mask),
            _ => self.grammar.inside(mask),
        }
    }

    /// Whether one packet more than the session needs to close would be one too many.
    fn closing(&self) -> bool {
        self.spare == 0
    }

    fn spare(&self) -> u64 {
        let fills = |d: Direction| -> u64 {
            let space = &self.state.pair(d).0.space;
            let holes = (0..space.holes()).filter_map(|k| space.hole(k));
            holes.map(|hole| self.fills(d, (hole.end - hole.start).unsigned_abs())).sum()
        };
        let fills = fills(Direction::Forward) + fills(Direction::Reverse);
        self.grammar.most().saturating_sub(self.grammar.packets + self.needed() + fills)
    }

    /// Packets that a hole of so many octets takes at most: what a full segment is may change
    /// before it is filled.
    fn fills(&self, d: Direction, octets: u64) -> u64 {
        octets.div_ceil(u64::from(self.state.full(d).min(LEAST_FULL)))
    }

    /// Packets that bring a session without holes to its end, if nothing else is sent.
    fn needed(&self) -> u64 {
        let [client, server] = &self.state.sides;
        if !self.established() {
            let handshake = 3 - u64::from(client.packets > 0) - u64::from(server.packets > 0);
            return handshake + if self.grammar.to_be_reset() { 1 } else { 3 };
        }
        if self.grammar.to_be_reset() {
            return if self.grammar.reset { 0 } else { 1 + u64::from(!self.grammar.has_plain_ack) };
        }
        let waits = |side: &Side, by: &Side| {
            u64::from(side.space.fin().is_some_and(|fin| by.last_ack < fin))
        };
        match (client.space.fin(), server.space.fin()) {
            (None, None) => {
                3 + [Direction::Forward, Direction::Reverse]
                    .map(|d| u64::from(self.is_shut(d)))
                    .iter()
                    .sum::<u64>()
            }
            (Some(_), Some(_)) => waits(client, server) + waits(server, client),
            _ => 2,
        }
    }

    fn established(&self) -> bool {
        self.state.sides[0].last_ack >= 1 && self.state.sides[1].packets > 0
    }

    /// Up to where side `d` may send: the right edge of the window that the other side offers. From
    /// the first FIN on, the last one counts too, and where it has to be left open for the FIN,
    /// payload ends before it. A probe of a closed window (RFC 9293, section 3.8.6.1) is not said:
    /// nothing new comes while the window is closed.
    fn edge(&self, d: Direction, is_fin: bool) -> i64 {
        let other = d.reversed().index();
        let has_closed = self.state.sides[d.index()].space.fin().is_some();
        let (furthest, latest) = (self.grammar.edges[other], self.grammar.latest[other]);
        let is_closed = latest <= self.state.sides[other].last_ack;
        let edge =
            if self.is_tight || is_fin || is_closed { furthest.min(latest) } else { furthest };
        edge - i64::from((self.is_tight || is_fin) && !has_closed)
    }

    /// Whether side `d` has no room for its FIN.
    fn is_shut(&self, d: Direction) -> bool {
        self.edge(d, true) < self.state.sides[d.index()].space.next()
    }

    /// Octets of payload that side `d` may send from `offset` on.
    fn room(&self, d: Direction, offset: i64) -> u64 {
        let delta = &self.grammar.parser.delta;
        let is_fin =
            self.grammar.parser.state != ParserState::BetweenPackets && delta.kind.pattern.is_fin();
        (self.edge(d, is_fin) - offset).max(0) as u64
    }

    /// The least window that the packet at hand may offer: in the end none is taken back of what is
    /// used, and room is left for a FIN. Behind an own FIN none is taken back at all with what came
    /// since the first FIN: others would not take in a packet that does both. A keep-alive closes
    /// no window: others do not note its own.
    fn least_window(&self) -> u64 {
        let delta = &self.grammar.parser.delta;
        let open = u64::from(delta.seq == SeqDelta::KeepAlive && self.window_before() > 0);
        if !(self.is_tight || delta.kind.pattern.is_fin())
            || !delta.kind.pattern.has_ack()
            || delta.kind.pattern.is_rst()
        {
            return open;
        }
        let d = delta.kind.direction;
        let (side, peer) = self.state.pair(d);
        let ack = self.state.decoded_ack(delta);
        let units = |octets: i64, scale: u32| {
            (octets.max(0) as u64).div_ceil(1 << scale).min(u16::MAX.into())
        };
        let scale = if delta.kind.pattern.is_syn() { 0 } else { self.state.scale(d) };
        let used =
            units(peer.space.next() + i64::from(peer.space.fin().is_none()) - ack, scale).max(open);
        // An ACK and no other flag is known for the last one by its numbers.
        let is_last = peer.space.fin() == Some(ack) && delta.flags() == Flags::ACK;
        let is_news = ack - i64::from(is_last) > self.grammar.seen[d.reversed().index()];
        if side.space.fin().is_none()
            || delta.kind.has_payload
            || delta.kind.pattern.is_fin()
            || !is_news
        {
            return used;
        }
        let offered = side.last_ack + self.grammar.widest[d.index()];
        used.max(units(offered - ack, self.state.offered_scale(d)))
    }

    /// Whether the window has to be said, since the expected one is too small.
    fn must_widen(&self) -> bool {
        self.window_before() < self.least_window()
    }

    /// Octets that may follow what side `d` has sent.
    fn room_ahead(&self, d: Direction) -> u64 {
        self.room(d, self.state.sides[d.index()].space.next())
    }

    // --- packets -----------------------------------------------------------------------------------------------

    fn packets(&self, mask: &mut Mask) {
        let closed = self.grammar.closed();
        if closed {
            mask.set(vocab::END);
        }
        let closing = self.closing();
        if closed && (closing || self.grammar.after_close >= REPEATS) {
            return;
        }
        for i in 0..vocab::PACKET.count() {
            let kind = PacketKind::from_index(i);
            if self.allows(kind) && (!closing || self.helps(kind)) {
                mask.set(vocab::PACKET.at(i));
            }
        }
    }

    fn allows(&self, kind: PacketKind) -> bool {
        let d = kind.direction;
        let (side, peer) = self.state.pair(d);
        let more = peer.space.contiguous() > side.last_ack;
        if kind.advances_ack && (!more || !kind.pattern.has_ack()) {
            return false;
        }
        let blocked = kind.has_payload && self.room_ahead(d) == 0;
        if !self.established() {
            return !blocked && self.opens(kind);
        }
        if kind.pattern.is_syn() {
            return false;
        }
        if kind.pattern.is_rst() {
            let holes = side.space.holes() + peer.space.holes();
            let is_long = self.grammar.packets + 1 >= self.grammar.least();
            let is_acked = side.space.fin().is_none_or(|fin| peer.last_ack >= fin);
            let is_whole = is_long && is_acked && self.grammar.has_plain_ack;
            return self.grammar.to_be_reset() && !kind.has_payload && holes == 0 && is_whole;
        }
        if self.grammar.reset || self.grammar.closed() {
            return kind.pattern == FlagPattern::Ack
                && !kind.has_payload
                && !kind.advances_ack
                && !self.grammar.reset;
        }
        match (side.space.fin(), kind.pattern.is_fin(), kind.has_payload) {
            // A FIN comes last and once; its repeats carry nothing.
            // The second one leaves room for its acknowledgment.
            (None, true, data) => {
                let is_long = self.grammar.packets + 2 >= self.grammar.least();
                let has_room = self.edge(d, true) >= side.space.next() + i64::from(data);
                side.space.holes() == 0
                    && has_room
                    && self.may_close(kind)
                    && (peer.space.fin().is_none() || is_long)
            }
            // A repeated FIN says nothing new: what came since is acknowledged by a packet of its
            // own.
            (Some(fin), true, data) => {
                !data
                    && kind.pattern == FlagPattern::FinAck
                    && side.space.una() < fin
                    && !kind.advances_ack
            }
            // After the FIN, only what was sent before it is sent again. The other side's FIN is
            // acknowledged by a packet of its own: what repeats is not looked at by those who
            // watch.
            (Some(_), false, true) => {
                side.space.outstanding() > 0 && !(kind.advances_ack && peer.space.fin().is_some())
            }
            (None, false, true) if blocked => {
                side.space.outstanding() > 0 || side.space.holes() > 0
            }
            _ if is_duplicate_ack(kind) => {
                !self.has_spent_gratuitous_acks(d) || self.may_keep_alive(d)
            }
            _ => kind.has_payload || kind.pattern == FlagPattern::Ack,
        }
    }

    /// Whether side `d` has sent enough acknowledgments that answer nothing. In the end each packet
    /// has its own reason, and behind it few may come.
    fn has_spent_gratuitous_acks(&self, d: Direction) -> bool {
        self.grammar.owed[d.index()] <= -MAX_GRATUITOUS_ACKS
            && !self.closing()
            && !self.grammar.closed()
    }

    /// Whether side `d` may send a keep-alive: all that it has sent is acknowledged (RFC 9293,
    /// section 3.8.4).
    fn may_keep_alive(&self, d: Direction) -> bool {
        let space = &self.state.sides[d.index()].space;
        space.una() == space.next() && space.fin().is_none()
    }

    /// Whether a side's FIN has to acknowledge the other side's: where a RST is to follow, and
    /// where others have lost count of the other side's octets, so that they know of its FIN by the
    /// acknowledgment alone.
    fn must_acknowledge_fin(&self, d: Direction) -> bool {
        let seen = self.grammar.seen[d.reversed().index()];
        let fin = self.state.pair(d).1.space.fin();
        self.grammar.to_be_reset() || fin.is_some_and(|fin| seen != fin - 1)
    }

    /// Whether the other side can still close, or end the session with a RST, once this one has
    /// sent its FIN.
    fn may_close(&self, kind: PacketKind) -> bool {
        let (side, peer) = self.state.pair(kind.direction);
        match peer.space.fin() {
            Some(fin) => {
                !self.must_acknowledge_fin(kind.direction)
                    || kind.advances_ack
                    || side.last_ack >= fin
            }
            None => {
                let acked = if kind.advances_ack { peer.space.contiguous() } else { side.last_ack };
                let furthest = acked + (i64::from(u16::MAX) << self.state.scale(kind.direction));
                self.grammar.edges[kind.direction.index()] > peer.space.next()
                    && furthest > peer.space.next()
            }
        }
    }

    /// The handshake (RFC 9293, section 3.5).
    fn opens(&self, kind: PacketKind) -> bool {
        let [client, server] = &self.state.sides;
        match (kind.direction, kind.pattern) {
            (Direction::Forward, FlagPattern::Syn) => {
                !kind.has_payload && server.packets == 0 && client.packets < REPEATS
            }
            (Direction::Reverse, FlagPattern::SynAck) => {
                let again = server.packets > 0;
                !kind.has_payload && kind.advances_ack != again && server.packets < REPEATS
            }
            (Direction::Forward, pattern) => {
                server.packets > 0
                    && kind.advances_ack
                    && !pattern.is_rst()
                    && !pattern.is_fin()
                    && (kind.has_payload || pattern != FlagPattern::PshAck)
                    && !pattern.is_syn()
            }
            _ => false,
        }
    }

    /// Whether a packet brings a session nearer to its end.
    fn helps(&self, kind: PacketKind) -> bool {
        let [client, server] = &self.state.sides;
        if !self.established() {
            return match kind.pattern {
                FlagPattern::SynAck => server.packets == 0,
                FlagPattern::Ack => !kind.has_payload,
                _ => false,
            };
        }
        for (side, d) in [(client, Direction::Forward), (server, Direction::Reverse)] {
            if side.space.holes() > 0 {
                return kind.direction == d
                    && kind.pattern == FlagPattern::Ack
                    && kind.has_payload
                    && !kind.advances_ack;
            }
        }
        if self.grammar.to_be_reset() {
            return if self.grammar.has_plain_ack {
                kind.pattern.is_rst()
            } else {
                kind.pattern == FlagPattern::Ack && !kind.has_payload
            };
        }
        let side = &self.state.sides[kind.direction.index()];
        let is_open = client.space.fin().is_none() && server.space.fin().is_none();
        let shut = [Direction::Forward, Direction::Reverse].map(|d| self.is_shut(d));
        if is_open && shut.contains(&true) {
            // The window has to be opened before.
            let (side, peer) = self.state.pair(kind.direction);
            let acks = kind.advances_ack || peer.space.contiguous() <= side.last_ack;
            return shut[kind.direction.reversed().index()]
                && kind.pattern == FlagPattern::Ack
                && !kind.has_payload
                && acks;
        }
        if client.space.fin().is_none() || server.space.fin().is_none() {
            let peer = &self.state.sides[1 - kind.direction.index()];
            let acks = kind.advances_ack || peer.space.fin().is_none_or(|fin| side.last_ack >= fin);
            return side.space.fin().is_none()
                && kind.pattern == FlagPattern::FinAck
                && !kind.has_payload
                && acks;
        }
        kind.pattern == FlagPattern::Ack && !kind.has_payload && kind.advances_ack
    }

    // --- fields ------------------------------------------------------------------------------------------------

    fn fields(&self, least: FieldOrder, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        let (side, _) = self.state.pair(delta.kind.direction);
        let from = |order: FieldOrder| least <= order;
        if from(FieldOrder::Flags) && !delta.kind.pattern.is_rst() {
            mask.set_first(vocab::FLAGS, 3);
        }
        if from(FieldOrder::Seq) {
            self.seq(mask);
            if self.must_repeat()
                || (is_duplicate_ack(delta.kind)
                    && self.has_spent_gratuitous_acks(delta.kind.direction))
            {
                return;
            }
        }
        if from(FieldOrder::Ack) {
            self.ack(mask);
        }
        if from(FieldOrder::Len) {
            self.len(mask);
            if self.must_shorten() {
                return;
            }
        }
        if from(FieldOrder::Window) {
            self.window(mask);
            if side.packets == 0 || self.must_widen() {
                return;
            }
        }
        if from(FieldOrder::Options) {
            self.options(mask);
        }
        let timestamps = self.state.will_carry_timestamps(delta);
        if from(FieldOrder::TsVal) && timestamps {
            // The lower half are values behind the clock.
            let half = vocab::TSVAL.count() / 2;
            let late = self.state.ticks_behind(delta.kind.direction, self.longest_gap_ns());
            mask.set_run(vocab::TSVAL.at(half - late), half + late);
            mask.set(vocab::TSVAL_FORWARD.first);
        }
        if from(FieldOrder::TsEcr) && timestamps && delta.kind.pattern.has_ack() {
            mask.set_first(vocab::TSECR, self.state.echo_candidates(delta.kind.direction));
        }
        self.ip(least, side, mask);
        if self.grammar.packets == 0 {
            mask.set(vocab::TIME.first);
        } else {
            self.grammar.gaps(self.state.catch_up_ns(delta)..self.longest_gap_ns(), mask);
        }
    }

    /// Gaps are shorter than this: no timestamp clock may seem to have gone back.
    fn longest_gap_ns(&self) -> u64 {
        LONGEST_GAP_NS.min(self.state.clock_room_ns())
    }

    /// Whether this packet has to be one that was sent before, or fill a hole.
    fn must_repeat(&self) -> bool {
        let delta = &self.grammar.parser.delta;
        let space = &self.state.sides[delta.kind.direction.index()].space;
        let fills = self.closing() && space.holes() > 0;
        delta.kind.has_payload
            && (space.fin().is_some() || fills || self.room_ahead(delta.kind.direction) == 0)
    }

    /// Whether the payload is a new one, for which the length has to be said since the expected one
    /// passes the window.
    fn must_shorten(&self) -> bool {
        let delta = &self.grammar.parser.delta;
        delta.kind.has_payload
            && !repeats(delta)
            && u64::from(self.state.decoded_len(delta)) > self.room_said()
    }

    /// Octets of payload that the packet at hand may carry, once its sequence number is said.
    fn room_said(&self) -> u64 {
        let delta = &self.grammar.parser.delta;
        self.room(delta.kind.direction, self.state.decoded_seq(delta)).min(LONGEST_PAYLOAD)
    }

    fn seq(&self, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        let space = &self.state.sides[delta.kind.direction.index()].space;
        if !self.established()
            || !matches!(delta.kind.pattern, FlagPattern::Ack | FlagPattern::PshAck)
        {
            return;
        }
        if !delta.kind.has_payload {
            if self.may_keep_alive(delta.kind.direction) {
                mask.set(vocab::SEQ_KEEPALIVE.first);
            }
            return;
        }
        let closing = self.closing();
        mask.set_first(vocab::SEQ_HOLE, if closing { space.holes().min(1) } else { space.holes() });
        if closing {
            return;
        }
        mask.set_first(vocab::SEQ_OLD, space.outstanding());
        mask.set_first(vocab::SEQ_NEW, space.outstanding());
        let is_closing = self.state.sides.iter().any(|side| side.space.fin().is_some());
        let full = u64::from(self.state.full(delta.kind.direction));
        if !is_closing && space.holes() < HOLES && full <= LONGEST_PAYLOAD {
            let (d, spare) = (delta.kind.direction, self.spare.saturating_sub(2));
            let beyond = self.room_ahead(d).saturating_sub(1) / full;
            let fits = |k: &u64| self.fills(d, k * full) < spare;
            let count = (1..=beyond.min(vocab::SEQ_SKIP.count() as u64)).take_while(fits).count();
            mask.set_first(vocab::SEQ_SKIP, count);
        }
    }

    fn ack(&self, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        if !delta.kind.advances_ack
            || delta.kind.pattern.is_syn()
            || delta.kind.pattern.is_rst()
            || !self.established()
        {
            return;
        }
        if self.closing()
            || (delta.kind.pattern.is_fin() && self.must_acknowledge_fin(delta.kind.direction))
        {
            return;
        }
        let (side, peer) = self.state.pair(delta.kind.direction);
        let contiguous = peer.space.contiguous();
        for k in 0..vocab::ACK_SEG.count() {
            match peer.space.oldest(k) {
                Some(s) if s.end < contiguous && s.end > side.last_ack => {
                    mask.set(vocab::ACK_SEG.at(k))
                }
                Some(_) => {}
                None => break,
            }
        }
    }

    fn len(&self, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        if !delta.kind.has_payload || repeats(delta) {
            return;
        }
        let d = delta.kind.direction;
        let most = self.room_said();
        if (1..=most).contains(&self.state.last_len(d).into()) {
            mask.set(vocab::LEN_SAME.first);
        }
        let multiples = most / u64::from(self.state.full(d));
        mask.set_first(vocab::LEN_MULTIPLE, multiples.saturating_sub(1) as usize);
        for i in 0..vocab::LEN.count() {
            if bucket::LENGTHS.bucket(i).first <= most {
                mask.set(vocab::LEN.at(i));
            }
        }
    }

    /// The digits of a number.
    fn digits(&self, mask: &mut Mask) {
        let digits = &self.grammar.parser.digits;
        let (least, most) = match digits.target {
            DigitTarget::Len => (0, self.room_said()),
            DigitTarget::WindowUp => {
                let before = self.window_before();
                (self.least_window().saturating_sub(before), u64::from(u16::MAX) - before)
            }
            DigitTarget::WindowDown => {
                (0, self.window_before().saturating_sub(self.least_window()))
            }
            DigitTarget::Mss => (LEAST_MSS, u64::MAX),
            DigitTarget::Ttl => (1, u64::MAX),
            DigitTarget::OptionKind => (LEAST_RAW_KIND, u64::MAX),
            DigitTarget::Gap { back: false } => {
                let unit_ns = self.grammar.parser.header.unit_ns() as u64;
                let least = self.state.catch_up_ns(&self.grammar.parser.delta).div_ceil(unit_ns);
                (least, (self.longest_gap_ns() / unit_ns).max(least))
            }
            _ => (0, u64::MAX),
        };
        self.grammar.digits(
            least.saturating_sub(digits.first),
            most.saturating_sub(digits.first),
            mask,
        );
        match digits.target {
            DigitTarget::OptionKind => {
                FORMED.into_iter().for_each(|kind| mask.clear(vocab::DIGIT.at(kind.into())))
            }
            // RFC 7413, section 2: a cookie of 4 to 16 octets, an even number of them, or none.
            DigitTarget::OptionLen { kind: option_kind::FAST_OPEN } => {
                let has_form =
                    |len: usize| len == 2 || ((6..=18).contains(&len) && len.is_multiple_of(2));
                let odd = (0..vocab::DIGIT.count()).filter(|&len| !has_form(len));
                odd.for_each(|len| mask.clear(vocab::DIGIT.at(len)));
            }
            _ => {}
        }
    }

    /// The window that goes without saying.
    fn window_before(&self) -> u64 {
        let delta = &self.grammar.parser.delta;
        self.state.expected_window(delta.kind.direction, delta.flags()).into()
    }

    fn window(&self, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        let side = &self.state.sides[delta.kind.direction.index()];
        let (expected, least) = (self.window_before(), self.least_window());
        // A side opens with a window of its own.
        if side.packets > 0 {
            if self.state.edge_window(delta).is_some_and(|window| u64::from(window) >= least) {
                mask.set(vocab::WIN_EDGE.first);
            }
            if u64::from(side.window_max()) >= least {
                mask.set(vocab::WIN_MAX.first);
            }
        }
        for (i, &window) in vocab::WINDOWS.iter().enumerate() {
            if u64::from(window) >= least && (side.packets > 0 || i > 0) {
                mask.set(vocab::WIN.at(i));
            }
        }
        for i in 0..vocab::WIN_UP.count() {
            let b = bucket::WINDOW_STEPS.bucket(i);
            if expected + b.first < 1 << 16 && expected + b.end > least {
                mask.set(vocab::WIN_UP.at(i));
            }
            if b.first <= expected && expected - b.first >= least {
                mask.set(vocab::WIN_DOWN.at(i));
            }
        }
    }

    fn options(&self, mask: &mut Mask) {
        let delta = &self.grammar.parser.delta;
        let (side, _) = self.state.pair(delta.kind.direction);
        match delta.kind.pattern {
            // A reset carries timestamps or not (RFC 7323, section 3.2).
            FlagPattern::Rst | FlagPattern::RstAck if self.state.agreed(|o| o.timestamps) => {
                mask.set(vocab::LAYOUT.at(1))
            }
            FlagPattern::Rst | FlagPattern::RstAck => {}
            FlagPattern::Syn | FlagPattern::SynAck if side.packets > 0 => {}
            FlagPattern::Syn | FlagPattern::SynAck => {
                for (i, layout) in LAYOUTS.iter().enumerate() {
                    let syn = layout.iter().any(|e| matches!(e, Element::Mss(_)));
                    if syn && layout.iter().all(|&e| self.may_offer(e)) {
                        mask.set(vocab::LAYOUT.at(i));
                    }
                }
                mask.set(vocab::OPT_LIST.first);
            }
            _ => {
                let timestamps = self.state.agreed(|o| o.timestamps);
                let blocks = if self.state.agreed(|o| o.sack) { self.sackable().1 } else { 0 };
                let (first, most) = if timestamps { (6, 3) } else { (2, 4) };
                for n in 0..blocks.min(most) {
                    mask.set(vocab::LAYOUT.at(first + n));
                }
            }
        }
    }

    /// Whether a SYN may carry an element: a SYN-ACK offers only what the SYN did (RFC 7323,
    /// sections 2.2 and 3.2; RFC 2018).
    fn may_offer(&self, element: Element) -> bool {
        let delta = &self.grammar.parser.delta;
        let (_, peer) = self.state.pair(delta.kind.direction);
        match element {
            _ if delta.kind.pattern == FlagPattern::Syn => true,
            Element::Ws(_) => peer.offer.scale.is_some(),
            Element::SackPermitted => peer.offer.sack,
            Element::Ts => peer.offer.timestamps,
            _ => true,
        }
    }

    /// The elements of a SYN's options, one by one: none twice but for padding.
    fn elements(&self, mask: &mut Mask) {
        let parser = &self.grammar.parser;
        let room = parser.room();
        let said = |element: &Element| {
            parser
                .delta
                .elements
                .list
                .iter()
                .any(|e| std::mem::discriminant(e) == std::mem::discriminant(element))
        };
        let once = [
            (vocab::OPT_MSS, Element::Mss(0)),
            (vocab::OPT_WS, Element::Ws(0)),
            (vocab::OPT_SACK_PERMITTED, Element::SackPermitted),
            (vocab::OPT_TS, Element::Ts),
        ];
        for (range, element) in once {
            if element.octets() <= room && !said(&element) && self.may_offer(element) {
                mask.set(range.first);
            }
        }
        for (range, octets) in [(vocab::OPT_NOP, 1), (vocab::OPT_RAW, 2)] {
            if octets <= room {
                mask.set(range.first);
            }
        }
        if room.is_multiple_of(4) {
            mask.set(vocab::OPT_DONE.first);
        }
    }

    /// Segments of the other side above this packet's acknowledgment, which SACK blocks may hold:
    /// the first of them, and how many there are. The one that begins at the acknowledgment is what
    /// it waits for.
    fn sackable(&self) -> (usize, usize) {
        let delta = &self.grammar.parser.delta;
        let space = &self.state.pair(delta.kind.direction).1.space;
        let ack = self.state.decoded_ack(delta);
        let above = space.first_above(ack);
        let first = usize::from(space.oldest(above).is_some_and(|s| s.start <= ack));
        (first, space.outstanding().saturating_sub(above + first))
    }

    fn sack_at(&self, mask: &mut Mask) {
        let (first, count) = self.sackable();
        mask.set_run(vocab::SACK_AT.at(first), count.min(vocab::SACK_AT.count() - first));
    }

    fn sack_count(&self, at: u8, mask: &mut Mask) {
        let (first, count) = self.sackable();
        mask.set_first(vocab::SACK_COUNT, (first + count).saturating_sub(at.into()));
    }

    fn ip(&self, least: FieldOrder, side: &Side, mask: &mut Mask) {
        let v6 = self.grammar.parser.header.is_v6();
        if least <= FieldOrder::TrafficClass {
            mask.set(vocab::TRAFFIC_CLASS.first);
        }
        if least <= FieldOrder::Ttl && side.packets == 0 {
            mask.set_through(vocab::TTL, vocab::TTL_RAW);
        }
        if least <= FieldOrder::Df && !v6 {
            mask.set(vocab::DF.first);
        }
        if least <= FieldOrder::Id {
            match v6 {
                true => mask.set_through(vocab::LABEL_ZERO, vocab::LABEL_RAW),
                false => mask.set_through(vocab::ID, vocab::ID_RAW),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_is_longer_than_the_room_leaves_the_shortest_one() {
        let grammar = Grammar::new(Constraint::Session, Limits::default());
        let gaps = |from_ns, to_ns| {
            let mut mask = Mask::default();
            grammar.gaps(from_ns..to_ns, &mut mask);
            (0..vocab::TIME.count())
                .filter(|&i| mask.contains(vocab::TIME.at(i)))
                .collect::<Vec<_>>()
        };
        let long_enough = gaps(5_000_000, u64::MAX);
        assert!(long_enough.len() > 1);
        assert_eq!(gaps(5_000_000, 1_000_000), [long_enough[0]]);
    }
}
