//! Whether real and generated flows can be told apart by learning from others of them.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::features::{Seen, names};
use super::ngram::Ngrams;
use super::trees::{Row, learn_and_score};
use super::{Material, auc, bootstrap_auc};
use crate::sample::Interval;

/// Parts of which each in turn is held out.
const FOLDS: usize = 3;
/// Numbers that are named, of those that tell flows apart.
const TELLS: usize = 10;

/// ROC-AUC of one kind of learner, 0.5 where it can tell nothing apart, 1 where everything.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Discriminator {
    /// Real against generated.
    pub generated: Interval,
    /// Real against real.
    pub floor: Interval,
}

/// What is held out of learning and tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOut {
    /// Whole captures: what is learnt from the reference is tried on the real flows, and the other
    /// way round.
    Captures,
    /// Flows, of the same captures.
    Flows,
}

/// Every kind of learner.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Discriminators {
    /// Flows of each side.
    pub flows: usize,
    /// What is held out of learning and tried.
    pub held_out: HeldOut,
    /// Gradient-boosted trees on behaviour and header fields.
    pub trees: Discriminator,
    /// The same, given what flows draw at random too; absent where a side has none.
    pub trees_with_identifiers: Option<Discriminator>,
    /// Smoothed n-grams of packets.
    pub sequence: Discriminator,
    /// What tells most by itself of all that the trees are given, best first.
    pub tells: Vec<Tell>,
}

/// One number of a flow, and how well it tells generated flows from real ones without any learning.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Tell {
    /// What is counted or measured.
    pub name: String,
    /// ROC-AUC against real flows, from 0.5, whichever side has the higher number.
    pub generated: f64,
    /// The same of real flows against real ones.
    pub floor: f64,
}

/// Tells real flows from generated ones, and real ones from real ones, in each draw of them.
pub(crate) fn discriminate(
    draws: &[Material<'_>],
    has_identifiers: bool,
    rounds: u32,
    seed: u64,
) -> Discriminators {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut trials, mut floor_trials) = (Vec::new(), Vec::new());
    for Material { real, floor, generated, has_reference } in draws {
        if *has_reference {
            let (more, floor_more) = by_capture(real, floor, generated);
            trials.extend(more);
            floor_trials.extend(floor_more);
        } else {
            trials.extend(by_flow(real, generated));
            floor_trials.extend(by_flow(real, floor));
        }
    }
    let mut both = |score: Score| {
        let mut against = |trials: &[Trial<'_>]| {
            bootstrap_auc(
                &trials.iter().map(|t| t.scores(score)).collect::<Vec<_>>(),
                rounds,
                &mut random,
            )
        };
        Discriminator { generated: against(&trials), floor: against(&floor_trials) }
    };
    Discriminators {
        flows: draws.first().map_or(0, |m| m.real.len()),
        held_out: if draws.iter().any(|m| m.has_reference) {
            HeldOut::Captures
        } else {
            HeldOut::Flows
        },
        trees: both(|seen, labels, others| by_trees(|s| &s.behaviour, seen, labels, others)),
        trees_with_identifiers: has_identifiers.then(|| {
            both(|seen, labels, others| by_trees(|s| &s.with_identifiers, seen, labels, others))
        }),
        sequence: both(by_sequence),
        tells: tells(draws, has_identifiers),
    }
}

