//! Buckets of values: a token names the bucket, base-256 digits the place in it.

use super::time_unit::TimeUnit;
use super::vocab::{self, TokenRange};

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
pub(crate) struct Span {
    pub(crate) low: u32,
    pub(crate) high: u32,
    pub(crate) cut: u32,
}

/// Values below the first span of a scale.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    /// A bucket for each of them.
    Exact,
    /// One bucket for the origin, and one for all others.
    Apart,
    /// One bucket for all of them.
    Together,
}

/// Octave of a scale.
#[derive(Clone, Copy)]
struct Octave {
    /// Number of buckets below the octave.
    before: u16,
    /// Binary logarithm of the number of its buckets.
    cut: u8,
}

/// A scale of buckets. Above the values below the first span, octaves are cut by the spans, so that
/// the width of a bucket grows with its values.
pub(crate) struct Scale {
    /// First value that has a bucket.
    origin: u64,
    below: Below,
    /// First octave that is cut.
    low: u32,
    /// End of the octaves.
    high: u32,
    octaves: [Octave; 64],
    /// End of a last bucket for the values above the octaves; 0: none.
    end: u64,
    count: usize,
}

impl Scale {
    /// Creates the scale of these spans, each of which begins where the one before ends.
    pub(crate) const fn new(origin: u64, below: Below, spans: &[Span], end: u64) -> Scale {
        let low = spans[0].low;
        let mut octaves = [Octave { before: 0, cut: 0 }; 64];
        let mut before = match below {
            Below::Exact => (1 << low) - origin,
            Below::Apart => 2,
            Below::Together => 1,
        };
        let (mut i, mut octave) = (0, low);
        while i < spans.len() {
            assert!(octave == spans[i].low && spans[i].cut <= octave);
            while octave < spans[i].high {
                octaves[octave as usize] =
                    Octave { before: before as u16, cut: spans[i].cut as u8 };
                before += 1 << spans[i].cut;
                octave += 1;
            }
            i += 1;
        }
        let count = before as usize + if end > 0 { 1 } else { 0 };
        Scale { origin, below, low, high: octave, octaves, end, count }
    }

    /// Returns the number of buckets in the scale.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Returns the bucket of `value`, or `None` outside the scale.
    #[inline]
    pub(crate) fn index(&self, value: u64) -> Option<usize> {
        if value >> self.low == 0 {
            let place = value.checked_sub(self.origin)?;
            return Some(match self.below {
                Below::Exact => place as usize,
                Below::Apart => usize::from(place > 0),
                Below::Together => 0,
            });
        }
        // The highest bit that is set names the octave, the `cut` bits below it the bucket.
        let octave = value.ilog2();
        if octave >= self.high {
            return (value < self.end).then_some(self.count - 1);
        }
        let Octave { before, cut } = self.octaves[octave as usize];
        let within = (value >> (octave - u32::from(cut))) - (1 << cut);
        Some(usize::from(before) + within as usize)
    }

    /// Returns the bucket of `value` and its values, or `None` outside the scale.
    #[inline]
    pub(crate) fn find(&self, value: u64) -> Option<(usize, Bucket)> {
        let index = self.index(value)?;
        if value >> self.low == 0 || value >> self.high != 0 {
            return Some((index, self.bucket(index)));
        }
        Some((index, self.bucket_in(value.ilog2(), index)))
    }

    /// Returns the values of bucket `index`, which is one of an octave.
    const fn bucket_in(&self, octave: u32, index: usize) -> Bucket {
        let Octave { before, cut } = self.octaves[octave as usize];
        let width = 1u64 << (octave - cut as u32);
        let first = (1u64 << octave) + (index - before as usize) as u64 * width;
        Bucket { first, end: first + width }
    }

    /// Returns the values of bucket `index`, which must be below [`count`](Self::count).
    #[inline]
    pub(crate) const fn bucket(&self, index: usize) -> Bucket {
        let below = self.octaves[self.low as usize].before as usize;
        if index < below {
            let is_one = matches!(self.below, Below::Exact)
                || (matches!(self.below, Below::Apart) && index == 0);
            let first = self.origin + index as u64;
            return Bucket { first, end: if is_one { first + 1 } else { 1 << self.low } };
        }
        let mut octave = self.low;
        while octave < self.high {
            let Octave { before, cut } = self.octaves[octave as usize];
            if (index - before as usize) >> cut == 0 {
                return self.bucket_in(octave, index);
            }
            octave += 1;
        }
        assert!(index + 1 == self.count && self.end > 0, "a bucket outside the scale");
        Bucket { first: 1 << self.high, end: self.end }
    }
}

/// Scale of payload lengths from 1 to 65,535 octets.
pub(crate) const LENGTHS: Scale = Scale::new(
    1,
    Below::Exact,
    &[
        Span { low: 3, high: 9, cut: 1 },
        Span { low: 9, high: 11, cut: 2 },
        Span { low: 11, high: 16, cut: 1 },
    ],
    0,
);

/// Scale of window changes from 1 to 65,535, unscaled.
pub(crate) const WINDOW_STEPS: Scale =
    Scale::new(1, Below::Exact, &[Span { low: 2, high: 16, cut: 0 }], 0);

/// End of the last bucket of a time, which begins at 73 minutes.
pub(crate) const END_OF_TIME: u64 = 1 << 63;

