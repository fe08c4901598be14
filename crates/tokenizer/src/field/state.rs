//! What TCP expects next: the one state that encoder and decoder share.
//!
//! [`FlowState::encode`] says a packet relative to it, [`FlowState::decode`] turns what was said into
//! header values again, and both end in the same [`FlowState::update`], so that they cannot
//! disagree. All arithmetic wraps: whatever is said resolves to some packet.

use std::collections::VecDeque;

use flowtrack::{Direction, Packet};
use tcpwire::{Flags, SeqNum};

use super::delta::{
    AckDelta, FlagPattern, FlowLabelDelta, IpIdDelta, LenDelta, OptionsDelta, PacketDelta,
    SeqDelta, TsecrDelta, TsvalDelta, WindowDelta,
};
use super::header::FlowHeader;
use super::options::{self, Element, Elements, SackDelta, Timestamps};
use super::send_space::SendSpace;
use super::ts_clock::TsClock;
use super::vocab;
use crate::FlowIdentity;

/// TSvals of a side that are kept for the other side to echo.
const TSVALS: usize = 1024;
/// TSvals that are looked through for an echo.
const SEARCH: usize = 256;
/// Packets of the other side kept until it is known whether they had arrived (RFC 7323, section
/// 4.3).
const PENDING: usize = 1024;
/// Where no MSS option was seen.
const DEFAULT_MSS: u32 = 1460;
/// A length from here on that comes twice in a row is that of a full segment.
pub(super) const LEAST_FULL: u32 = 400;

/// What the SYN of a side offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum IpIdMode {
    #[default]
    Incremental,
    Constant,
    Zero,
}

/// The options that a side's packets carry beyond its SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum OptionPattern {
    /// None seen yet.
    #[default]
    Unknown,
    Empty,
    /// `[NOP, NOP, timestamps]`.
    PlainTimestamps,
    Other,
}

/// A packet that may or may not have reached the other end yet.
#[derive(Clone, Copy, Debug)]
struct Stamped {
    seq: i64,
    end: i64,
    value: u32,
}

/// The TSvals of a side, each run of equal ones once, numbered from 0 in the order they were sent.
#[derive(Clone, Debug, Default)]
struct RecentTsvals {
    values: VecDeque<u32>,
    dropped: u64,
}

impl RecentTsvals {
    fn push(&mut self, value: u32) {
        if self.values.back() == Some(&value) {
            return;
        }
        if self.values.len() == TSVALS {
            self.values.pop_front();
            self.dropped += 1;
        }
        self.values.push_back(value);
    }

    /// The values from number `from` on.
    fn after(&self, from: u64) -> impl ExactSizeIterator<Item = u32> {
        let skip = from.saturating_sub(self.dropped).min(self.values.len() as u64) as usize;
        self.values.range(skip..).copied()
    }

    /// The number of the first `value` among those from number `from` on.
    fn find(&self, value: u32, from: u64) -> Option<u64> {
        let from = from.max(self.dropped);
        let skip = ((from - self.dropped) as usize).min(self.values.len());
        // Both halves of the ring, one after the other: twice as fast as its iterator.
        let (front, back) = self.values.as_slices();
        let first = &front[skip.min(front.len())..];
        let second = &back[skip.saturating_sub(front.len())..];
        let first = &first[..first.len().min(SEARCH)];
        let second = &second[..second.len().min(SEARCH - first.len())];
        let at = |part: &[u32]| part.iter().position(|&v| v == value);
        let found = at(first).or_else(|| at(second).map(|i| first.len() + i))?;
        Some(from + found as u64)
    }
}

/// One side of a flow, as a sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Its sequence space.
    pub(crate) space: SendSpace,
    /// Offset, in the other side's space, of the last acknowledgment it sent.
    pub(crate) last_ack: i64,
    pub(crate) offer: Offer,
    /// Whether its last packet was a SYN.
    after_syn: bool,
    window: u16,
    window_max: u16,
    /// Payload of a full segment, where traffic has shown it.
    full: Option<u32>,
    last_len: u32,
    /// Options of its last SYN, values of the timestamps zeroed.
    syn_options: Vec<u8>,
    /// Options of its last other packet, SACK and values left out.
    layout: Elements,
    /// What `layout` is.
    option_pattern: OptionPattern,
    clock: TsClock,
    /// TSval of the last segment that counts for echoing (`TS.Recent`, kept by the receiver of this
    /// side).
    pending: VecDeque<Stamped>,
    ts_recent: Option<u32>,
    recent_tsvals: RecentTsvals,
    /// Number of the other side's TSval that this side echoed last.
    echoed: u64,
    traffic_class: [u8; 2],
    ttl: Option<u8>,
    dont_fragment: Option<bool>,
    id: Option<u16>,
    ip_id_mode: IpIdMode,
    label: Option<u32>,
    label_base_seen: bool,
    /// Packets sent.
    pub(crate) packets: u64,
}

impl Side {
    /// The largest window that it has offered since its SYN.
    pub(crate) fn window_max(&self) -> u16 {
        self.window_max
    }

    /// Makes it fresh; keeps its buffers.
    fn restart(&mut self, tick_ns: i64) {
        let mut old =
            std::mem::replace(self, Side { clock: TsClock::new(tick_ns), ..Side::default() });
        old.space.restart();
        old.syn_options.clear();
        old.pending.clear();
        old.layout.clear();
        old.recent_tsvals.values.clear();
        old.recent_tsvals.dropped = 0;
        (self.space, self.syn_options, self.layout) = (old.space, old.syn_options, old.layout);
        (self.pending, self.recent_tsvals) = (old.pending, old.recent_tsvals);
    }
}

