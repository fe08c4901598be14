//! Comparison of traces, measure by measure, next to the noise floor and to known damage.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::damage::Damage;
use super::flow::Traces;
use super::observe::{CATEGORICAL, CONTINUOUS, Observed, SCALES_NS, kind_name, observe};
use super::windows::{Seen, Sides, Window, tell_apart, windows};
use crate::categorical::jsd_bits;
use crate::comparison::ValueShares;
use crate::continuous::{ValueRange, wasserstein1};
use crate::learn::ROUNDS;
use crate::sample::Interval;

/// Traces that a comparison takes.
#[derive(Clone, Copy, Debug)]
pub struct TraceSides<'a> {
    /// Real traces, the standard of every distance.
    pub real: &'a Traces,
    /// Generated traces under test.
    pub generated: &'a Traces,
    /// Further real traces, from which the noise floor is computed.
    pub reference: Option<&'a Traces>,
}

/// Unit of a distance between traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceUnit {
    /// Wasserstein-1 distance in decades.
    Decades,
    /// Jensen-Shannon divergence in bits.
    Bits,
}

/// Distance of one measure.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct TraceMeasure {
    /// Name of the measure in reports and metrics.json.
    pub name: &'static str,
    /// Meaning of the measure in one sentence.
    pub meaning: &'static str,
    /// Unit of the distances.
    pub unit: TraceUnit,
    /// Distance between real and generated traces.
    pub generated: Interval,
    /// Distance between real and real traces.
    pub floor: Interval,
    /// Distance between real traces and real traces with each damage, in the order of
    /// [`Damage::ALL`].
    pub damaged: Vec<f64>,
    /// Kinds of a categorical measure with their shares, most frequent real ones first.
    pub top: Vec<ValueShares>,
}

/// Index of dispersion of starts by scale: the median over captures, `None` where none has enough
/// flows.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Burstiness {
    /// Widths of the bins, in seconds.
    pub scales_s: Vec<f64>,
    /// Curve of the real traces.
    pub real: Vec<Option<f64>>,
    /// Curve of the generated traces.
    pub generated: Vec<Option<f64>>,
    /// Curve of the real traces with Poisson starts.
    pub poisson: Vec<Option<f64>>,
}

/// AUC of trees that see windows of ten flows of one client.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct TraceTrees {
    /// Number of windows: real, generated.
    pub windows: [usize; 2],
    /// Trees that see what flows do: real against generated.
    pub generated: Interval,
    /// Floor of these trees: real against real.
    pub floor: Interval,
    /// These trees on known damage: real against real with Poisson starts, and with flows dealt
    /// anew.
    pub damaged: [Interval; 2],
    /// Trees that see relations of ports, identifications and TSvals too: real against generated.
    pub generated_with_identifiers: Interval,
    /// Floor of trees with identifiers: real against real.
    pub floor_with_identifiers: Interval,
    /// Trees with identifiers on known damage: real against real with random ports, and with random
    /// counters.
    pub damaged_with_identifiers: [Interval; 2],
}

/// Distance between real and generated traces.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct TraceComparison {
    /// Captures, clients and flows of the real traces.
    pub real: [usize; 3],
    /// Captures, clients and flows of the generated traces.
    pub generated: [usize; 3],
    /// Number of draws of halves behind each value.
    pub draws: u32,
    /// All measures with their distances.
    pub measures: Vec<TraceMeasure>,
    /// Curves of burstiness by scale.
    pub burstiness: Burstiness,
    /// Mean factor between the handshake times of two flows of a pair, in decades: real, generated.
    pub rtt_in_pair: [f64; 2],
    /// Classifiers of windows; `None` where a side has fewer than twenty.
    pub trees: Option<TraceTrees>,
}

/// Reason why traces cannot be compared.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TraceError {
    /// One side has fewer captures than halves need.
    #[error(
        "traces of {side}: expected at least {least} captures with flows that have addresses and a \
         SYN, found {found}"
    )]
    TooFew {
        /// Side: `real`, `reference` or `generated`.
        side: &'static str,
        /// Minimum number of captures.
        least: usize,
        /// Number of captures with a flow that was seen from its SYN on.
        found: usize,
    },
}

