//! Times.

use flowtrack::Direction;

use super::FlowState;
use crate::field::delta::{PacketDelta, TimeDelta};
use crate::field::send_space::Sent;

impl FlowState {
    /// Returns the newest transmission of what a packet of side `d` with this acknowledgment
    /// acknowledges for the first time.
    fn answered(&self, d: Direction, ack: i64) -> Option<Sent> {
        let (side, peer) = self.pair(d);
        if ack <= side.last_ack { None } else { peer.space.newest_below(ack) }
    }

    /// Returns the time from the packet before to the moment at which a packet of side `d` with
    /// this acknowledgment is due, in nanoseconds: what it answers had to travel from the capture
    /// to the side, and the answer back. `None` unless the moment is known and ahead.
    fn until_due_ns(&self, d: Direction, ack: i64) -> Option<i64> {
        let floor_ns = self.sides[d.index()].answer_floor_ns?;
        let due_ns = self.answered(d, ack)?.time_ns.checked_add(floor_ns)?;
        due_ns.checked_sub(self.time_ns).filter(|&ahead_ns| ahead_ns > 0)
    }

    /// Returns the time from the packet before to the moment at which the current packet is due, in
    /// nanoseconds; `None` unless the moment is known and ahead. The packet's ack field must be
    /// decoded.
    pub(crate) fn ahead_ns(&self, delta: &PacketDelta) -> Option<i64> {
        let has_ack = delta.flags().contains(tcpwire::Flags::ACK);
        let d = delta.kind.direction;
        if has_ack { self.until_due_ns(d, self.decoded_ack(delta)) } else { None }
    }

    /// Returns the delta of a packet's time. `ack`: its acknowledgment, if it has one.
    pub(super) fn encode_time(&self, d: Direction, time_ns: i64, ack: Option<i64>) -> TimeDelta {
        let units = |ns: i64| match self.unit_ns {
            // Division by a constant is faster, and most flows count microseconds.
            1_000 => ns / 1_000,
            unit_ns => ns / unit_ns,
        };
        let gap_ns = time_ns.wrapping_sub(self.time_ns);
        let ahead_ns = ack.and_then(|ack| self.until_due_ns(d, ack));
        match ahead_ns.and_then(|ahead_ns| gap_ns.checked_sub(ahead_ns)) {
            Some(late_ns) if late_ns != i64::MIN => TimeDelta::Due(units(late_ns)),
            _ => TimeDelta::Gap(units(gap_ns)),
        }
    }

    /// Returns the time of a packet. `ack`: its acknowledgment, if it has one.
    pub(super) fn decode_time(&self, delta: &PacketDelta, ack: Option<i64>) -> i64 {
        let ahead_ns = || ack.and_then(|ack| self.until_due_ns(delta.kind.direction, ack));
        let (from_ns, units) = match delta.time {
            TimeDelta::Gap(units) => (self.time_ns, units),
            // Without a moment at which it is due, an answer counts from the packet before.
            TimeDelta::Due(units) => (self.time_ns.wrapping_add(ahead_ns().unwrap_or(0)), units),
        };
        from_ns.wrapping_add(units.wrapping_mul(self.unit_ns))
    }

    /// Updates the least time that side `d` took to answer with a packet that acknowledges `ack`.
    pub(super) fn update_floor(&mut self, d: Direction, time_ns: i64, ack: i64) {
        // Of what was sent twice, nobody knows which one is answered (Karn's algorithm; RFC 6298,
        // section 3).
        let Some(sent) = self.answered(d, ack).filter(|sent| !sent.is_repeat) else { return };
        let took_ns = time_ns.saturating_sub(sent.time_ns).max(0);
        let floor_ns = &mut self.sides[d.index()].answer_floor_ns;
        *floor_ns = Some(floor_ns.map_or(took_ns, |floor_ns| floor_ns.min(took_ns)));
    }
}
