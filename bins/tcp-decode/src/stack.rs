//! TCP stacks of machines, as the first packet of a side shows them.

use flowtrack::{Direction, Flow};
use tcpwire::{option_kind, options};

/// Marks by which a passive observer tells machines apart: header fields of a side's first packet,
/// and the tick of its timestamp clock.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Stack {
    /// Kinds of the options, in order.
    pub(crate) option_kinds: Vec<u8>,
    /// TTL or hop limit on the wire.
    pub(crate) ttl: u8,
    /// Maximum segment size, 0 without the option.
    pub(crate) mss: u16,
    /// Shift of the window, 0 without the option.
    pub(crate) window_scale: u8,
    /// Window as the header has it.
    pub(crate) window: u16,
    /// Time between two ticks of the timestamp clock, in nanoseconds.
    pub(crate) tick_ns: i64,
}

impl Stack {
    /// Returns the stack of a side, as the first packets of a flow show it.
    pub(crate) fn from_opening(opening: &Flow, d: Direction, tick_ns: i64) -> Stack {
        let Some(first) = opening.packets.iter().find(|p| p.direction == d) else {
            return Stack { tick_ns, ..Stack::default() };
        };
        let mut stack = Stack { ttl: first.ttl, window: first.window, tick_ns, ..Stack::default() };
        for option in options(opening.options_of(first)) {
            stack.option_kinds.extend(option.kind());
            match (option.kind(), option.data()) {
                (Some(option_kind::MSS), &[high, low]) => {
                    stack.mss = u16::from_be_bytes([high, low]);
                }
                (Some(option_kind::WINDOW_SCALE), &[shift]) => stack.window_scale = shift,
                _ => {}
            }
        }
        stack
    }

    /// Returns how much a machine would change that shows first one stack and then the other.
    pub(crate) fn distance(&self, other: &Stack) -> u32 {
        let differs = |differs: bool, weight: u32| if differs { weight } else { 0 };
        // Machines behind one address, such as those of a balancer, are a few hops apart.
        6 * u32::from(self.ttl.abs_diff(other.ttl)).min(6)
            + differs(self.option_kinds != other.option_kinds, 32)
            + differs(self.mss != other.mss, 16)
            + differs(self.tick_ns != other.tick_ns, 8)
            + differs(self.window_scale != other.window_scale, 4)
            + differs(self.window != other.window, 2)
    }
}
