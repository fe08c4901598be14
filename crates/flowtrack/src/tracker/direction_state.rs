//! One direction of a conversation, in 64-bit stream offsets.

use std::ops::Range;

use tcpwire::{Flags, SeqNum, SeqUnwrapper};

use super::assembler::Assembler;

/// Octets that one endpoint was seen to send, and those that the other endpoint acknowledged.
///
/// Offset 0 is the first sequence number seen. The stream begins at
/// [`start`](DirectionState::start), known once the SYN is seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectionState {
    /// Sequence numbers as offsets; the highest offset is one past the last octet sent.
    space: SeqUnwrapper,
    /// Offset of the first stream octet: one past the SYN.
    pub(crate) start: Option<i64>,
    /// Offset of the FIN: one past the last stream octet.
    pub(crate) fin: Option<i64>,
    /// Highest acknowledgment of the other endpoint.
    acked: Option<i64>,
    /// Offsets of the stream octets seen.
    octets: Assembler,
    /// Number of payload octets seen more than once.
    pub(crate) repeated: u64,
}

/// Largest distance of an acknowledgment beyond the octets seen. A larger one acknowledges nothing
/// that can be in flight: it is beyond the largest window (RFC 7323, section 2.3).
const MAX_AHEAD: i64 = 1 << 30;

impl DirectionState {
    /// Records a segment that this endpoint sent.
    #[inline]
    pub(crate) fn record_segment(&mut self, seq: SeqNum, flags: Flags, payload_len: u32) {
        let at = self.space.bind_and_unwrap(seq);
        // RFC 9293, section 3.5.3: a RST may have data, which tells the cause of the reset and is
        // no part of the stream.
        if flags.contains(Flags::RST) {
            return;
        }
        // RFC 9293, section 3.4: a SYN occupies one sequence number, before the first data octet of
        // its segment.
        let syn = i64::from(flags.contains(Flags::SYN));
        if syn == 1 && self.start.is_none() {
            self.start = Some(at + 1);
        }
        let from = at + syn;
        let to = from + i64::from(payload_len);
        self.repeated += self.octets.insert(from..to).repeated;
        // RFC 9293, section 3.4: a FIN occupies one sequence number, after the last data octet of
        // its segment.
        if flags.contains(Flags::FIN) && self.fin.is_none() {
            self.fin = Some(to);
        }
        self.space.advance(to);
    }

    /// Records the other endpoint's acknowledgment of octets that this one sent.
    #[inline]
    pub(crate) fn record_ack(&mut self, ack: SeqNum) {
        let at = self.space.bind_and_unwrap(ack);
        if at - self.space.high() < MAX_AHEAD {
            self.acked = self.acked.max(Some(at));
        }
    }

    /// Reports whether the other endpoint has acknowledged the FIN.
    #[inline]
    pub(crate) fn fin_acknowledged(&self) -> bool {
        // RFC 9293, section 3.4: an acknowledgment number covers all numbers before it, so that of
        // a FIN is one past the FIN's own.
        matches!((self.fin, self.acked), (Some(fin), Some(acked)) if acked > fin)
    }

    /// Resets the state if `seq` is the SYN of another attempt: nothing but SYNs was sent, with
    /// another initial sequence number.
    pub(crate) fn restart_on_new_isn(&mut self, seq: SeqNum) {
        let Some(start) = self.start else { return };
        let isn = self.space.wrap(start - 1);
        if isn != seq && self.octets.bounds().is_none() && self.fin.is_none() {
            *self = DirectionState::default();
        }
    }

    /// Returns the offsets of the stream: from the SYN, or else the first octet seen, to the FIN,
    /// or else the last octet seen or acknowledged.
    fn extent(&self) -> Range<i64> {
        let seen = self.octets.bounds();
        // Without a SYN the number of octets before the first one seen is unknown.
        let start = self.start.or(seen.clone().map(|s| s.start)).unwrap_or(0);
        let last = self.space.high().max(self.acked.unwrap_or(start));
        start..self.fin.unwrap_or(last).max(start)
    }

    /// Returns the parts of the stream that were never seen, as octets from its start.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        let extent = self.extent();
        let start = extent.start;
        self.octets
            .gaps(extent)
            .map(move |gap| (gap.start - start) as u64..(gap.end - start) as u64)
    }

    /// Returns the heap octets in use.
    #[inline]
    pub(crate) fn heap_octets(&self) -> usize {
        self.octets.heap_octets()
    }

    /// Returns the number of octets in gaps that the assembler discarded.
    pub(crate) fn discarded(&self) -> u64 {
        self.octets.discarded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(state: &DirectionState) -> Vec<(u64, u64)> {
        state.missing().map(|gap| (gap.start, gap.end)).collect()
    }

    #[test]
    fn whole_stream_across_the_wrap() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(u32::MAX - 1), Flags::SYN, 0);
        state.record_segment(SeqNum(u32::MAX), Flags::ACK, 1000);
        state.record_segment(SeqNum(999), Flags::ACK, 500);
        state.record_segment(SeqNum(1499), Flags::FIN, 0);
        assert_eq!(missing(&state), []);
        state.record_ack(SeqNum(1499));
        assert!(!state.fin_acknowledged());
        state.record_ack(SeqNum(1500));
        assert!(state.fin_acknowledged());
    }

    #[test]
    fn five_gibibytes_are_one_stream() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(7), Flags::SYN, 0);
        let mut seq = 8u32;
        for _ in 0..5 * 1024 {
            state.record_segment(SeqNum(seq), Flags::ACK, 1 << 20);
            seq = seq.wrapping_add(1 << 20);
        }
        assert_eq!(missing(&state), []);
        assert_eq!(state.repeated, 0);
        state.record_segment(SeqNum(seq.wrapping_add(10)), Flags::FIN, 0);
        assert_eq!(missing(&state), [(5 << 30, (5 << 30) + 10)]);
    }

    #[test]
    fn hole_is_named_by_its_octets() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(100), Flags::SYN, 0);
        state.record_segment(SeqNum(101), Flags::ACK, 1200);
        state.record_segment(SeqNum(2761), Flags::ACK, 10);
        assert_eq!(missing(&state), [(1200, 2660)]);
    }

    #[test]
    fn acknowledged_but_never_seen() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(100), Flags::SYN, 0);
        state.record_ack(SeqNum(101));
        assert_eq!(missing(&state), []);
        state.record_ack(SeqNum(151));
        assert_eq!(missing(&state), [(0, 50)]);
    }

    #[test]
    fn keep_alives_repeat_and_lack_nothing() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(100), Flags::SYN, 0);
        state.record_segment(SeqNum(100), Flags::ACK, 1);
        state.record_segment(SeqNum(101), Flags::ACK, 10);
        state.record_segment(SeqNum(110), Flags::ACK, 1);
        state.record_segment(SeqNum(110), Flags::ACK, 0);
        assert_eq!(missing(&state), []);
        assert_eq!(state.repeated, 1);
    }

    #[test]
    fn data_before_its_syn_is_in_its_place() {
        let mut state = DirectionState::default();
        state.record_segment(SeqNum(101), Flags::ACK, 10);
        state.record_segment(SeqNum(100), Flags::SYN, 0);
        assert_eq!(state.start, Some(0));
        assert_eq!(missing(&state), []);
    }
}
