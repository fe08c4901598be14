//! Tokens that lead to a whole session.

mod fields;
mod packets;
mod windows;

use flowtrack::{Direction, Packet};
use tcpwire::Flags;

use super::mask::Mask;
use super::observer::{Observation, Observer};
use super::syntax::Syntax;
use super::watcher::{Phase, Sighting, Watcher};
use crate::field::delta::{FlagPattern, PacketDelta, PacketKind, Said};
use crate::field::header::{CloseKind, SessionClass};
use crate::field::parse::{Parser, ParserState};
use crate::field::state::{FlowState, SenderState};
use crate::field::vocab;
use windows::MAX_PAYLOAD;

/// Number of packets in which every session can open and close: lower limits count as this one.
const SHORTEST_SESSION: u64 = 7;
/// Number of packets by which a session may close before its length class is full: packets behind
/// the close count too.
const MAX_AFTER_CLOSE: u64 = 64;
/// Number of spare packets below which windows stay open for the FINs: one packet may close both
/// windows, and counts itself.
const SPARE_TO_LACK_ROOM: u64 = 3;
/// Lowest length class with room for a session: 4 to 7 packets.
const SHORTEST_SESSION_CLASS: usize = 2;

/// Greatest number of TTLs of a side: that of a balancer that answers the SYN, that of the host,
/// and another one where the route changes.
const MAX_TTLS: usize = 3;

/// Packet that every session begins with.
const OPENING: PacketKind = PacketKind {
    direction: Direction::Forward,
    pattern: FlagPattern::Syn,
    has_payload: false,
    advances_ack: false,
    said: Said::Nothing,
};

/// Bounds on the number of packets in a flow.
#[derive(Clone, Copy, Debug)]
pub(in crate::field::grammar) struct PacketBounds {
    /// Greatest number, by the caller's limit.
    pub(in crate::field::grammar) max: u64,
    /// Least number, by the caller's limit.
    pub(in crate::field::grammar) min: u64,
    /// Whether the length class in the header bounds the number too.
    pub(in crate::field::grammar) enforces_length: bool,
    /// Whether no packet is earlier than the one before.
    pub(in crate::field::grammar) has_steady_clock: bool,
    /// Whether no window takes back what an earlier one has offered.
    pub(in crate::field::grammar) has_steady_windows: bool,
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
pub(in crate::field::grammar) fn allowed_in_header(
    parser: &Parser,
    bounds: &PacketBounds,
    mask: &mut Mask,
) {
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
            mask.set(vocab::PACKET.at(PacketKind { has_payload: true, ..OPENING }.index()));
        }
        _ => Syntax::new(parser).allowed(false, mask),
    }
}

/// Facts about the packets of a session so far, in addition to [`FlowState`].
#[derive(Clone, Debug, Default)]
pub(in crate::field::grammar) struct Progress {
    /// Number of complete packets.
    pub(in crate::field::grammar) packets: u64,
    /// Side that sent the first RST before both sides had sent their FINs, if any did: a RST after
    /// them changes nothing (RFC 9293, section 3.6).
    reset_by: Option<Direction>,
    /// Whether a side sent a RST.
    has_reset: bool,
    /// Whether a packet without payload carried ACK and no other flag. Observers take no handshake
    /// for complete before one.
    has_pure_ack: bool,
    /// Number of packets after the close.
    after_close: u64,
    /// TTLs of each side in the order in which it has shown them.
    ttls: [[Option<u8>; MAX_TTLS]; 2],
    /// Whether the last two packets of each side differ in their IPv4 identification, and neither
    /// is 0.
    counts_ids: [bool; 2],
    /// Highest sequence offset of each side's packets without payload: they are captured before
    /// the octets that they follow.
    ahead: [i64; 2],
    /// Furthest right edge of the windows that each side has offered, as an offset of the other
    /// side's space.
    furthest_edges: [i64; 2],
    /// Highest TSval of each side's packets other than RSTs.
    highest_tsvals: [Option<u32>; 2],
    observer: Observer,
    watcher: Watcher,
}

