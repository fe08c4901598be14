//! Distance of continuous distributions.

/// Range over which distances are taken: the 0.1st to the 99.9th percentile of the real values.
/// Values outside are moved to its edge and counted.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct ValueRange {
    /// Lower end: the 0.1st percentile of the real values.
    pub low: f64,
    /// Upper end: the 99.9th percentile of the real values.
    pub high: f64,
}

impl ValueRange {
    /// Returns the range of sorted values; `None` for an empty slice.
    #[must_use]
    pub fn from_sorted(sorted: &[f64]) -> Option<ValueRange> {
        let at = |share: f64| {
            sorted.get(((sorted.len().max(1) - 1) as f64 * share).round() as usize).copied()
        };
        Some(ValueRange { low: at(0.001)?, high: at(0.999)? })
    }

    /// Returns the share of values outside the range, 0 to 1.
    #[must_use]
    pub fn clipped(&self, values: &[f64]) -> f64 {
        let outside = values.iter().filter(|&&v| v < self.low || v > self.high).count();
        outside as f64 / values.len().max(1) as f64
    }
}

/// Returns the Wasserstein-1 distance of two sorted samples, in their unit, with values clipped to
/// `range`: the area between their distribution functions. If only one sample is empty, the
/// distance is the width of the range.
#[must_use]
pub fn wasserstein1(a: &[f64], b: &[f64], range: ValueRange) -> f64 {
    area_between(a, b, range, |&value| [value, 1.0])
}

/// Returns the Wasserstein-1 distance of two samples of values with their weights, sorted by value.
pub(crate) fn weighted_wasserstein1(a: &[[f64; 2]], b: &[[f64; 2]], range: ValueRange) -> f64 {
    area_between(a, b, range, |&pair| pair)
}

/// Returns the area between the distribution functions of two samples; `pair` gives the value and
/// the weight of an entry.
fn area_between<T>(a: &[T], b: &[T], range: ValueRange, pair: impl Fn(&T) -> [f64; 2]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 0.0 } else { range.high - range.low };
    }
    let total = |sample: &[T]| sample.iter().map(|entry| pair(entry)[1]).sum::<f64>();
    let value = |entry: &T| pair(entry)[0].clamp(range.low, range.high);
    let totals = [total(a), total(b)];
    let (mut i, mut j, mut area) = (0, 0, 0.0);
    let mut below = [0.0; 2];
    let mut before = range.low;
    while i < a.len() || j < b.len() {
        let next = match (a.get(i).map(&value), b.get(j).map(&value)) {
            (Some(x), Some(y)) => x.min(y),
            (Some(x), None) | (None, Some(x)) => x,
            (None, None) => break,
        };
        area += (below[0] / totals[0] - below[1] / totals[1]).abs() * (next - before);
        before = next;
        while let Some(entry) = a.get(i).filter(|entry| value(entry) <= next) {
            below[0] += pair(entry)[1];
            i += 1;
        }
        while let Some(entry) = b.get(j).filter(|entry| value(entry) <= next) {
            below[1] += pair(entry)[1];
            j += 1;
        }
    }
    area
}

/// Returns the Kolmogorov-Smirnov distance of two sorted samples: the largest difference of their
/// distribution functions.
#[must_use]
pub fn ks(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 0.0 } else { 1.0 };
    }
    let (mut i, mut j, mut most) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let next = a[i].min(b[j]);
        while a.get(i).is_some_and(|&x| x <= next) {
            i += 1;
        }
        while b.get(j).is_some_and(|&y| y <= next) {
            j += 1;
        }
        most = most.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDE: ValueRange = ValueRange { low: -1e9, high: 1e9 };

    #[test]
    fn known_values() {
        assert_eq!(wasserstein1(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0], WIDE), 5.0);
        assert_eq!(wasserstein1(&[1.0], &[1.0, 1.0], WIDE), 0.0);
        let range = ValueRange { low: 0.0, high: 2.0 };
        assert_eq!(wasserstein1(&[0.0], &[100.0], range), 2.0, "clipped");
        assert_eq!(range.clipped(&[-1.0, 1.0, 3.0, 2.0]), 0.5);
        assert_eq!(ks(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        // A weight of 3 is the value three times.
        let (heavy, light) = ([[0.0, 3.0], [4.0, 1.0]], [[0.0, 1.0], [4.0, 1.0]]);
        assert_eq!(weighted_wasserstein1(&heavy, &light, WIDE), 1.0);
        assert_eq!(ks(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
    }

    proptest! {
        #[test]
        fn a_shift_is_its_distance(
            mut values in prop::collection::vec(-1e3f64..1e3, 1..50),
            by in -1e3f64..1e3,
        ) {
            values.sort_by(f64::total_cmp);
            let moved: Vec<f64> = values.iter().map(|v| v + by).collect();
            prop_assert!((wasserstein1(&values, &moved, WIDE) - by.abs()).abs() < 1e-6);
        }
    }
}
