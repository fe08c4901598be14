//! Whether real and generated flows can be told apart by learning from others of them.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::bootstrap_auc;
use super::features::Seen;
use super::folds::fold_of;
use super::ngram::Ngrams;
use super::trees::{Row, learn_and_score};
use crate::sample::Interval;

/// Parts of which each in turn is held out.
const FOLDS: u8 = 3;

/// ROC-AUC of one kind of learner, 0.5 where it can tell nothing apart, 1 where everything.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Discriminator {
    /// Real against generated.
    pub generated: Interval,
    /// Real against real.
    pub floor: Interval,
}

/// Every kind of learner.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Discriminators {
    /// Flows of each side.
    pub flows: usize,
    /// Share of the real flows whose capture is held out whole.
    pub whole_captures: f64,
    /// Gradient-boosted trees on behaviour and header fields.
    pub trees: Discriminator,
    /// The same, given what flows draw at random too; absent where a side has none.
    pub trees_with_identifiers: Option<Discriminator>,
    /// Smoothed n-grams of packets.
    pub sequence: Discriminator,
}

/// Flows to learn from, with the capture of each.
pub(crate) struct Material<'a> {
    pub(crate) seen: Vec<&'a Seen>,
    pub(crate) captures: Vec<u32>,
}

/// Tells `real` from `generated`, and `real` from `floor`, by learning from two thirds and scoring the other third, in turn.
pub(crate) fn discriminate(
    real: &Material<'_>,
    generated: &Material<'_>,
    floor: &Material<'_>,
    has_identifiers: bool,
    rounds: u32,
    seed: u64,
) -> Discriminators {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let [a, b, c] = [real, generated, floor].map(|m| fold_of(&m.captures, FOLDS, &mut random));
    let mut both = |score: Score| {
        let mut against = |other: &Material<'_>, folds: &[u8]| {
            let scores: Vec<_> = (0..FOLDS).map(|fold| held_out(real, &a.of, other, folds, fold, score)).collect();
            bootstrap_auc(&scores, rounds, &mut random)
        };
        Discriminator { generated: against(generated, &b.of), floor: against(floor, &c.of) }
    };
    Discriminators {
        flows: real.seen.len(),
        whole_captures: a.whole as f64 / real.seen.len().max(1) as f64,
        trees: both(|seen, labels, others| by_trees(|s| &s.behaviour, seen, labels, others)),
        trees_with_identifiers: has_identifiers
            .then(|| both(|seen, labels, others| by_trees(|s| &s.with_identifiers, seen, labels, others))),
        sequence: both(by_sequence),
    }
}

type Score = fn(&[&Seen], &[f64], &[&Seen]) -> Vec<f64>;

/// Scores of the flows of a fold, by a learner of the others: of the first side (label 0) and of the second (label 1).
fn held_out(a: &Material<'_>, in_a: &[u8], b: &Material<'_>, in_b: &[u8], fold: u8, score: Score) -> [Vec<f64>; 2] {
    let part = |m: &Material<'_>, folds: &[u8], is_held: bool| -> Vec<usize> {
        (0..m.seen.len()).filter(|&i| (folds[i] == fold) == is_held).collect()
    };
    let pick = |is_held| -> (Vec<&Seen>, usize) {
        let (first, second) = (part(a, in_a, is_held), part(b, in_b, is_held));
        let seen = first.iter().map(|&i| a.seen[i]).chain(second.iter().map(|&i| b.seen[i])).collect();
        (seen, first.len())
    };
    let ((train, zeros), (test, firsts)) = (pick(false), pick(true));
    let labels: Vec<f64> = (0..train.len()).map(|i| if i < zeros { 0.0 } else { 1.0 }).collect();
    let mut scores = score(&train, &labels, &test);
    let seconds = scores.split_off(firsts);
    [scores, seconds]
}

fn by_trees(row: fn(&Seen) -> &Row, train: &[&Seen], labels: &[f64], test: &[&Seen]) -> Vec<f64> {
    let rows = |seen: &[&'_ Seen]| -> Vec<Row> { seen.iter().map(|&s| row(s).clone()).collect() };
    let (train, test) = (rows(train), rows(test));
    learn_and_score(&train.iter().collect::<Vec<_>>(), labels, &test.iter().collect::<Vec<_>>())
}

/// How many more bits per packet a flow takes under a model of the first side than under one of the second.
fn by_sequence(train: &[&Seen], labels: &[f64], test: &[&Seen]) -> Vec<f64> {
    let mut models = [Ngrams::default(), Ngrams::default()];
    for (seen, &label) in train.iter().zip(labels) {
        models[usize::from(label > 0.5)].learn(&seen.symbols);
    }
    let bits = |s: &Seen| models[0].bits_per_packet(&s.symbols) - models[1].bits_per_packet(&s.symbols);
    test.iter().map(|s| bits(s)).collect()
}
