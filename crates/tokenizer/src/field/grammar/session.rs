//! Tokens that lead to a whole session.

use flowtrack::Direction;
use tcpwire::{Flags, option_kind};

use super::mask::Mask;
use super::observer::{Observation, Observer};
use super::syntax::Syntax;
use crate::field::bucket;
use crate::field::delta::{FlagPattern, PacketDelta, PacketKind, SeqDelta};
use crate::field::digits::DigitTarget;
use crate::field::field_order::FieldOrder;
use crate::field::header::{CloseKind, SessionClass};
use crate::field::options::{Element, LAYOUTS};
use crate::field::parse::{Parser, ParserState};
use crate::field::state::{FlowState, MIN_FULL_SEGMENT, SenderState};
use crate::field::vocab;

/// Upper bound on a gap in a session: 2^42 ns, 73 minutes.
const MAX_GAP_NS: u64 = 1 << 42;
/// Greatest payload of a packet in a session, in octets: the headers fit into the same IP packet.
const MAX_PAYLOAD: u64 = 57_344;
/// Greatest number of packets after the close of a session, and of SYNs per side.
const MAX_REPEATS: u64 = 4;
/// Consecutive duplicate acknowledgments that a side may send without anything to answer: window
/// updates, and acknowledgments of packets that the capture lost.
const MAX_GRATUITOUS_ACKS: i64 = 2;
/// Number of holes at which a side skips no further octets.
const MAX_HOLES: usize = 4;
/// Least maximum segment size that a session may spell in digits.
const MIN_MSS: u64 = 64;
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
/// Number of packets in which every session can open and close: lower limits count as this one.
const SHORTEST_SESSION: u64 = 7;
/// Number of spare packets below which windows stay open for the FINs: one packet may close both
/// windows, and counts itself.
const SPARE_TO_LACK_ROOM: u64 = 3;
/// Lowest length class with room for a session: 4 to 7 packets.
const SHORTEST_SESSION_CLASS: usize = 2;

/// Packet that every session begins with.
const OPENING: PacketKind = PacketKind {
    direction: Direction::Forward,
    pattern: FlagPattern::Syn,
    has_payload: false,
    advances_ack: false,
};

/// Bounds on the number of packets in a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketBounds {
    /// Greatest number, by the caller's limit.
    pub(super) max: u64,
    /// Least number, by the caller's limit.
    pub(super) min: u64,
    /// Whether the length class in the header bounds the number too.
    pub(super) enforces_length: bool,
}

impl PacketBounds {
    /// Returns the greatest number of packets in a session of this length class.
    fn max_packets(&self, length_class: u8) -> u64 {
        let class = usize::from(length_class);
        let max = self.max.max(SHORTEST_SESSION);
        if class + 1 >= vocab::LENGTH.count() || !self.enforces_length {
            max
        } else {
            max.min((2 << class) - 1)
        }
    }

    /// Returns the least number of packets in a session of this length class.
    fn min_packets(&self, length_class: u8) -> u64 {
        if self.enforces_length { self.min.max(1 << length_class) } else { self.min }
    }

    /// Adds the length classes of sessions within the caller's limits.
    fn length_classes(&self, mask: &mut Mask) {
        let highest =
            (self.max.max(SHORTEST_SESSION).ilog2() as usize).min(vocab::LENGTH.count() - 1);
        let lowest = (self.min.max(1).ilog2() as usize).clamp(SHORTEST_SESSION_CLASS, highest);
        mask.set_run(vocab::LENGTH.at(lowest), highest + 1 - lowest);
    }
}

/// Adds the tokens that may follow in the header of a session.
pub(super) fn allowed_in_header(parser: &Parser, bounds: &PacketBounds, mask: &mut Mask) {
    match parser.state {
        ParserState::Class => {
            for close in [CloseKind::Graceful, CloseKind::Reset] {
                mask.set(vocab::CLASS.at(SessionClass { close, has_handshake: true }.id()));
            }
        }
        ParserState::Length => bounds.length_classes(mask),
        ParserState::TsClock(side) => {
            Syntax::new(parser).clocks(side, mask);
            mask.set(vocab::PACKET.at(OPENING.index()));
        }
        _ => Syntax::new(parser).allowed(false, mask),
    }
}

/// Facts about the packets of a session so far, in addition to [`FlowState`].
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Number of complete packets.
    pub(super) packets: u64,
    /// Whether a packet carried RST.
    is_reset: bool,
    /// Whether a packet without payload carried ACK and no other flag. Observers take no handshake
    /// for complete before one.
    has_pure_ack: bool,
    /// Number of packets after the close.
    after_close: u64,
    observer: Observer,
}

