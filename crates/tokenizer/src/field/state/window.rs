//! Windows.

use flowtrack::{Direction, Packet};
use tcpwire::Flags;

use super::FlowState;
use crate::field::delta::{PacketDelta, WindowDelta};
use crate::field::vocab;

/// Greatest shift of a window (RFC 7323, section 2.3).
const MAX_SHIFT: u8 = 14;

impl FlowState {
    /// Returns the shift of the windows that side `d` offers.
    pub(crate) fn window_shift(&self, d: Direction) -> u32 {
        // RFC 7323, section 2.2: windows are scaled only if both SYNs carried the option.
        if self.agreed(|o| o.scale.is_some()) { self.offered_shift(d) } else { 0 }
    }

    /// Returns the shift that the SYN of side `d` offered, whether the other side offered one or
    /// not; 0 if it offered none.
    pub(crate) fn offered_shift(&self, d: Direction) -> u32 {
        // RFC 7323, section 2.3: a receiver must use 14 for a greater shift.
        self.sides[d.index()].offer.scale.map_or(0, |s| u32::from(s.min(MAX_SHIFT)))
    }

    /// Returns the window field of a packet without a window token.
    pub(crate) fn expected_window(&self, d: Direction, flags: Flags) -> u16 {
        let side = &self.sides[d.index()];
        // RFC 7323, section 2.2: the window of a SYN is not scaled, that of the next packet is.
        if side.last_was_syn && !flags.contains(Flags::SYN) {
            side.last_window >> self.window_shift(d)
        } else {
            side.last_window
        }
    }

    /// Returns the window field that leaves the right edge of the window where it was, given the
    /// acknowledgment; it may not fit into the header.
    fn same_edge(&self, d: Direction, flags: Flags, ack: i64) -> i64 {
        let shift = self.window_shift(d);
        let window = i64::from(self.expected_window(d, flags)) << shift;
        // RFC 9293, section 3.8.6: the right edge is SEG.ACK + SEG.WND.
        let room = window - (ack - self.sides[d.index()].last_ack);
        room >> shift
    }

    /// Returns the window field that leaves the right edge of the window where it was, or `None` if
    /// it does not fit into the header. The packet's ack field must be decoded.
    pub(crate) fn window_at_same_edge(&self, delta: &PacketDelta) -> Option<u16> {
        let ack = self.decoded_ack(delta);
        u16::try_from(self.same_edge(delta.kind.direction, delta.flags(), ack)).ok()
    }

    /// Returns by how much step `i` of [`vocab::ACKED_STEPS`] moves the window field. `None` if the
    /// packet acknowledges less than a unit of the window.
    fn acked_move(&self, d: Direction, ack: i64, i: usize) -> Option<i64> {
        let acked = self.acked_units(d, ack);
        (acked > 0).then(|| step_move(acked, vocab::ACKED_STEPS[i]))
    }

    /// Returns how many units of side `d`'s window the packet acknowledges.
    fn acked_units(&self, d: Direction, ack: i64) -> i64 {
        // RFC 7323, section 2.3: windows are in units of the scale.
        (ack - self.sides[d.index()].last_ack) >> self.window_shift(d)
    }

    /// Returns the window field of a packet with token `i` of [`vocab::WIN_ACKED`], or `None` if it
    /// does not fit into the header. The packet's ack field must be decoded.
    pub(crate) fn window_if_acked(&self, delta: &PacketDelta, i: usize) -> Option<u16> {
        let ack = self.decoded_ack(delta);
        let d = delta.kind.direction;
        let moved = self.acked_move(d, ack, i)?;
        u16::try_from(i64::from(self.expected_window(d, delta.flags())).wrapping_add(moved)).ok()
    }

    /// Returns the delta of a packet's window. `ack` is its acknowledgment, as an offset.
    pub(super) fn encode_window(&self, d: Direction, packet: &Packet, ack: i64) -> WindowDelta {
        let expected = self.expected_window(d, packet.flags);
        let window = packet.window;
        if window == expected {
            return WindowDelta::Same;
        }
        if i64::from(window) == self.same_edge(d, packet.flags, ack) {
            return WindowDelta::SameEdge;
        }
        if window == self.sides[d.index()].max_window {
            return WindowDelta::Max;
        }
        // A search without an early end takes eight windows at a time.
        if vocab::WINDOWS.iter().fold(false, |found, &listed| found | (listed == window)) {
            return WindowDelta::Listed(window);
        }
        let (moved, acked) = (i64::from(window) - i64::from(expected), self.acked_units(d, ack));
        let is_moved = |&step: &(i64, i64)| step_move(acked, step) == moved;
        if acked > 0
            && let Some(i) = vocab::ACKED_STEPS.iter().position(is_moved)
        {
            return WindowDelta::Acked(i as u8);
        }
        if window > expected {
            WindowDelta::Up(window - expected)
        } else {
            WindowDelta::Down(expected - window)
        }
    }

    /// Returns the window field of a packet. `ack` is its acknowledgment, as an offset.
    pub(super) fn decode_window(&self, delta: &PacketDelta, ack: i64) -> u16 {
        let (d, flags) = (delta.kind.direction, delta.flags());
        let expected = self.expected_window(d, flags);
        match delta.window {
            WindowDelta::Same => expected,
            WindowDelta::SameEdge => self.same_edge(d, flags, ack) as u16,
            WindowDelta::Max => self.sides[d.index()].max_window,
            WindowDelta::Acked(i) => {
                let moved = self.acked_move(d, ack, i.into()).unwrap_or(0);
                i64::from(expected).wrapping_add(moved) as u16
            }
            WindowDelta::Listed(window) => window,
            WindowDelta::SynSet(i) => vocab::SYN_SETS[usize::from(i)].window,
            WindowDelta::Up(by) => expected.wrapping_add(by),
            WindowDelta::Down(by) => expected.wrapping_sub(by),
        }
    }
}

/// Returns by how much a step moves a window field if `acked` units of it are acknowledged.
fn step_move(acked: i64, (times, more): (i64, i64)) -> i64 {
    acked.wrapping_mul(times).wrapping_add(more)
}
