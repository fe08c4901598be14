//! The view of a passive observer, such as an intrusion detection system, on a session.
//!
//! An observer follows sequence numbers and windows without the knowledge of the ends. Where its
//! rules differ from those of RFC 9293, a session that both ends accept may look broken to it. With
//! the values here, the rules of a session avoid such sessions.

use flowtrack::Packet;
use tcpwire::Flags;

use crate::field::delta::PacketDelta;
use crate::field::state::FlowState;

/// A packet, with the facts about the state before it that an observer's rules depend on.
#[derive(Clone, Copy)]
pub(super) struct Observation<'a> {
    /// The packet as it was encoded.
    pub(super) delta: &'a PacketDelta,
    /// The packet as it was decoded.
    pub(super) packet: &'a Packet,
    /// Offset of its sequence number in the sender's space.
    pub(super) seq: i64,
    /// Whether it begins one octet before SND.NXT, and carries neither SYN nor FIN.
    pub(super) is_before_next: bool,
    /// Whether either side had sent a FIN before.
    pub(super) was_closing: bool,
    /// Whether the sender had sent a FIN before.
    pub(super) had_fin: bool,
}

impl Observation<'_> {
    fn has(&self, flags: Flags) -> bool {
        self.packet.flags.contains(flags)
    }
}

/// State of a passive observer. Each array has the client's value first.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer {
    /// Right edge of the furthest window that each side has offered, as an offset in the other
    /// side's space.
    pub(super) max_right_edge: [i64; 2],
    /// Right edge of the window that each side has offered last. Where an observer may have missed
    /// the last offer, the lesser of that edge and the one before.
    pub(super) last_right_edge: [i64; 2],
    /// Window that each side has offered last, in octets by an observer's count: shifted by the
    /// client's own offer even if the server offered no shift. Where an observer may have missed
    /// the last offer, the greater of that window and the one before.
    pub(super) last_window: [i64; 2],
    /// Number of packets of the other side that each side has still to answer: those with payload,
    /// SYN or FIN, and keep-alives. A negative number counts the duplicate acknowledgments that the
    /// side has sent since without anything to answer.
    pub(super) unanswered: [i64; 2],
    /// Next in-order sequence offset of each side, until the first FIN. Payload behind a hole does
    /// not count.
    pub(super) next_seq: [i64; 2],
}

impl Observer {
    /// Updates the view with a packet. `state` is the state after it.
    pub(super) fn update(&mut self, observed: &Observation<'_>, state: &FlowState) {
        let Observation { delta, packet, seq, .. } = *observed;
        let (d, o) = (packet.direction.index(), packet.direction.reversed().index());
        // RFC 1122, section 4.2.3.6: a keep-alive has the sequence number SND.NXT - 1, with one
        // octet of garbage or none. It is meant for the other end alone.
        let is_keepalive = observed.is_before_next && packet.payload_len <= 1;
        self.count_unanswered(observed, is_keepalive);
        // RFC 9293, section 3.8.6.1: a sender probes a closed window with one octet of new data.
        let is_probe = packet.payload_len == 1
            && seq == self.next_seq[d]
            && self.last_right_edge[o] <= state.sides[o].last_ack;
        if !observed.was_closing && !is_probe && !observed.has(Flags::RST) {
            self.follow_sequence(observed, state);
        }
        // The side that sends a RST receives no more: its window has no meaning.
        if !observed.has(Flags::ACK) || observed.has(Flags::RST) {
            return;
        }
        // A repeated SYN-ACK offers the same window as the first one, and an observer may have seen
        // only the first.
        let is_repeated_syn = observed.has(Flags::SYN) && self.max_right_edge[d] > 0;
        let shifts = [state.window_shift(packet.direction), state.offered_shift(packet.direction)];
        // RFC 7323, section 2.2: the window of a segment with SYN is not scaled.
        let shifts = if observed.has(Flags::SYN) { [0; 2] } else { shifts };
        let [window, counted] = shifts.map(|shift| i64::from(packet.window) << shift);
        let right_edge = state.sides[d].last_ack + window;
        let is_spurious = packet.payload_len > 0
            && seq + i64::from(packet.payload_len) <= state.sides[d].space.snd_una();
        // Observers ignore the window of a probe and of a keep-alive. While a session closes, they
        // ignore those of retransmissions too.
        let is_missed = is_probe
            || is_keepalive
            || is_spurious
            || is_repeated_syn
            || (observed.was_closing
                && (delta.is_retransmission() || (observed.had_fin && observed.has(Flags::FIN))));
        if is_missed {
            self.last_right_edge[d] = self.last_right_edge[d].min(right_edge);
            self.last_window[d] = self.last_window[d].max(counted);
        } else {
            self.last_right_edge[d] = right_edge;
            self.last_window[d] = counted;
        }
        // The windows that a side offers from its FIN on do not extend the furthest one, since
        // observers do not follow them.
        if state.sides[d].space.fin().is_none() && !is_missed {
            self.max_right_edge[d] = self.max_right_edge[d].max(right_edge);
        }
    }

    /// Counts the packets that the receiver has to answer, and those that the sender has answered.
    fn count_unanswered(&mut self, observed: &Observation<'_>, is_keepalive: bool) {
        let Observation { delta, packet, .. } = *observed;
        let (d, o) = (packet.direction.index(), packet.direction.reversed().index());
        if packet.payload_len > 0
            || observed.has(Flags::SYN)
            || observed.has(Flags::FIN)
            || is_keepalive
        {
            self.unanswered[o] = self.unanswered[o].max(0) + 1;
        }
        let is_duplicate_ack = delta.kind.is_duplicate_ack() && !is_keepalive;
        self.unanswered[d] -= i64::from(is_duplicate_ack || self.unanswered[d] > 0);
    }

    /// Advances the sender's next in-order sequence offset. An observer that has missed octets
    /// takes up the sequence again with the packet after the acknowledgment of them.
    fn follow_sequence(&mut self, observed: &Observation<'_>, state: &FlowState) {
        let Observation { packet, seq, .. } = *observed;
        let d = packet.direction.index();
        let end = seq + i64::from(observed.has(Flags::SYN)) + i64::from(packet.payload_len);
        let is_in_order = seq <= self.next_seq[d] && self.next_seq[d] < end;
        let is_behind =
            self.next_seq[d] < state.sides[d].space.snd_una() && !observed.has(Flags::FIN);
        if is_in_order || is_behind {
            self.next_seq[d] = end;
        }
    }
}
