//! Samples of flows, and intervals over repeated samples.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Mean over repeated samples, with the 2.5th and the 97.5th percentile.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Interval {
    /// Mean over the repeated samples.
    pub value: f64,
    /// Lower end: the 2.5th percentile.
    pub low: f64,
    /// Upper end: the 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// Creates the interval of at least one value.
    pub(crate) fn from_repeats(values: &[f64]) -> Interval {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
        Interval {
            value: values.iter().sum::<f64>() / values.len() as f64,
            low: at(0.025),
            high: at(0.975),
        }
    }

    /// Creates the interval of the mean of `values`, with the spread of `repeated` around its own
    /// mean (bootstrap).
    pub(crate) fn with_bootstrap(values: &[f64], repeated: &[f64]) -> Interval {
        let (point, spread) = (Interval::from_repeats(values), Interval::from_repeats(repeated));
        let shifted = |edge: f64| (point.value + edge - spread.value).max(0.0);
        Interval { value: point.value, low: shifted(spread.low), high: shifted(spread.high) }
    }
}

/// One draw, as indices of flows in their sets.
pub(crate) struct SampleDraw {
    /// Indices of real flows.
    pub(crate) real: Vec<usize>,
    /// Indices of the flows that real ones are compared with for the floor: disjoint from `real`
    /// where both come from one set.
    pub(crate) floor: Vec<usize>,
    /// Indices of generated flows, each at most once.
    pub(crate) generated: Vec<usize>,
    /// Indices of generated flows, drawn with replacement.
    pub(crate) resampled: Vec<usize>,
}

impl SampleDraw {
    /// Returns the draw's indices that are wanted, by the side they are of.
    pub(crate) fn filtered(
        &self,
        [real, floor, generated]: [&dyn Fn(usize) -> bool; 3],
    ) -> SampleDraw {
        let keep = |indices: &[usize], wanted: &dyn Fn(usize) -> bool| {
            indices.iter().copied().filter(|&i| wanted(i)).collect()
        };
        SampleDraw {
            real: keep(&self.real, real),
            floor: keep(&self.floor, floor),
            generated: keep(&self.generated, generated),
            resampled: keep(&self.resampled, generated),
        }
    }

    /// Returns the draw's first `n` indices of each set.
    pub(crate) fn truncated(&self, n: usize) -> SampleDraw {
        let cut = |indices: &[usize]| indices[..n.min(indices.len())].to_vec();
        SampleDraw {
            real: cut(&self.real),
            floor: cut(&self.floor),
            generated: cut(&self.generated),
            resampled: cut(&self.resampled),
        }
    }
}

/// Draws samples of `n` flows each. `reference` is the size of a second real set, if there is one.
pub(crate) fn draw_sample(
    n: usize,
    real: usize,
    reference: Option<usize>,
    generated: usize,
    random: &mut ChaCha8Rng,
) -> SampleDraw {
    let mut shuffled = |len: usize| {
        let mut indices: Vec<usize> = (0..len).collect();
        indices.shuffle(random);
        indices
    };
    let (first, floor) = match reference {
        Some(len) => (shuffled(real), shuffled(len)),
        None => {
            let mut first = shuffled(real);
            let floor = first.split_off(n.min(first.len()));
            (first, floor)
        }
    };
    let generated_once = shuffled(generated);
    let cut = |mut indices: Vec<usize>| {
        indices.truncate(n);
        indices
    };
    let resampled = (0..n).map(|_| random.random_range(0..generated)).collect();
    SampleDraw { real: cut(first), floor: cut(floor), generated: cut(generated_once), resampled }
}
