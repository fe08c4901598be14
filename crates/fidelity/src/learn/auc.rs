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

/// Returns the mean AUC of folds, with a bootstrap over units: those of a fold's scores, of
/// negative and of positive members.
pub(crate) fn bootstrap_units(
    folds: &[(WeightedScores, [Vec<usize>; 2])],
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Interval {
    let mean = |of: &[WeightedScores]| {
        of.iter().map(|[a, b]| weighted_auc(a, b)).sum::<f64>() / of.len().max(1) as f64
    };
    let scores: Vec<WeightedScores> = folds.iter().map(|(scores, _)| scores.clone()).collect();
    let mut again = |scores: &[[f64; 2]], units: &[usize]| -> Vec<[f64; 2]> {
        let mut distinct = units.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut times = vec![0.0; distinct.len()];
        (0..distinct.len()).for_each(|_| times[random.random_range(0..distinct.len())] += 1.0);
        let drawn = |unit: usize| distinct.binary_search(&unit).map_or(0.0, |at| times[at]);
        scores.iter().zip(units).map(|(&[s, w], &unit)| [s, w * drawn(unit)]).collect()
    };
    let repeated: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let one = |(scores, units): &(WeightedScores, [Vec<usize>; 2])| {
                [again(&scores[0], &units[0]), again(&scores[1], &units[1])]
            };
            mean(&folds.iter().map(one).collect::<Vec<_>>())
        })
        .collect();
    let spread = Interval::from_repeats(&repeated);
    Interval { value: mean(&scores), low: spread.low, high: spread.high }
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

    #[test]
    fn units_are_drawn_as_a_whole() {
        let mut random = rand::SeedableRng::seed_from_u64(1);
        // One of two units of the positive members is told apart, the other one is not.
        let scores = [vec![[1.0, 1.0]; 4], [[2.0, 1.0], [0.0, 1.0]].repeat(10)];
        let units = [vec![0, 1, 2, 3], [0, 1].repeat(10)];
        let found = bootstrap_units(&[(scores, units)], 200, &mut random);
        assert_eq!((found.low, found.value, found.high), (0.0, 0.5, 1.0));
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