/// The state of a flow between two packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowState {
    pub(crate) sides: [Side; 2],
    identity: FlowIdentity,
    v6: bool,
    time_ns: i64,
    unit_ns: i64,
    /// Scratch: elements of the packet at hand.
    elements: Elements,
}

impl FlowState {
    /// Creates the state before the first packet of a flow with this header.
    pub(crate) fn new(identity: FlowIdentity, header: &FlowHeader) -> FlowState {
        let mut state = FlowState::default();
        state.restart(identity, header);
        state
    }

    /// Resets the state to that of [`new`](Self::new); keeps its buffers.
    pub(crate) fn restart(&mut self, identity: FlowIdentity, header: &FlowHeader) {
        for (side, clock) in self.sides.iter_mut().zip(header.ts_clocks) {
            side.restart(clock.tick_ns());
        }
        self.identity = identity;
        self.v6 = header.is_v6();
        self.time_ns = identity.start_ns.unwrap_or(0);
        self.unit_ns = header.unit_ns();
    }

    /// What identifies the flow, as far as it was given or learnt.
    pub(crate) fn identity(&self) -> &FlowIdentity {
        &self.identity
    }

    pub(crate) fn set_start(&mut self, start_ns: i64) {
        self.identity.start_ns = Some(start_ns);
        self.time_ns = start_ns;
    }

    fn identity_of(&mut self, d: Direction) -> &mut crate::SideIdentity {
        match d {
            Direction::Forward => &mut self.identity.client,
            Direction::Reverse => &mut self.identity.server,
        }
    }

    /// The sender and the receiver of a packet.
    pub(crate) fn pair(&self, d: Direction) -> (&Side, &Side) {
        (&self.sides[d.index()], &self.sides[d.reversed().index()])
    }

    /// Whether both SYNs offered something.
    pub(crate) fn agreed(&self, what: impl Fn(&Offer) -> bool) -> bool {
        what(&self.sides[0].offer) && what(&self.sides[1].offer)
    }

    /// Binds the base of a sequence space to its first number: `first` in the encoder, the column
    /// in the decoder.
    fn bind_space(&mut self, d: Direction, first: Option<u32>) {
        if self.sides[d.index()].space.is_bound() {
            return;
        }
        let identity = self.identity_of(d);
        if first.is_some() {
            identity.seq_base = first;
        }
        let base = identity.seq_base.unwrap_or(0);
        self.sides[d.index()].space.bind(base);
    }

    // --- sequence and acknowledgment ---------------------------------------------------------------------------

    fn expected_seq(side: &Side, flags: Flags, data: bool) -> i64 {
        if flags.contains(Flags::SYN) {
            return 0;
        }
        match side.space.fin() {
            Some(fin) if flags.contains(Flags::FIN) && !data => fin - 1,
            _ => side.space.next(),
        }
    }

    fn encode_seq(&self, d: Direction, packet: &Packet) -> (i64, SeqDelta) {
        let side = &self.sides[d.index()];
        let space = &side.space;
        let at = space.offset(packet.seq);
        let data = packet.payload_len > 0;
        let expected = Self::expected_seq(side, packet.flags, data);
        if at == expected {
            return (at, SeqDelta::Expected);
        }
        let una = space.una();
        if at == una - 1 && packet.payload_len <= 1 {
            return (at, SeqDelta::KeepAlive);
        }
        if let Some(k) = space.hole_at(at).filter(|&k| k < vocab::SEQ_HOLE.count()) {
            return (at, SeqDelta::FillHole(k as u8));
        }
        if data && let Some((old, new)) = space.segment_at(at) {
            if new < vocab::SEQ_NEW.count() && new < old {
                return (at, SeqDelta::RetransmitNewest(new as u8));
            }
            if old < vocab::SEQ_OLD.count() {
                return (at, SeqDelta::RetransmitOldest(old as u8));
            }
        }
        if at == una {
            return (at, SeqDelta::SndUna);
        }
        let full = i64::from(self.full(d));
        let skip = (at - expected) / full;
        if at > expected && (at - expected) % full == 0 && skip <= vocab::SEQ_SKIP.count() as i64 {
            return (at, SeqDelta::SkipAhead((skip - 1) as u8));
        }
        let delta = match at - expected {
            by @ 1..=0xffff => SeqDelta::Forward(by as u16),
            by @ -0xffff..=-1 => SeqDelta::Back(-by as u16),
            by => SeqDelta::Raw(by as u32),
        };
        (at, delta)
    }

    fn decode_seq(&self, d: Direction, delta: &PacketDelta) -> i64 {
        let side = &self.sides[d.index()];
        let space = &side.space;
        let expected = Self::expected_seq(side, delta.flags(), delta.kind.has_payload);
        match delta.seq {
            SeqDelta::Expected => expected,
            SeqDelta::SndUna => space.una(),
            SeqDelta::KeepAlive => space.una() - 1,
            SeqDelta::RetransmitOldest(k) => space.oldest(k.into()).map_or(expected, |s| s.start),
            SeqDelta::RetransmitNewest(k) => space.newest(k.into()).map_or(expected, |s| s.start),
            SeqDelta::FillHole(k) => space.hole(k.into()).map_or(expected, |h| h.start),
            SeqDelta::SkipAhead(k) => expected + (i64::from(k) + 1) * i64::from(self.full(d)),
            SeqDelta::Forward(by) => expected + i64::from(by),
            SeqDelta::Back(by) => expected - i64::from(by),
            SeqDelta::Raw(by) => space.nearest(expected + i64::from(by)),
        }
    }

