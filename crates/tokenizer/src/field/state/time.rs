//! Times.

use flowtrack::Direction;

use super::FlowState;
use crate::field::delta::{PacketDelta, TimeDelta};
use crate::field::send_space::Sent;

impl FlowState {
    /// Returns the newest transmission of what a packet of side `d` acknowledges for the first
    /// time. `ack`: its acknowledgment, if it has one.
    pub(super) fn answered(&self, d: Direction, ack: Option<i64>) -> Option<Sent> {
        let (side, peer) = self.pair(d);
        ack.filter(|&ack| ack > side.last_ack).and_then(|ack| peer.space.newest_below(ack))
    }

    /// Returns the time from the packet before to the moment at which an answer of side `d` is due,
    /// in nanoseconds: what it answers had to travel from the capture to the side, and the answer
    /// back. `None` unless the moment is known and ahead.
    fn until_due_ns(&self, d: Direction, answered: Option<Sent>) -> Option<i64> {
        let floor_ns = self.sides[d.index()].answer_floor_ns?;
        let due_ns = answered?.time_ns.checked_add(floor_ns)?;
        due_ns.checked_sub(self.time_ns).filter(|&ahead_ns| ahead_ns > 0)
    }

    /// Returns the time from the packet before to the moment at which the current packet is due, in
    /// nanoseconds; `None` unless the moment is known and ahead. The packet's ack field must be
    /// decoded.
    pub(crate) fn ahead_ns(&self, delta: &PacketDelta) -> Option<i64> {
        let has_ack = delta.flags().contains(tcpwire::Flags::ACK);
        let d = delta.kind.direction;
        self.until_due_ns(d, self.answered(d, has_ack.then(|| self.decoded_ack(delta))))
    }

    /// Returns the delta of a packet's time.
    pub(super) fn encode_time(
        &self,
        d: Direction,
        time_ns: i64,
        answered: Option<Sent>,
    ) -> TimeDelta {
        let units = |ns: i64| match self.unit_ns {
            // Division by a constant is faster, and most flows count microseconds.
            1_000 => ns / 1_000,
            unit_ns => ns / unit_ns,
        };
        let gap_ns = time_ns.wrapping_sub(self.time_ns);
        let ahead_ns = self.until_due_ns(d, answered);
        match ahead_ns.and_then(|ahead_ns| gap_ns.checked_sub(ahead_ns)) {
            Some(late_ns) if late_ns != i64::MIN => TimeDelta::Due(units(late_ns)),
            _ => TimeDelta::Gap(units(gap_ns)),
        }
    }

    /// Returns the time of a packet.
    pub(super) fn decode_time(&self, delta: &PacketDelta, answered: Option<Sent>) -> i64 {
        let ahead_ns = || self.until_due_ns(delta.kind.direction, answered);
        let (from_ns, units) = match delta.time {
            TimeDelta::Gap(units) => (self.time_ns, units),
            // Without a moment at which it is due, an answer counts from the packet before.
            TimeDelta::Due(units) => (self.time_ns.wrapping_add(ahead_ns().unwrap_or(0)), units),
        };
        from_ns.wrapping_add(units.wrapping_mul(self.unit_ns))
    }

    /// Updates the least time that side `d` took to answer.
    pub(super) fn update_floor(&mut self, d: Direction, time_ns: i64, answered: Option<Sent>) {
        // Of what was sent twice, nobody knows which one is answered (Karn's algorithm; RFC 6298,
        // section 3).
        let Some(sent) = answered.filter(|sent| !sent.is_repeat) else { return };
        let took_ns = time_ns.saturating_sub(sent.time_ns).max(0);
        let floor_ns = &mut self.sides[d.index()].answer_floor_ns;
        *floor_ns = Some(floor_ns.map_or(took_ns, |floor_ns| floor_ns.min(took_ns)));
    }
}