impl Progress {
    /// Updates the progress and `state` with the packet that the parser has completed. `options`
    /// is overwritten with its option octets.
    pub(in crate::field::grammar) fn update(
        &mut self,
        parser: &Parser,
        state: &mut FlowState,
        options: &mut Vec<u8>,
    ) {
        self.packets += 1;
        self.after_close += u64::from(self.is_closed(parser.header.class, state));
        options.clear();
        let delta = &parser.delta;
        let pattern = delta.kind.pattern;
        let sender = &state.sides[delta.kind.direction.index()];
        let (seq, next) = (state.decoded_seq(delta), sender.space.snd_nxt());
        let had_fin = sender.space.fin().is_some();
        let was_closing = state.has_fin();
        let last_id = sender.last_ip_id();
        let has_timestamps = state.will_carry_timestamps(delta);
        let packet = state.decode(delta, options);
        let is_other = last_id.is_some_and(|id| id != packet.ip_id);
        self.counts_ids[delta.kind.direction.index()] = packet.ip_id != 0 && is_other;
        let ttls = &mut self.ttls[delta.kind.direction.index()];
        if !ttls.contains(&Some(packet.ttl))
            && let Some(free) = ttls.iter_mut().find(|ttl| ttl.is_none())
        {
            *free = Some(packet.ttl);
        }
        self.has_reset |= packet.flags.contains(Flags::RST);
        let has_both_fins = state.sides.iter().all(|side| side.space.fin().is_some());
        if packet.flags.contains(Flags::RST) && !has_both_fins {
            self.reset_by.get_or_insert(packet.direction);
        }
        let ahead = &mut self.ahead[delta.kind.direction.index()];
        if pattern == FlagPattern::Ack && packet.payload_len == 0 {
            *ahead = seq.max(*ahead);
        }
        self.has_pure_ack |= pattern == FlagPattern::Ack && packet.payload_len == 0;
        let is_before_next = !pattern.is_syn() && !pattern.is_fin() && seq == next - 1;
        let observed =
            Observation { delta, packet: &packet, seq, is_before_next, was_closing, had_fin };
        self.observer.update(&observed, state);
        if has_timestamps && !pattern.is_rst() {
            let value = state.sides[delta.kind.direction.index()].last_tsval();
            let highest = &mut self.highest_tsvals[delta.kind.direction.index()];
            let is_higher = |highest: u32| value.wrapping_sub(highest) as i32 >= 0;
            if highest.is_none_or(is_higher) {
                *highest = Some(value);
            }
        }
        self.watch(&packet, seq, has_timestamps, state);
    }

    /// Lets the watcher follow a packet. `state` is the state after it.
    fn watch(&mut self, packet: &Packet, seq: i64, has_timestamps: bool, state: &FlowState) {
        let d = packet.direction;
        let (side, _) = state.pair(d);
        // RFC 7323, section 2.2: the window of a segment with SYN is not scaled.
        let shift = match packet.direction {
            _ if packet.flags.contains(Flags::SYN) => 0,
            Direction::Forward => state.offered_shift(d),
            Direction::Reverse => state.window_shift(d),
        };
        let has_ack = packet.flags.contains(Flags::ACK);
        if has_ack && !packet.flags.contains(Flags::RST) {
            // RFC 7323, section 2.2: the window of a segment with SYN is not scaled.
            let shift = if packet.flags.contains(Flags::SYN) { 0 } else { state.window_shift(d) };
            let furthest = &mut self.furthest_edges[d.index()];
            *furthest = (*furthest).max(side.last_ack + (i64::from(packet.window) << shift));
        }
        let ack = if has_ack { side.last_ack } else { 0 };
        let tsval = (has_timestamps && state.agreed(|o| o.timestamps)).then(|| side.last_tsval());
        self.watcher.observe(&Sighting::new(packet, seq, ack, shift, tsval));
    }

    /// Returns the number of octets of a side that follow the octets sent, and that a packet
    /// without payload was behind.
    fn owed(&self, state: &FlowState, side: usize) -> i64 {
        (self.ahead[side] - state.sides[side].space.snd_nxt()).max(0)
    }

    /// Returns whether the session has closed in the way that its class demands, for both ends and
    /// for the watcher.
    fn is_closed(&self, class: SessionClass, state: &FlowState) -> bool {
        if self.watcher.phase() != Phase::Closed {
            return false;
        }
        let [client, server] = &state.sides;
        let holes = client.space.holes() + server.space.holes();
        if holes > 0 || self.owed(state, 0) > 0 || self.owed(state, 1) > 0 {
            return false;
        }
        if class.close == CloseKind::Reset {
            return self.reset_by.is_some();
        }
        // RFC 9293, section 3.6: a connection is closed when both sides have sent a FIN, and have
        // received the acknowledgment of it or a RST.
        let is_acked = |side: &SenderState| {
            side.is_fin_acked() || (self.has_reset && side.space.fin().is_some())
        };
        is_acked(client) && is_acked(server)
    }
}

