//! One end of a conversation: what it sent, in 64-bit stream offsets.

use std::ops::Range;

use tcpwire::{Flags, SeqNum, SeqUnwrapper};

use crate::Assembler;

/// What one end was seen to send, and what the other says to have got of it.
///
/// Sequence numbers become 64-bit offsets here and nowhere else. Offset 0 is the first number seen;
/// where the stream begins ([`start`](DirectionState::start)) is known once the SYN is seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectionState {
    /// Sequence numbers as offsets; the highest offset is one past the last octet sent.
    space: SeqUnwrapper,
    /// Offset of the first stream octet: one past the SYN.
    pub(crate) start: Option<i64>,
    /// Offset of the FIN: one past the last stream octet.
    pub(crate) fin: Option<i64>,
    /// The highest acknowledgment of the other end.
    acked: Option<i64>,
    octets: Assembler,
    /// Payload octets sent again.
    pub(crate) repeated: u64,
}

/// An acknowledgment further ahead than this of what was seen is taken for nonsense: the largest
/// window (RFC 7323, section 2.3).
const MAX_AHEAD: i64 = 1 << 30;

impl DirectionState {
    /// Takes in a segment that this end sent.
    #[inline]
    pub(crate) fn sent(&mut self, seq: SeqNum, flags: Flags, payload_len: u32) {
        let at = self.space.bind_and_unwrap(seq);
        // A reset ends the stream and is not in it (RFC 9293, section 3.10.7.4).
        if flags.contains(Flags::RST) {
            return;
        }
        let syn = i64::from(flags.contains(Flags::SYN));
        if syn == 1 && self.start.is_none() {
            self.start = Some(at + 1);
        }
        let from = at + syn;
        let to = from + i64::from(payload_len);
        self.repeated += self.octets.insert(from..to).repeated;
        if flags.contains(Flags::FIN) && self.fin.is_none() {
            self.fin = Some(to);
        }
        self.space.advance(to);
    }

    /// Takes in the other end's acknowledgment of what this end sent.
    #[inline]
    pub(crate) fn acknowledged(&mut self, ack: SeqNum) {
        let at = self.space.bind_and_unwrap(ack);
        if at - self.space.high() < MAX_AHEAD {
            self.acked = self.acked.max(Some(at));
        }
    }

    /// Whether the other end has acknowledged the FIN.
    #[inline]
    pub(crate) fn fin_acknowledged(&self) -> bool {
        matches!((self.fin, self.acked), (Some(fin), Some(acked)) if acked > fin)
    }

    /// Forgets all where nothing but SYNs was sent: a SYN with another number begins anew.
    pub(crate) fn restart_if_new(&mut self, seq: SeqNum) {
        let Some(start) = self.start else { return };
        let syn = self.space.wrap(start - 1);
        if syn != seq && self.octets.bounds().is_none() && self.fin.is_none() {
            *self = DirectionState::default();
        }
    }

    /// Where the stream lies, in offsets: from the SYN, or else the first octet seen, to the FIN,
    /// or else as far as a segment was seen or acknowledged.
    fn extent(&self) -> Range<i64> {
        let seen = self.octets.bounds();
        let start = self.start.or(seen.clone().map(|s| s.start)).unwrap_or(0);
        let last = self.space.high().max(self.acked.unwrap_or(start));
        start..self.fin.unwrap_or(last).max(start)
    }

    /// What was never seen of the stream, as octets from its start.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        let extent = self.extent();
        let start = extent.start;
        self.octets
            .gaps(extent)
            .map(move |gap| (gap.start - start) as u64..(gap.end - start) as u64)
    }

    /// What it takes beside itself.
    #[inline]
    pub(crate) fn heap_octets(&self) -> usize {
        self.octets.heap_octets()
    }

    /// Octets of gaps that were given up for space.
    pub(crate) fn given_up(&self) -> u64 {
        self.octets.given_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(side: &DirectionState) -> Vec<(u64, u64)> {
        side.missing().map(|gap| (gap.start, gap.end)).collect()
    }

    #[test]
    fn whole_stream_across_the_wrap() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(u32::MAX - 1), Flags::SYN, 0);
        side.sent(SeqNum(u32::MAX), Flags::ACK, 1000);
        side.sent(SeqNum(999), Flags::ACK, 500);
        side.sent(SeqNum(1499), Flags::FIN, 0);
        assert_eq!(missing(&side), []);
        side.acknowledged(SeqNum(1499));
        assert!(!side.fin_acknowledged());
        side.acknowledged(SeqNum(1500));
        assert!(side.fin_acknowledged());
    }

    #[test]
    fn five_gibibytes_are_one_stream() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(7), Flags::SYN, 0);
        let mut seq = 8u32;
        for _ in 0..5 * 1024 {
            side.sent(SeqNum(seq), Flags::ACK, 1 << 20);
            seq = seq.wrapping_add(1 << 20);
        }
        assert_eq!(missing(&side), []);
        assert_eq!(side.repeated, 0);
        side.sent(SeqNum(seq.wrapping_add(10)), Flags::FIN, 0);
        assert_eq!(missing(&side), [(5 << 30, (5 << 30) + 10)]);
    }

    #[test]
    fn hole_is_named_by_its_octets() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(100), Flags::SYN, 0);
        side.sent(SeqNum(101), Flags::ACK, 1200);
        side.sent(SeqNum(2761), Flags::ACK, 10);
        assert_eq!(missing(&side), [(1200, 2660)]);
    }

    #[test]
    fn acknowledged_but_never_seen() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(100), Flags::SYN, 0);
        side.acknowledged(SeqNum(101));
        assert_eq!(missing(&side), []);
        side.acknowledged(SeqNum(151));
        assert_eq!(missing(&side), [(0, 50)]);
    }

    #[test]
    fn keep_alives_repeat_and_lack_nothing() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(100), Flags::SYN, 0);
        side.sent(SeqNum(100), Flags::ACK, 1);
        side.sent(SeqNum(101), Flags::ACK, 10);
        side.sent(SeqNum(110), Flags::ACK, 1);
        side.sent(SeqNum(110), Flags::ACK, 0);
        assert_eq!(missing(&side), []);
        assert_eq!(side.repeated, 1);
    }

    #[test]
    fn data_before_its_syn_is_in_its_place() {
        let mut side = DirectionState::default();
        side.sent(SeqNum(101), Flags::ACK, 10);
        side.sent(SeqNum(100), Flags::SYN, 0);
        assert_eq!(side.start, Some(0));
        assert_eq!(missing(&side), []);
    }
}