impl Progress {
    /// Updates the progress and `state` with the packet that the parser has completed. `options`
    /// is overwritten with its option octets.
    pub(super) fn update(&mut self, parser: &Parser, state: &mut FlowState, options: &mut Vec<u8>) {
        self.packets += 1;
        self.after_close += u64::from(self.is_closed(parser.header.class, state));
        options.clear();
        let delta = &parser.delta;
        let pattern = delta.kind.pattern;
        let sender = &state.sides[delta.kind.direction.index()];
        let (seq, next) = (state.decoded_seq(delta), sender.space.snd_nxt());
        let had_fin = sender.space.fin().is_some();
        let was_closing = state.has_fin();
        let packet = state.decode(delta, options);
        self.is_reset |= packet.flags.contains(Flags::RST);
        self.has_pure_ack |= pattern == FlagPattern::Ack && packet.payload_len == 0;
        let is_before_next = !pattern.is_syn() && !pattern.is_fin() && seq == next - 1;
        let observed =
            Observation { delta, packet: &packet, seq, is_before_next, was_closing, had_fin };
        self.observer.update(&observed, state);
    }

    /// Returns whether the session has closed in the way that its class demands.
    fn is_closed(&self, class: SessionClass, state: &FlowState) -> bool {
        let [client, server] = &state.sides;
        if client.space.holes() + server.space.holes() > 0 {
            return false;
        }
        if class.close == CloseKind::Reset {
            return self.is_reset;
        }
        // RFC 9293, section 3.6: a connection is closed when both sides have sent a FIN, and have
        // received the acknowledgment of it.
        client.is_fin_acked_by(server) && server.is_fin_acked_by(client)
    }
}

/// Rules of a session from its first packet on.
pub(super) struct Session<'a> {
    parser: &'a Parser,
    state: &'a FlowState,
    progress: &'a Progress,
    bounds: &'a PacketBounds,
    /// Packet that the parser is reading.
    delta: &'a PacketDelta,
    /// Number of packets left, less those that the session needs to close.
    spare: u64,
    /// Whether each side that has not sent its FIN must keep room for it in the other side's
    /// window: because one side has sent a FIN, or because packets run out.
    keeps_room_for_fin: bool,
}

impl<'a> Session<'a> {
    /// Creates the rules for the next token.
    pub(super) fn new(
        parser: &'a Parser,
        state: &'a FlowState,
        progress: &'a Progress,
        bounds: &'a PacketBounds,
    ) -> Session<'a> {
        let delta = &parser.delta;
        let mut session =
            Session { parser, state, progress, bounds, delta, spare: 0, keeps_room_for_fin: false };
        session.spare = session.spare_packets();
        session.keeps_room_for_fin =
            state.has_fin() || (!session.closes_by_reset() && session.spare < SPARE_TO_LACK_ROOM);
        session
    }

    /// Adds the tokens that may follow.
    pub(super) fn allowed(&self, mask: &mut Mask) {
        match self.parser.state {
            ParserState::BetweenPackets => self.packets(mask),
            ParserState::Fields(order) => self.fields(order, mask),
            ParserState::MssValue => mask.set_through(vocab::MSS, vocab::MSS_RAW),
            ParserState::WsValue => mask.set_all(vocab::WS),
            ParserState::SackBlock { .. } => self.sack_at(mask),
            ParserState::SackCount { at, .. } => self.sack_count(at, mask),
            ParserState::Digits => self.digits(mask),
            ParserState::Element => self.elements(mask),
            _ => Syntax::new(self.parser).inside(mask),
        }
    }

    /// Returns whether the class of the session ends it with a RST.
    fn closes_by_reset(&self) -> bool {
        matches!(self.parser.header.class.close, CloseKind::Reset)
    }

    /// Returns whether the session has closed in the way that its class demands.
    fn is_closed(&self) -> bool {
        self.progress.is_closed(self.parser.header.class, self.state)
    }

    /// Returns whether the handshake is complete: the client has acknowledged the server's SYN.
    fn is_established(&self) -> bool {
        self.state.sides[0].last_ack >= 1 && self.state.sides[1].packets > 0
    }

    /// Returns whether every further packet must bring the session nearer to its close.
    fn must_close(&self) -> bool {
        self.spare == 0
    }

    /// Returns the number of packets left, less those that the session needs to fill its holes and
    /// to close.
    fn spare_packets(&self) -> u64 {
        let fills = |d: Direction| -> u64 {
            let space = &self.state.pair(d).0.space;
            let holes = (0..space.holes()).filter_map(|k| space.hole(k));
            holes.map(|hole| self.packets_to_fill(d, (hole.end - hole.start).unsigned_abs())).sum()
        };
        let fills = fills(Direction::Forward) + fills(Direction::Reverse);
        let max = self.bounds.max_packets(self.parser.header.length_class);
        max.saturating_sub(self.progress.packets + self.packets_to_close() + fills)
    }

    /// Returns the greatest number of packets that a hole of `octets` takes. The full segment of
    /// side `d` may shrink before the hole is filled, but not below [`MIN_FULL_SEGMENT`].
    fn packets_to_fill(&self, d: Direction, octets: u64) -> u64 {
        octets.div_ceil(u64::from(self.state.full_segment(d).min(MIN_FULL_SEGMENT)))
    }

    /// Returns the number of packets that close a session without holes.
    fn packets_to_close(&self) -> u64 {
        let [client, server] = &self.state.sides;
        if !self.is_established() {
            let handshake = 3 - u64::from(client.packets > 0) - u64::from(server.packets > 0);
            return handshake + if self.closes_by_reset() { 1 } else { 3 };
        }
        if self.closes_by_reset() {
            return if self.progress.is_reset {
                0
            } else {
                1 + u64::from(!self.progress.has_pure_ack)
            };
        }
        let unacked_fin = |side: &SenderState, peer: &SenderState| {
            u64::from(side.space.fin().is_some_and(|fin| peer.last_ack < fin))
        };
        match (client.space.fin(), server.space.fin()) {
            // FIN, FIN with acknowledgment, acknowledgment; and a window update for each side whose
            // FIN does not fit into the window.
            (None, None) => {
                3 + [Direction::Forward, Direction::Reverse]
                    .map(|d| u64::from(self.lacks_room_for_fin(d)))
                    .iter()
                    .sum::<u64>()
            }
            (Some(_), Some(_)) => unacked_fin(client, server) + unacked_fin(server, client),
            _ => 2,
        }
    }
}