/// Name of the measure of burstiness.
const BURSTINESS: &str = "burstiness";
/// Number of all measures.
const MEASURES: usize = CONTINUOUS.len() + CATEGORICAL.len() + 1;
/// Number of draws whose windows trees learn.
const TREE_DRAWS: usize = 3;
/// Least number of windows of a side that trees learn from.
const LEAST_WINDOWS: usize = 20;

/// Greatest number of kinds of a measure that reports show.
const TOP: usize = 8;

/// Observations of all captures of a side.
type Side = Vec<Observed>;

/// Captures of one draw: halves of the real ones, and of the generated ones.
struct Draw {
    real: Vec<usize>,
    floor: Vec<usize>,
    generated: Vec<usize>,
}

/// Compares generated traces with real ones, over `draws` draws of halves of the captures. `step`
/// is called with the name of each step before it begins.
///
/// The floor compares one half of the real captures with the other or, with a reference, with a
/// half of that. Damage is done to that second half.
///
/// # Errors
/// [`TraceError::TooFew`] for fewer than two captures of a real side, or no generated one.
pub fn compare_traces(
    sides: &TraceSides<'_>,
    draws: u32,
    seed: u64,
    mut step: impl FnMut(&'static str),
) -> Result<TraceComparison, TraceError> {
    let enough = |side, traces: &Traces, least| match traces.captures.len() {
        found if found < least => Err(TraceError::TooFew { side, least, found }),
        _ => Ok(()),
    };
    enough("real", sides.real, if sides.reference.is_some() { 1 } else { 2 })?;
    enough("generated", sides.generated, 1)?;
    sides.reference.map_or(Ok(()), |reference| enough("reference", reference, 1))?;
    step("hosts");
    let other = sides.reference.unwrap_or(sides.real);
    let observed = |traces: &Traces| -> Side {
        traces.captures.iter().map(|capture| observe(capture)).collect()
    };
    let [real, floor, generated] = [sides.real, other, sides.generated].map(observed);
    // One damaged copy of the flows is in memory at a time.
    let damaged = Damage::ALL.map(|damage| {
        let traces = damage.apply(other, seed);
        (observed(&traces), windows(&traces))
    });
    let drawn = draw_halves(sides, draws, seed);
    let range = ranges(&real);
    let distances = |of: &Side, captures: &dyn Fn(&Draw) -> &Vec<usize>| -> Vec<Vec<f64>> {
        let one = |draw: &Draw| distances((&real, &draw.real), (of, captures(draw)), &range);
        drawn.iter().map(one).collect()
    };
    let to_generated = distances(&generated, &|draw| &draw.generated);
    let to_floor = distances(&floor, &|draw| &draw.floor);
    let to_damaged = damaged.each_ref().map(|(of, _)| distances(of, &|draw| &draw.floor));
    let of_measure = |all: &[Vec<f64>], i: usize| -> Vec<f64> {
        all.iter().map(|distances| distances[i]).collect()
    };
    let measures = names().enumerate().map(|(i, (name, meaning, unit))| TraceMeasure {
        name,
        meaning,
        unit,
        generated: Interval::from_repeats(&of_measure(&to_generated, i)),
        floor: Interval::from_repeats(&of_measure(&to_floor, i)),
        damaged: to_damaged
            .iter()
            .map(|all| Interval::from_repeats(&of_measure(all, i)).value)
            .collect(),
        top: i.checked_sub(CONTINUOUS.len()).map_or_else(Vec::new, |i| top(&real, &generated, i)),
    });
    let measures = measures.collect();
    step("windows of flows");
    let damaged_windows = damaged.each_ref().map(|(_, windows)| &windows[..]);
    let trees = trees(sides, other, damaged_windows, &drawn, seed);
    Ok(TraceComparison {
        real: sides.real.counts(),
        generated: sides.generated.counts(),
        draws: drawn.len() as u32,
        measures,
        burstiness: Burstiness {
            scales_s: SCALES_NS.iter().map(|ns| *ns as f64 / 1e9).collect(),
            real: curve(&real.iter().collect::<Vec<_>>()),
            generated: curve(&generated.iter().collect::<Vec<_>>()),
            poisson: curve(&damaged[0].0.iter().collect::<Vec<_>>()),
        },
        rtt_in_pair: [&real, &generated].map(mean_rtt_step),
        trees,
    })
}

/// Draws halves of the captures. Generated captures are all taken where they are fewer than four.
fn draw_halves(sides: &TraceSides<'_>, draws: u32, seed: u64) -> Vec<Draw> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut shuffled = |traces: &Traces| {
        let mut order: Vec<usize> = (0..traces.captures.len()).collect();
        order.shuffle(&mut random);
        order
    };
    let half = |mut of: Vec<usize>| {
        let rest = of.split_off(of.len().div_ceil(2));
        (of, rest)
    };
    let mut draw = || {
        let (real, rest) = half(shuffled(sides.real));
        let floor = match sides.reference {
            Some(reference) => half(shuffled(reference)).0,
            None => rest,
        };
        let mut generated = shuffled(sides.generated);
        if generated.len() >= 4 {
            generated = half(generated).0;
        }
        Draw { real, floor, generated }
    };
    (0..draws.max(1)).map(|_| draw()).collect()
}

