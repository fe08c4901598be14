//! Area under the receiver operating characteristic.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::sample::Interval;

/// Returns the probability that a member of `positive` has a higher score than a member of
/// `negative`, with ties counted half: 0.5 for uninformative scores, 1 for perfect ones. This is
/// Mann-Whitney's U divided by the product of the sizes; 0.5 for an empty slice.
#[must_use]
pub fn auc(negative: &[f64], positive: &[f64]) -> f64 {
    if negative.is_empty() || positive.is_empty() {
        return 0.5;
    }
    let mut all: Vec<(f64, bool)> =
        negative.iter().map(|&s| (s, false)).chain(positive.iter().map(|&s| (s, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let positives = tied.iter().filter(|(_, is_positive)| *is_positive).count() as f64;
        let negatives = tied.len() as f64 - positives;
        wins += positives * (below + negatives / 2.0);
        below += negatives;
    }
    wins / (negative.len() as f64 * positive.len() as f64)
}

/// Returns the mean AUC of folds, each `[negative, positive]` scores, with a bootstrap over the
/// scored flows.
pub(crate) fn bootstrap_auc(
    folds: &[[Vec<f64>; 2]],
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Interval {
    let mean = |of: &[[Vec<f64>; 2]]| {
        of.iter().map(|[a, b]| auc(a, b)).sum::<f64>() / of.len().max(1) as f64
    };
    let value = mean(folds);
    let repeated: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let mut again = |scores: &Vec<f64>| -> Vec<f64> {
                (0..scores.len()).map(|_| scores[random.random_range(0..scores.len())]).collect()
            };
            mean(&folds.iter().map(|[a, b]| [again(a), again(b)]).collect::<Vec<_>>())
        })
        .collect();
    let spread = Interval::from_repeats(&repeated);
    Interval { value, low: spread.low, high: spread.high }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(auc(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(auc(&[3.0, 4.0], &[1.0, 2.0]), 0.0);
        assert_eq!(auc(&[1.0, 1.0], &[1.0]), 0.5);
        // Of the six pairs, (1, 2), (1, 4), (3, 4), (2, 4) won, (3, 2) lost, (2, 2) a tie.
        assert_eq!(auc(&[1.0, 2.0, 3.0], &[2.0, 4.0]), 4.5 / 6.0);
        assert_eq!(auc(&[], &[1.0]), 0.5);
    }

    proptest! {
        #[test]
        fn it_is_the_share_of_pairs(
            a in prop::collection::vec(0..9_i32, 1..20),
            b in prop::collection::vec(0..9_i32, 1..20),
        ) {
            let as_f64 = |v: &[i32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let pairs = a.iter().flat_map(|x| b.iter().map(move |y| match x.cmp(y) {
                std::cmp::Ordering::Less => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 0.0,
            }));
            let expected = pairs.sum::<f64>() / (a.len() * b.len()) as f64;
            prop_assert!((auc(&as_f64(&a), &as_f64(&b)) - expected).abs() < 1e-12);
        }
    }
}