/// Rules of a session from its first packet on.
pub(in crate::field::grammar) struct Session<'a> {
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
    pub(in crate::field::grammar) fn new(
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
    pub(in crate::field::grammar) fn allowed(&self, mask: &mut Mask) {
        match self.parser.state {
            ParserState::BetweenPackets => self.packets(mask),
            ParserState::Fields(order) => self.fields(order, mask),
            ParserState::MssValue => mask.set_through(vocab::MSS, vocab::MSS_RAW),
            ParserState::WsValue => mask.set_all(vocab::WS),
            ParserState::SackBlock { .. } => self.sack_at(mask),
            ParserState::SackCount { at, .. } => self.sack_count(at, mask),
            ParserState::Digits => self.digits(mask),
            ParserState::Element => self.elements(mask),
            ParserState::TimeBack => self.gaps_back(mask),
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
            let (space, owed) = (&self.state.pair(d).0.space, self.owed(d));
            if space.holes() == 0 && owed == 0 {
                return 0;
            }
            let holes = (0..space.holes()).filter_map(|k| space.hole(k));
            let octets = holes.map(|hole| hole.end - hole.start).chain([owed]);
            octets.map(|octets| octets.unsigned_abs().div_ceil(MAX_PAYLOAD)).sum()
        };
        let fills = fills(Direction::Forward) + fills(Direction::Reverse);
        let max = self.bounds.max_packets(self.parser.header.length_class);
        max.saturating_sub(self.progress.packets + self.packets_to_close() + fills)
    }

    /// Returns the number of octets that side `d` has to send, since a packet of its own was
    /// captured before them.
    fn owed(&self, d: Direction) -> i64 {
        self.progress.owed(self.state, d.index())
    }

    /// Returns the sequence offset after all octets that side `d` has sent or has to send.
    fn end_of(&self, d: Direction) -> i64 {
        self.state.sides[d.index()].space.snd_nxt().max(self.progress.ahead[d.index()])
    }

    /// Returns whether the last acknowledgment of side `d` was overtaken by a higher one.
    fn is_overtaken(&self, d: Direction) -> bool {
        let (side, peer) = self.state.pair(d);
        side.last_ack < peer.space.snd_una()
    }

    /// Returns whether the watcher expects other sequence numbers or other FINs than the sides
    /// send, so that the acknowledgments of the FINs do not show it the close.
    fn has_lost_count(&self) -> bool {
        let [client, server] = &self.state.sides;
        let (watcher, phase) = (&self.progress.watcher, self.progress.watcher.phase());
        let is_off = |d: usize| {
            let space = &self.state.sides[d].space;
            let at = watcher.reset_at(d);
            at != space.snd_nxt() && space.fin() != Some(at + 1)
        };
        let is_expected = match (client.space.fin(), server.space.fin()) {
            (None, None) => matches!(phase, Phase::SynReceived | Phase::Established),
            (Some(_), None) => phase == Phase::CloseWait,
            (None, Some(_)) => matches!(phase, Phase::FinWait1 | Phase::FinWait2),
            (Some(_), Some(_)) if server.is_fin_acked() => phase == Phase::TimeWait,
            (Some(_), Some(_)) => matches!(phase, Phase::LastAck | Phase::TimeWait),
        };
        phase != Phase::Closed && (!is_expected || is_off(0) || is_off(1))
    }

    /// Returns the number of packets that close a session without holes.
    fn packets_to_close(&self) -> u64 {
        let [client, server] = &self.state.sides;
        if !self.is_established() {
            let handshake = 3 - u64::from(client.packets > 0) - u64::from(server.packets > 0);
            return handshake + if self.closes_by_reset() { 1 } else { 3 };
        }
        if self.is_closed() {
            return 0;
        }
        // Where the watcher has lost count, a RST shows it the close.
        let is_lost = u64::from(self.has_lost_count());
        if self.closes_by_reset() {
            return 1 + u64::from(!self.progress.has_pure_ack);
        }
        let unacked_fin =
            |side: &SenderState| u64::from(side.space.fin().is_some() && !side.is_fin_acked());
        match (client.space.fin(), server.space.fin()) {
            // FIN, FIN with acknowledgment, acknowledgment; and a window update for each side whose
            // FIN does not fit into the window.
            (None, None) => {
                3 + is_lost
                    + [Direction::Forward, Direction::Reverse]
                        .map(|d| u64::from(self.lacks_room_for_fin(d)))
                        .iter()
                        .sum::<u64>()
            }
            (Some(_), Some(_)) => {
                let acks = unacked_fin(client) + unacked_fin(server);
                (acks + is_lost).max(1 + u64::from(!self.progress.has_pure_ack))
            }
            _ => 2 + is_lost,
        }
    }
}