/// Rules about windows and room for payload (RFC 9293, section 3.8.6).
impl Session<'_> {
    /// Returns the offset up to which side `d` may send: the right edge of the window that the
    /// other side offers.
    fn right_edge(&self, d: Direction, is_fin: bool) -> i64 {
        let other = d.reversed().index();
        let observer = &self.progress.observer;
        let has_sent_fin = self.state.sides[d.index()].space.fin().is_some();
        let (furthest, last) = (observer.max_right_edge[other], observer.last_right_edge[other]);
        // A session has no probes of a closed window (RFC 9293, section 3.8.6.1): no new octets
        // come while the window is closed.
        let is_closed = last <= self.state.sides[other].last_ack;
        // RFC 9293, section 3.8.6: a sender must cope with a window that has shrunk, so that octets
        // up to the furthest edge may be on their way. From the first FIN on the last edge counts
        // too.
        let edge = if self.keeps_room_for_fin || is_fin || is_closed {
            furthest.min(last)
        } else {
            furthest
        };
        // RFC 9293, section 3.4: the FIN occupies one sequence number, which the payload leaves
        // free.
        edge - i64::from((self.keeps_room_for_fin || is_fin) && !has_sent_fin)
    }

    /// Returns whether the window leaves side `d` no room for its FIN.
    fn lacks_room_for_fin(&self, d: Direction) -> bool {
        self.right_edge(d, true) < self.state.sides[d.index()].space.snd_nxt()
    }

    /// Returns the number of payload octets that side `d` may send from `offset` on.
    fn usable_window_from(&self, d: Direction, offset: i64) -> u64 {
        let is_fin =
            self.parser.state != ParserState::BetweenPackets && self.delta.kind.pattern.is_fin();
        (self.right_edge(d, is_fin) - offset).max(0) as u64
    }

    /// Returns the usable window of side `d` (RFC 9293, section 3.8.6.2.1): the number of new
    /// octets that it may send.
    fn usable_window(&self, d: Direction) -> u64 {
        self.usable_window_from(d, self.state.sides[d.index()].space.snd_nxt())
    }

    /// Returns the greatest payload of the current packet, once its sequence number is decoded.
    fn max_payload(&self) -> u64 {
        let seq = self.state.decoded_seq(self.delta);
        self.usable_window_from(self.delta.kind.direction, seq).min(MAX_PAYLOAD)
    }

    /// Returns the window of the current packet if it has no window token.
    fn expected_window(&self) -> u64 {
        self.state.expected_window(self.delta.kind.direction, self.delta.flags()).into()
    }

    /// Returns the least window that the current packet may offer, unscaled.
    fn min_window(&self) -> u64 {
        let pattern = self.delta.kind.pattern;
        // A keep-alive closes no window, since observers ignore the window that it offers.
        let open = u64::from(self.delta.seq == SeqDelta::KeepAlive && self.expected_window() > 0);
        if !(self.keeps_room_for_fin || pattern.is_fin()) || !pattern.has_ack() || pattern.is_rst()
        {
            return open;
        }
        let d = self.delta.kind.direction;
        let (side, peer) = self.state.pair(d);
        let ack = self.state.decoded_ack(self.delta);
        let units = |octets: i64, shift: u32| {
            (octets.max(0) as u64).div_ceil(1 << shift).min(u16::MAX.into())
        };
        let shift = if pattern.is_syn() { 0 } else { self.state.window_shift(d) };
        // RFC 9293, section 3.8.6: a receiver should not shrink the window. Here it keeps at least
        // the octets that are on their way, and one for the other side's FIN.
        let in_flight = peer.space.snd_nxt() + i64::from(peer.space.fin().is_none()) - ack;
        let used = units(in_flight, shift).max(open);
        // Observers know the last acknowledgment by its numbers, if it carries ACK alone.
        let is_last = peer.space.fin() == Some(ack) && self.delta.flags() == Flags::ACK;
        let seen = self.progress.observer.next_seq[d.reversed().index()];
        let acks_unseen = ack - i64::from(is_last) > seen;
        if side.space.fin().is_none()
            || self.delta.kind.has_payload
            || pattern.is_fin()
            || !acks_unseen
        {
            return used;
        }
        // After its own FIN, a side shrinks no window with an acknowledgment of octets that came
        // since the first FIN: observers would reject a packet that does both.
        let offered = side.last_ack + self.progress.observer.last_window[d.index()];
        used.max(units(offered - ack, self.state.offered_shift(d)))
    }

    /// Returns whether the current packet needs a window token, since the expected window is too
    /// small.
    fn must_encode_window(&self) -> bool {
        self.expected_window() < self.min_window()
    }
}

