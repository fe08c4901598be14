//! What generated flows teach: train on synthetic, test on real, over train on real, test on real.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use super::discriminate::Material;
use super::features::EARLY;
use super::folds::fold_of;
use super::trees::{Row, learn_and_score};
use crate::sample::Interval;

/// Classes at most: so many server ports, the most frequent ones, and all others.
const PORTS: usize = 5;
/// Flows that a port needs to be a class.
const LEAST: usize = 15;

/// How well a classifier does on real flows that it has not seen: it tells the server port from the first packets.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Utility {
    /// The classes: server ports; all others together are one more.
    pub ports: Vec<u16>,
    /// Packets that are seen.
    pub packets: usize,
    /// Real flows that are classified.
    pub flows: usize,
    /// Balanced accuracy after learning from real flows: the share of a class that is right, the mean over classes.
    pub real: Interval,
    /// The same after learning from as many generated ones.
    pub generated: Interval,
    /// The second over the first.
    pub ratio: Interval,
    /// What guessing gives.
    pub chance: f64,
}

/// Learns from one half of `real` (split by capture) and from as many of `generated`, and classifies the other half, in
/// turn. `None` where the real flows have fewer than two classes.
pub(crate) fn utility(real: &Material<'_>, generated: &Material<'_>, rounds: u32, seed: u64) -> Option<Utility> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7574_696c);
    let ports = classes(real);
    let class = |port: u16| ports.iter().position(|&p| p == port).unwrap_or(ports.len());
    let truth: Vec<usize> = real.seen.iter().map(|s| class(s.server_port)).collect();
    let kinds = ports.len() + usize::from(truth.contains(&ports.len()));
    if kinds < 2 {
        return None;
    }
    let folds = fold_of(&real.captures, 2, &mut random);
    let mut right = [Vec::new(), Vec::new()];
    for fold in 0..2 {
        let part = |is: bool| (0..real.seen.len()).filter(|&i| (folds.of[i] == fold) == is).collect::<Vec<_>>();
        let (test, train) = (part(true), part(false));
        let rows: Vec<&Row> = test.iter().map(|&i| &real.seen[i].early).collect();
        let taught = [
            train.iter().map(|&i| (&real.seen[i].early, truth[i])).collect::<Vec<_>>(),
            generated.seen.iter().take(train.len()).map(|s| (&s.early, class(s.server_port))).collect(),
        ];
        for (right, lessons) in right.iter_mut().zip(taught) {
            let said = classify(&lessons, kinds, &rows);
            right.extend(said.iter().zip(&test).map(|(said, &i)| (truth[i], *said == truth[i])));
        }
    }
    let n = truth.len();
    let values = |of: &[usize]| {
        let [r, g] = [0, 1].map(|taught: usize| balanced(of.iter().map(|&i| right[taught][i]), kinds));
        [r, g, if r > 0.0 { g / r } else { 1.0 }]
    };
    let everything: Vec<usize> = (0..n).collect();
    let mut repeated = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds.max(1) {
        let again: Vec<usize> = (0..n).map(|_| random.random_range(0..n)).collect();
        repeated.iter_mut().zip(values(&again)).for_each(|(list, value)| list.push(value));
    }
    let [real, generated, ratio] = values(&everything);
    let around = |value: f64, list: &[f64]| Interval { value, ..Interval::of(list) };
    Some(Utility {
        ports,
        packets: EARLY,
        flows: n,
        real: around(real, &repeated[0]),
        generated: around(generated, &repeated[1]),
        ratio: around(ratio, &repeated[2]),
        chance: 1.0 / kinds as f64,
    })
}

/// The share that is right of each class, the mean over the classes that there are.
fn balanced(said: impl Iterator<Item = (usize, bool)>, kinds: usize) -> f64 {
    let mut counts = vec![[0_u32; 2]; kinds];
    said.for_each(|(class, is_right)| counts[class][usize::from(is_right)] += 1);
    let shares: Vec<f64> = counts
        .iter()
        .filter(|[wrong, right]| wrong + right > 0)
        .map(|&[wrong, right]| f64::from(right) / f64::from(wrong + right))
        .collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

/// The most frequent server ports, in the order of their numbers.
fn classes(real: &Material<'_>) -> Vec<u16> {
    let mut counts: FxHashMap<u16, usize> = FxHashMap::default();
    real.seen.iter().for_each(|s| *counts.entry(s.server_port).or_default() += 1);
    let mut ports: Vec<(usize, u16)> =
        counts.into_iter().map(|(port, n)| (n, port)).filter(|(n, _)| *n >= LEAST).collect();
    ports.sort_by_key(|&(n, port)| (std::cmp::Reverse(n), port));
    let mut ports: Vec<u16> = ports.into_iter().take(PORTS).map(|(_, port)| port).collect();
    ports.sort_unstable();
    ports
}

/// The class of each row: that of the highest score, one class against the others.
fn classify(lessons: &[(&Row, usize)], kinds: usize, rows: &[&Row]) -> Vec<usize> {
    let taught: Vec<&Row> = lessons.iter().map(|(row, _)| *row).collect();
    let mut best = vec![(f64::NEG_INFINITY, 0); rows.len()];
    for kind in 0..kinds {
        let labels: Vec<f64> = lessons.iter().map(|(_, class)| f64::from(u8::from(*class == kind))).collect();
        let scores = match labels.iter().sum::<f64>() {
            // Never taught, or nothing else was.
            0.0 => vec![-1.0; rows.len()],
            n if n == labels.len() as f64 => vec![2.0; rows.len()],
            _ => learn_and_score(&taught, &labels, rows),
        };
        for (best, score) in best.iter_mut().zip(scores) {
            if score > best.0 {
                *best = (score, kind);
            }
        }
    }
    best.into_iter().map(|(_, kind)| kind).collect()
}