/// The numbers whose AUC is furthest above that of real flows.
fn tells(draws: &[Material<'_>], has_identifiers: bool) -> Vec<Tell> {
    let row: fn(&Seen) -> &Row =
        if has_identifiers { |s| &s.with_identifiers } else { |s| &s.behaviour };
    let column = |flows: &[&Seen], i: usize| flows.iter().map(|s| row(s)[i]).collect::<Vec<_>>();
    let columns = draws.first().and_then(|m| m.real.first()).map_or(0, |s| row(s).len());
    let mean = |of: &dyn Fn(&Material<'_>) -> f64| {
        draws.iter().map(of).sum::<f64>() / draws.len().max(1) as f64
    };
    let tell = |(i, name)| {
        let against = |of: &dyn Fn(&Material<'_>) -> Vec<f64>| {
            let signed = mean(&|m| auc(&column(&m.real, i), &of(m)));
            signed.max(1.0 - signed)
        };
        Tell {
            name,
            generated: against(&|m| column(&m.generated, i)),
            floor: against(&|m| column(&m.floor, i)),
        }
    };
    let mut tells: Vec<Tell> = names().into_iter().take(columns).enumerate().map(tell).collect();
    tells.sort_by(|a, b| (b.generated - b.floor).total_cmp(&(a.generated - a.floor)));
    tells.truncate(TELLS);
    tells
}

/// Flows of both kinds to learn from, and others to be tried on.
struct Trial<'a> {
    learnt: [Vec<&'a Seen>; 2],
    tried: [Vec<&'a Seen>; 2],
}

type Score = fn(&[&Seen], &[f64], &[&Seen]) -> Vec<f64>;

impl Trial<'_> {
    /// Scores of what is tried: of the first kind (label 0) and of the second (label 1).
    fn scores(&self, score: Score) -> [Vec<f64>; 2] {
        let zeros = self.learnt[0].len();
        let learnt = self.learnt.concat();
        let labels: Vec<f64> =
            (0..learnt.len()).map(|i| if i < zeros { 0.0 } else { 1.0 }).collect();
        let mut scores = score(&learnt, &labels, &self.tried.concat());
        let seconds = scores.split_off(self.tried[0].len());
        [scores, seconds]
    }
}

/// Whole captures are held out: what is learnt from one set of captures is tried on the other. For
/// generated flows, and for the floor.
fn by_capture<'a>(
    real: &[&'a Seen],
    floor: &[&'a Seen],
    generated: &[&'a Seen],
) -> (Vec<Trial<'a>>, Vec<Trial<'a>>) {
    let made = parts(generated, 2);
    let trial = |[learnt, tried]: [&[&'a Seen]; 2], half: usize| Trial {
        learnt: [learnt.to_vec(), made[half].clone()],
        tried: [tried.to_vec(), made[1 - half].clone()],
    };
    let [a, b] = [real, floor].map(|of| {
        let mut halves = parts(of, 2);
        let second = halves.pop().unwrap_or_default();
        [halves.pop().unwrap_or_default(), second]
    });
    let trials = vec![trial([floor, real], 0), trial([real, floor], 1)];
    (trials, vec![Trial { learnt: a.clone(), tried: b.clone() }, Trial { learnt: b, tried: a }])
}

/// Each third in turn is tried after learning from the two others.
fn by_flow<'a>(first: &[&'a Seen], second: &[&'a Seen]) -> Vec<Trial<'a>> {
    let (first, second) = (parts(first, FOLDS), parts(second, FOLDS));
    let others = |parts: &[Vec<&'a Seen>], held: usize| -> Vec<&'a Seen> {
        parts
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != held)
            .flat_map(|(_, part)| part.iter().copied())
            .collect()
    };
    let trial = |held: usize| Trial {
        learnt: [others(&first, held), others(&second, held)],
        tried: [first[held].clone(), second[held].clone()],
    };
    (0..FOLDS).map(trial).collect()
}

/// Every `n`-th flow. They come in an order that was drawn.
fn parts<'a>(flows: &[&'a Seen], n: usize) -> Vec<Vec<&'a Seen>> {
    (0..n).map(|part| flows.iter().copied().skip(part).step_by(n).collect()).collect()
}

fn by_trees(row: fn(&Seen) -> &Row, train: &[&Seen], labels: &[f64], test: &[&Seen]) -> Vec<f64> {
    let rows = |seen: &[&'_ Seen]| -> Vec<Row> { seen.iter().map(|&s| row(s).clone()).collect() };
    let (train, test) = (rows(train), rows(test));
    learn_and_score(&train.iter().collect::<Vec<_>>(), labels, &test.iter().collect::<Vec<_>>())
}

/// How many more bits per packet a flow takes under a model of the first side than under one of the
/// second.
fn by_sequence(train: &[&Seen], labels: &[f64], test: &[&Seen]) -> Vec<f64> {
    let mut models = [Ngrams::default(), Ngrams::default()];
    for (seen, &label) in train.iter().zip(labels) {
        models[usize::from(label > 0.5)].learn(&seen.symbols);
    }
    let bits =
        |s: &Seen| models[0].bits_per_packet(&s.symbols) - models[1].bits_per_packet(&s.symbols);
    test.iter().map(|s| bits(s)).collect()
}
