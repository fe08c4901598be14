//! The sequence space of one side, as 64-bit offsets from its first number: octets sent, holes, and
//! acknowledgments.

use std::collections::VecDeque;

use tcpwire::{Flags, SeqNum, SeqUnwrapper};

use super::vocab;

/// Greatest number of segments kept until they are acknowledged.
const MAX_SEGMENTS: usize = 1024;
/// Greatest number of ranges kept beyond a hole.
const MAX_OUT_OF_ORDER: usize = 32;

/// Number of segments kept that came twice: as many as the tokens of D-SACK blocks name.
const MAX_REPEATED: usize = vocab::SACK_DUP.count();

/// Range of octets `start..end`, as offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SeqRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Last transmission of some octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    /// Time of the packet, in nanoseconds since the Unix epoch.
    pub(crate) time_ns: i64,
    /// Whether a packet before it had carried some of the octets.
    pub(crate) is_repeat: bool,
}

/// Segment with payload that is not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Segment {
    range: SeqRange,
    sent: Sent,
}

/// Sequence space of one sender (RFC 9293, section 3.3.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct SendSpace {
    /// Conversion of sequence numbers; its highest offset is SND.NXT.
    numbers: SeqUnwrapper,
    contiguous: i64,
    snd_una: i64,
    fin: Option<i64>,
    /// Last transmission of the SYN, and of the FIN.
    flags_sent: [Option<Sent>; 2],
    /// Segments with payload that are not acknowledged, by start.
    segments: VecDeque<Segment>,
    /// Ranges beyond the first hole, by start; no two of them touch.
    out_of_order: Vec<SeqRange>,
    /// Segments that brought no new octets, last one first; empty ranges are none.
    repeated: [SeqRange; MAX_REPEATED],
}

impl SendSpace {
    /// Resets the space to that of a sender without packets; keeps its buffers.
    pub(crate) fn restart(&mut self) {
        let mut old = std::mem::take(self);
        old.segments.clear();
        old.out_of_order.clear();
        (self.segments, self.out_of_order) = (old.segments, old.out_of_order);
    }

    /// Returns whether the space has a first sequence number.
    pub(crate) fn is_bound(&self) -> bool {
        self.numbers.base().is_some()
    }

    /// Sets the sequence number of offset 0.
    pub(crate) fn bind(&mut self, base: u32) {
        self.numbers.bind(SeqNum(base));
    }

    /// Returns the sequence number of an offset.
    pub(crate) fn number(&self, offset: i64) -> SeqNum {
        self.numbers.wrap(offset)
    }

    /// Returns the offset of a sequence number: of those modulo 2^32, the one nearest to SND.NXT.
    pub(crate) fn offset(&self, seq: SeqNum) -> i64 {
        self.numbers.unwrap(seq)
    }

    /// Returns the offset with the sequence number of `offset` that is nearest to SND.NXT.
    pub(crate) fn nearest(&self, offset: i64) -> i64 {
        self.offset(self.number(offset))
    }

    /// Returns SND.NXT: one past the highest octet sent.
    pub(crate) fn snd_nxt(&self) -> i64 {
        self.numbers.high()
    }

    /// Returns the beginning of the first hole: RCV.NXT of a receiver that has received every
    /// packet of the flow.
    pub(crate) fn contiguous(&self) -> i64 {
        self.contiguous
    }

    /// Returns SND.UNA: the highest acknowledgment received.
    pub(crate) fn snd_una(&self) -> i64 {
        self.snd_una
    }

    /// Returns the offset after the FIN, if one was sent.
    pub(crate) fn fin(&self) -> Option<i64> {
        self.fin
    }

    /// Returns the number of holes: ranges that were skipped and not sent since.
    pub(crate) fn holes(&self) -> usize {
        self.out_of_order.len()
    }

    /// Returns the `k`-th hole, counted from 0.
    pub(crate) fn hole(&self, k: usize) -> Option<SeqRange> {
        let end = self.out_of_order.get(k)?.start;
        let start = if k == 0 { self.contiguous } else { self.out_of_order[k - 1].end };
        Some(SeqRange { start, end })
    }

