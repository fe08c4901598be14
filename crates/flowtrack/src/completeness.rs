//! Wireshark's `tcp.completeness`, as its TCP dissector of release 4.0 keeps it.

use tcpwire::{Flags, SeqNum};

use crate::{Completeness, Direction};

impl Completeness {
    /// The bits after a segment with `flags` and `payload_len` octets. `first`: it is its
    /// conversation's first, of which Wireshark looks at a SYN alone.
    #[must_use]
    fn after(self, flags: Flags, payload_len: u32, first: bool) -> Completeness {
        let (syn, ack) = (flags.contains(Flags::SYN), flags.contains(Flags::ACK));
        let data_if = |carries| if carries { Completeness::DATA } else { Completeness::empty() };
        if first {
            return if syn && !ack { Completeness::SYN | data_if(payload_len > 0) } else { self };
        }
        let mut bits = self;
        if syn && ack {
            bits |= Completeness::SYN_ACK;
        }
        if ack && !syn {
            bits |= if payload_len > 0 { Completeness::DATA } else { Completeness::ACK };
        }
        if flags.contains(Flags::FIN) && ack {
            bits |= Completeness::FIN;
        }
        if flags.contains(Flags::RST) {
            bits |= Completeness::RST;
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
pub(crate) struct SegmentSummary {
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
    pub(crate) fn is_reused_by(&self, seen: &SegmentSummary) -> bool {
        let syn = seen.flags.contains(Flags::SYN) && !seen.flags.contains(Flags::ACK);
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
    pub(crate) fn take(&mut self, seen: &SegmentSummary, new: bool) {
        let (own, other) = (seen.direction.index(), seen.direction.reversed().index());
        let (syn, ack) = (seen.flags.contains(Flags::SYN), seen.flags.contains(Flags::ACK));
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
