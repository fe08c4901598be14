//! Packets that may follow in a session.

use flowtrack::Direction;

use super::Session;
use crate::field::delta::{FlagPattern, PacketDelta, PacketKind, Said};
use crate::field::grammar::mask::Mask;
use crate::field::vocab;

/// Greatest number of packets after the close of a session, and of SYNs per side.
pub(super) const MAX_REPEATS: u64 = 4;
/// Consecutive duplicate acknowledgments that a side may send without anything to answer: window
/// updates, and acknowledgments of packets that the capture lost.
const MAX_GRATUITOUS_ACKS: i64 = 2;

impl Session<'_> {
    /// Adds the packets that may follow, and the end of the flow.
    pub(super) fn packets(&self, mask: &mut Mask) {
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
            if self.allows(kind)
                && (!must_close || self.leads_to_close(kind))
                && self.allows_said(kind)
            {
                mask.set(vocab::PACKET.at(i));
            }
        }
    }

    /// Returns whether a packet of this kind may follow.
    pub(super) fn allows(&self, kind: PacketKind) -> bool {
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
                kind.said == Said::KeepAlive || !self.has_spent_gratuitous_acks(d)
            }
            _ => kind.has_payload || pattern == FlagPattern::Ack,
        }
    }

    /// Returns whether a packet of this kind may have the fields that its token says: those that
    /// tokens of their own might say after that of a plain kind.
    fn allows_said(&self, kind: PacketKind) -> bool {
        if kind.said == Said::Nothing {
            return true;
        }
        let mut delta = PacketDelta::default();
        delta.restart(PacketKind { said: Said::Nothing, ..kind });
        let (mut mask, session) = (Mask::default(), Session { delta: &delta, ..*self });
        if kind.said == Said::KeepAlive {
            session.seq(&mut mask);
            return mask.contains(vocab::SEQ_KEEPALIVE.first);
        }
        if session.must_retransmit() {
            return false;
        }
        if kind.said.has_ack() {
            session.ack(&mut mask);
        }
        if kind.said.has_len() {
            session.len(&mut mask);
        }
        (!kind.said.has_ack() || mask.contains(vocab::ACK_SEG.first))
            && (!kind.said.has_len() || mask.contains(vocab::LEN_SAME.first))
    }

    /// Returns whether side `d` may send a RST now.
    pub(super) fn allows_reset(&self, d: Direction) -> bool {
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
    pub(super) fn allows_fin(&self, kind: PacketKind) -> bool {
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
    pub(super) fn has_spent_gratuitous_acks(&self, d: Direction) -> bool {
        // RFC 5681, section 4.2: at most one acknowledgment for an incoming segment, other than to
        // update the offered window.
        self.progress.observer.unanswered[d.index()] <= -MAX_GRATUITOUS_ACKS
            && !self.must_close()
            && !self.is_closed()
    }

    /// Returns whether side `d` may send a keep-alive.
    pub(super) fn may_keep_alive(&self, d: Direction) -> bool {
        // RFC 9293, section 3.8.4: keep-alives are for idle connections, so that all octets sent
        // are acknowledged.
        let space = &self.state.sides[d.index()].space;
        space.snd_una() == space.snd_nxt() && space.fin().is_none()
    }

    /// Returns whether the FIN of side `d` has to acknowledge the other side's FIN: if a RST is to
    /// follow, and if observers have lost count of the other side's octets, so that only the
    /// acknowledgment shows them its FIN.
    pub(super) fn must_acknowledge_fin(&self, d: Direction) -> bool {
        let seen = self.progress.observer.next_seq[d.reversed().index()];
        let fin = self.state.pair(d).1.space.fin();
        self.closes_by_reset() || fin.is_some_and(|fin| seen != fin - 1)
    }

    /// Returns whether the other side can still close or reset the session after this FIN.
    pub(super) fn leaves_peer_able_to_close(&self, kind: PacketKind) -> bool {
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
    pub(super) fn allows_in_handshake(&self, kind: PacketKind) -> bool {
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
    pub(super) fn leads_to_close(&self, kind: PacketKind) -> bool {
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
