//! Area under the receiver operating characteristic.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::sample::Interval;

/// Returns the probability that a member of `positive` has a higher score than a member of
/// `negative`, with ties counted half: 0.5 for uninformative scores, 1 for perfect ones. This is
/// Mann-Whitney's U divided by the product of the sizes; 0.5 for an empty slice.
#[must_use]
pub fn auc(negative: &[f64], positive: &[f64]) -> f64 {
    let alike = |scores: &[f64]| scores.iter().map(|&score| [score, 1.0]).collect::<Vec<_>>();
    weighted_auc(&alike(negative), &alike(positive))
}

/// Returns [`auc`] of scores with their weights: members are drawn in proportion to these.
fn weighted_auc(negative: &[[f64; 2]], positive: &[[f64; 2]]) -> f64 {
    if negative.is_empty() || positive.is_empty() {
        return 0.5;
    }
    let mut all: Vec<([f64; 2], bool)> =
        negative.iter().map(|&s| (s, false)).chain(positive.iter().map(|&s| (s, true))).collect();
    all.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let (mut below, mut above, mut wins) = (0.0, 0.0, 0.0);
    for tied in all.chunk_by(|a, b| a.0[0] == b.0[0]) {
        let weight = |of: bool| -> f64 {
            tied.iter().filter(|(_, is_positive)| *is_positive == of).map(|(s, _)| s[1]).sum()
        };
        let [negatives, positives] = [false, true].map(weight);
        wins += positives * (below + negatives / 2.0);
        below += negatives;
        above += positives;
    }
    wins / (below * above)
}

/// Scores of one fold with the weight of each, of negative and of positive members.
pub(crate) type WeightedScores = [Vec<[f64; 2]>; 2];

/// Returns the mean AUC of folds, with a bootstrap over the scored flows.
pub(crate) fn bootstrap_auc(
    folds: &[WeightedScores],
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Interval {
    let mean = |of: &[WeightedScores]| {
        of.iter().map(|[a, b]| weighted_auc(a, b)).sum::<f64>() / of.len().max(1) as f64
    };
    let value = mean(folds);
    let repeated: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let mut again = |scores: &Vec<[f64; 2]>| -> Vec<[f64; 2]> {
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
        // A weight of 2 is the score twice.
        assert_eq!(weighted_auc(&[[1.0, 2.0], [3.0, 1.0]], &[[2.0, 1.0]]), 2.0 / 3.0);
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