    fn encode_ack(&self, d: Direction, packet: &Packet) -> (i64, bool, AckDelta) {
        let (side, peer) = self.pair(d);
        let at = peer.space.offset(packet.ack);
        if !packet.flags.contains(Flags::ACK) && packet.ack.0 == 0 {
            return (at, false, AckDelta::Expected);
        }
        if !packet.flags.contains(Flags::ACK) {
            return match at == side.last_ack {
                true => (at, true, AckDelta::Expected),
                false => (at, true, AckDelta::Raw((at - side.last_ack) as u32)),
            };
        }
        if at == side.last_ack {
            return (at, false, AckDelta::Expected);
        }
        let more = at > side.last_ack;
        if more && at == peer.space.contiguous() {
            return (at, true, AckDelta::Expected);
        }
        if let Some((old, new)) = peer.space.segment_ending_at(at) {
            if old < vocab::ACK_SEG.count() {
                return (at, more, AckDelta::Segment(old as u8));
            }
            if new < vocab::ACK_NEW.count() {
                return (at, more, AckDelta::Newest(new as u8));
            }
        }
        if packet.ack.0 == 0 {
            return (at, more, AckDelta::Zero);
        }
        let delta = match at - side.last_ack {
            by @ 1..=0xffff => AckDelta::Forward(by as u16),
            by @ -0xffff..=-1 => AckDelta::Back(-by as u16),
            by => AckDelta::Raw(by as u32),
        };
        (at, more, delta)
    }

    fn decode_ack(&self, d: Direction, delta: &PacketDelta) -> i64 {
        let (side, peer) = self.pair(d);
        let zero = || peer.space.offset(SeqNum(0));
        let expected = match (delta.flags().contains(Flags::ACK), delta.kind.advances_ack) {
            (true, true) => peer.space.contiguous(),
            (true, false) | (false, true) => side.last_ack,
            (false, false) => zero(),
        };
        match delta.ack {
            AckDelta::Expected => expected,
            AckDelta::Segment(k) => peer.space.oldest(k.into()).map_or(expected, |s| s.end),
            AckDelta::Newest(k) => peer.space.newest(k.into()).map_or(expected, |s| s.end),
            AckDelta::Zero => zero(),
            AckDelta::Forward(by) => side.last_ack + i64::from(by),
            AckDelta::Back(by) => side.last_ack - i64::from(by),
            AckDelta::Raw(by) => peer.space.nearest(side.last_ack + i64::from(by)),
        }
    }

    /// The sequence number that a packet will carry, as an offset, once its seq field is said.
    pub(crate) fn decoded_seq(&self, delta: &PacketDelta) -> i64 {
        self.decode_seq(delta.kind.direction, delta)
    }

    /// The payload length that a packet will carry, as far as it is said.
    pub(crate) fn decoded_len(&self, delta: &PacketDelta) -> u32 {
        self.decode_len(delta.kind.direction, delta)
    }

    /// The acknowledgment that a packet will carry, as an offset, once its ack field is said.
    pub(crate) fn decoded_ack(&self, delta: &PacketDelta) -> i64 {
        self.decode_ack(delta.kind.direction, delta)
    }

    // --- payload length ----------------------------------------------------------------------------------------

    /// Payload of a full segment of side `d`: what traffic has shown, or what the MSS options
    /// allow.
    pub(crate) fn full(&self, d: Direction) -> u32 {
        self.sides[d.index()].full.unwrap_or_else(|| self.largest()).max(1)
    }

