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
    fin: Fin,
    /// Highest acknowledgment of the other endpoint.
    acked: Option<i64>,
    /// Octets from `acked` on that the other endpoint is ready to take.
    window: u32,
    /// Whether a segment with octets or a FIN was outside of the stream.
    pub(crate) has_strays: bool,
    /// Offsets of the stream octets seen.
    octets: Assembler,
    /// Number of payload octets seen more than once.
    pub(crate) repeated: u64,
}

/// FIN of an endpoint, at the offset one past the last stream octet.
#[derive(Clone, Copy, Debug, Default)]
enum Fin {
    /// No FIN was seen.
    #[default]
    None,
    /// A FIN beyond the window, which counts once it is acknowledged.
    Beyond(i64),
    /// A FIN that counts.
    At(i64),
}

/// Largest distance of an acknowledgment beyond the octets seen, and of a segment behind them. A
/// larger one is beyond the largest window (RFC 7323, section 2.3): of nothing that can be in
/// flight.
const MAX_DISTANCE: i64 = 1 << 30;

impl DirectionState {
    /// Returns the offset of a sequence number of this endpoint; 0 before one is recorded.
    #[inline]
    pub(crate) fn offset(&self, seq: SeqNum) -> i64 {
        if self.space.base().is_some() { self.space.unwrap(seq) } else { 0 }
    }

    /// Makes `seq` offset 0 if no number is recorded yet.
    #[inline]
    fn bind(&mut self, seq: SeqNum) {
        if self.space.base().is_none() {
            self.space.bind(seq);
        }
    }

    /// Records a segment without RST that this endpoint sent, at the [`offset`](Self::offset) `at`.
    /// Returns whether the stream can have it: a segment before the SYN, or behind everything that
    /// can be in flight, is a stray.
    #[inline]
    pub(crate) fn record_segment(
        &mut self,
        seq: SeqNum,
        at: i64,
        flags: Flags,
        payload_len: u32,
    ) -> bool {
        self.bind(seq);
        // RFC 9293, section 3.4: a SYN occupies one sequence number, before the first data octet of
        // its segment.
        let syn = i64::from(flags.contains(Flags::SYN));
        if syn == 1 && self.start.is_none() {
            self.start = Some(at + 1);
        }
        let from = at + syn;
        let to = from + i64::from(payload_len);
        // RFC 1122, section 4.2.3.6: a keep-alive before any data has the number of the SYN.
        let first = self.start.map_or(i64::MIN, |start| start - 1);
        if at < first || to < self.space.high() - MAX_DISTANCE {
            self.has_strays |= payload_len > 0 || flags.contains(Flags::FIN);
            return false;
        }
        self.repeated += self.octets.insert(from..to).repeated;
        if let Fin::At(fin) = self.fin {
            // A keep-alive after the FIN has the FIN's number, and may have an octet there.
            self.has_strays |= to > fin + 1;
        } else if flags.contains(Flags::FIN) && !self.record_fin(from, to) && payload_len == 0 {
            return true;
        }
        self.space.advance(to);
        true
    }

    /// Records the first FIN, at offset `to`, in a segment that begins at `from`. Returns whether
    /// the FIN is acceptable.
    #[cold]
    fn record_fin(&mut self, from: i64, to: i64) -> bool {
        // RFC 9293, section 3.4: a FIN occupies one sequence number, after the last data octet of
        // its segment. One before octets that were acknowledged ends no stream.
        let acked = self.acked.unwrap_or(to);
        if to + 1 < acked {
            return false;
        }
        self.has_strays |= self.octets.bounds().is_some_and(|seen| seen.end > to);
        // RFC 9293, section 3.10.7.4: the receiver drops what begins beyond its window. What was
        // seen may have been sent into a window that the capture lacks.
        let is_beyond = from > self.space.high() && from > acked + i64::from(self.window);
        if is_beyond && self.acked.is_some() {
            self.fin = Fin::Beyond(to);
            return false;
        }
        self.fin = Fin::At(to);
        true
    }

    /// Records the other endpoint's acknowledgment of octets that this one sent, and the `window`
    /// offered with it. Returns whether the acknowledgment is acceptable: of the SYN or what
    /// follows it, and of nothing beyond what can be in flight. `at` is its
    /// [`offset`](Self::offset).
    #[inline]
    pub(crate) fn record_ack(&mut self, ack: SeqNum, at: i64, window: u32) -> bool {
        self.bind(ack);
        let is_acceptable = self.is_acceptable(at);
        // RFC 9293, section 3.10.7.4: an older segment does not change the window.
        if is_acceptable && self.acked.is_none_or(|acked| at >= acked) {
            self.acked = Some(at);
            self.window = window;
            if let Fin::Beyond(fin) = self.fin
                && at == fin + 1
            {
                self.fin = Fin::At(fin);
            }
        }
        is_acceptable
    }

