//! Sequence numbers.

use flowtrack::{Direction, Packet};
use tcpwire::Flags;

use super::FlowState;
use super::sender::SenderState;
use crate::field::delta::{PacketDelta, SeqDelta};
use crate::field::vocab;

impl FlowState {
    /// Returns the expected sequence number, as an offset.
    fn expected_seq(side: &SenderState, flags: Flags, has_payload: bool) -> i64 {
        // The offset of the initial sequence number is 0, also for a repeated SYN.
        if flags.contains(Flags::SYN) {
            return 0;
        }
        match side.space.fin() {
            // RFC 9293, section 3.4: a FIN occupies the sequence number after the last octet, again
            // when it is retransmitted.
            Some(fin) if flags.contains(Flags::FIN) && !has_payload => fin - 1,
            _ => side.space.snd_nxt(),
        }
    }

    /// Returns the offset of a packet's sequence number, and its delta.
    pub(super) fn encode_seq(&self, d: Direction, packet: &Packet) -> (i64, SeqDelta) {
        let side = &self.sides[d.index()];
        let space = &side.space;
        let at = space.offset(packet.seq);
        let has_payload = packet.payload_len > 0;
        let expected = Self::expected_seq(side, packet.flags, has_payload);
        if at == expected {
            return (at, SeqDelta::Expected);
        }
        let una = space.snd_una();
        // RFC 1122, section 4.2.3.6: a keep-alive begins one octet before SND.NXT.
        if at == una - 1 && packet.payload_len <= 1 {
            return (at, SeqDelta::KeepAlive);
        }
        if let Some(k) = space.hole_at(at).filter(|&k| k < vocab::SEQ_HOLE.count()) {
            return (at, SeqDelta::FillHole(k as u8));
        }
        if has_payload && let Some((old, new)) = space.segment_at(at) {
            // Counts from the nearer end.
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
        let full = i64::from(self.full_segment(d));
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

    /// Returns the sequence number of a packet, as an offset, once its seq field is decoded.
    pub(crate) fn decoded_seq(&self, delta: &PacketDelta) -> i64 {
        let d = delta.kind.direction;
        let side = &self.sides[d.index()];
        let space = &side.space;
        let expected = Self::expected_seq(side, delta.flags(), delta.kind.has_payload);
        match delta.seq {
            SeqDelta::Expected => expected,
            SeqDelta::SndUna => space.snd_una(),
            SeqDelta::KeepAlive => space.snd_una() - 1,
            SeqDelta::RetransmitOldest(k) => space.oldest(k.into()).map_or(expected, |s| s.start),
            SeqDelta::RetransmitNewest(k) => space.newest(k.into()).map_or(expected, |s| s.start),
            SeqDelta::FillHole(k) => space.hole(k.into()).map_or(expected, |h| h.start),
            SeqDelta::SkipAhead(k) => {
                expected + (i64::from(k) + 1) * i64::from(self.full_segment(d))
            }
            SeqDelta::Forward(by) => expected + i64::from(by),
            SeqDelta::Back(by) => expected - i64::from(by),
            SeqDelta::Raw(by) => space.nearest(expected + i64::from(by)),
        }
    }
}
