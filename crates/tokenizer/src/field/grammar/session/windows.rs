//! Windows that the packets of a session may use and offer.

use flowtrack::Direction;
use tcpwire::Flags;

use super::Session;
use crate::field::delta::{FlagPattern, PacketKind, SeqDelta};
use crate::field::parse::ParserState;

/// Greatest payload of a packet in a session, in octets: the headers fit into the same IP packet.
pub(super) const MAX_PAYLOAD: u64 = 57_344;

/// Greatest payload of a SYN, in octets.
const MAX_SYN_PAYLOAD: u64 = 1_460;

impl Session<'_> {
    /// Returns the offset up to which side `d` may send: the right edge of the window that the
    /// other side offers, or the number of a packet that was captured too early.
    pub(super) fn right_edge(&self, d: Direction, is_fin: bool) -> i64 {
        let edge = self.offered_edge(d, is_fin);
        if self.owed(d) > 0 { edge.max(self.end_of(d)) } else { edge }
    }

    /// Returns the right edge of the window that side `d` may use.
    fn offered_edge(&self, d: Direction, is_fin: bool) -> i64 {
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
        let edge = edge.min(self.progress.watcher.edge(d.index()));
        // RFC 9293, section 3.4: the FIN occupies one sequence number, which the payload leaves
        // free.
        edge - i64::from((self.keeps_room_for_fin || is_fin) && !has_sent_fin)
    }

    /// Returns whether the window leaves side `d` no room for its FIN.
    pub(super) fn lacks_room_for_fin(&self, d: Direction) -> bool {
        self.offered_edge(d, true) < self.end_of(d)
    }

    /// Returns the number of payload octets that side `d` may send from `offset` on.
    pub(super) fn usable_window_from(&self, d: Direction, offset: i64) -> u64 {
        let is_fin =
            self.parser.state != ParserState::BetweenPackets && self.delta.kind.pattern.is_fin();
        (self.right_edge(d, is_fin) - offset).max(0) as u64
    }

    /// Returns the usable window of side `d` (RFC 9293, section 3.8.6.2.1): the number of new
    /// octets that it may send.
    pub(super) fn usable_window(&self, d: Direction) -> u64 {
        self.usable_window_from(d, self.state.sides[d.index()].space.snd_nxt())
    }

    /// Returns the greatest payload of the current packet, once its sequence number is decoded.
    pub(super) fn max_payload(&self) -> u64 {
        let d = self.delta.kind.direction;
        let seq = self.state.decoded_seq(self.delta);
        if self.delta.kind.pattern == FlagPattern::Syn {
            // RFC 7413, section 4.2.1: up to the MSS that the server said before.
            return MAX_SYN_PAYLOAD;
        }
        let space = &self.state.sides[d.index()].space;
        if let SeqDelta::FillHole(k) = self.delta.seq {
            // RFC 9293, section 3.8.1: a segment that fills a hole may go on over what came.
            let end = space.snd_nxt() - i64::from(space.fin().is_some());
            let octets = space.hole(k.into()).map_or(0, |hole| match self.must_close() {
                true => hole.end - hole.start,
                false => end - hole.start,
            });
            return octets.unsigned_abs().min(MAX_PAYLOAD);
        }
        // RFC 9293, section 3.8.1: what comes again may have new octets behind it, until the FIN.
        let sent = space.snd_nxt() - i64::from(space.fin().is_some());
        if seq < sent {
            let may_go_on = space.fin().is_none() && !self.keeps_room_for_fin;
            let edge = if may_go_on { self.right_edge(d, false).max(sent) } else { sent };
            return (edge - seq).unsigned_abs().min(MAX_PAYLOAD);
        }
        self.usable_window_from(d, seq).min(MAX_PAYLOAD)
    }

    /// Returns the least payload of the current packet: a repetition with the FIN ends there, and
    /// once the session must close, one packet fills what is missing.
    pub(super) fn least_payload(&self) -> u64 {
        let kind = self.delta.kind;
        let is_fin_again =
            kind.pattern.is_fin() && self.state.sides[kind.direction.index()].space.fin().is_some();
        if kind.has_payload && is_fin_again {
            return self.max_payload();
        }
        if !self.must_close() || !kind.has_payload {
            return 0;
        }
        let octets = match self.delta.seq {
            SeqDelta::FillHole(k) => {
                let space = &self.state.sides[kind.direction.index()].space;
                space.hole(k.into()).map_or(0, |hole| hole.end - hole.start)
            }
            SeqDelta::Expected => self.owed(kind.direction),
            _ => 0,
        };
        octets.unsigned_abs().min(MAX_PAYLOAD)
    }

    /// Returns the window of the current packet if it has no window token.
    pub(super) fn expected_window(&self) -> u64 {
        self.state.expected_window(self.delta.kind.direction, self.delta.flags()).into()
    }

    /// Returns the least window that the current packet may offer, unscaled.
    pub(super) fn min_window(&self) -> u64 {
        self.least_window().max(self.steady_window())
    }

    /// Returns the window, in whole units of its scale, that takes nothing back: 0 where the
    /// session may take it back. A window beside an overtaken acknowledgment offers nothing.
    fn steady_window(&self) -> u64 {
        let PacketKind { direction: d, pattern, .. } = self.delta.kind;
        if !self.bounds.has_steady_windows || !pattern.has_ack() || pattern.is_rst() {
            return 0;
        }
        let ack = self.state.decoded_ack(self.delta);
        if ack < self.state.pair(d).1.space.snd_una() {
            return 0;
        }
        let shift = if pattern.is_syn() { 0 } else { self.state.window_shift(d) };
        let octets = (self.progress.furthest_edges[d.index()] - ack).max(0).unsigned_abs();
        (octets >> shift).min(u16::MAX.into())
    }

    /// Returns the least window that keeps the session able to close.
    fn least_window(&self) -> u64 {
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
        let in_flight = self.end_of(d.reversed()) + i64::from(peer.space.fin().is_none()) - ack;
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
    pub(super) fn must_encode_window(&self) -> bool {
        let is_bare = self.delta.kind.pattern == FlagPattern::Rst;
        self.expected_window() < self.min_window() || (is_bare && self.expected_window() > 0)
    }
}
