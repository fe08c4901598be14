//! Classifiers that tell real from generated flows.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::auc::WeightedScores;
use super::features::{LearnerInput, names};
use super::ngram::Ngrams;
use super::trees::{FeatureRow, learn_and_score};
use super::{LearnerSample, auc, bootstrap_auc};
use crate::sample::Interval;

/// Number of folds of the cross-validation.
const FOLDS: usize = 3;
/// Number of features that the report lists, best separators first.
const TELLS: usize = 10;

/// ROC-AUC of one kind of classifier: 0.5 for chance, 1 for perfect separation.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Discriminator {
    /// AUC between real and generated flows.
    pub generated: Interval,
    /// AUC between real and real flows: the floor.
    pub floor: Interval,
}

/// Unit that is held out of training for the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOut {
    /// Whole captures: a classifier trained on the reference is tested on the real flows, and the
    /// other way round.
    Captures,
    /// Flows, of the same captures.
    Flows,
}

/// Results of all kinds of classifiers.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Discriminators {
    /// Number of flows of each side.
    pub flows: usize,
    /// Unit that is held out of training for the test.
    pub held_out: HeldOut,
    /// Gradient-boosted trees on behaviour and header fields.
    pub trees: Discriminator,
    /// Trees as above, where each test flow counts as often as it has packets.
    pub trees_by_packets: Discriminator,
    /// Gradient-boosted trees that see randomly drawn identifiers too; `None` where a side has
    /// none.
    pub trees_with_identifiers: Option<Discriminator>,
    /// Sequence model: smoothed n-grams of packets.
    pub sequence: Discriminator,
    /// Features of the trees that separate best on their own, best first.
    #[serde(rename = "tells")]
    pub single_features: Vec<FeatureAuc>,
}

/// Feature of a flow, and how well its value alone separates generated from real flows.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct FeatureAuc {
    /// Name of the feature, in words.
    pub name: String,
    /// ROC-AUC between real and generated flows, folded to 0.5 and above whichever side has the
    /// higher value.
    pub generated: f64,
    /// ROC-AUC between real and real flows, folded likewise.
    pub floor: f64,
}