/// Returns name, meaning and unit of each measure.
fn names() -> impl Iterator<Item = (&'static str, &'static str, TraceUnit)> {
    let continuous = CONTINUOUS.iter().map(|(name, meaning)| (*name, *meaning, TraceUnit::Decades));
    let categorical = CATEGORICAL.iter().map(|(name, meaning)| (*name, *meaning, TraceUnit::Bits));
    let burstiness = "index of dispersion of starts by scale, mean difference of its logarithms";
    continuous.chain(categorical).chain([(BURSTINESS, burstiness, TraceUnit::Decades)])
}

/// Returns the range of each continuous measure among real captures.
fn ranges(real: &Side) -> [ValueRange; CONTINUOUS.len()] {
    std::array::from_fn(|i| {
        let values = values(real, 0..real.len(), i);
        ValueRange::from_sorted(&values).unwrap_or(ValueRange { low: 0.0, high: 0.0 })
    })
}

/// Returns the values of a continuous measure in some captures, sorted.
fn values(side: &Side, captures: impl IntoIterator<Item = usize>, measure: usize) -> Vec<f64> {
    let of = captures.into_iter().flat_map(|i| &side[i].continuous[measure]);
    let mut values: Vec<f64> = of.copied().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Returns the distance of each measure between captures of two sides.
fn distances(
    (a, of_a): (&Side, &[usize]),
    (b, of_b): (&Side, &[usize]),
    ranges: &[ValueRange; CONTINUOUS.len()],
) -> Vec<f64> {
    let mut distances = Vec::with_capacity(MEASURES);
    for (i, range) in ranges.iter().enumerate() {
        let [a, b] = [(a, of_a), (b, of_b)].map(|(s, of)| values(s, of.iter().copied(), i));
        distances.push(wasserstein1(&a, &b, *range));
    }
    for i in 0..CATEGORICAL.len() {
        let [a, b] = [(a, of_a), (b, of_b)].map(|(s, of)| counts(s, of.iter().copied(), i));
        distances.push(jsd_bits(&a, &b));
    }
    let [a, b] = [(a, of_a), (b, of_b)]
        .map(|(side, of)| curve(&of.iter().map(|&i| &side[i]).collect::<Vec<_>>()));
    distances.push(curve_distance(&a, &b));
    distances
}

/// Returns the counts of a categorical measure in some captures, by kind.
fn counts(side: &Side, captures: impl IntoIterator<Item = usize>, measure: usize) -> Vec<u64> {
    let mut total = Vec::new();
    for counts in captures.into_iter().map(|capture| &side[capture].categorical[measure]) {
        total.resize(total.len().max(counts.len()), 0);
        total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    total
}

/// Returns the kinds of a categorical measure with the shares of each.
fn top(real: &Side, generated: &Side, measure: usize) -> Vec<ValueShares> {
    let Some((name, _)) = CATEGORICAL.get(measure) else { return Vec::new() };
    let [real, generated] = [real, generated].map(|side| {
        let counts = counts(side, 0..side.len(), measure);
        let total = counts.iter().sum::<u64>().max(1) as f64;
        counts.into_iter().map(|count| count as f64 / total).collect::<Vec<f64>>()
    });
    let share = |of: &[f64], kind: usize| of.get(kind).copied().unwrap_or(0.0);
    let kinds = 0..real.len().max(generated.len());
    let mut top: Vec<ValueShares> = kinds
        .map(|kind| ValueShares {
            value: kind_name(name, kind),
            real: share(&real, kind),
            generated: share(&generated, kind),
        })
        .filter(|of| of.real + of.generated > 0.0)
        .collect();
    top.sort_by(|a, b| b.real.total_cmp(&a.real).then(b.generated.total_cmp(&a.generated)));
    top.truncate(TOP);
    top
}

/// Returns the median index of dispersion at each scale.
fn curve(of: &[&Observed]) -> Vec<Option<f64>> {
    let median = |scale: usize| {
        let mut all: Vec<f64> = of.iter().filter_map(|seen| seen.dispersion[scale]).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    (0..SCALES_NS.len()).map(median).collect()
}

/// Returns the mean difference of two curves' logarithms over the scales that both have, 0 if they
/// have none.
fn curve_distance(a: &[Option<f64>], b: &[Option<f64>]) -> f64 {
    // Starts at even distances have no dispersion.
    const LEAST: f64 = 0.01;
    let log = |value: f64| value.max(LEAST).log10();
    let both = a.iter().zip(b).filter_map(|(a, b)| Some((log((*a)?) - log((*b)?)).abs()));
    let differences: Vec<f64> = both.collect();
    differences.iter().sum::<f64>() / differences.len().max(1) as f64
}

/// Returns the mean factor between handshake times of a pair, in decades.
fn mean_rtt_step(side: &Side) -> f64 {
    let steps = values(side, 0..side.len(), CONTINUOUS.len() - 1);
    steps.iter().sum::<f64>() / steps.len().max(1) as f64
}

/// Tells windows of real flows from those of generated, other real, and damaged ones.
fn trees(
    sides: &TraceSides<'_>,
    other: &Traces,
    damaged: [&[Window]; Damage::ALL.len()],
    draws: &[Draw],
    seed: u64,
) -> Option<TraceTrees> {
    let [real, floor, generated] = [sides.real, other, sides.generated].map(windows);
    if real.len().min(floor.len()).min(generated.len()) < LEAST_WINDOWS {
        return None;
    }
    // Windows of one generated capture have the clients as units, and all take part.
    let of_captures = |windows: &'_ [Window], captures: &[usize], has_one: bool| -> Vec<usize> {
        (0..windows.len()).filter(|&i| has_one || captures.contains(&windows[i].unit)).collect()
    };
    let auc = |windows: &[Window], of: &dyn Fn(&Draw) -> &Vec<usize>, has_one: bool, seen: Seen| {
        let pair = |draw: &Draw| -> Sides<'_> {
            let a = of_captures(&real, &draw.real, sides.real.captures.len() == 1);
            let b = of_captures(windows, of(draw), has_one);
            [
                a.into_iter().map(|i| &real[i]).collect(),
                b.into_iter().map(|i| &windows[i]).collect(),
            ]
        };
        let pairs: Vec<Sides<'_>> = draws.iter().take(TREE_DRAWS).map(pair).collect();
        tell_apart(&pairs, seen, ROUNDS, seed)
    };
    let (one_floor, one_generated) =
        (other.captures.len() == 1, sides.generated.captures.len() == 1);
    let to_floor = |windows: &[Window], seen| auc(windows, &|d| &d.floor, one_floor, seen);
    let to_generated = |seen| auc(&generated, &|d| &d.generated, one_generated, seen);
    let (behaviour, identifiers) = (Seen::Behaviour, Seen::WithIdentifiers);
    Some(TraceTrees {
        windows: [real.len(), generated.len()],
        generated: to_generated(behaviour),
        floor: to_floor(&floor, behaviour),
        damaged: [0, 1].map(|i: usize| to_floor(damaged[i], behaviour)),
        generated_with_identifiers: to_generated(identifiers),
        floor_with_identifiers: to_floor(&floor, identifiers),
        damaged_with_identifiers: [2, 3].map(|i: usize| to_floor(damaged[i], identifiers)),
    })
}
