//! One side's sequence space, as 64-bit offsets from its base: what was sent, what is missing, what
//! is acknowledged.

use std::collections::VecDeque;

use tcpwire::{Flags, SeqNum, SeqUnwrapper};

/// Segments remembered until they are acknowledged.
const SEGMENTS: usize = 1024;
/// Islands of octets beyond a hole that are remembered.
const MAX_OUT_OF_ORDER: usize = 32;

/// Octets `start..end`, as offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The sequence space of one sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendSpace {
    /// Sequence numbers as offsets; the highest offset is one past the last octet sent.
    numbers: SeqUnwrapper,
    contiguous: i64,
    una: i64,
    fin: Option<i64>,
    segments: VecDeque<Segment>,
    out_of_order: Vec<Segment>,
}

impl SendSpace {
    /// Makes it fresh; keeps its buffers.
    pub(crate) fn restart(&mut self) {
        let mut old = std::mem::take(self);
        old.segments.clear();
        old.out_of_order.clear();
        (self.segments, self.out_of_order) = (old.segments, old.out_of_order);
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.numbers.base().is_some()
    }

    pub(crate) fn bind(&mut self, base: u32) {
        self.numbers.bind(SeqNum(base));
    }

    /// The sequence number at an offset.
    pub(crate) fn number(&self, offset: i64) -> SeqNum {
        self.numbers.wrap(offset)
    }

    /// The offset of a sequence number: the one nearest to what is next.
    pub(crate) fn offset(&self, seq: SeqNum) -> i64 {
        self.numbers.unwrap(seq)
    }

    /// The offset nearest to what is next among those with the same sequence number as `offset`.
    pub(crate) fn nearest(&self, offset: i64) -> i64 {
        self.offset(self.number(offset))
    }

    /// One past the highest octet sent (`SND.NXT`).
    pub(crate) fn next(&self) -> i64 {
        self.numbers.high()
    }

    /// One past the last octet before the first hole (`RCV.NXT` of a receiver that got all that was
    /// seen).
    pub(crate) fn contiguous(&self) -> i64 {
        self.contiguous
    }

    /// The highest acknowledgment (`SND.UNA`).
    pub(crate) fn una(&self) -> i64 {
        self.una
    }

    /// One past the FIN, where one was sent.
    pub(crate) fn fin(&self) -> Option<i64> {
        self.fin
    }

    pub(crate) fn holes(&self) -> usize {
        self.out_of_order.len()
    }

    /// The `k`-th hole.
    pub(crate) fn hole(&self, k: usize) -> Option<Segment> {
        let end = self.out_of_order.get(k)?.start;
        let start = if k == 0 { self.contiguous } else { self.out_of_order[k - 1].end };
        Some(Segment { start, end })
    }

    /// The number of the hole that begins at `offset`.
    pub(crate) fn hole_at(&self, offset: i64) -> Option<usize> {
        (0..self.out_of_order.len()).find(|&k| self.hole(k).is_some_and(|h| h.start == offset))
    }

    /// Number of segments not acknowledged.
    pub(crate) fn outstanding(&self) -> usize {
        self.segments.len()
    }

    /// The `k`-th oldest segment not acknowledged.
    pub(crate) fn oldest(&self, k: usize) -> Option<Segment> {
        self.segments.get(k).copied()
    }

    /// The `k`-th newest segment not acknowledged.
    pub(crate) fn newest(&self, k: usize) -> Option<Segment> {
        self.segments.len().checked_sub(k + 1).map(|i| self.segments[i])
    }

    pub(crate) fn index_starting_at(&self, offset: i64) -> Option<usize> {
        self.segments.binary_search_by_key(&offset, |s| s.start).ok()
    }

    pub(crate) fn index_ending_at(&self, offset: i64) -> Option<usize> {
        let i = self.segments.partition_point(|s| s.start < offset).checked_sub(1)?;
        (self.segments[i].end == offset).then_some(i)
    }

    /// The segment that starts at `offset`, counted from the oldest and from the newest.
    pub(crate) fn segment_at(&self, offset: i64) -> Option<(usize, usize)> {
        self.index_starting_at(offset).map(|i| (i, self.segments.len() - 1 - i))
    }

    /// The segment that ends at `offset`, counted from the oldest and from the newest.
    pub(crate) fn segment_ending_at(&self, offset: i64) -> Option<(usize, usize)> {
        self.index_ending_at(offset).map(|i| (i, self.segments.len() - 1 - i))
    }

    /// Index of the first segment that starts at `offset` or above.
    pub(crate) fn first_above(&self, offset: i64) -> usize {
        self.segments.partition_point(|s| s.start < offset)
    }

    /// Takes in a segment that was sent.
    pub(crate) fn sent(&mut self, seq: i64, flags: Flags, payload_len: u32) {
        let data = seq + i64::from(flags.contains(Flags::SYN));
        let data_end = data + i64::from(payload_len);
        let end = data_end + i64::from(flags.contains(Flags::FIN));
        if end == seq {
            return;
        }
        if flags.contains(Flags::FIN) {
            self.fin = Some(end);
        }
        let fresh = self.cover(seq, end);
        if fresh && payload_len > 0 {
            self.record_segment(Segment { start: data, end: data_end });
        }
        self.numbers.advance(end);
    }

    /// Marks `start..end` as sent; says whether any of it is new.
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
        let mut island = Segment { start, end };
        let mut last = at;
        while let Some(other) = self.out_of_order.get(last).filter(|i| i.start <= end) {
            island =
                Segment { start: island.start.min(other.start), end: island.end.max(other.end) };
            last += 1;
        }
        self.out_of_order.splice(at..last, [island]);
        self.out_of_order.truncate(MAX_OUT_OF_ORDER);
        true
    }

    /// Takes in out_of_order that the contiguous part has reached.
    fn merge_contiguous(&mut self) {
        let reached = self.out_of_order.iter().take_while(|i| i.start <= self.contiguous).count();
        if let Some(last) = reached.checked_sub(1) {
            self.contiguous = self.contiguous.max(self.out_of_order[last].end);
            self.out_of_order.drain(..reached);
        }
    }

    fn record_segment(&mut self, segment: Segment) {
        if segment.end <= self.una {
            return;
        }
        if self.segments.back().is_none_or(|last| last.start < segment.start) {
            if self.segments.len() == SEGMENTS {
                self.segments.pop_front();
            }
            self.segments.push_back(segment);
            return;
        }
        let at = self.segments.partition_point(|s| s.start < segment.start);
        if self.segments.get(at).is_some_and(|s| s.start == segment.start) {
            return;
        }
        self.segments.insert(at, segment);
        if self.segments.len() > SEGMENTS {
            self.segments.pop_front();
        }
    }

    /// Takes in an acknowledgment of everything below `offset`.
    pub(crate) fn acked(&mut self, offset: i64) {
        if offset <= self.una {
            return;
        }
        self.una = offset;
        while self.segments.front().is_some_and(|s| s.end <= offset) {
            self.segments.pop_front();
        }
        if offset > self.contiguous {
            self.contiguous = offset;
            self.merge_contiguous();
        }
        self.numbers.advance(offset);
    }
}
