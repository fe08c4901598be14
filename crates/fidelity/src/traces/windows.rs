//! Classifiers of windows: ten flows of one client in a row.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::flow::{Client, TraceFlow, Traces};
use super::observe::{DESTINATIONS, Extent, PORT_STEPS, Relation, open_at_starts, relate};
use crate::learn::{FeatureRow, WeightedScores, bootstrap_units, learn_and_score};
use crate::observe::decades;
use crate::sample::Interval;

/// Number of flows of a window.
pub(super) const WINDOW: usize = 10;
/// Greatest number of windows of a client.
const MOST_WINDOWS: usize = 6;
/// Number of windows of a side from which on some clients alone have theirs taken.
const MANY_WINDOWS: usize = 12_000;
/// Greatest number of windows of a side that trees learn from.
const MOST_LEARNT: usize = 1_200;
/// Number of parts of the units that take turns at being held out.
const FOLDS: usize = 3;

/// Features of a window, and the unit that holds its captures together.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Capture of the window, or its client where traces are one capture.
    pub(super) unit: usize,
    /// Behaviour, without values that hosts draw at random.
    behaviour: FeatureRow,
    /// Behaviour, then relations of ports, identifications and TSvals.
    with_identifiers: FeatureRow,
}

/// Returns the windows of traces. The units of several captures are the captures, those of one are
/// its clients.
pub(super) fn windows(traces: &Traces) -> Vec<Window> {
    let has_one = traces.captures.len() == 1;
    let of_client = |client: &Client| (client.len() / WINDOW).min(MOST_WINDOWS);
    let all: usize = traces.captures.iter().flatten().map(of_client).sum();
    // Every client, or every second one, or every third one, ...
    let apart = all.div_ceil(MANY_WINDOWS).max(1);
    let clients = traces.captures.iter().enumerate().flat_map(|(capture, clients)| {
        clients.iter().enumerate().map(move |(number, client)| (capture, number, client))
    });
    let mut found = Vec::new();
    for (capture, number, client) in
        clients.filter(|(.., client)| of_client(client) > 0).step_by(apart)
    {
        let unit = if has_one { number } else { capture };
        let related = relate(client);
        let flows = client.chunks_exact(WINDOW).zip(related.chunks_exact(WINDOW));
        let of_client = flows.take(MOST_WINDOWS);
        found.extend(of_client.map(|(flows, related)| window(unit, flows, related)));
    }
    found
}

fn window(unit: usize, flows: &[TraceFlow], related: &[Option<Relation>]) -> Window {
    // The relation of a window's first flow to the one before is outside of it.
    let related: Vec<&Relation> = related[1..].iter().flatten().collect();
    let mut row = behaviour(flows, &related);
    let behaviour = row.clone();
    let ports = |of: &dyn Fn(&Relation) -> Option<usize>| {
        shares(PORT_STEPS.len(), related.iter().filter_map(|relation| of(relation)))
    };
    row.extend(ports(&|relation| Some(relation.port_step)));
    row.extend(ports(&|relation| relation.port_step_in_pair));
    row.extend(shares(Extent::COUNT, related.iter().map(|relation| relation.ids as usize)));
    row.extend(shares(Extent::COUNT, related.iter().map(|relation| relation.clock as usize)));
    Window { unit, behaviour, with_identifiers: row }
}

fn behaviour(flows: &[TraceFlow], related: &[&Relation]) -> FeatureRow {
    let of = |value: &dyn Fn(&Relation) -> f64| -> Vec<f64> {
        related.iter().map(|relation| value(relation)).collect()
    };
    let gaps = of(&|relation| relation.gap);
    let mut row = spread(&gaps).to_vec();
    row.push(lag_correlation(&gaps));
    row.extend(shares(9, gaps.iter().map(|gap| (*gap as usize).min(8))));
    row.push(mean(&of(&|relation| f64::from(u8::from(relation.is_after)))));
    row.extend(shares(DESTINATIONS.len(), related.iter().map(|relation| relation.destination)));
    row.push(mean(&of(&|relation| f64::from(u8::from(relation.is_server_open)))));
    row.push(mean(&of(&|relation| f64::from(u8::from(relation.is_same_syn)))));
    let changes = related.iter().filter_map(|relation| relation.answer_changes);
    row.push(mean(&changes.map(|of| f64::from(u8::from(of > 0))).collect::<Vec<_>>()));
    row.extend(spread(&related.iter().filter_map(|of| of.rtt_step).collect::<Vec<_>>()));
    let all: Vec<&TraceFlow> = flows.iter().collect();
    let open: Vec<f64> = open_at_starts(&all).into_iter().map(|n| n as f64).collect();
    row.extend(spread(&open));
    let count = |value: &dyn Fn(&TraceFlow) -> u64| -> Vec<f64> {
        flows.iter().map(|flow| decades(value(flow))).collect()
    };
    row.extend(spread(&count(&|flow| flow.duration_ns.unsigned_abs() / 1_000)));
    row.extend(spread(&count(&|flow| flow.packets)));
    row.extend(spread(&count(&|flow| flow.octets[0])));
    row.extend(spread(&count(&|flow| flow.octets[1])));
    row.extend(spread(&count(&|flow| flow.handshake_ns.unwrap_or(0).unsigned_abs() / 1_000)));
    row
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len().max(1) as f64
}

