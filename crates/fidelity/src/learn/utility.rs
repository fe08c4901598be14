//! Utility of generated flows as training data: train on synthetic and test on real, relative to
//! train on real and test on real.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use super::LearnerSample;
use super::features::{EARLY, LearnerInput};
use super::trees::{FeatureRow, learn_and_score};
use crate::sample::Interval;

/// Maximum number of server ports with a class of their own; all other ports share one class.
const PORTS: usize = 5;
/// Minimum number of flows of a port with a class of its own.
const LEAST: usize = 15;

/// Accuracy of a classifier of the server port from the first packets, on real flows that it has
/// not seen.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Utility {
    /// Server ports with a class of their own, ascending; all others share one more class.
    pub ports: Vec<u16>,
    /// Number of packets that the classifier sees.
    pub packets: usize,
    /// Number of real flows that are classified.
    pub flows: usize,
    /// Balanced accuracy after training on real flows: the mean over classes of the share
    /// classified right.
    pub real: Interval,
    /// Balanced accuracy after training on equally many generated flows.
    pub generated: Interval,
    /// Accuracy with generated training flows divided by accuracy with real ones.
    pub ratio: Interval,
    /// Balanced accuracy of guessing: one divided by the number of classes.
    pub chance: f64,
}

/// Trains on real flows and on equally many generated ones, and classifies other real flows.
///
/// The reference trains where there is one, so that whole captures are held out; otherwise halves
/// of the real flows take turns. Returns `None` where the real flows have fewer than two classes.
pub(crate) fn utility(material: &LearnerSample<'_>, rounds: u32, seed: u64) -> Option<Utility> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7574_696c);
    let (real, floor) = (&material.real, &material.floor);
    let everyone: Vec<&LearnerInput> = real.iter().chain(floor).copied().collect();
    let ports = classes(&everyone);
    let class = |seen: &LearnerInput| {
        ports.iter().position(|&p| p == seen.server_port).unwrap_or(ports.len())
    };
    let kinds = ports.len() + usize::from(everyone.iter().any(|s| class(s) == ports.len()));
    if kinds < 2 {
        return None;
    }
    let mut trials = vec![(floor, real)];
    if !material.has_reference {
        trials.push((real, floor));
    }
    // The class of each flow that is tried, and whether it was told after real lessons and after
    // generated ones.
    let mut told: Vec<(usize, [bool; 2])> = Vec::new();
    for (taught, tried) in trials {
        let lessons = |flows: &[&'_ LearnerInput]| -> Vec<(FeatureRow, usize)> {
            flows.iter().take(taught.len()).map(|s| (s.early.clone(), class(s))).collect()
        };
        let rows: Vec<&FeatureRow> = tried.iter().map(|s| &s.early).collect();
        let [real, generated] =
            [taught, &material.generated].map(|of| classify(&lessons(of), kinds, &rows));
        let right = |i: usize, s: &LearnerInput| {
            (class(s), [real[i] == class(s), generated[i] == class(s)])
        };
        told.extend(tried.iter().enumerate().map(|(i, s)| right(i, s)));
    }
    let n = told.len();
    let values = |of: &[usize]| {
        let [r, g] =
            [0, 1].map(|by: usize| balanced(of.iter().map(|&i| (told[i].0, told[i].1[by])), kinds));
        [r, g, if r > 0.0 { g / r } else { 1.0 }]
    };
    let everything: Vec<usize> = (0..n).collect();
    let mut repeated = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds.max(1) {
        let again: Vec<usize> = (0..n).map(|_| random.random_range(0..n)).collect();
        repeated.iter_mut().zip(values(&again)).for_each(|(list, value)| list.push(value));
    }
    let [real, generated, ratio] = values(&everything);
    let around = |value: f64, list: &[f64]| Interval { value, ..Interval::from_repeats(list) };
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

/// Returns the mean over the present classes of the share classified right.
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

/// Returns the most frequent server ports, ascending.
fn classes(flows: &[&LearnerInput]) -> Vec<u16> {
    let mut counts: FxHashMap<u16, usize> = FxHashMap::default();
    flows.iter().for_each(|s| *counts.entry(s.server_port).or_default() += 1);
    let mut ports: Vec<(usize, u16)> =
        counts.into_iter().map(|(port, n)| (n, port)).filter(|(n, _)| *n >= LEAST).collect();
    ports.sort_by_key(|&(n, port)| (std::cmp::Reverse(n), port));
    let mut ports: Vec<u16> = ports.into_iter().take(PORTS).map(|(_, port)| port).collect();
    ports.sort_unstable();
    ports
}

/// Returns the class of each row: the one with the highest score, one class against the others.
fn classify(lessons: &[(FeatureRow, usize)], kinds: usize, rows: &[&FeatureRow]) -> Vec<usize> {
    let taught: Vec<&FeatureRow> = lessons.iter().map(|(row, _)| row).collect();
    let mut best = vec![(f64::NEG_INFINITY, 0); rows.len()];
    for kind in 0..kinds {
        let labels: Vec<f64> =
            lessons.iter().map(|(_, class)| f64::from(u8::from(*class == kind))).collect();
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