    /// Returns the number of the hole that begins at `offset`.
    pub(crate) fn hole_at(&self, offset: i64) -> Option<usize> {
        (0..self.out_of_order.len()).find(|&k| self.hole(k).is_some_and(|h| h.start == offset))
    }

    /// Returns the number of segments that are not acknowledged.
    pub(crate) fn outstanding(&self) -> usize {
        self.segments.len()
    }

    /// Returns the `k`-th oldest segment that is not acknowledged, counted from 0.
    pub(crate) fn oldest(&self, k: usize) -> Option<SeqRange> {
        self.segments.get(k).map(|s| s.range)
    }

    /// Returns the `k`-th newest segment that is not acknowledged, counted from 0.
    pub(crate) fn newest(&self, k: usize) -> Option<SeqRange> {
        self.segments.len().checked_sub(k + 1).map(|i| self.segments[i].range)
    }

    /// Returns the segments that brought no new octets, last one first: those that the receiver
    /// names in D-SACK blocks (RFC 2883, section 4).
    pub(crate) fn repeated(&self) -> impl Iterator<Item = SeqRange> {
        self.repeated.into_iter().take_while(|s| s.start < s.end)
    }

    /// Returns the index of the segment that starts at `offset`, counted from the oldest.
    pub(crate) fn index_starting_at(&self, offset: i64) -> Option<usize> {
        self.segments.binary_search_by_key(&offset, |s| s.range.start).ok()
    }

    /// Returns the index of the segment that ends at `offset`, counted from the oldest.
    pub(crate) fn index_ending_at(&self, offset: i64) -> Option<usize> {
        let i = self.first_above(offset).checked_sub(1)?;
        (self.segments[i].range.end == offset).then_some(i)
    }

    /// Returns the index of the segment that starts at `offset`, counted from the oldest and from
    /// the newest.
    pub(crate) fn segment_at(&self, offset: i64) -> Option<(usize, usize)> {
        self.index_starting_at(offset).map(|i| (i, self.segments.len() - 1 - i))
    }

    /// Returns the index of the segment that ends at `offset`, counted from the oldest and from
    /// the newest.
    pub(crate) fn segment_ending_at(&self, offset: i64) -> Option<(usize, usize)> {
        self.index_ending_at(offset).map(|i| (i, self.segments.len() - 1 - i))
    }

    /// Returns the index of the first segment that starts at `offset` or above.
    pub(crate) fn first_above(&self, offset: i64) -> usize {
        self.segments.partition_point(|s| s.range.start < offset)
    }

    /// Returns the newest transmission among the octets below `ack` that are not acknowledged.
    pub(crate) fn newest_below(&self, ack: i64) -> Option<Sent> {
        let [syn, fin] = self.flags_sent;
        // The SYN has offset 0.
        let mut newest = if self.snd_una < 1 && ack >= 1 { syn } else { None };
        let mut see = |sent: Sent| {
            if newest.is_none_or(|newest| newest.time_ns <= sent.time_ns) {
                newest = Some(sent);
            }
        };
        for segment in &self.segments {
            if segment.range.start >= ack {
                break;
            }
            see(segment.sent);
        }
        if let (Some(sent), Some(end)) = (fin, self.fin)
            && self.snd_una < end
            && end <= ack
        {
            see(sent);
        }
        newest
    }