/// Returns mean, standard deviation, least and greatest value.
fn spread(of: &[f64]) -> [f64; 4] {
    let mean_of = mean(of);
    let variance = mean(&of.iter().map(|value| (value - mean_of).powi(2)).collect::<Vec<_>>());
    let least = of.iter().copied().reduce(f64::min).unwrap_or(-1.0);
    [mean_of, variance.sqrt(), least, of.iter().copied().reduce(f64::max).unwrap_or(-1.0)]
}

/// Returns the correlation of values with those before them.
fn lag_correlation(of: &[f64]) -> f64 {
    let [mean, deviation, ..] = spread(of);
    let products = of.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean));
    let count = of.len().saturating_sub(1).max(1) as f64;
    products.sum::<f64>() / count / (deviation * deviation).max(1e-9)
}

/// Returns the share of each of `kinds` kinds.
fn shares(kinds: usize, of: impl Iterator<Item = usize>) -> Vec<f64> {
    let (mut counts, mut total) = (vec![0.0; kinds], 0.0_f64);
    for kind in of {
        counts[kind] += 1.0;
        total += 1.0;
    }
    counts.iter().map(|count| count / total.max(1.0)).collect()
}

/// Features of a window that trees see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Behaviour,
    WithIdentifiers,
}

/// Two sides of windows that trees tell apart.
pub(super) type Sides<'a> = [Vec<&'a Window>; 2];

/// Returns the AUC of trees that tell two sides apart, over several pairs of them: units are held
/// out as a whole, and the interval is a bootstrap of units.
pub(super) fn tell_apart(pairs: &[Sides<'_>], seen: Seen, rounds: u32, seed: u64) -> Interval {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut folds: Vec<(WeightedScores, [Vec<usize>; 2])> = Vec::new();
    for sides in pairs {
        let sides: Vec<Vec<&Window>> = sides.iter().map(|of| some(of, &mut random)).collect();
        let folds_of = sides.iter().map(|of| fold_of_units(of, &mut random)).collect::<Vec<_>>();
        for held_out in 0..FOLDS {
            folds.push(score(&sides, &folds_of, held_out, seen));
        }
    }
    bootstrap_units(&folds, rounds, &mut random)
}

/// Draws as many windows as trees learn from.
fn some<'a>(of: &[&'a Window], random: &mut ChaCha8Rng) -> Vec<&'a Window> {
    let mut of = of.to_vec();
    if of.len() > MOST_LEARNT {
        of.shuffle(random);
        of.truncate(MOST_LEARNT);
    }
    of
}

/// Returns the fold of each unit.
fn fold_of_units(of: &[&Window], random: &mut ChaCha8Rng) -> Vec<usize> {
    let units = of.iter().map(|window| window.unit + 1).max().unwrap_or(0);
    (0..units).map(|_| random.random_range(0..FOLDS)).collect()
}

/// Trains on the windows of all units but those of one fold, and scores that one's.
fn score(
    sides: &[Vec<&Window>],
    folds: &[Vec<usize>],
    held_out: usize,
    seen: Seen,
) -> (WeightedScores, [Vec<usize>; 2]) {
    let row = |window: &'_ Window| match seen {
        Seen::Behaviour => window.behaviour.clone(),
        Seen::WithIdentifiers => window.with_identifiers.clone(),
    };
    let (mut learnt, mut labels) = (Vec::new(), Vec::new());
    let (mut tried, mut units) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for (side, windows) in sides.iter().enumerate() {
        for window in windows {
            if folds[side][window.unit] == held_out {
                tried[side].push(row(window));
                units[side].push(window.unit);
            } else {
                learnt.push(row(window));
                labels.push(side as f64);
            }
        }
    }
    let learnt: Vec<&FeatureRow> = learnt.iter().collect();
    let all: Vec<&FeatureRow> = tried.iter().flatten().collect();
    let scores = learn_and_score(&learnt, &labels, &all);
    let mut firsts: Vec<[f64; 2]> = scores.into_iter().map(|score| [score, 1.0]).collect();
    let seconds = firsts.split_off(tried[0].len());
    ([firsts, seconds], units)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn of_many_clients_some_are_taken() {
        let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let flow = TraceFlow {
            start_ns: 0,
            duration_ns: 0,
            client: addr,
            client_port: 1,
            server: addr,
            server_port: 1,
            packets: 1,
            octets: [0; 2],
            syn: 0,
            answer: None,
            handshake_ns: None,
            sides: Default::default(),
        };
        let of = |clients: usize| {
            let mut traces = Traces::default();
            traces.captures = vec![vec![vec![flow; 5 * WINDOW]; clients]];
            windows(&traces)
        };
        assert_eq!(of(100).len(), 500);
        let many = of(5_000);
        assert!((8_000..=MANY_WINDOWS).contains(&many.len()), "{}", many.len());
        assert!(many.iter().any(|window| window.unit > 4_900));
    }
}