/// Trains and tests classifiers of real and generated flows, and of real and real flows, in each
/// draw.
pub(crate) fn discriminate(
    draws: &[LearnerSample<'_>],
    has_identifiers: bool,
    rounds: u32,
    seed: u64,
) -> Discriminators {
    let trials = Trials::new(draws);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let trees =
        trials.scores(|seen, labels, others| by_trees(|s| &s.behaviour, seen, labels, others));
    Discriminators {
        flows: draws.first().map_or(0, |m| m.real.len()),
        held_out: if draws.iter().any(|m| m.has_reference) {
            HeldOut::Captures
        } else {
            HeldOut::Flows
        },
        trees: trees.discriminator(rounds, &mut random),
        trees_with_identifiers: has_identifiers.then(|| {
            let trees = trials.scores(|seen, labels, others| {
                by_trees(|s| &s.with_identifiers, seen, labels, others)
            });
            trees.discriminator(rounds, &mut random)
        }),
        sequence: trials.scores(by_sequence).discriminator(rounds, &mut random),
        trees_by_packets: trees.weighted(rounds, &mut random),
        single_features: single_features(draws, has_identifiers),
    }
}

/// Returns the features whose AUC is furthest above that of real flows.
fn single_features(draws: &[LearnerSample<'_>], has_identifiers: bool) -> Vec<FeatureAuc> {
    let row: fn(&LearnerInput) -> &FeatureRow =
        if has_identifiers { |s| &s.with_identifiers } else { |s| &s.behaviour };
    let column =
        |flows: &[&LearnerInput], i: usize| flows.iter().map(|s| row(s)[i]).collect::<Vec<_>>();
    let columns = draws.first().and_then(|m| m.real.first()).map_or(0, |s| row(s).len());
    let mean = |of: &dyn Fn(&LearnerSample<'_>) -> f64| {
        draws.iter().map(of).sum::<f64>() / draws.len().max(1) as f64
    };
    let tell = |(i, name)| {
        let against = |of: &dyn Fn(&LearnerSample<'_>) -> Vec<f64>| {
            let signed = mean(&|m| auc(&column(&m.real, i), &of(m)));
            signed.max(1.0 - signed)
        };
        FeatureAuc {
            name,
            generated: against(&|m| column(&m.generated, i)),
            floor: against(&|m| column(&m.floor, i)),
        }
    };
    let mut tells: Vec<FeatureAuc> =
        names().into_iter().take(columns).enumerate().map(tell).collect();
    tells.sort_by(|a, b| (b.generated - b.floor).total_cmp(&(a.generated - a.floor)));
    tells.truncate(TELLS);
    tells
}

/// Trains and tests trees on behaviour alone, as [`discriminate`] does.
pub(crate) fn trees_alone(draws: &[LearnerSample<'_>], rounds: u32, seed: u64) -> Discriminator {
    let trees = Trials::new(draws)
        .scores(|seen, labels, others| by_trees(|s| &s.behaviour, seen, labels, others));
    trees.discriminator(rounds, &mut ChaCha8Rng::seed_from_u64(seed))
}

/// Trials of generated flows and of the floor.
struct Trials<'a> {
    generated: Vec<Trial<'a>>,
    floor: Vec<Trial<'a>>,
}

impl<'a> Trials<'a> {
    fn new(draws: &[LearnerSample<'a>]) -> Trials<'a> {
        let mut trials = Trials { generated: Vec::new(), floor: Vec::new() };
        for LearnerSample { real, floor, generated, has_reference } in draws {
            let (more, floor_more) = if *has_reference {
                by_capture(real, floor, generated)
            } else {
                (by_flow(real, generated), by_flow(real, floor))
            };
            trials.generated.extend(more);
            trials.floor.extend(floor_more);
        }
        trials
    }

    fn scores(&self, score: Score) -> TrialScores {
        let of = |trials: &[Trial<'_>]| trials.iter().map(|t| t.scores(score)).collect();
        TrialScores { generated: of(&self.generated), floor: of(&self.floor) }
    }
}

/// Scores of all test flows, each with the number of its packets.
struct TrialScores {
    generated: Vec<WeightedScores>,
    floor: Vec<WeightedScores>,
}

impl TrialScores {
    /// Computes the AUC in which every flow counts once.
    fn discriminator(&self, rounds: u32, random: &mut ChaCha8Rng) -> Discriminator {
        let alike = |folds: &[WeightedScores]| -> Vec<WeightedScores> {
            let once = |scores: &Vec<[f64; 2]>| scores.iter().map(|&[s, _]| [s, 1.0]).collect();
            folds.iter().map(|[a, b]| [once(a), once(b)]).collect()
        };
        let [generated, floor] = [alike(&self.generated), alike(&self.floor)];
        TrialScores { generated, floor }.weighted(rounds, random)
    }

    /// Computes the AUC in which every flow counts as often as it has packets.
    fn weighted(&self, rounds: u32, random: &mut ChaCha8Rng) -> Discriminator {
        Discriminator {
            generated: bootstrap_auc(&self.generated, rounds, random),
            floor: bootstrap_auc(&self.floor, rounds, random),
        }
    }
}

/// Training flows of both labels, and test flows of both labels.
struct Trial<'a> {
    learnt: [Vec<&'a LearnerInput>; 2],
    tried: [Vec<&'a LearnerInput>; 2],
}

type Score = fn(&[&LearnerInput], &[f64], &[&LearnerInput]) -> Vec<f64>;

impl Trial<'_> {
    /// Returns the scores of the test flows with their packets: of label 0 and of label 1.
    fn scores(&self, score: Score) -> WeightedScores {
        let zeros = self.learnt[0].len();
        let learnt = self.learnt.concat();
        let labels: Vec<f64> =
            (0..learnt.len()).map(|i| if i < zeros { 0.0 } else { 1.0 }).collect();
        let tried = self.tried.concat();
        let scores = score(&learnt, &labels, &tried);
        let weighted = scores.into_iter().zip(&tried).map(|(s, f)| [s, f64::from(f.packets)]);
        let mut firsts: Vec<[f64; 2]> = weighted.collect();
        let seconds = firsts.split_off(self.tried[0].len());
        [firsts, seconds]
    }
}

/// Returns trials that hold out whole captures: training on one set of captures, testing on the
/// other. Serves generated flows and the floor.
fn by_capture<'a>(
    real: &[&'a LearnerInput],
    floor: &[&'a LearnerInput],
    generated: &[&'a LearnerInput],
) -> (Vec<Trial<'a>>, Vec<Trial<'a>>) {
    let made = parts(generated, 2);
    let trial = |[learnt, tried]: [&[&'a LearnerInput]; 2], half: usize| Trial {
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

/// Returns trials that hold out each third in turn and train on the other two.
fn by_flow<'a>(first: &[&'a LearnerInput], second: &[&'a LearnerInput]) -> Vec<Trial<'a>> {
    let (first, second) = (parts(first, FOLDS), parts(second, FOLDS));
    let others = |parts: &[Vec<&'a LearnerInput>], held: usize| -> Vec<&'a LearnerInput> {
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

/// Splits flows into `n` parts by taking every `n`-th; the flows are in random order already.
fn parts<'a>(flows: &[&'a LearnerInput], n: usize) -> Vec<Vec<&'a LearnerInput>> {
    (0..n).map(|part| flows.iter().copied().skip(part).step_by(n).collect()).collect()
}

fn by_trees(
    row: fn(&LearnerInput) -> &FeatureRow,
    train: &[&LearnerInput],
    labels: &[f64],
    test: &[&LearnerInput],
) -> Vec<f64> {
    let rows = |seen: &[&'_ LearnerInput]| -> Vec<FeatureRow> {
        seen.iter().map(|&s| row(s).clone()).collect()
    };
    let (train, test) = (rows(train), rows(test));
    learn_and_score(&train.iter().collect::<Vec<_>>(), labels, &test.iter().collect::<Vec<_>>())
}

/// Returns the bits per packet of a flow under a model of label 0 minus those under a model of
/// label 1.
fn by_sequence(train: &[&LearnerInput], labels: &[f64], test: &[&LearnerInput]) -> Vec<f64> {
    let mut models = [Ngrams::default(), Ngrams::default()];
    for (seen, &label) in train.iter().zip(labels) {
        models[usize::from(label > 0.5)].learn(&seen.symbols);
    }
    let bits = |s: &LearnerInput| {
        models[0].bits_per_packet(&s.symbols) - models[1].bits_per_packet(&s.symbols)
    };
    test.iter().map(|s| bits(s)).collect()
}
