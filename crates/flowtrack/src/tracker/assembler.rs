//! Reassembly: ranges of integers in, gaps out. Knows no TCP.

use std::ops::Range;

/// Largest number of ranges. Beyond it the lowest gap is discarded, so that a hostile capture
/// cannot fill memory with gaps.
const MAX_RANGES: usize = 4096;

/// Number of new and repeated integers in a range that was inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inserted {
    /// Number of integers seen for the first time.
    pub new: u64,
    /// Number of integers seen before.
    pub repeated: u64,
}

/// A set of integers, stored as disjoint ranges in order. A single range that grows at its end, as
/// the stream of a connection without loss does, needs no allocation.
///
/// ```
/// let mut seen = flowtrack::Assembler::default();
/// seen.insert(0..10);
/// seen.insert(15..20);
/// assert_eq!(seen.insert(5..12).new, 2);
/// assert_eq!(seen.gaps(0..30).collect::<Vec<_>>(), [12..15, 20..30]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    /// First range; empty while the set is.
    lowest: Range<i64>,
    /// Ranges above `lowest`: in order, neither touching nor empty.
    above: Vec<Range<i64>>,
    /// Number of integers in gaps that were discarded.
    discarded: u64,
}

impl Assembler {
    /// Adds a range and returns how many of its integers are new.
    #[inline]
    pub fn insert(&mut self, range: Range<i64>) -> Inserted {
        if range.is_empty() {
            return Inserted::default();
        }
        // In-order data: the only range grows at its end.
        if self.above.is_empty() && range.start == self.lowest.end && !self.lowest.is_empty() {
            self.lowest.end = range.end;
            return Inserted { new: length(&range), repeated: 0 };
        }
        self.insert_anywhere(range)
    }

    /// Adds a range that is not empty and does not merely continue the only range.
    fn insert_anywhere(&mut self, range: Range<i64>) -> Inserted {
        let whole = length(&range);
        if self.lowest.is_empty() {
            self.lowest = range;
            return Inserted { new: whole, repeated: 0 };
        }
        // Ranges that overlap the new one, or touch it, become one range with it.
        let mut repeated = 0;
        let mut merged = range.clone();
        let mut touch = |held: &Range<i64>| {
            if held.end < range.start || range.end < held.start {
                return false;
            }
            repeated += length(&(held.start.max(range.start)..held.end.min(range.end)));
            merged = merged.start.min(held.start)..merged.end.max(held.end);
            true
        };
        let from = self.above.partition_point(|held| held.end < range.start);
        let touched = self.above[from..].iter().take_while(|held| touch(held)).count();
        let lowest_touched = touch(&self.lowest.clone());
        self.replace(merged, from, touched, lowest_touched);
        Inserted { new: whole - repeated, repeated }
    }

    /// Stores `merged` in place of the ranges that were merged into it: `touched` ranges of `above`
    /// from index `from`, and `lowest` if `lowest_touched`.
    fn replace(&mut self, merged: Range<i64>, from: usize, touched: usize, lowest_touched: bool) {
        if lowest_touched {
            self.lowest = merged;
            self.above.drain(from..from + touched);
        } else if merged.end < self.lowest.start {
            let second = std::mem::replace(&mut self.lowest, merged);
            self.above.insert(0, second);
        } else {
            self.above.splice(from..from + touched, [merged]);
        }
        // Of all gaps the lowest has waited longest for a retransmission.
        if self.above.len() >= MAX_RANGES {
            let second = self.above.remove(0);
            self.discarded += length(&(self.lowest.end..second.start));
            self.lowest.end = second.end;
        }
    }

    /// Returns the range from the lowest integer seen to one past the highest; `None` if the set is
    /// empty.
    #[must_use]
    pub fn bounds(&self) -> Option<Range<i64>> {
        let highest = self.above.last().unwrap_or(&self.lowest);
        (!self.lowest.is_empty()).then_some(self.lowest.start..highest.end)
    }

    /// Returns the parts of `within` that were not seen, in order.
    pub fn gaps(&self, within: Range<i64>) -> impl Iterator<Item = Range<i64>> {
        // A gap reaches from the end of one range to the start of the next; `within` adds an end
        // before the first range and a start after the last.
        let held = std::iter::once(&self.lowest).filter(|r| !r.is_empty()).chain(&self.above);
        let ends = std::iter::once(within.start).chain(held.clone().map(|r| r.end));
        let starts = held.map(|r| r.start).chain(std::iter::once(within.end));
        ends.zip(starts)
            .map(move |(from, to)| from.max(within.start)..to.min(within.end))
            .filter(|gap| !gap.is_empty())
    }

    /// Returns the heap octets in use, by capacity.
    #[inline]
    pub(crate) fn heap_octets(&self) -> usize {
        self.above.capacity() * size_of::<Range<i64>>()
    }

    /// Returns the number of integers in gaps that were discarded because there were too many gaps.
    /// Such integers count as seen.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }
}

/// Returns the number of integers in a range; 0 if the range is empty or inverted.
fn length(range: &Range<i64>) -> u64 {
    range.end.saturating_sub(range.start).max(0) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Length of the bitmap that the assembler is compared with.
    const LINE: i64 = 64;

    fn gaps_of(bitmap: &[bool]) -> Vec<Range<i64>> {
        let mut gaps: Vec<Range<i64>> = Vec::new();
        for (at, _) in bitmap.iter().enumerate().filter(|(_, seen)| !**seen) {
            let at = at as i64;
            match gaps.last_mut() {
                Some(gap) if gap.end == at => gap.end += 1,
                _ => gaps.push(at..at + 1),
            }
        }
        gaps
    }

    proptest! {
        #[test]
        fn agrees_with_a_bitmap(ranges in prop::collection::vec((0..LINE, 0..12i64), 0..40)) {
            let mut bitmap = [false; LINE as usize];
            let mut assembler = Assembler::default();
            for (start, len) in ranges {
                let range = start..(start + len).min(LINE);
                let slots = &mut bitmap[range.start as usize..range.end as usize];
                let repeated = slots.iter().filter(|seen| **seen).count() as u64;
                let new = slots.len() as u64 - repeated;
                slots.fill(true);
                prop_assert_eq!(assembler.insert(range), Inserted { new, repeated });
                prop_assert_eq!(assembler.gaps(0..LINE).collect::<Vec<_>>(), gaps_of(&bitmap));
            }
            let bounds = bitmap.iter().position(|s| *s).zip(bitmap.iter().rposition(|s| *s));
            prop_assert_eq!(assembler.bounds(), bounds.map(|(a, b)| a as i64..b as i64 + 1));
        }
    }

    #[test]
    fn gaps_beyond_the_bound_are_discarded_and_counted() {
        let mut assembler = Assembler::default();
        let ranges = MAX_RANGES as i64 + 50;
        for n in 0..ranges {
            assembler.insert(n * 10..n * 10 + 4);
        }
        let left: u64 = assembler.gaps(0..ranges * 10 - 6).map(|g| length(&g)).sum();
        assert!(assembler.above.len() < MAX_RANGES);
        assert_eq!(left + assembler.discarded(), 6 * (ranges as u64 - 1));
    }

    #[test]
    fn growth_from_below_is_put_in_front() {
        let mut assembler = Assembler::default();
        assembler.insert(10..20);
        assembler.insert(0..5);
        assert_eq!(assembler.insert(5..10), Inserted { new: 5, repeated: 0 });
        assert_eq!(assembler.gaps(0..20).count(), 0);
    }
}