/// Rules about packet tokens: direction, flags, payload.
impl Session<'_> {
    /// Adds the packets that may follow, and the end of the flow.
    fn packets(&self, mask: &mut Mask) {
        let is_closed = self.is_closed();
        if is_closed {
            mask.set(vocab::END);
        }
        let must_close = self.must_close();
        if is_closed && (must_close || self.progress.after_close >= MAX_REPEATS) {
            return;
        }
        for i in 0..vocab::PACKET.count() {
            let kind = PacketKind::from_index(i);
            if self.allows(kind) && (!must_close || self.leads_to_close(kind)) {
                mask.set(vocab::PACKET.at(i));
            }
        }
    }

    /// Returns whether a packet of this kind may follow.
    fn allows(&self, kind: PacketKind) -> bool {
        let d = kind.direction;
        let (side, peer) = self.state.pair(d);
        let pattern = kind.pattern;
        // RFC 9293, section 3.10.7.4: an acknowledgment of octets that were not sent is answered
        // with an ACK and dropped.
        if kind.advances_ack && (peer.space.contiguous() <= side.last_ack || !pattern.has_ack()) {
            return false;
        }
        let is_blocked = kind.has_payload && self.usable_window(d) == 0;
        if !self.is_established() {
            return !is_blocked && self.allows_in_handshake(kind);
        }
        // RFC 9293, section 3.10.7.4: a SYN in a synchronized state is an error.
        if pattern.is_syn() {
            return false;
        }
        if pattern.is_rst() {
            return !kind.has_payload && self.allows_reset(d);
        }
        if self.progress.is_reset || self.is_closed() {
            // After a RST there is no connection (RFC 9293, section 3.5.3). After the FINs, the
            // last acknowledgment may come again from TIME-WAIT (section 3.10.7.4).
            return kind.is_duplicate_ack() && !self.progress.is_reset;
        }
        match (side.space.fin(), pattern.is_fin(), kind.has_payload) {
            (None, true, _) => self.allows_fin(kind),
            // A repeated FIN has neither payload nor a new acknowledgment: octets that came since
            // are acknowledged by a packet of its own.
            (Some(fin), true, has_payload) => {
                !has_payload
                    && pattern == FlagPattern::FinAck
                    && side.space.snd_una() < fin
                    && !kind.advances_ack
            }
            // RFC 9293, section 3.6: after its FIN a side sends no new octets, but may retransmit.
            // A retransmission does not acknowledge the other side's FIN, since observers ignore
            // it.
            (Some(_), false, true) => {
                side.space.outstanding() > 0 && !(kind.advances_ack && peer.space.fin().is_some())
            }
            (None, false, true) if is_blocked => {
                side.space.outstanding() > 0 || side.space.holes() > 0
            }
            _ if kind.is_duplicate_ack() => {
                !self.has_spent_gratuitous_acks(d) || self.may_keep_alive(d)
            }
            _ => kind.has_payload || pattern == FlagPattern::Ack,
        }
    }

    /// Returns whether side `d` may send a RST now.
    fn allows_reset(&self, d: Direction) -> bool {
        let (side, peer) = self.state.pair(d);
        let holes = side.space.holes() + peer.space.holes();
        let min = self.bounds.min_packets(self.parser.header.length_class);
        let is_long_enough = self.progress.packets + 1 >= min;
        let is_fin_acked = side.space.fin().is_none_or(|fin| peer.last_ack >= fin);
        self.closes_by_reset()
            && holes == 0
            && is_long_enough
            && is_fin_acked
            && self.progress.has_pure_ack
    }

    /// Returns whether a side that has sent no FIN may send this one.
    fn allows_fin(&self, kind: PacketKind) -> bool {
        let (side, peer) = self.state.pair(kind.direction);
        // The second FIN leaves room for its acknowledgment.
        let min = self.bounds.min_packets(self.parser.header.length_class);
        let is_long_enough = self.progress.packets + 2 >= min;
        let end = side.space.snd_nxt() + i64::from(kind.has_payload);
        // RFC 9293, section 3.6: the FIN follows all octets that the side has to send.
        side.space.holes() == 0
            && self.right_edge(kind.direction, true) >= end
            && self.leaves_peer_able_to_close(kind)
            && (peer.space.fin().is_none() || is_long_enough)
    }

    /// Returns whether side `d` has sent as many duplicate acknowledgments without anything to
    /// answer as it may. Once the session must close, every packet has a reason of its own; after
    /// the close, [`MAX_REPEATS`] bounds them.
    fn has_spent_gratuitous_acks(&self, d: Direction) -> bool {
        // RFC 5681, section 4.2: at most one acknowledgment for an incoming segment, other than to
        // update the offered window.
        self.progress.observer.unanswered[d.index()] <= -MAX_GRATUITOUS_ACKS
            && !self.must_close()
            && !self.is_closed()
    }

    /// Returns whether side `d` may send a keep-alive.
    fn may_keep_alive(&self, d: Direction) -> bool {
        // RFC 9293, section 3.8.4: keep-alives are for idle connections, so that all octets sent
        // are acknowledged.
        let space = &self.state.sides[d.index()].space;
        space.snd_una() == space.snd_nxt() && space.fin().is_none()
    }

    /// Returns whether the FIN of side `d` has to acknowledge the other side's FIN: if a RST is to
    /// follow, and if observers have lost count of the other side's octets, so that only the
    /// acknowledgment shows them its FIN.
    fn must_acknowledge_fin(&self, d: Direction) -> bool {
        let seen = self.progress.observer.next_seq[d.reversed().index()];
        let fin = self.state.pair(d).1.space.fin();
        self.closes_by_reset() || fin.is_some_and(|fin| seen != fin - 1)
    }

    /// Returns whether the other side can still close or reset the session after this FIN.
    fn leaves_peer_able_to_close(&self, kind: PacketKind) -> bool {
        let d = kind.direction;
        let (side, peer) = self.state.pair(d);
        match peer.space.fin() {
            Some(fin) => !self.must_acknowledge_fin(d) || kind.advances_ack || side.last_ack >= fin,
            None => {
                let acked = if kind.advances_ack { peer.space.contiguous() } else { side.last_ack };
                let furthest = acked + (i64::from(u16::MAX) << self.state.window_shift(d));
                self.progress.observer.max_right_edge[d.index()] > peer.space.snd_nxt()
                    && furthest > peer.space.snd_nxt()
            }
        }
    }

    /// Returns whether a packet of this kind may follow before the handshake is complete.
    fn allows_in_handshake(&self, kind: PacketKind) -> bool {
        let [client, server] = &self.state.sides;
        match (kind.direction, kind.pattern) {
            // RFC 9293, section 3.5: SYN; repeated while the server does not answer.
            (Direction::Forward, FlagPattern::Syn) => {
                !kind.has_payload && server.packets == 0 && client.packets < MAX_REPEATS
            }
            // SYN and ACK of the client's SYN; a repeated one acknowledges nothing new.
            (Direction::Reverse, FlagPattern::SynAck) => {
                let is_repeated = server.packets > 0;
                !kind.has_payload
                    && kind.advances_ack != is_repeated
                    && server.packets < MAX_REPEATS
            }
            // The ACK of the server's SYN, which may carry payload.
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

    /// Returns whether a packet of this kind brings the session nearer to its close.
    fn leads_to_close(&self, kind: PacketKind) -> bool {
        let [client, server] = &self.state.sides;
        let pattern = kind.pattern;
        let is_pure_ack = pattern == FlagPattern::Ack && !kind.has_payload;
        if !self.is_established() {
            return match pattern {
                FlagPattern::SynAck => server.packets == 0,
                FlagPattern::Ack => !kind.has_payload,
                _ => false,
            };
        }
        for (side, d) in [(client, Direction::Forward), (server, Direction::Reverse)] {
            if side.space.holes() > 0 {
                return kind.direction == d
                    && pattern == FlagPattern::Ack
                    && kind.has_payload
                    && !kind.advances_ack;
            }
        }
        if self.closes_by_reset() {
            return if self.progress.has_pure_ack { pattern.is_rst() } else { is_pure_ack };
        }
        let (side, peer) = self.state.pair(kind.direction);
        let is_open = client.space.fin().is_none() && server.space.fin().is_none();
        let lacks_room =
            [Direction::Forward, Direction::Reverse].map(|d| self.lacks_room_for_fin(d));
        if is_open && lacks_room.contains(&true) {
            // The receiver opens the window first, and acknowledges all that it has received.
            let acks_all = kind.advances_ack || peer.space.contiguous() <= side.last_ack;
            return lacks_room[kind.direction.reversed().index()] && is_pure_ack && acks_all;
        }
        if client.space.fin().is_none() || server.space.fin().is_none() {
            let acks_fin =
                kind.advances_ack || peer.space.fin().is_none_or(|fin| side.last_ack >= fin);
            return side.space.fin().is_none()
                && pattern == FlagPattern::FinAck
                && !kind.has_payload
                && acks_fin;
        }
        is_pure_ack && kind.advances_ack
    }
}

/// Fields of a packet.
impl Session<'_> {
    /// Adds the tokens of the field `least` and of every field after it.
    fn fields(&self, least: FieldOrder, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, .. } = self.delta.kind;
        let (side, _) = self.state.pair(d);
        let follows = |order: FieldOrder| least <= order;
        if follows(FieldOrder::Flags) && !pattern.is_rst() {
            // ECE and CWR (RFC 3168, section 6.1).
            mask.set_first(vocab::FLAGS, 3);
        }
        if follows(FieldOrder::Seq) {
            self.seq(mask);
            let must_keep_alive =
                self.delta.kind.is_duplicate_ack() && self.has_spent_gratuitous_acks(d);
            if self.must_retransmit() || must_keep_alive {
                return;
            }
        }
        if follows(FieldOrder::Ack) {
            self.ack(mask);
        }
        if follows(FieldOrder::Len) {
            self.len(mask);
            if self.must_encode_len() {
                return;
            }
        }
        if follows(FieldOrder::Window) {
            self.window(mask);
            if side.packets == 0 || self.must_encode_window() {
                return;
            }
        }
        if follows(FieldOrder::Options) {
            self.options(mask);
        }
        let has_timestamps = self.state.will_carry_timestamps(self.delta);
        if follows(FieldOrder::TsVal) && has_timestamps {
            // The lower half of the tokens are values behind the clock. RFC 7323, section 5.3: a
            // receiver drops segments whose TSval is behind the last one.
            let half = vocab::TSVAL.count() / 2;
            let behind = self.state.ticks_behind(d, self.max_gap_ns());
            mask.set_run(vocab::TSVAL.at(half - behind), half + behind);
            mask.set(vocab::TSVAL_FORWARD.first);
        }
        // RFC 7323, section 3.2: TSecr is valid if ACK is set.
        if follows(FieldOrder::TsEcr) && has_timestamps && pattern.has_ack() {
            mask.set_first(vocab::TSECR, self.state.echo_candidates(d));
        }
        self.ip(least, side, mask);
        if self.progress.packets == 0 {
            mask.set(vocab::TIME.first);
        } else {
            let range_ns = self.state.catch_up_ns(self.delta)..self.max_gap_ns();
            Syntax::new(self.parser).gaps(range_ns, mask);
        }
    }

    /// Returns the upper bound on the gap before the current packet. RFC 7323, section 5.5: after
    /// 2^31 ticks of idle time a timestamp clock seems to have gone back.
    fn max_gap_ns(&self) -> u64 {
        MAX_GAP_NS.min(self.state.clock_room_ns())
    }

    /// Returns whether the current packet has to repeat sent octets or to fill a hole.
    fn must_retransmit(&self) -> bool {
        let d = self.delta.kind.direction;
        let space = &self.state.sides[d.index()].space;
        let must_fill = self.must_close() && space.holes() > 0;
        self.delta.kind.has_payload
            && (space.fin().is_some() || must_fill || self.usable_window(d) == 0)
    }

    /// Returns whether the current packet needs a length token, since the expected payload exceeds
    /// the window.
    fn must_encode_len(&self) -> bool {
        self.delta.kind.has_payload
            && !self.delta.is_retransmission()
            && u64::from(self.state.decoded_len(self.delta)) > self.max_payload()
    }

    /// Adds sequence numbers other than the expected one.
    fn seq(&self, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, has_payload, .. } = self.delta.kind;
        let space = &self.state.sides[d.index()].space;
        if !self.is_established() || !matches!(pattern, FlagPattern::Ack | FlagPattern::PshAck) {
            return;
        }
        if !has_payload {
            if self.may_keep_alive(d) {
                mask.set(vocab::SEQ_KEEPALIVE.first);
            }
            return;
        }
        let must_close = self.must_close();
        let holes = if must_close { space.holes().min(1) } else { space.holes() };
        mask.set_first(vocab::SEQ_HOLE, holes);
        if must_close {
            return;
        }
        mask.set_first(vocab::SEQ_OLD, space.outstanding());
        mask.set_first(vocab::SEQ_NEW, space.outstanding());
        let full = u64::from(self.state.full_segment(d));
        if !self.state.has_fin() && space.holes() < MAX_HOLES && full <= MAX_PAYLOAD {
            // A skipped segment costs packets later: as many as fill the hole.
            let spare = self.spare.saturating_sub(2);
            let beyond = self.usable_window(d).saturating_sub(1) / full;
            let fits = |k: &u64| self.packets_to_fill(d, k * full) < spare;
            let count = (1..=beyond.min(vocab::SEQ_SKIP.count() as u64)).take_while(fits).count();
            mask.set_first(vocab::SEQ_SKIP, count);
        }
    }

    /// Adds acknowledgments of a part of the received octets.
    fn ack(&self, mask: &mut Mask) {
        let PacketKind { direction: d, pattern, advances_ack, .. } = self.delta.kind;
        if !advances_ack || pattern.is_syn() || pattern.is_rst() || !self.is_established() {
            return;
        }
        if self.must_close() || (pattern.is_fin() && self.must_acknowledge_fin(d)) {
            return;
        }
        let (side, peer) = self.state.pair(d);
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

    /// Adds payload lengths that fit into the window.
    fn len(&self, mask: &mut Mask) {
        if !self.delta.kind.has_payload || self.delta.is_retransmission() {
            return;
        }
        let d = self.delta.kind.direction;
        let max = self.max_payload();
        if (1..=max).contains(&self.state.last_len(d).into()) {
            mask.set(vocab::LEN_SAME.first);
        }
        let multiples = max / u64::from(self.state.full_segment(d));
        mask.set_first(vocab::LEN_MULTIPLE, multiples.saturating_sub(1) as usize);
        for i in 0..vocab::LEN.count() {
            if bucket::LENGTHS.bucket(i).first <= max {
                mask.set(vocab::LEN.at(i));
            }
        }
    }

    /// Adds the digits that may follow in a number.
    fn digits(&self, mask: &mut Mask) {
        let digits = &self.parser.digits;
        let (least, most) = match digits.target {
            DigitTarget::Len => (0, self.max_payload()),
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
            DigitTarget::OptionKind => (MIN_RAW_KIND, u64::MAX),
            DigitTarget::Gap { back: false } => {
                let unit_ns = self.parser.header.unit_ns() as u64;
                let least = self.state.catch_up_ns(self.delta).div_ceil(unit_ns);
                (least, (self.max_gap_ns() / unit_ns).max(least))
            }
            _ => (0, u64::MAX),
        };
        Syntax::new(self.parser).digits(
            least.saturating_sub(digits.first),
            most.saturating_sub(digits.first),
            mask,
        );
        match digits.target {
            DigitTarget::OptionKind => STRUCTURED_KINDS
                .into_iter()
                .for_each(|kind| mask.clear(vocab::DIGIT.at(kind.into()))),
            DigitTarget::OptionLen { kind: option_kind::FAST_OPEN } => {
                // RFC 7413, section 4.1.1: no cookie, or an even number of 4 to 16 octets.
                let is_valid =
                    |len: usize| len == 2 || ((6..=18).contains(&len) && len.is_multiple_of(2));
                let invalid = (0..vocab::DIGIT.count()).filter(|&len| !is_valid(len));
                invalid.for_each(|len| mask.clear(vocab::DIGIT.at(len)));
            }
            _ => {}
        }
    }

    /// Adds windows that are large enough.
    fn window(&self, mask: &mut Mask) {
        let side = &self.state.sides[self.delta.kind.direction.index()];
        let (expected, min) = (self.expected_window(), self.min_window());
        // The first window of a side refers to no earlier one.
        if side.packets > 0 {
            let edge = self.state.window_at_same_edge(self.delta);
            if edge.is_some_and(|window| u64::from(window) >= min) {
                mask.set(vocab::WIN_EDGE.first);
            }
            if u64::from(side.max_window()) >= min {
                mask.set(vocab::WIN_MAX.first);
            }
        }
        for (i, &window) in vocab::WINDOWS.iter().enumerate() {
            if u64::from(window) >= min && (side.packets > 0 || i > 0) {
                mask.set(vocab::WIN.at(i));
            }
        }
        for i in 0..vocab::WIN_UP.count() {
            let b = bucket::WINDOW_STEPS.bucket(i);
            if expected + b.first < 1 << 16 && expected + b.end > min {
                mask.set(vocab::WIN_UP.at(i));
            }
            if b.first <= expected && expected - b.first >= min {
                mask.set(vocab::WIN_DOWN.at(i));
            }
        }
    }

    /// Adds layouts of options.
    fn options(&self, mask: &mut Mask) {
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
            FlagPattern::Syn | FlagPattern::SynAck => {
                for (i, layout) in LAYOUTS.iter().enumerate() {
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
                let blocks =
                    if self.state.agreed(|o| o.sack) { self.sackable_segments().1 } else { 0 };
                let (first, most) = if has_timestamps { (6, 3) } else { (2, 4) };
                for n in 0..blocks.min(most) {
                    mask.set(vocab::LAYOUT.at(first + n));
                }
            }
        }
    }

    /// Returns whether a SYN may carry this option element.
    fn may_offer(&self, element: Element) -> bool {
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

    /// Adds the elements of a SYN's list of options. Only padding and unknown kinds come twice.
    fn elements(&self, mask: &mut Mask) {
        let room = self.parser.option_room();
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
        for (range, octets) in [(vocab::OPT_NOP, 1), (vocab::OPT_RAW, 2)] {
            if octets <= room {
                mask.set(range.first);
            }
        }
        if room.is_multiple_of(4) {
            mask.set(vocab::OPT_DONE.first);
        }
    }

    /// Returns the segments of the other side that a SACK block of the current packet may hold:
    /// index of the first one above its acknowledgment, and their number.
    fn sackable_segments(&self) -> (usize, usize) {
        let space = &self.state.pair(self.delta.kind.direction).1.space;
        let ack = self.state.decoded_ack(self.delta);
        let above = space.first_above(ack);
        // RFC 2018, section 3: the octet just below a block has not been received. The segment that
        // begins at the acknowledgment is therefore missing.
        let first = usize::from(space.oldest(above).is_some_and(|s| s.start <= ack));
        (first, space.outstanding().saturating_sub(above + first))
    }

    /// Adds the segments at which a SACK block may begin.
    fn sack_at(&self, mask: &mut Mask) {
        let (first, count) = self.sackable_segments();
        mask.set_run(vocab::SACK_AT.at(first), count.min(vocab::SACK_AT.count() - first));
    }

    /// Adds the numbers of segments that a SACK block from segment `at` on may hold.
    fn sack_count(&self, at: u8, mask: &mut Mask) {
        let (first, count) = self.sackable_segments();
        mask.set_first(vocab::SACK_COUNT, (first + count).saturating_sub(at.into()));
    }

    /// Adds fields of the IP header.
    fn ip(&self, least: FieldOrder, side: &SenderState, mask: &mut Mask) {
        let is_v6 = self.parser.header.is_v6();
        if least <= FieldOrder::TrafficClass {
            mask.set(vocab::TRAFFIC_CLASS.first);
        }
        // The TTL of a side stays as in its first packet.
        if least <= FieldOrder::Ttl && side.packets == 0 {
            mask.set_through(vocab::TTL, vocab::TTL_RAW);
        }
        if least <= FieldOrder::Df && !is_v6 {
            mask.set(vocab::DF.first);
        }
        if least <= FieldOrder::Id {
            if is_v6 {
                mask.set_through(vocab::LABEL_ZERO, vocab::LABEL_RAW);
            } else {
                mask.set_through(vocab::ID, vocab::ID_RAW);
            }
        }
    }
}
