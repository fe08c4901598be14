//! Wireshark's `tcp.completeness`, as the TCP dissector of release 4.0 maintains it.

use tcpwire::{Flags, SeqNum};

use crate::{Completeness, Direction};

impl Completeness {
    /// Returns the bits after a segment with `flags` and `payload_len` octets of payload. `first`
    /// marks the first segment of a conversation.
    #[must_use]
    fn after(self, flags: Flags, payload_len: u32, first: bool) -> Completeness {
        let (syn, ack) = (flags.contains(Flags::SYN), flags.contains(Flags::ACK));
        let data_if = |carries| if carries { Completeness::DATA } else { Completeness::empty() };
        // Wireshark finds no conversation for the first segment, and then looks at a SYN alone.
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

/// Wireshark's state of a conversation, as far as completeness and the reuse of ports depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WiresharkState {
    /// Base sequence number by direction: that of the SYN, or one below the first number seen.
    base_seq: [SeqNum; 2],
    /// Whether the base sequence number is known, by direction.
    base_known: [bool; 2],
    /// Bits before the last segment: `tshark` prints the field before it processes the segment.
    pub(crate) before_last: Completeness,
    /// Bits with the last segment.
    pub(crate) bits: Completeness,
}

/// Fields of a segment that Wireshark's conversation logic reads. Directions may be named either
/// way round, as long as a conversation's segments agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentSummary {
    /// Direction of the segment.
    pub(crate) direction: Direction,
    /// Sequence number of the first octet, or of the SYN.
    pub(crate) seq: SeqNum,
    /// Acknowledgment number, with or without the ACK flag.
    pub(crate) ack: SeqNum,
    /// Control bits and reserved bits.
    pub(crate) flags: Flags,
    /// Number of payload octets, where it is known.
    pub(crate) payload_len: Option<u32>,
    /// Whether the data offset is under 5: Wireshark gives up on such a segment before it counts
    /// the segment.
    pub(crate) bogus: bool,
}

impl WiresharkState {
    /// Reports whether `segment` is a SYN that begins another conversation on the same ports.
    #[inline]
    pub(crate) fn is_reused_by(&self, segment: &SegmentSummary) -> bool {
        let syn = segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::ACK);
        let own = segment.direction.index();
        // A SYN with the same sequence number is a retransmission (RFC 9293, section 3.8.1).
        syn && self.base_known[own] && self.base_seq[own] != segment.seq
    }

    /// Creates the state of a conversation that begins on a reused 4-tuple: Wireshark sets the SYN
    /// bit without a look at the segment.
    pub(crate) fn reused() -> Self {
        WiresharkState {
            before_last: Completeness::SYN,
            bits: Completeness::SYN,
            ..WiresharkState::default()
        }
    }

    /// Updates the state with a segment of this conversation. `new` marks a segment for which
    /// Wireshark found no conversation.
    #[inline]
    pub(crate) fn update(&mut self, segment: &SegmentSummary, new: bool) {
        let (own, other) = (segment.direction.index(), segment.direction.reversed().index());
        let (syn, ack) = (segment.flags.contains(Flags::SYN), segment.flags.contains(Flags::ACK));
        self.before_last = self.bits;
        // Another SYN-ACK replaces the server's base, as after a half-open connection.
        if syn && ack && self.base_known[own] {
            self.base_seq[own] = segment.seq;
        }
        // The base is the number of the SYN, which is one below that of the first octet. The
        // acknowledgment tells the base of the other direction.
        if segment.payload_len.is_some() && self.base_known != [true; 2] {
            let before = |number: SeqNum| SeqNum(number.0.wrapping_sub(1));
            self.set_base_if_unknown(own, if syn { segment.seq } else { before(segment.seq) });
            if ack {
                self.set_base_if_unknown(other, before(segment.ack));
            }
        }
        if !segment.bogus {
            self.bits = self.bits.after(segment.flags, segment.payload_len.unwrap_or(0), new);
        }
    }

    fn set_base_if_unknown(&mut self, direction: usize, base: SeqNum) {
        if !self.base_known[direction] {
            (self.base_known[direction], self.base_seq[direction]) = (true, base);
        }
    }
}
