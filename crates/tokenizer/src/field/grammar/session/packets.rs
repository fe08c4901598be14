//! Packets that may follow in a session.

use flowtrack::Direction;

use super::{MAX_AFTER_CLOSE, Phase, Session};
use crate::field::delta::{FlagPattern, PacketDelta, PacketKind, Said};
use crate::field::grammar::mask::Mask;
use crate::field::send_space::SendSpace;
use crate::field::vocab;

/// Greatest number of SYNs per side.
const MAX_SYNS: u64 = 8;
/// Consecutive duplicate acknowledgments that a side may send without anything to answer: window
/// updates, and acknowledgments of packets that the capture lost.
const MAX_GRATUITOUS_ACKS: i64 = 2;

/// Returns the least sequence offset of a RST: the lowest that is not acknowledged, or the number
/// of a FIN that is.
pub(super) fn least_reset(space: &SendSpace) -> i64 {
    let una = space.snd_una();
    una - i64::from(space.fin() == Some(una))
}

impl Session<'_> {
    /// Adds the packets that may follow, and the end of the flow.
    pub(super) fn packets(&self, mask: &mut Mask) {
        let is_closed = self.is_closed();
        let is_long_enough = self.is_long_enough(0);
        if is_closed && is_long_enough {
            mask.set(vocab::END);
        }
        let must_close = self.must_close();
        let is_spent = must_close || self.progress.after_close >= MAX_AFTER_CLOSE;
        if is_closed && is_long_enough && is_spent {
            return;
        }
        for i in 0..vocab::PACKET.count() {
            let kind = PacketKind::from_index(i);
            let is_due = match is_closed {
                true => !must_close || kind.is_duplicate_ack() || kind.pattern.is_rst(),
                false => !must_close || self.leads_to_close(kind),
            };
            if is_due && self.allows(kind) && self.allows_said(kind) {
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
        let has_news = peer.space.contiguous() > side.last_ack && pattern.has_ack();
        // RFC 9293, section 3.1: without ACK the field has no meaning, and some senders leave their
        // last acknowledgment in it.
        if kind.advances_ack && !has_news && pattern != FlagPattern::Rst {
            return false;
        }
        // RFC 9293, section 3.10.7.4: an overtaken acknowledgment is ignored, and its payload is
        // not.
        let is_pure_ack = pattern == FlagPattern::Ack && !kind.has_payload;
        let is_overtaken = !kind.advances_ack && pattern.has_ack() && self.is_overtaken(d);
        if is_overtaken && !is_pure_ack && !self.takes_overtaken(kind) {
            return false;
        }
        let is_blocked = kind.has_payload && self.usable_window(d) == 0;
        if !self.is_established() {
            return (!is_blocked || pattern == FlagPattern::Syn) && self.allows_in_handshake(kind);
        }
        // RFC 9293, section 3.10.7.4: a SYN in a synchronized state is an error, but the SYN-ACK
        // comes again where its ACK was lost.
        if pattern.is_syn() {
            return pattern == FlagPattern::SynAck
                && d == Direction::Reverse
                && !kind.has_payload
                && !kind.advances_ack
                && side.space.snd_nxt() == 1
                && side.last_ack == 1
                && side.packets < MAX_SYNS
                && !self.state.has_fin()
                && !self.progress.has_reset;
        }
        if pattern.is_rst() {
            return !kind.has_payload && self.allows_reset(d);
        }
        // RFC 9293, section 3.5.3: the side that has sent a RST has no connection. The other one
        // may send on until the RST arrives.
        if self.progress.reset_by == Some(d) {
            return false;
        }
        if self.progress.reset_by.is_none() && self.is_closed() {
            // From TIME-WAIT the last acknowledgment comes again, from LAST-ACK the FIN (RFC 9293,
            // section 3.10.7.4).
            let is_fin = pattern == FlagPattern::FinAck && !kind.has_payload;
            return is_pure_ack || (is_fin && !kind.advances_ack);
        }
        match (side.space.fin(), pattern.is_fin(), kind.has_payload) {
            (None, true, _) => self.allows_fin(kind),
            // RFC 9293, section 3.10.8: the segment with the FIN comes again, with its payload.
            // With news, it carries nothing that was acknowledged.
            (Some(fin), true, true) => {
                let first = if kind.advances_ack { side.space.snd_una() } else { 1 };
                first < fin - 1
            }
            // With news it may make the watcher lose count, which costs another packet.
            (Some(_), true, false) => {
                pattern == FlagPattern::FinAck && (!kind.advances_ack || self.spare > 1)
            }
            // RFC 9293, section 3.6: after its FIN a side sends no new octets, but may retransmit.
            // A retransmission does not acknowledge the other side's FIN, since observers ignore
            // it.
            (Some(_), false, true) => {
                self.may_send_again(kind) && !(kind.advances_ack && peer.space.fin().is_some())
            }
            (None, false, true) if is_blocked => self.may_send_again(kind),
            _ if kind.is_duplicate_ack() => {
                kind.said == Said::KeepAlive || !self.has_spent_gratuitous_acks(d)
            }
            _ => kind.has_payload || pattern == FlagPattern::Ack,
        }
    }

    /// Returns whether the payload of a packet of this kind counts though its acknowledgment was
    /// overtaken.
    fn takes_overtaken(&self, kind: PacketKind) -> bool {
        let side = self.state.pair(kind.direction).0;
        kind.may_be_overtaken()
            && !self.must_close()
            && !self.state.has_fin()
            && !self.progress.has_reset
            && side.last_ack >= self.progress.watcher.least_ack(kind.direction.index())
    }

    /// Returns whether there are octets that a packet of this kind may carry again, or that fill a
    /// hole: with news, only what is not acknowledged.
    fn may_send_again(&self, kind: PacketKind) -> bool {
        let space = &self.state.pair(kind.direction).0.space;
        let first = 1 + i64::from(space.fin().is_some());
        let is_again = space.outstanding() > 0 || space.holes() > 0;
        is_again || (!kind.advances_ack && space.snd_nxt() > first)
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
        if session.must_retransmit() || (kind.said.has_len() && !session.may_repeat_len()) {
            return false;
        }
        if kind.said.has_ack() {
            session.ack(&mut mask);
        }
        !kind.said.has_ack() || mask.contains(vocab::ACK_SEG.first)
    }

    /// Returns whether side `d` may send a RST now.
    pub(super) fn allows_reset(&self, d: Direction) -> bool {
        let (side, peer) = self.state.pair(d);
        let has_both_fins = side.space.fin().is_some() && peer.space.fin().is_some();
        // RFC 5961, section 3.2: a RST behind an own FIN counts if the window reaches beyond it.
        let edge = self.progress.observer.last_right_edge[d.reversed().index()];
        let is_in_window = |fin: i64| side.space.snd_una() >= fin || edge > fin;
        let is_of_class = match self.progress.reset_by {
            Some(_) => true,
            None if self.closes_by_reset() => {
                !has_both_fins && side.space.fin().is_none_or(is_in_window)
            }
            None => has_both_fins,
        };
        is_of_class
            && side.space.holes() == 0
            && self.owed(d) == 0
            && self.is_long_enough(1 + MAX_AFTER_CLOSE)
            && self.progress.has_pure_ack
    }

    /// Returns whether the session has as many packets as its length class demands, once `more`
    /// have come.
    pub(super) fn is_long_enough(&self, more: u64) -> bool {
        let min = self.bounds.min_packets(self.parser.header.length_class);
        self.progress.packets + more >= min
    }

    /// Returns whether a side that has sent no FIN may send this one.
    pub(super) fn allows_fin(&self, kind: PacketKind) -> bool {
        let (side, peer) = self.state.pair(kind.direction);
        let is_reset = self.progress.reset_by.is_some();
        let end = side.space.snd_nxt() + i64::from(kind.has_payload);
        let is_taken =
            self.progress.watcher.takes_fin(kind.direction.index(), side.space.snd_nxt());
        // The number of an acknowledgment that was captured before the FIN counts it.
        self.owed(kind.direction) <= i64::from(!kind.has_payload && peer.space.fin().is_some())
            && (is_taken || self.must_close())
            && self.right_edge(kind.direction, true) >= end
            && self.leaves_peer_able_to_close(kind)
            && (peer.space.fin().is_none()
                || is_reset
                || (!self.closes_by_reset() && self.is_long_enough(2 + MAX_AFTER_CLOSE)))
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

    /// Returns whether the FIN of side `d` has to acknowledge the other side's FIN: if observers
    /// have lost count of the other side's octets, so that only the acknowledgment shows them its
    /// FIN.
    pub(super) fn must_acknowledge_fin(&self, d: Direction) -> bool {
        let seen = self.progress.observer.next_seq[d.reversed().index()];
        let fin = self.state.pair(d).1.space.fin();
        let is_watched = self.progress.watcher.phase() != Phase::Closed;
        is_watched && fin.is_some_and(|fin| seen != fin - 1)
    }

    /// Returns whether the other side can still close or reset the session after this FIN.
    pub(super) fn leaves_peer_able_to_close(&self, kind: PacketKind) -> bool {
        let d = kind.direction;
        let (side, peer) = self.state.pair(d);
        if self.progress.watcher.phase() == Phase::Closed {
            return true;
        }
        match peer.space.fin() {
            Some(fin) => !self.must_acknowledge_fin(d) || kind.advances_ack || side.last_ack >= fin,
            None => {
                let acked = if kind.advances_ack { peer.space.contiguous() } else { side.last_ack };
                let furthest = acked + (i64::from(u16::MAX) << self.state.window_shift(d));
                let watched = self.progress.watcher.edge(d.reversed().index());
                let end = self.end_of(d.reversed());
                self.progress.observer.max_right_edge[d.index()].min(watched) > end
                    && furthest > end
            }
        }
    }

    /// Returns whether a packet of this kind may follow before the handshake is complete.
    pub(super) fn allows_in_handshake(&self, kind: PacketKind) -> bool {
        let [client, server] = &self.state.sides;
        match (kind.direction, kind.pattern) {
            // RFC 9293, section 3.5: SYN; repeated until the answer arrives. A fast open has its
            // payload in the first one (RFC 7413, section 4.2).
            (Direction::Forward, FlagPattern::Syn) => {
                let may_repeat = !kind.has_payload && client.space.snd_nxt() == 1;
                client.packets == 0 || (client.packets < MAX_SYNS && may_repeat)
            }
            // SYN and ACK of the client's SYN; a repeated one acknowledges nothing new.
            (Direction::Reverse, FlagPattern::SynAck) => {
                let is_repeated = server.packets > 0;
                !kind.has_payload && kind.advances_ack != is_repeated && server.packets < MAX_SYNS
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
            if side.space.holes() > 0 || self.owed(d) > 0 {
                return kind.direction == d
                    && pattern == FlagPattern::Ack
                    && kind.has_payload
                    && kind.advances_ack == self.is_overtaken(d);
            }
        }
        if self.closes_by_reset() {
            return if self.progress.has_pure_ack {
                self.is_closing_reset(kind)
            } else {
                is_pure_ack
            };
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
            return side.space.fin().is_none() && pattern.is_fin() && acks_fin;
        }
        let are_acked = client.is_fin_acked() && server.is_fin_acked();
        match are_acked {
            true if self.progress.has_pure_ack => self.is_closing_reset(kind),
            true => is_pure_ack,
            false => is_pure_ack && kind.advances_ack,
        }
    }

    /// Returns whether the packet is a RST at the number at which the watcher takes it.
    fn is_closing_reset(&self, kind: PacketKind) -> bool {
        let at = self.progress.watcher.reset_at(kind.direction.index());
        let space = &self.state.sides[kind.direction.index()].space;
        kind.pattern.is_rst()
            && !kind.advances_ack
            && (least_reset(space)..=space.snd_nxt()).contains(&at)
    }
}
