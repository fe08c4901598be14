//! Buckets of values: a token names the bucket, base-256 digits the place in it.

use super::time_unit::TimeUnit;
use super::vocab;

/// Half-open range of values `first..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Bucket {
    /// Returns the greatest distance of a value from the first one.
    pub(crate) const fn max_offset(self) -> u64 {
        self.end - self.first - 1
    }
}

/// Returns the number of base-256 digits for distances from 0 to `max`: none if `max` is 0.
pub(crate) const fn digits_for(max: u64) -> u8 {
    ((64 - max.leading_zeros()).div_ceil(8)) as u8
}

/// Octaves from `2^low` up to `2^high`, each of them cut into `2^cut` buckets of equal width.
#[derive(Clone, Copy)]
struct Span {
    low: u32,
    high: u32,
    cut: u32,
}

impl Span {
    /// Returns the number of buckets in the span.
    const fn count(self) -> u64 {
        ((self.high - self.low) as u64) << self.cut
    }
}

/// A scale of buckets. Values below the first span have a bucket each; above, octaves are cut by
/// the spans, so that the width of a bucket grows with its values.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// First value that has a bucket.
    origin: u64,
    spans: &'static [Span],
}

impl Scale {
    /// Returns the number of buckets that hold one value each.
    const fn exact(self) -> u64 {
        (1 << self.spans[0].low) - self.origin
    }

    /// Returns the number of buckets in the scale.
    pub(crate) const fn count(self) -> usize {
        let mut n = self.exact();
        let mut i = 0;
        while i < self.spans.len() {
            n += self.spans[i].count();
            i += 1;
        }
        n as usize
    }

    /// Returns the bucket of `value`, or `None` outside the scale.
    #[inline]
    pub(crate) fn index(self, value: u64) -> Option<usize> {
        let exact = self.exact();
        if value < self.origin + exact {
            return value.checked_sub(self.origin).map(|i| i as usize);
        }
        // The highest bit that is set names the octave, the `cut` bits below it the bucket.
        let octave = 63 - value.leading_zeros();
        let mut before = exact;
        for span in self.spans {
            if octave < span.high {
                let sub = if octave >= span.cut {
                    value >> (octave - span.cut)
                } else {
                    value << (span.cut - octave)
                };
                let within = sub & ((1 << span.cut) - 1);
                return Some(
                    (before + (u64::from(octave - span.low) << span.cut) + within) as usize,
                );
            }
            before += span.count();
        }
        None
    }

    /// Returns the values of bucket `index`, which must be below [`count`](Self::count).
    #[inline]
    pub(crate) const fn bucket(self, index: usize) -> Bucket {
        let mut i = index as u64;
        if i < self.exact() {
            return Bucket { first: self.origin + i, end: self.origin + i + 1 };
        }
        i -= self.exact();
        let mut s = 0;
        while s < self.spans.len() {
            let span = self.spans[s];
            if i < span.count() {
                let octave = span.low + (i >> span.cut) as u32;
                let within = i & ((1 << span.cut) - 1);
                let width = 1u64 << (octave - span.cut);
                let first = (1u64 << octave) + within * width;
                return Bucket { first, end: first + width };
            }
            i -= span.count();
            s += 1;
        }
        panic!("a bucket outside the scale")
    }
}

/// Scale of payload lengths from 1 to 65,535 octets.
pub(crate) const LENGTHS: Scale = Scale {
    origin: 1,
    spans: &[
        Span { low: 3, high: 9, cut: 1 },
        Span { low: 9, high: 11, cut: 2 },
        Span { low: 11, high: 16, cut: 1 },
    ],
};

/// Scale of window changes from 1 to 65,535, unscaled.
pub(crate) const WINDOW_STEPS: Scale =
    Scale { origin: 1, spans: &[Span { low: 2, high: 16, cut: 0 }] };

/// Scale of gaps from 0 to 2^63 nanoseconds.
pub(crate) const GAPS: Scale = Scale {
    origin: 0,
    spans: &[
        Span { low: 0, high: 10, cut: 0 },
        Span { low: 10, high: 30, cut: 3 },
        Span { low: 30, high: 32, cut: 2 },
        Span { low: 32, high: 33, cut: 1 },
        Span { low: 33, high: 63, cut: 0 },
    ],
};

/// Buckets of gaps in whole units, by unit of time. A bucket of nanoseconds in which no whole unit
/// lies is empty (`first >= end`).
static GAP_BUCKETS: [[Bucket; vocab::TIME.count()]; TimeUnit::ALL.len()] = {
    let mut table = [[Bucket { first: 0, end: 0 }; vocab::TIME.count()]; TimeUnit::ALL.len()];
    let mut unit = 0;
    while unit < table.len() {
        let ns = TimeUnit::ALL[unit].ns() as u64;
        let mut i = 0;
        while i < table[unit].len() {
            let b = GAPS.bucket(i);
            table[unit][i] = Bucket { first: b.first.div_ceil(ns), end: b.end.div_ceil(ns) };
            i += 1;
        }
        unit += 1;
    }
    table
};

/// Returns the whole units in bucket `i` of [`GAPS`]; there are none if `first >= end`.
pub(crate) fn gap_bucket(unit: TimeUnit, i: usize) -> Bucket {
    GAP_BUCKETS[unit as usize][i]
}

const _: () = assert!(LENGTHS.count() == vocab::LEN.count());
const _: () = assert!(WINDOW_STEPS.count() == vocab::WIN_UP.count());
const _: () = assert!(GAPS.count() == vocab::TIME.count());