    /// Reports whether an acknowledgment at this offset is acceptable.
    #[inline]
    fn is_acceptable(&self, at: i64) -> bool {
        let ahead = at - self.space.high();
        at >= self.start.unwrap_or(i64::MIN) && ahead < MAX_DISTANCE && ahead > -MAX_DISTANCE
    }

    /// Reports whether an acknowledgment is acceptable to this endpoint, like
    /// [`record_ack`](Self::record_ack).
    pub(crate) fn accepts_ack(&self, ack: SeqNum) -> bool {
        self.space.base().is_none() || self.is_acceptable(self.space.unwrap(ack))
    }

    /// Reports whether `ack` acknowledges the SYN, and nothing that was not sent.
    pub(crate) fn is_syn_acked_by(&self, ack: SeqNum) -> bool {
        let at = self.space.unwrap(ack);
        self.start.is_none_or(|start| start <= at && at <= self.space.high().max(start))
    }

    /// Reports whether the other endpoint can take a RST with this sequence number (RFC 9293,
    /// section 3.10.7.4; RFC 5961, section 3.2): one within the window that it last offered, or of
    /// octets that were sent and may have been received.
    pub(crate) fn accepts_rst(&self, seq: SeqNum) -> bool {
        let Some(_) = self.space.base() else { return true };
        let at = self.space.unwrap(seq);
        let high = self.space.high();
        let (mut first, last) = match (self.acked, self.start) {
            // With a window of zero, only the next number.
            (Some(acked), _) => (acked, high.max(acked).max(acked + i64::from(self.window) - 1)),
            (None, Some(start)) => (start, high.max(start)),
            (None, None) => (high - MAX_DISTANCE, high + MAX_DISTANCE),
        };
        // A RST that follows a FIN at once has the FIN's own number: some systems do not count the
        // FIN, and others accept that.
        if self.fin() == Some(first - 1) {
            first -= 1;
        }
        first <= at && at <= last
    }

    /// Reports whether a segment of `seq_len` numbers at the [`offset`](Self::offset) `at` has none
    /// beyond those seen.
    #[inline]
    pub(crate) fn is_repeated_by(&self, at: i64, seq_len: u32) -> bool {
        self.space.base().is_some() && at + i64::from(seq_len) <= self.space.high()
    }

    /// Reports whether the other endpoint has acknowledged as much as the
    /// [`offset`](Self::offset) `at` before.
    #[inline]
    pub(crate) fn is_acked_to(&self, at: i64) -> bool {
        self.acked.is_none_or(|acked| at <= acked)
    }

    /// Returns the offset of the FIN: one past the last stream octet.
    #[inline]
    pub(crate) fn fin(&self) -> Option<i64> {
        match self.fin {
            Fin::At(at) => Some(at),
            Fin::None | Fin::Beyond(_) => None,
        }
    }

    /// Reports whether this endpoint was seen to send octets or a FIN after its SYN.
    pub(crate) fn has_sent(&self) -> bool {
        self.octets.bounds().is_some() || self.fin().is_some()
    }

    /// Reports whether this endpoint was seen to send octets after those of its SYN, which has
    /// `payload_len` of them, or a FIN.
    pub(crate) fn has_sent_beyond_syn(&self, payload_len: u32) -> bool {
        let syn_end = self.start.map(|start| start + i64::from(payload_len));
        self.fin().is_some() || syn_end.is_some_and(|end| self.space.high() > end)
    }

    /// Returns the offset after the highest octet sent, and the highest acknowledgment.
    pub(crate) fn progress(&self) -> (i64, Option<i64>) {
        (self.space.high(), self.acked)
    }

    /// Returns the first number that was seen, and the one after the last that was sent or
    /// acknowledged.
    pub(crate) fn numbers(&self) -> Option<[SeqNum; 2]> {
        let first = self.space.base()?;
        let last = self.acked.map_or(self.space.high(), |acked| acked.max(self.space.high()));
        Some([first, self.space.wrap(last)])
    }

    /// Reports whether `seq` is the number of the SYN.
    pub(crate) fn is_isn(&self, seq: SeqNum) -> bool {
        self.start.is_some_and(|start| self.space.wrap(start - 1) == seq)
    }

    /// Prepares for the first SYN of this endpoint: what it sent before is of this stream, in
    /// another order, or of an earlier connection.
    pub(crate) fn begin_at(&mut self, isn: SeqNum) {
        let Some(_) = self.space.base() else { return };
        let start = self.space.unwrap(isn) + 1;
        let seen = self.octets.bounds();
        let first = seen.clone().map(|seen| seen.start).into_iter().chain(self.fin()).min();
        let last = seen.map(|seen| seen.end).into_iter().chain(self.fin()).max();
        let is_stream = match (first, last) {
            (Some(first), Some(last)) => start <= first && last < start + MAX_DISTANCE,
            _ => self.acked == Some(start),
        };
        if !is_stream {
            self.has_strays |= first.is_some();
            self.begin_anew();
        }
    }

