//! Scale of the gaps between starts.

use super::vocab;
use crate::TokenId;
use crate::field::TimeUnit;
use crate::field::bucket::{Below, Bucket, END_OF_TIME, Scale, Span};

/// Scale of gaps, in nanoseconds. Up to a second a bucket has at most 65,536 microseconds, so that
/// two digits are enough.
const GAPS: Scale = Scale::new(
    0,
    Below::Apart,
    &[
        Span { low: 10, high: 19, cut: 1 },
        Span { low: 19, high: 20, cut: 2 },
        Span { low: 20, high: 21, cut: 3 },
        Span { low: 21, high: 27, cut: 1 },
        Span { low: 27, high: 28, cut: 2 },
        Span { low: 28, high: 29, cut: 3 },
        Span { low: 29, high: 30, cut: 4 },
        Span { low: 30, high: 42, cut: 1 },
    ],
    END_OF_TIME,
);

const _: () = assert!(GAPS.count() == vocab::AFTER.count() && GAPS.count() == vocab::WHILE.count());

/// Returns the bucket of a gap in whole units, and the units in it.
pub(super) fn find(units: u64, unit: TimeUnit) -> Option<(usize, Bucket)> {
    let (i, _) = GAPS.find(units.checked_mul(unit.ns() as u64)?)?;
    Some((i, bucket(i, unit)))
}

/// Returns the whole units of a bucket; there are none if `first >= end`.
pub(super) const fn bucket(i: usize, unit: TimeUnit) -> Bucket {
    let (bucket, ns) = (GAPS.bucket(i), unit.ns() as u64);
    Bucket { first: bucket.first.div_ceil(ns), end: bucket.end.div_ceil(ns) }
}

/// Returns a token that says a gap as the number of its anchor and half octave, with the bits that
/// tell a microsecond of the half octave; other tokens as they are, with none.
#[must_use]
pub fn half_octave(token: TokenId) -> (TokenId, f64) {
    let Some(i) = vocab::gap(token) else { return (token, 0.0) };
    let Bucket { first, .. } = GAPS.bucket(i);
    let octave = first.max(512).ilog2();
    let is_upper = first >> (octave - 1) & 1;
    let anchor = 2 * 64 * u64::from(vocab::AFTER.arg(token).is_some());
    let number = anchor + 2 * u64::from(octave) + is_upper;
    let us = (1_u64 << (octave - 1)) as f64 / 1000.0;
    // Beyond all ids of the table.
    (vocab::VOCAB_SIZE as TokenId + number as TokenId, us.max(1.0).log2())
}