    /// Records a packet that was sent at offset `seq`.
    pub(crate) fn record_sent(&mut self, seq: i64, flags: Flags, payload_len: u32, time_ns: i64) {
        // RFC 9293, section 3.4: SYN comes before the first octet of the segment, FIN after the
        // last one, and each occupies one sequence number.
        let data = seq + i64::from(flags.contains(Flags::SYN));
        let data_end = data + i64::from(payload_len);
        let end = data_end + i64::from(flags.contains(Flags::FIN));
        if end == seq {
            return;
        }
        if flags.contains(Flags::FIN) {
            self.fin = Some(end);
        }
        if flags.intersects(Flags::SYN | Flags::FIN) {
            let sent = &mut self.flags_sent[usize::from(flags.contains(Flags::FIN))];
            *sent = Some(Sent { time_ns, is_repeat: sent.is_some() });
        }
        let fresh = self.cover(seq, end);
        if payload_len > 0 {
            let range = SeqRange { start: data, end: data_end };
            self.repeat(range, time_ns);
            if fresh {
                self.record_segment(Segment { range, sent: Sent { time_ns, is_repeat: false } });
            }
        }
        if !fresh && !flags.contains(Flags::SYN) {
            self.repeated.rotate_right(1);
            self.repeated[0] = SeqRange { start: seq, end };
        }
        self.numbers.advance(end);
    }

    /// Marks `start..end` as sent. Returns whether any octet of it is new.
    fn cover(&mut self, start: i64, end: i64) -> bool {
        if end <= self.contiguous {
            return false;
        }
        if start <= self.contiguous {
            self.contiguous = end;
            self.merge_contiguous();
            return true;
        }
        let at = self.out_of_order.partition_point(|i| i.end < start);
        if self.out_of_order.get(at).is_some_and(|i| i.start <= start && end <= i.end) {
            return false;
        }
        let mut merged = SeqRange { start, end };
        let mut last = at;
        while let Some(other) = self.out_of_order.get(last).filter(|i| i.start <= end) {
            merged =
                SeqRange { start: merged.start.min(other.start), end: merged.end.max(other.end) };
            last += 1;
        }
        self.out_of_order.splice(at..last, [merged]);
        // Ranges beyond the bound are forgotten, as if they had not been sent.
        self.out_of_order.truncate(MAX_OUT_OF_ORDER);
        true
    }

    /// Extends the contiguous part by the out-of-order ranges that it has reached.
    fn merge_contiguous(&mut self) {
        let reached = self.out_of_order.iter().take_while(|i| i.start <= self.contiguous).count();
        if let Some(last) = reached.checked_sub(1) {
            self.contiguous = self.contiguous.max(self.out_of_order[last].end);
            self.out_of_order.drain(..reached);
        }
    }

    /// Sets the last transmission of the segments that `range` has octets of.
    fn repeat(&mut self, range: SeqRange, time_ns: i64) {
        if self.segments.back().is_none_or(|last| last.range.end <= range.start) {
            return;
        }
        for segment in self.segments.iter_mut().skip_while(|s| s.range.end <= range.start) {
            if segment.range.start >= range.end {
                break;
            }
            segment.sent = Sent { time_ns, is_repeat: true };
        }
    }

    /// Inserts a segment, unless one with the same start is there; drops the oldest if there are
    /// too many.
    fn record_segment(&mut self, segment: Segment) {
        if segment.range.end <= self.snd_una {
            return;
        }
        if self.segments.back().is_none_or(|last| last.range.start < segment.range.start) {
            if self.segments.len() == MAX_SEGMENTS {
                self.segments.pop_front();
            }
            self.segments.push_back(segment);
            return;
        }
        let at = self.segments.partition_point(|s| s.range.start < segment.range.start);
        if self.segments.get(at).is_some_and(|s| s.range.start == segment.range.start) {
            return;
        }
        self.segments.insert(at, segment);
        if self.segments.len() > MAX_SEGMENTS {
            self.segments.pop_front();
        }
    }

    /// Records an acknowledgment of every octet below `offset`.
    pub(crate) fn record_ack(&mut self, offset: i64) {
        // RFC 9293, section 3.10.7.4: an acknowledgment that is not above SND.UNA is a duplicate.
        if offset <= self.snd_una {
            return;
        }
        self.snd_una = offset;
        while self.segments.front().is_some_and(|s| s.range.end <= offset) {
            self.segments.pop_front();
        }
        // The receiver has octets that the capture has not: they fill the hole.
        if offset > self.contiguous {
            self.contiguous = offset;
            self.merge_contiguous();
        }
        self.numbers.advance(offset);
    }
}