    /// Payload that the MSS options of both sides allow, timestamps taken off.
    fn largest(&self) -> u32 {
        let mss = |i: usize| self.sides[i].offer.mss.map(u32::from);
        let mss = match (mss(0), mss(1)) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => DEFAULT_MSS,
        };
        let options = if self.agreed(|o| o.timestamps) { 12 } else { 0 };
        mss.saturating_sub(options).max(1)
    }

    /// Payload of the last segment of side `d` that carried any; 0 before.
    pub(crate) fn last_len(&self, d: Direction) -> u32 {
        self.sides[d.index()].last_len
    }

    fn expected_len(&self, d: Direction, seq: SeqDelta) -> u32 {
        let space = &self.sides[d.index()].space;
        let full = self.full(d);
        let len =
            |s: super::send_space::Segment| (s.end - s.start).clamp(1, u32::MAX.into()) as u32;
        match seq {
            SeqDelta::RetransmitOldest(k) => space.oldest(k.into()).map_or(full, len),
            SeqDelta::RetransmitNewest(k) => space.newest(k.into()).map_or(full, len),
            SeqDelta::FillHole(k) => space.hole(k.into()).map_or(full, |h| len(h).min(full)),
            SeqDelta::KeepAlive => 1,
            _ => full,
        }
    }

    fn encode_len(&self, d: Direction, seq: SeqDelta, len: u32) -> LenDelta {
        let full = self.full(d);
        if len == 0 || len == self.expected_len(d, seq) {
            return LenDelta::Expected;
        }
        if len == self.sides[d.index()].last_len {
            return LenDelta::Same;
        }
        let times = len / full;
        if len.is_multiple_of(full) && (2..2 + vocab::LEN_MULTIPLE.count() as u32).contains(&times)
        {
            return LenDelta::Multiple((times - 2) as u8);
        }
        u16::try_from(len).map_or(LenDelta::Raw(len), LenDelta::Octets)
    }

    fn decode_len(&self, d: Direction, delta: &PacketDelta) -> u32 {
        if !delta.kind.has_payload {
            return 0;
        }
        match delta.len {
            LenDelta::Expected => self.expected_len(d, delta.seq),
            LenDelta::Same => self.sides[d.index()].last_len,
            LenDelta::Multiple(k) => self.full(d).saturating_mul(u32::from(k) + 2),
            LenDelta::Octets(n) => n.into(),
            LenDelta::Raw(n) => n,
        }
    }

    // --- window ------------------------------------------------------------------------------------------------

    /// The shift of side `d`'s windows: 0 unless both SYNs offered one (RFC 7323, section 2.2).
    pub(crate) fn scale(&self, d: Direction) -> u32 {
        if self.agreed(|o| o.scale.is_some()) { self.offered_scale(d) } else { 0 }
    }

    /// The shift that side `d` offered, whether the other side did too or not.
    pub(crate) fn offered_scale(&self, d: Direction) -> u32 {
        self.sides[d.index()].offer.scale.map_or(0, |s| u32::from(s.min(14)))
    }

    /// The window that goes without saying.
    pub(crate) fn expected_window(&self, d: Direction, flags: Flags) -> u16 {
        let side = &self.sides[d.index()];
        if side.after_syn && !flags.contains(Flags::SYN) {
            side.window >> self.scale(d)
        } else {
            side.window
        }
    }

    fn window_at_edge(&self, d: Direction, flags: Flags, ack: i64) -> i64 {
        let scale = self.scale(d);
        let window = i64::from(self.expected_window(d, flags)) << scale;
        let room = window - (ack - self.sides[d.index()].last_ack);
        room >> scale
    }

    /// The window whose right edge stays, where the header holds it.
    pub(crate) fn edge_window(&self, delta: &PacketDelta) -> Option<u16> {
        let d = delta.kind.direction;
        u16::try_from(self.window_at_edge(d, delta.flags(), self.decoded_ack(delta))).ok()
    }

    fn encode_window(&self, d: Direction, packet: &Packet, ack: i64) -> WindowDelta {
        let expected = self.expected_window(d, packet.flags);
        let window = packet.window;
        if window == expected {
            return WindowDelta::Same;
        }
        if i64::from(window) == self.window_at_edge(d, packet.flags, ack) {
            return WindowDelta::Edge;
        }
        if window == self.sides[d.index()].window_max {
            return WindowDelta::Max;
        }
        if let Some(i) = vocab::WINDOWS.iter().position(|&w| w == window) {
            return WindowDelta::Listed(i as u8);
        }
        if window > expected {
            WindowDelta::Up(window - expected)
        } else {
            WindowDelta::Down(expected - window)
        }
    }

    fn decode_window(&self, d: Direction, delta: &PacketDelta, ack: i64) -> u16 {
        let flags = delta.flags();
        let expected = self.expected_window(d, flags);
        match delta.window {
            WindowDelta::Same => expected,
            WindowDelta::Edge => self.window_at_edge(d, flags, ack) as u16,
            WindowDelta::Max => self.sides[d.index()].window_max,
            WindowDelta::Listed(i) => vocab::WINDOWS[usize::from(i)],
            WindowDelta::Up(by) => expected.wrapping_add(by),
            WindowDelta::Down(by) => expected.wrapping_sub(by),
        }
    }

    // --- options -----------------------------------------------------------------------------------------------

    /// Whether side `d` is expected to send nothing but `[NOP, NOP, timestamps]`.
    fn expects_plain_ts(&self, d: Direction, flags: Flags) -> bool {
        if flags.bits() & (Flags::SYN.bits() | Flags::RST.bits()) != 0 {
            return false;
        }
        match self.sides[d.index()].option_pattern {
            OptionPattern::Unknown => self.agreed(|o| o.timestamps),
            option_pattern => option_pattern == OptionPattern::PlainTimestamps,
        }
    }

    fn expects_none(&self, d: Direction, flags: Flags) -> bool {
        if flags.contains(Flags::RST) {
            return !flags.contains(Flags::SYN);
        }
        let side = &self.sides[d.index()];
        if flags.contains(Flags::SYN) {
            return side.syn_options.is_empty();
        }
        match side.option_pattern {
            OptionPattern::Unknown => !self.agreed(|o| o.timestamps),
            option_pattern => option_pattern == OptionPattern::Empty,
        }
    }

    /// Elements expected where they are neither plain timestamps nor none.
    fn expected_elements(&self, d: Direction, flags: Flags, out: &mut Elements) {
        let side = &self.sides[d.index()];
        if flags.contains(Flags::SYN) {
            options::parse(&side.syn_options, out);
        } else {
            out.clone_from(&side.layout);
        }
    }

    fn encode_options(
        &mut self,
        d: Direction,
        flags: Flags,
        octets: &[u8],
        ack: i64,
        delta: &mut PacketDelta,
    ) -> Option<Timestamps> {
        if let Some(ts) = options::plain_timestamps(octets)
            && self.expects_plain_ts(d, flags)
        {
            return Some(ts);
        }
        if octets.is_empty() && self.expects_none(d, flags) {
            return None;
        }
        let parsed = options::parse(octets, &mut delta.elements);
        let mut blocks = parsed.blocks.iter();
        for &element in &delta.elements.list {
            let Element::Sack(n) = element else { continue };
            for &(left, right) in blocks.by_ref().take(usize::from(n)) {
                delta.elements.sacks.push(self.encode_sack(d, ack, left, right));
            }
        }
        let mut expected = std::mem::take(&mut self.elements);
        let plain = self.expects_plain_ts(d, flags);
        if !plain && !self.expects_none(d, flags) {
            self.expected_elements(d, flags, &mut expected);
            if expected == delta.elements {
                self.elements = expected;
                delta.elements.clear();
                return parsed.timestamps;
            }
        }
        self.elements = expected;
        delta.options =
            options::layout_of(&delta.elements).map_or(OptionsDelta::List, OptionsDelta::Layout);
        parsed.timestamps
    }

    fn encode_sack(&self, d: Direction, ack: i64, left: u32, right: u32) -> SackDelta {
        let space = &self.pair(d).1.space;
        let (from, to) = (space.offset(SeqNum(left)), space.offset(SeqNum(right)));
        let raw = SackDelta::Raw { left: (from - ack) as u32, len: right.wrapping_sub(left) };
        let first = space.first_above(ack);
        let (Some(start), Some(end)) = (space.index_starting_at(from), space.index_ending_at(to))
        else {
            return raw;
        };
        let (Some(at), Some(more)) = (start.checked_sub(first), end.checked_sub(start)) else {
            return raw;
        };
        if at < vocab::SACK_AT.count() && more < vocab::SACK_COUNT.count() {
            SackDelta::Segments { at: at as u8, count: more as u8 }
        } else {
            raw
        }
    }

    fn decode_sack(&self, d: Direction, ack: i64, delta: SackDelta) -> (u32, u32) {
        let space = &self.pair(d).1.space;
        match delta {
            SackDelta::Segments { at, count } => {
                let first = space.first_above(ack) + usize::from(at);
                let start = space.oldest(first).map_or(ack, |s| s.start);
                let end = space.oldest(first + usize::from(count)).map_or(start, |s| s.end);
                (space.number(start).0, space.number(end).0)
            }
            SackDelta::Raw { left, len } => {
                let left = space.number(ack + i64::from(left as i32)).0;
                (left, left.wrapping_add(len))
            }
        }
    }

    /// Writes the option octets of a packet that was said.
    fn decode_options(
        &mut self,
        d: Direction,
        delta: &PacketDelta,
        ack: i64,
        time_ns: i64,
        out: &mut Vec<u8>,
    ) {
        let flags = delta.flags();
        if delta.options == OptionsDelta::Expected && self.expects_none(d, flags) {
            return;
        }
        if delta.options == OptionsDelta::Expected && self.expects_plain_ts(d, flags) {
            let ts = self.decode_timestamps(d, delta, time_ns);
            out.extend_from_slice(&options::PLAIN_TS);
            out.extend_from_slice(&ts.value.to_be_bytes());
            out.extend_from_slice(&ts.echo.to_be_bytes());
            return;
        }
        let mut expected = std::mem::take(&mut self.elements);
        let elements = match delta.options {
            OptionsDelta::Expected => {
                self.expected_elements(d, flags, &mut expected);
                &expected
            }
            _ => &delta.elements,
        };
        let ts =
            elements.list.contains(&Element::Ts).then(|| self.decode_timestamps(d, delta, time_ns));
        options::render(elements, ts, |sack| self.decode_sack(d, ack, sack), out);
        self.elements = expected;
    }

    /// Whether a packet will carry timestamps, once its options are said.
    pub(crate) fn will_carry_timestamps(&self, delta: &PacketDelta) -> bool {
        let (d, flags) = (delta.kind.direction, delta.flags());
        match delta.options {
            OptionsDelta::Expected if flags.contains(Flags::SYN) => {
                self.sides[d.index()].offer.timestamps
            }
            OptionsDelta::Expected => self.expects_plain_ts(d, flags),
            _ => delta.elements.list.contains(&Element::Ts),
        }
    }

    /// Nanoseconds until a timestamp clock has gone so far from its side's last TSval that it would
    /// seem to go back.
    pub(crate) fn clock_room_ns(&self) -> u64 {
        self.sides.iter().map(|s| s.clock.room_ns(self.time_ns)).min().unwrap_or(u64::MAX)
    }

    /// Nanoseconds until this packet's TSval, where it is said to be late, is not behind its side's
    /// last.
    pub(crate) fn catch_up_ns(&self, delta: &PacketDelta) -> u64 {
        match delta.ts_val {
            TsvalDelta::Off(by @ ..0) => self.wait_ns(delta.kind.direction, by.unsigned_abs()),
            _ => 0,
        }
    }

    /// Nanoseconds until a TSval so many ticks behind its clock is not behind side `d`'s last.
    fn wait_ns(&self, d: Direction, ticks: u8) -> u64 {
        let clock = &self.sides[d.index()].clock;
        clock.catches_up(ticks).saturating_sub(self.time_ns).max(0).unsigned_abs()
    }

    /// How many ticks behind its clock a TSval of side `d` may be, if the wait is to be shorter
    /// than `room_ns`.
    pub(crate) fn ticks_behind(&self, d: Direction, room_ns: u64) -> usize {
        // It takes a while until the values behind a clock that is new are not behind the last one.
        let most = if self.sides[d.index()].clock.is_running() {
            vocab::TSVAL.count() as u8 / 2
        } else {
            0
        };
        (1..=most).rev().find(|&ticks| self.wait_ns(d, ticks) < room_ns).unwrap_or(0).into()
    }

    /// How many TSvals of the other side an echo of side `d` may name.
    pub(crate) fn echo_candidates(&self, d: Direction) -> usize {
        let (side, peer) = self.pair(d);
        peer.recent_tsvals.after(side.echoed).len()
    }

    // --- timestamps --------------------------------------------------------------------------------------------

    /// Moves on what side `d` is to echo, given what it acknowledges now (RFC 7323, section 4.3).
    fn update_ts_recent(&mut self, d: Direction, ack: i64) {
        let last_ack = self.sides[d.index()].last_ack;
        let peer = &mut self.sides[d.reversed().index()];
        while let Some(&s) = peer.pending.front() {
            if s.end > ack {
                break;
            }
            if s.seq <= last_ack || peer.ts_recent.is_none() {
                peer.ts_recent = Some(s.value);
            }
            peer.pending.pop_front();
        }
    }

    fn expected_echo(&self, d: Direction) -> u32 {
        self.pair(d).1.ts_recent.unwrap_or(0)
    }

    fn encode_timestamps(
        &mut self,
        d: Direction,
        ts: Timestamps,
        time_ns: i64,
        delta: &mut PacketDelta,
    ) {
        let peer = d.reversed();
        if !self.sides[d.index()].clock.is_bound() {
            self.bind_clock(d, Some(ts.value));
        }
        let clock = &self.sides[d.index()].clock;
        let off = ts.value.wrapping_sub(clock.expected(time_ns)) as i32;
        let forward = ts.value.wrapping_sub(clock.last());
        let reach = vocab::TSVAL.count() as u32 / 2;
        delta.ts_val = match off {
            0 => TsvalDelta::Expected,
            _ if off.unsigned_abs() <= reach => TsvalDelta::Off(off as i8),
            _ => u16::try_from(forward).map_or(TsvalDelta::Raw(forward), TsvalDelta::Forward),
        };
        if ts.echo == self.expected_echo(d) {
            return;
        }
        let echoed = self.sides[d.index()].echoed;
        let known = self.sides[peer.index()]
            .recent_tsvals
            .after(echoed)
            .take(vocab::TSECR.count())
            .position(|v| v == ts.echo);
        if let Some(k) = known {
            delta.ts_ecr = TsecrDelta::Later(k as u8);
        } else if ts.echo == 0 {
            delta.ts_ecr = TsecrDelta::Zero;
        } else if !self.sides[peer.index()].clock.is_bound() {
            self.bind_clock(peer, Some(ts.echo));
            delta.ts_ecr = TsecrDelta::Base;
        } else {
            delta.ts_ecr =
                TsecrDelta::Raw(ts.echo.wrapping_sub(self.sides[peer.index()].clock.last()));
        }
    }

    fn decode_timestamps(&mut self, d: Direction, delta: &PacketDelta, time_ns: i64) -> Timestamps {
        let peer = d.reversed();
        if !self.sides[d.index()].clock.is_bound() {
            self.bind_clock(d, None);
        }
        if delta.ts_ecr == TsecrDelta::Base && !self.sides[peer.index()].clock.is_bound() {
            self.bind_clock(peer, None);
        }
        let clock = &self.sides[d.index()].clock;
        let value = match delta.ts_val {
            TsvalDelta::Expected => clock.expected(time_ns),
            TsvalDelta::Off(by) => clock.expected(time_ns).wrapping_add(i32::from(by) as u32),
            TsvalDelta::Forward(by) => clock.last().wrapping_add(by.into()),
            TsvalDelta::Raw(by) => clock.last().wrapping_add(by),
        };
        let other = &self.sides[peer.index()];
        let echo = match delta.ts_ecr {
            TsecrDelta::Expected => self.expected_echo(d),
            TsecrDelta::Later(k) => {
                let echoed = self.sides[d.index()].echoed;
                other
                    .recent_tsvals
                    .after(echoed)
                    .nth(k.into())
                    .unwrap_or_else(|| other.clock.last())
            }
            TsecrDelta::Zero => 0,
            TsecrDelta::Base => other.clock.last(),
            TsecrDelta::Raw(by) => other.clock.last().wrapping_add(by),
        };
        Timestamps { value, echo }
    }

    fn bind_clock(&mut self, d: Direction, first: Option<u32>) {
        let identity = self.identity_of(d);
        if first.is_some() {
            identity.ts_base = first;
        }
        let base = identity.ts_base.unwrap_or(0);
        self.sides[d.index()].clock.bind(base);
    }

    // --- IP ----------------------------------------------------------------------------------------------------

    fn expected_id(&mut self, d: Direction) -> u16 {
        let base = self.identity_of(d).ip_id_base.unwrap_or(0);
        let side = &self.sides[d.index()];
        match side.ip_id_mode {
            IpIdMode::Zero => 0,
            IpIdMode::Incremental => side.id.map_or(base, |id| id.wrapping_add(1)),
            IpIdMode::Constant => side.id.unwrap_or(base),
        }
    }

    fn encode_id(&mut self, d: Direction, id: u16) -> IpIdDelta {
        if self.sides[d.index()].id.is_none() && id != 0 {
            self.identity_of(d).ip_id_base = Some(id);
        }
        let side = &self.sides[d.index()];
        // Before the base is seen nobody knows what it is, so that a zero has to be said.
        let open = side.id.is_none() && side.ip_id_mode != IpIdMode::Zero;
        if id == self.expected_id(d) && !(open && id == 0) {
            return IpIdDelta::Expected;
        }
        match (id, self.sides[d.index()].id) {
            (0, _) => IpIdDelta::Zero,
            (_, None) => IpIdDelta::Base,
            (_, Some(last)) => match id.wrapping_sub(last) {
                by if usize::from(by) < vocab::ID.count() => IpIdDelta::More(by as u8),
                by => IpIdDelta::Raw(by),
            },
        }
    }

    fn decode_id(&mut self, d: Direction, delta: IpIdDelta) -> u16 {
        let base = self.identity_of(d).ip_id_base.unwrap_or(0);
        let last = self.sides[d.index()].id.unwrap_or(base);
        match delta {
            IpIdDelta::Expected => self.expected_id(d),
            IpIdDelta::More(by) => last.wrapping_add(by.into()),
            IpIdDelta::Zero => 0,
            IpIdDelta::Base => base,
            IpIdDelta::Raw(by) => last.wrapping_add(by),
        }
    }

    fn encode_label(&mut self, d: Direction, label: u32) -> FlowLabelDelta {
        let side = &self.sides[d.index()];
        let (last, base_seen) = (side.label, side.label_base_seen);
        if label != 0 && !base_seen {
            self.identity_of(d).flow_label_base = Some(label);
            return if last.is_none() { FlowLabelDelta::Expected } else { FlowLabelDelta::Base };
        }
        if label == self.expected_label(d) && (last.is_some() || label != 0) {
            return FlowLabelDelta::Expected;
        }
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        match label {
            0 => FlowLabelDelta::Zero,
            _ if label == base => FlowLabelDelta::Base,
            _ => FlowLabelDelta::Raw(label.wrapping_sub(last.unwrap_or(base)) & 0xf_ffff),
        }
    }

    fn expected_label(&mut self, d: Direction) -> u32 {
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        self.sides[d.index()].label.unwrap_or(base)
    }

    fn decode_label(&mut self, d: Direction, delta: FlowLabelDelta) -> u32 {
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        match delta {
            FlowLabelDelta::Expected => self.expected_label(d),
            FlowLabelDelta::Zero => 0,
            FlowLabelDelta::Base => base,
            FlowLabelDelta::Raw(by) => self.expected_label(d).wrapping_add(by) & 0xf_ffff,
        }
    }

    // --- whole packets -----------------------------------------------------------------------------------------

    /// Says `packet` relative to what is expected, and learns from it. `say` comes in restarted.
    /// The caller has checked that the packet's values are in range.
    pub(crate) fn encode(&mut self, packet: &Packet, octets: &[u8], delta: &mut PacketDelta) {
        let d = packet.direction;
        self.bind_space(d, Some(packet.seq.0));
        if packet.flags.contains(Flags::ACK) {
            self.bind_space(d.reversed(), Some(packet.ack.0));
        }
        let kind = FlagPattern::nearest(packet.flags);
        delta.kind.direction = d;
        delta.kind.pattern = kind;
        delta.kind.has_payload = packet.payload_len > 0;
        delta.toggle = packet.flags.bits() ^ kind.flags();
        let (seq, encode_seq) = self.encode_seq(d, packet);
        let (ack, acks_all, encode_ack) = self.encode_ack(d, packet);
        delta.seq = encode_seq;
        delta.ack = encode_ack;
        delta.kind.advances_ack = acks_all;
        delta.len = self.encode_len(d, encode_seq, packet.payload_len);
        delta.window = self.encode_window(d, packet, ack);
        delta.urgent = packet.urgent;
        if packet.flags.contains(Flags::ACK) {
            self.update_ts_recent(d, ack);
        }
        let ts = self.encode_options(d, packet.flags, octets, ack, delta);
        if let Some(ts) = ts {
            self.encode_timestamps(d, ts, packet.time_ns, delta);
        }
        let side = &self.sides[d.index()];
        let class = side.traffic_class[usize::from(delta.kind.has_payload)];
        delta.traffic_class = (class != packet.traffic_class).then_some(packet.traffic_class);
        delta.ttl = (side.ttl.unwrap_or(64) != packet.ttl).then_some(packet.ttl);
        delta.toggle_df = side.dont_fragment.unwrap_or(!self.v6) != packet.dont_fragment;
        if self.v6 {
            delta.label = self.encode_label(d, packet.flow_label);
        } else {
            delta.id = self.encode_id(d, packet.ip_id);
        }
        let gap_ns = packet.time_ns.wrapping_sub(self.time_ns);
        delta.gap = match self.unit_ns {
            1_000 => gap_ns / 1_000,
            unit_ns => gap_ns / unit_ns,
        };
        self.update(packet, octets, ts, seq, ack);
    }

    /// Turns what was said into a packet, its option octets appended to `arena`, and learns from
    /// it.
    pub(crate) fn decode(&mut self, delta: &PacketDelta, arena: &mut Vec<u8>) -> Packet {
        let d = delta.kind.direction;
        let flags = delta.flags();
        self.bind_space(d, None);
        if flags.contains(Flags::ACK) {
            self.bind_space(d.reversed(), None);
        }
        let seq = self.decode_seq(d, delta);
        let ack = self.decode_ack(d, delta);
        let payload_len = self.decode_len(d, delta);
        let window = self.decode_window(d, delta, ack);
        let time_ns = self.time_ns.wrapping_add(delta.gap.wrapping_mul(self.unit_ns));
        if flags.contains(Flags::ACK) {
            self.update_ts_recent(d, ack);
        }
        let start = arena.len();
        self.decode_options(d, delta, ack, time_ns, arena);
        let side = &self.sides[d.index()];
        let traffic_class =
            delta.traffic_class.unwrap_or(side.traffic_class[usize::from(delta.kind.has_payload)]);
        let ttl = delta.ttl.or(side.ttl).unwrap_or(64);
        let dont_fragment = side.dont_fragment.unwrap_or(!self.v6) != delta.toggle_df;
        let ip_id = if self.v6 { 0 } else { self.decode_id(d, delta.id) };
        let flow_label = if self.v6 { self.decode_label(d, delta.label) } else { 0 };
        let (side, peer) = self.pair(d);
        let packet = Packet {
            time_ns,
            seq: side.space.number(seq),
            ack: peer.space.number(ack),
            payload_len,
            flow_label,
            options: flowtrack::OptionsRef {
                start: start as u32,
                len: (arena.len() - start) as u8,
            },
            flags,
            window,
            urgent: delta.urgent,
            ip_id,
            ttl,
            traffic_class,
            dont_fragment,
            direction: d,
        };
        let ts = self.timestamps_of(&arena[start..]);
        self.update(&packet, &arena[start..], ts, seq, ack);
        packet
    }

    fn timestamps_of(&mut self, octets: &[u8]) -> Option<Timestamps> {
        if octets.is_empty() {
            return None;
        }
        options::plain_timestamps(octets).or_else(|| {
            let mut scratch = std::mem::take(&mut self.elements);
            let parsed = options::parse(octets, &mut scratch);
            self.elements = scratch;
            parsed.timestamps
        })
    }

    /// Takes in a packet, whichever way it came. `seq` and `ack` are its offsets.
    fn update(
        &mut self,
        packet: &Packet,
        octets: &[u8],
        ts: Option<Timestamps>,
        seq: i64,
        ack: i64,
    ) {
        let d = packet.direction;
        self.time_ns = packet.time_ns;
        self.update_options(packet, octets);
        self.update_len(d, packet.payload_len);
        if let Some(ts) = ts {
            let echoed = self.sides[d.index()].echoed;
            if let Some(at) = self.sides[d.reversed().index()].recent_tsvals.find(ts.echo, echoed) {
                self.sides[d.index()].echoed = at;
            }
        }
        let side = &mut self.sides[d.index()];
        side.packets += 1;
        let syn = packet.flags.contains(Flags::SYN);
        let end = seq + i64::from(packet.flags.seq_len()) + i64::from(packet.payload_len);
        if let Some(ts) = ts {
            let is_plain = packet.payload_len == 0
                && packet.flags.seq_len() == 0
                && side.space.fin().is_none();
            side.clock.update(ts.value, packet.time_ns, is_plain);
            side.recent_tsvals.push(ts.value);
            if side.pending.len() == PENDING {
                side.pending.pop_front();
            }
            side.pending.push_back(Stamped { seq, end, value: ts.value });
        }
        if !packet.flags.contains(Flags::RST) {
            side.space.sent(seq, packet.flags, packet.payload_len);
        }
        side.after_syn = syn;
        side.window = packet.window;
        side.window_max = if syn { 0 } else { side.window_max.max(packet.window) };
        side.traffic_class[usize::from(packet.payload_len > 0)] = packet.traffic_class;
        side.ttl = Some(packet.ttl);
        side.dont_fragment = Some(packet.dont_fragment);
        if !packet.flags.contains(Flags::RST) {
            side.ip_id_mode = match (packet.ip_id, side.id) {
                (0, _) => IpIdMode::Zero,
                (id, Some(last)) if id == last => IpIdMode::Constant,
                _ => IpIdMode::Incremental,
            };
        }
        if packet.ip_id != 0 {
            side.id = Some(packet.ip_id);
        }
        side.label = Some(packet.flow_label);
        side.label_base_seen |= packet.flow_label != 0;
        if packet.flags.contains(Flags::ACK) {
            side.last_ack = ack;
            self.sides[d.reversed().index()].space.acked(ack);
        }
    }

    fn update_len(&mut self, d: Direction, len: u32) {
        if len == 0 {
            return;
        }
        let (full, largest) = (self.full(d), self.largest());
        let known = self.sides.iter().any(|s| s.offer.mss.is_some());
        let limit = if known { largest } else { 9000 };
        let side = &mut self.sides[d.index()];
        let repeated = len == side.last_len && len >= LEAST_FULL;
        if len <= limit && (len > full || repeated) {
            side.full = Some(len);
        }
        side.last_len = len;
    }

    fn update_options(&mut self, packet: &Packet, octets: &[u8]) {
        let d = packet.direction;
        let flags = packet.flags;
        if flags.contains(Flags::RST) {
            return;
        }
        if !flags.contains(Flags::SYN) {
            // The common cases first: as before, and nothing but timestamps.
            let option_pattern = self.sides[d.index()].option_pattern;
            if octets.is_empty() && option_pattern == OptionPattern::Empty {
                return;
            }
            if option_pattern == OptionPattern::PlainTimestamps
                && options::plain_timestamps(octets).is_some()
            {
                return;
            }
        }
        let mut elements = std::mem::take(&mut self.elements);
        options::parse(octets, &mut elements);
        let side = &mut self.sides[d.index()];
        if flags.contains(Flags::SYN) {
            side.offer = offer_of(&elements);
            side.syn_options.clear();
            options::render(&elements, None, |_| (0, 0), &mut side.syn_options);
            if elements.list.iter().any(|e| matches!(e, Element::Sack(_))) {
                side.syn_options.clear();
            }
        } else if !elements.list.iter().any(|e| matches!(e, Element::Sack(_))) {
            side.option_pattern = match &elements.list[..] {
                [] => OptionPattern::Empty,
                list if list == options::LAYOUTS[1] => OptionPattern::PlainTimestamps,
                _ => OptionPattern::Other,
            };
            side.layout.clone_from(&elements);
        }
        self.elements = elements;
    }
}

fn offer_of(elements: &Elements) -> Offer {
    let mut offer = Offer::default();
    for &element in &elements.list {
        match element {
            Element::Mss(mss) => offer.mss = Some(mss),
            Element::Ws(shift) => offer.scale = Some(shift),
            Element::SackPermitted => offer.sack = true,
            Element::Ts => offer.timestamps = true,
            _ => {}
        }
    }
    offer
}