    /// Forgets all but the strays.
    pub(crate) fn begin_anew(&mut self) {
        *self = DirectionState { has_strays: self.has_strays, ..DirectionState::default() };
    }

    /// Forgets acknowledgments from before the connection was opened.
    pub(crate) fn forget_acks(&mut self) {
        (self.acked, self.window) = (None, 0);
        if matches!(self.fin, Fin::Beyond(_)) {
            self.fin = Fin::None;
        }
    }

    /// Reports whether the other endpoint has acknowledged the FIN.
    #[inline]
    pub(crate) fn fin_acknowledged(&self) -> bool {
        // RFC 9293, section 3.4: an acknowledgment number covers all numbers before it, so that of
        // a FIN is one past the FIN's own.
        matches!((self.fin(), self.acked), (Some(fin), Some(acked)) if acked > fin)
    }

    /// Returns the offsets of the stream: from the SYN, or else the first octet seen, to the FIN,
    /// or else the last octet seen or acknowledged.
    fn extent(&self) -> Range<i64> {
        let seen = self.octets.bounds();
        // Without a SYN the number of octets before the first one seen is unknown.
        let start = self.start.or(seen.clone().map(|s| s.start)).unwrap_or(0);
        let last = self.space.high().max(self.acked.unwrap_or(start));
        start..self.fin().unwrap_or(last).max(start)
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

    fn send(state: &mut DirectionState, seq: SeqNum, flags: Flags, payload_len: u32) {
        let at = state.offset(seq);
        state.record_segment(seq, at, flags, payload_len);
    }

    fn acknowledge(state: &mut DirectionState, ack: SeqNum, window: u32) {
        let at = state.offset(ack);
        state.record_ack(ack, at, window);
    }

    #[test]
    fn whole_stream_across_the_wrap() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(u32::MAX - 1), Flags::SYN, 0);
        send(&mut state, SeqNum(u32::MAX), Flags::ACK, 1000);
        send(&mut state, SeqNum(999), Flags::ACK, 500);
        send(&mut state, SeqNum(1499), Flags::FIN, 0);
        assert_eq!(missing(&state), []);
        acknowledge(&mut state, SeqNum(1499), 0);
        assert!(!state.fin_acknowledged());
        acknowledge(&mut state, SeqNum(1500), 0);
        assert!(state.fin_acknowledged());
    }

    #[test]
    fn five_gibibytes_are_one_stream() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(7), Flags::SYN, 0);
        let mut seq = 8u32;
        for _ in 0..5 * 1024 {
            send(&mut state, SeqNum(seq), Flags::ACK, 1 << 20);
            seq = seq.wrapping_add(1 << 20);
        }
        assert_eq!(missing(&state), []);
        assert_eq!(state.repeated, 0);
        send(&mut state, SeqNum(seq.wrapping_add(10)), Flags::FIN, 0);
        assert_eq!(missing(&state), [(5 << 30, (5 << 30) + 10)]);
    }

    #[test]
    fn hole_is_named_by_its_octets() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(100), Flags::SYN, 0);
        send(&mut state, SeqNum(101), Flags::ACK, 1200);
        send(&mut state, SeqNum(2761), Flags::ACK, 10);
        assert_eq!(missing(&state), [(1200, 2660)]);
    }

    #[test]
    fn acknowledged_but_never_seen() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(100), Flags::SYN, 0);
        acknowledge(&mut state, SeqNum(101), 0);
        assert_eq!(missing(&state), []);
        acknowledge(&mut state, SeqNum(151), 0);
        assert_eq!(missing(&state), [(0, 50)]);
    }

    #[test]
    fn keep_alives_repeat_and_lack_nothing() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(100), Flags::SYN, 0);
        send(&mut state, SeqNum(100), Flags::ACK, 1);
        send(&mut state, SeqNum(101), Flags::ACK, 10);
        send(&mut state, SeqNum(110), Flags::ACK, 1);
        send(&mut state, SeqNum(110), Flags::ACK, 0);
        assert_eq!(missing(&state), []);
        assert_eq!(state.repeated, 1);
    }

    #[test]
    fn data_before_its_syn_is_in_its_place() {
        let mut state = DirectionState::default();
        send(&mut state, SeqNum(101), Flags::ACK, 10);
        send(&mut state, SeqNum(100), Flags::SYN, 0);
        assert_eq!(state.start, Some(0));
        assert_eq!(missing(&state), []);
    }
}
