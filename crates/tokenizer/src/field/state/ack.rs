//! Acknowledgment numbers.

use flowtrack::{Direction, Packet};
use tcpwire::{Flags, SeqNum};

use super::FlowState;
use crate::field::delta::{AckDelta, PacketDelta};
use crate::field::vocab;

impl FlowState {
    /// Returns the offset of a packet's acknowledgment number in the other side's space, whether
    /// the packet kind says that it advances, and its delta.
    pub(super) fn encode_ack(&self, d: Direction, packet: &Packet) -> (i64, bool, AckDelta) {
        let (side, peer) = self.pair(d);
        let at = peer.space.offset(packet.ack);
        // RFC 9293, section 3.1: without ACK the field has no meaning. Most senders leave 0 in it;
        // some, the number of their last acknowledgment.
        if !packet.flags.contains(Flags::ACK) {
            return if packet.ack.0 == 0 {
                (at, false, AckDelta::Expected)
            } else if at == side.last_ack {
                (at, true, AckDelta::Expected)
            } else {
                (at, true, AckDelta::Raw((at - side.last_ack) as u32))
            };
        }
        if at == side.last_ack {
            return (at, false, AckDelta::Expected);
        }
        let advances = at > side.last_ack;
        if advances && at == peer.space.contiguous() {
            return (at, true, AckDelta::Expected);
        }
        if let Some((old, new)) = peer.space.segment_ending_at(at) {
            if old < vocab::ACK_SEG.count() {
                return (at, advances, AckDelta::Segment(old as u8));
            }
            if new < vocab::ACK_NEW.count() {
                return (at, advances, AckDelta::Newest(new as u8));
            }
        }
        let full = i64::from(self.full_segment(d.reversed()));
        let times = (at - side.last_ack) / full;
        if (at - side.last_ack) % full == 0 && (1..=vocab::ACK_FULL.count() as i64).contains(&times)
        {
            return (at, advances, AckDelta::Full(times as u8 - 1));
        }
        if packet.ack.0 == 0 {
            return (at, advances, AckDelta::Zero);
        }
        let delta = match at - side.last_ack {
            by @ 1..=0xffff => AckDelta::Forward(by as u16),
            by @ -0xffff..=-1 => AckDelta::Back(-by as u16),
            by => AckDelta::Raw(by as u32),
        };
        (at, advances, delta)
    }

    /// Returns the acknowledgment number of a packet, as an offset in the other side's space, once
    /// its ack field is decoded.
    pub(crate) fn decoded_ack(&self, delta: &PacketDelta) -> i64 {
        let (side, peer) = self.pair(delta.kind.direction);
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
            AckDelta::Full(k) => {
                let full = self.full_segment(delta.kind.direction.reversed());
                side.last_ack + (i64::from(k) + 1) * i64::from(full)
            }
            AckDelta::Zero => zero(),
            AckDelta::Forward(by) => side.last_ack + i64::from(by),
            AckDelta::Back(by) => side.last_ack - i64::from(by),
            AckDelta::Raw(by) => peer.space.nearest(side.last_ack + i64::from(by)),
        }
    }
}
