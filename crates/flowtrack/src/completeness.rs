//! Wireshark's `tcp.completeness`, as its TCP dissector of release 4.0 keeps it.

use tcpwire::{Flags, SeqNum};

use crate::{Completeness, Direction};

impl Completeness {
    /// A SYN opened it.
    pub const SYN: Completeness = Completeness(1);
    /// A SYN-ACK was seen.
    pub const SYN_ACK: Completeness = Completeness(2);
    /// An ACK without payload was seen.
    pub const ACK: Completeness = Completeness(4);
    /// Payload was seen.
    pub const DATA: Completeness = Completeness(8);
    /// A FIN was seen.
    pub const FIN: Completeness = Completeness(16);
    /// A RST was seen.
    pub const RST: Completeness = Completeness(32);

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Completeness) -> Completeness {
        Completeness(self.0 | other.0)
    }

    /// Whether a bit of `any` is set.
    #[must_use]
    pub const fn any(self, any: Completeness) -> bool {
        self.0 & any.0 != 0
    }

    /// The bits after a segment with `flags` and `payload_len` octets. `first`: it is its
    /// conversation's first, of which Wireshark looks at a SYN alone.
    #[must_use]
    fn after(self, flags: Flags, payload_len: u32, first: bool) -> Completeness {
        let (syn, ack) = (flags.has(Flags::SYN), flags.has(Flags::ACK));
        let data_if = |carries| if carries { Completeness::DATA } else { Completeness(0) };
        if first {
            return if syn && !ack {
                Completeness::SYN.with(data_if(payload_len > 0))
            } else {
                self
            };
        }
        let mut bits = self;
        if syn && ack {
            bits = bits.with(Completeness::SYN_ACK);
        }
        if ack && !syn {
            bits = bits.with(if payload_len > 0 { Completeness::DATA } else { Completeness::ACK });
        }
        if flags.has(Flags::FIN) && ack {
            bits = bits.with(Completeness::FIN);
        }
        if flags.has(Flags::RST) {
            bits = bits.with(Completeness::RST);
        }
        bits
    }
}

/// What Wireshark keeps of a conversation to tell when a SYN begins another one on the same ports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WiresharkState {
    base_seq: [SeqNum; 2],
    base_known: [bool; 2],
    /// Bits before the last segment: `tshark` prints the field before it takes the segment in.
    pub(crate) shown: Completeness,
    /// Bits with the last segment.
    pub(crate) bits: Completeness,
}

/// A segment as Wireshark's conversation logic sees it. Directions are any, as long as they are the
/// same ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) direction: Direction,
    pub(crate) seq: SeqNum,
    pub(crate) ack: SeqNum,
    pub(crate) flags: Flags,
    pub(crate) payload_len: Option<u32>,
    /// The data offset is under 5: Wireshark gives up on the segment before it counts it.
    pub(crate) bogus: bool,
}

impl WiresharkState {
    /// Whether `seen`, a SYN, begins another conversation on the same ports.
    #[inline]
    pub(crate) fn is_reused_by(&self, seen: &Seen) -> bool {
        let syn = seen.flags.has(Flags::SYN) && !seen.flags.has(Flags::ACK);
        let own = seen.direction.index();
        syn && self.base_known[own] && self.base_seq[own] != seen.seq
    }

    /// The state of a conversation that a reused 4-tuple begins: Wireshark sets the SYN bit
    /// outright.
    pub(crate) fn reused() -> Self {
        WiresharkState {
            shown: Completeness::SYN,
            bits: Completeness::SYN,
            ..WiresharkState::default()
        }
    }

    /// Takes in a segment of this conversation. `new`: Wireshark had found no conversation for it.
    #[inline]
    pub(crate) fn take(&mut self, seen: &Seen, new: bool) {
        let (own, other) = (seen.direction.index(), seen.direction.reversed().index());
        let (syn, ack) = (seen.flags.has(Flags::SYN), seen.flags.has(Flags::ACK));
        self.shown = self.bits;
        if syn && ack && self.base_known[own] {
            self.base_seq[own] = seen.seq;
        }
        if seen.payload_len.is_some() && self.base_known != [true; 2] {
            self.learn_base(own, if syn { seen.seq } else { SeqNum(seen.seq.0.wrapping_sub(1)) });
            if ack {
                self.learn_base(other, SeqNum(seen.ack.0.wrapping_sub(1)));
            }
        }
        if !seen.bogus {
            self.bits = self.bits.after(seen.flags, seen.payload_len.unwrap_or(0), new);
        }
    }
    fn learn_base(&mut self, side: usize, base: SeqNum) {
        if !self.base_known[side] {
            (self.base_known[side], self.base_seq[side]) = (true, base);
        }
    }
}
