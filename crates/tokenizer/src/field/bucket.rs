//! Buckets: a coarse token says which, base-256 digits say where in it.

use super::header::TimeUnit;
use super::vocab;

/// A half-open range of values `first..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Bucket {
    /// The greatest offset that may be said inside this bucket.
    pub(crate) const fn max_offset(self) -> u64 {
        self.end - self.first - 1
    }
}

/// Base-256 digits needed for offsets from 0 to `max`: none where there is only one.
pub(crate) const fn digits_for(max: u64) -> u8 {
    ((64 - max.leading_zeros()).div_ceil(8)) as u8
}

/// Octaves from `2^low` up to `2^high`, each cut into `2^cut` buckets.
#[derive(Clone, Copy)]
struct Span {
    low: u32,
    high: u32,
    cut: u32,
}

impl Span {
    const fn count(self) -> u64 {
        ((self.high - self.low) as u64) << self.cut
    }
}

/// The values 0 to 2^n cut by spans: exact values below the first span, then octave by octave.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// The first value with an id.
    origin: u64,
    spans: &'static [Span],
}

impl Scale {
    const fn exact(self) -> u64 {
        (1 << self.spans[0].low) - self.origin
    }

    /// Number of buckets.
    pub(crate) const fn count(self) -> usize {
        let mut n = self.exact();
        let mut i = 0;
        while i < self.spans.len() {
            n += self.spans[i].count();
            i += 1;
        }
        n as usize
    }

    /// The bucket that holds `value`, or `None` outside the scale.
    #[inline]
    pub(crate) fn index(self, value: u64) -> Option<usize> {
        let exact = self.exact();
        if value < self.origin + exact {
            return value.checked_sub(self.origin).map(|i| i as usize);
        }
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

    /// The values of bucket `index`, which must be below [`count`](Self::count).
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

/// Payload lengths from 1 to 65,535.
pub(crate) const LENGTHS: Scale = Scale {
    origin: 1,
    spans: &[
        Span { low: 3, high: 9, cut: 1 },
        Span { low: 9, high: 11, cut: 2 },
        Span { low: 11, high: 16, cut: 1 },
    ],
};

/// Changes of the window from 1 to 65,535.
pub(crate) const WINDOW_STEPS: Scale =
    Scale { origin: 1, spans: &[Span { low: 2, high: 16, cut: 0 }] };

/// Gaps in nanoseconds, from 0 to 2^63.
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

/// The buckets of gaps in whole units: row by row of [`vocab::UNITS_NS`]. Empty (`first >= end`)
/// where no whole unit lies in a bucket of nanoseconds.
static GAP_BUCKETS: [[Bucket; vocab::TIME.count()]; vocab::UNITS_NS.len()] = {
    let mut table = [[Bucket { first: 0, end: 0 }; vocab::TIME.count()]; vocab::UNITS_NS.len()];
    let mut unit = 0;
    while unit < table.len() {
        let ns = vocab::UNITS_NS[unit] as u64;
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

/// The whole units of row `unit` that lie in bucket `i` of gaps; none where `first >= end`.
pub(crate) fn gap_bucket(unit: TimeUnit, i: usize) -> Bucket {
    GAP_BUCKETS[unit as usize][i]
}

const _: () = assert!(LENGTHS.count() == vocab::LEN.count());
const _: () = assert!(WINDOW_STEPS.count() == vocab::WIN_UP.count());
const _: () = assert!(GAPS.count() == vocab::TIME.count());