/// Scale of gaps, in nanoseconds. Octaves are cut where that saves most digits of flows in
/// microseconds: into buckets of at most 1, 256 or 65,536 of them.
const GAPS: Scale = Scale::new(
    0,
    Below::Apart,
    &[
        Span { low: 10, high: 11, cut: 0 },
        Span { low: 11, high: 12, cut: 1 },
        Span { low: 12, high: 13, cut: 2 },
        Span { low: 13, high: 14, cut: 3 },
        Span { low: 14, high: 15, cut: 4 },
        Span { low: 15, high: 17, cut: 1 },
        Span { low: 17, high: 20, cut: 2 },
        Span { low: 20, high: 21, cut: 3 },
        Span { low: 21, high: 22, cut: 4 },
        Span { low: 22, high: 28, cut: 2 },
        Span { low: 28, high: 29, cut: 3 },
        Span { low: 29, high: 30, cut: 2 },
        Span { low: 30, high: 35, cut: 1 },
        Span { low: 35, high: 42, cut: 0 },
    ],
    END_OF_TIME,
);

/// Scale of the times since an answer was due, in nanoseconds.
const LATE: Scale = Scale::new(
    0,
    Below::Apart,
    &[
        Span { low: 10, high: 11, cut: 0 },
        Span { low: 11, high: 12, cut: 1 },
        Span { low: 12, high: 13, cut: 2 },
        Span { low: 13, high: 14, cut: 3 },
        Span { low: 14, high: 19, cut: 1 },
        Span { low: 19, high: 20, cut: 2 },
        Span { low: 20, high: 21, cut: 3 },
        Span { low: 21, high: 22, cut: 4 },
        Span { low: 22, high: 23, cut: 2 },
        Span { low: 23, high: 25, cut: 1 },
        Span { low: 25, high: 26, cut: 2 },
        Span { low: 26, high: 28, cut: 1 },
        Span { low: 28, high: 42, cut: 0 },
    ],
    END_OF_TIME,
);

/// Scale of the times until an answer is due, in nanoseconds.
const EARLY: Scale = Scale::new(
    1,
    Below::Together,
    &[
        Span { low: 10, high: 11, cut: 0 },
        Span { low: 11, high: 12, cut: 1 },
        Span { low: 12, high: 13, cut: 2 },
        Span { low: 13, high: 18, cut: 0 },
        Span { low: 18, high: 19, cut: 1 },
        Span { low: 19, high: 20, cut: 2 },
        Span { low: 20, high: 42, cut: 0 },
    ],
    END_OF_TIME,
);

/// Scale of gaps in version 1, in nanoseconds.
const GAPS_1: Scale = Scale::new(
    0,
    Below::Exact,
    &[
        Span { low: 0, high: 10, cut: 0 },
        Span { low: 10, high: 30, cut: 3 },
        Span { low: 30, high: 32, cut: 2 },
        Span { low: 32, high: 33, cut: 1 },
        Span { low: 33, high: 63, cut: 0 },
    ],
    0,
);

/// Tokens that say a time by bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeTokens {
    Gap,
    Late,
    Early,
    /// Gaps of version 1.
    Gap1,
}

impl TimeTokens {
    /// Range of ids, scale, and place of the first bucket in [`TIME_BUCKETS`].
    const fn parts(self) -> (TokenRange, &'static Scale, usize) {
        match self {
            TimeTokens::Gap => (vocab::TIME, &GAPS, 0),
            TimeTokens::Late => (vocab::DUE, &LATE, GAPS.count()),
            TimeTokens::Early => (vocab::DUE_EARLY, &EARLY, GAPS.count() + LATE.count()),
            TimeTokens::Gap1 => {
                (vocab::TIME_1, &GAPS_1, GAPS.count() + LATE.count() + EARLY.count())
            }
        }
    }

    /// Returns the ids of the tokens, one for each bucket.
    pub(crate) const fn range(self) -> TokenRange {
        self.parts().0
    }

    /// Returns the bucket that a time in whole units lies in.
    pub(crate) fn index(self, units: u64, unit: TimeUnit) -> usize {
        let (range, scale, _) = self.parts();
        // Buckets are cut in nanoseconds whatever the unit, so that a token means the same in every
        // flow.
        scale.index(units.saturating_mul(unit.ns() as u64)).unwrap_or(range.count() - 1)
    }

    /// Returns the whole units in bucket `i`; there are none if `first >= end`.
    pub(crate) fn bucket(self, unit: TimeUnit, i: usize) -> Bucket {
        TIME_BUCKETS[unit as usize][self.parts().2 + i]
    }
}

/// Buckets of all scales of time, one scale after the other, in whole units.
static TIME_BUCKETS: [[Bucket; TIME_IDS]; TimeUnit::ALL.len()] = {
    let scales = [&GAPS, &LATE, &EARLY, &GAPS_1];
    let mut table = [[Bucket { first: 0, end: 0 }; TIME_IDS]; TimeUnit::ALL.len()];
    let mut unit = 0;
    while unit < table.len() {
        let ns = TimeUnit::ALL[unit].ns() as u64;
        let (mut scale, mut i, mut at) = (0, 0, 0);
        while scale < scales.len() {
            let b = scales[scale].bucket(i);
            table[unit][at] = Bucket { first: b.first.div_ceil(ns), end: b.end.div_ceil(ns) };
            (i, at) = (i + 1, at + 1);
            if i == scales[scale].count() {
                (i, scale) = (0, scale + 1);
            }
        }
        unit += 1;
    }
    table
};

/// Number of ids that say a time.
const TIME_IDS: usize = GAPS.count() + LATE.count() + EARLY.count() + GAPS_1.count();

const _: () = assert!(LENGTHS.count() == vocab::LEN.count());
const _: () = assert!(WINDOW_STEPS.count() == vocab::WIN_UP.count());
const _: () = assert!(GAPS.count() == vocab::TIME.count());
const _: () = assert!(LATE.count() == vocab::DUE.count());
const _: () = assert!(EARLY.count() == vocab::DUE_EARLY.count());
const _: () = assert!(GAPS_1.count() == vocab::TIME_1.count());
