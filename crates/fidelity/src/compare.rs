//! Comparison of two sets of flows, field by field, next to the noise floor.

use flowtrack::Flow;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;

use crate::comparison::{
    CategoricalField, Comparison, ContinuousField, Dependence, Diversity, Error, Histogram,
    Measurement, Memorisation, Settings, ValueShares,
};
use crate::continuous::{ValueRange, ks, wasserstein1, weighted_wasserstein1};
use crate::learn::{LearnerInput, LearnerSample, discriminate, utility};
use crate::observe::{CATEGORICAL, CONTINUOUS, FEATURE_NAMES, FLOW_FIELDS, FieldUnit, ValueIds};
use crate::part::{Judged, Parts};
use crate::sample::{Interval, SampleDraw, draw_sample};
use crate::set::FlowSet;
use crate::validity::Validity;
use crate::{categorical, dependence, diversity};

/// Sets of flows that a comparison takes.
#[derive(Clone, Copy, Debug)]
pub struct FlowSets<'a> {
    /// Real flows, the standard of every distance.
    pub real: &'a [Flow],
    /// Generated flows under test.
    pub generated: &'a [Flow],
    /// Further real flows, from which the noise floor is computed.
    pub reference: Option<&'a [Flow]>,
    /// Flows that the model was trained on, for measures of memorisation.
    pub training: Option<&'a [Flow]>,
    /// Whether every side has the values that each flow draws at random: client ports and initial
    /// sequence numbers.
    pub has_identifiers: bool,
}

/// Number of bootstrap rounds behind the intervals of measures that learn.
pub(crate) const ROUNDS: u32 = 200;
/// Number of values of a categorical field that a report lists.
const TOP: usize = 10;
/// Number of bins of a histogram.
const STEPS: usize = 48;

/// Compares generated flows with real ones.
///
/// The floor compares the real flows with the reference or, without a reference, one half of the
/// real flows with the other half. `step` is called with the name of each step before it begins.
///
/// # Errors
/// [`Error::TooFew`] for a side of fewer than 20 flows, [`Error::Unencodable`] for a flow that no
/// header can encode.
pub fn compare(
    sides: &FlowSets<'_>,
    settings: Settings,
    mut step: impl FnMut(&'static str),
) -> Result<Comparison, Error> {
    const LEAST: usize = 20;
    let enough = |side, flows: &[Flow], least| match flows.len() {
        found if found < least => Err(Error::TooFew { side, least, found }),
        _ => Ok(()),
    };
    enough("real", sides.real, if sides.reference.is_some() { LEAST } else { 2 * LEAST })?;
    enough("generated", sides.generated, LEAST)?;
    sides.reference.map_or(Ok(()), |r| enough("reference", r, LEAST))?;
    sides.training.map_or(Ok(()), |t| enough("training", t, LEAST))?;

    step("looking at flows");
    let mut ids = ValueIds::default();
    let sets = Sets {
        real: FlowSet::new("real", sides.real, &mut ids)?,
        reference: sides.reference.map(|r| FlowSet::new("reference", r, &mut ids)).transpose()?,
        generated: FlowSet::new("generated", sides.generated, &mut ids)?,
        training: sides.training.map(|t| FlowSet::new("training", t, &mut ids)).transpose()?,
    };
    let real = sides.real.len();
    let reference = sides.reference.map(<[Flow]>::len);
    let generated = sides.generated.len();
    let n = reference.map_or(real / 2, |r| real.min(r)).min(generated);
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    let draws: Vec<SampleDraw> = (0..settings.repeats.max(1))
        .map(|_| draw_sample(n, real, reference, generated, &mut random))
        .collect();
    step("distributions");
    let (categorical, continuous) = (sets.categorical(&draws, &ids), sets.continuous(&draws));
    let dependence = sets.dependence(&draws);
    step("distances between flows");
    let diversity = sets.diversity(&draws, settings.neighbours);
    let memorisation = sets.memorisation(&draws, settings.neighbours);
    step("telling apart");
    // Of few flows more draws: one of them says little.
    let some = (settings.learners / n).clamp(1, 4);
    let materials: Vec<LearnerSample<'_>> =
        draws.iter().take(some).map(|draw| sets.material(draw, settings.learners)).collect();
    let discriminators = discriminate(&materials, sides.has_identifiers, ROUNDS, settings.seed);
    step("by length");
    let judged = [sides.real, sides.generated].map(|flows| flows.iter().map(Judged::new).collect());
    let parts = Parts { sets: &sets, draws: &draws, ids: &ids, judged, settings };
    step("utility");
    let utility = utility(&materials[0], ROUNDS, settings.seed);
    Ok(Comparison {
        settings,
        sample: n,
        real: size(sides.real),
        generated: size(sides.generated),
        has_reference: sides.reference.is_some(),
        validity_real: Validity::from_flows(sides.real),
        validity_generated: Validity::from_flows(sides.generated),
        behaviours: parts.behaviour_rates(|_| true),
        by_packets: parts.by_packets(&discriminators.trees_by_packets),
        by_length: parts.by_length(),
        categorical,
        continuous,
        dependence,
        diversity,
        discriminators,
        utility,
        memorisation,
    })
}

/// Returns the number of flows and the number of packets.
fn size(flows: &[Flow]) -> [u64; 2] {
    [flows.len() as u64, flows.iter().map(|f| f.packets.len() as u64).sum()]
}

/// Sets of a comparison, each flow observed once.
pub(crate) struct Sets {
    pub(crate) real: FlowSet,
    reference: Option<FlowSet>,
    pub(crate) generated: FlowSet,
    training: Option<FlowSet>,
}

impl Sets {
    /// Returns the set that floors are drawn from: the reference, or the real flows.
    pub(crate) fn floor(&self) -> &FlowSet {
        self.reference.as_ref().unwrap_or(&self.real)
    }

    /// Computes a distance over all draws: real with generated, and real with real.
    fn against<'s, T>(
        &'s self,
        draws: &[SampleDraw],
        mut sample: impl FnMut(&'s FlowSet, &[usize]) -> T,
        distance: impl Fn(&T, &T) -> f64,
    ) -> Measurement {
        let (mut values, mut again, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        for draw in draws {
            let real = sample(&self.real, &draw.real);
            values.push(distance(&real, &sample(&self.generated, &draw.generated)));
            again.push(distance(&real, &sample(&self.generated, &draw.resampled)));
            floor.push(distance(&real, &sample(self.floor(), &draw.floor)));
        }
        Measurement {
            generated: Interval::with_bootstrap(&values, &again),
            floor: Interval::from_repeats(&floor),
        }
    }

    /// Like [`against`](Self::against), for measures of repeats, which the repeats of a bootstrap
    /// would distort.
    fn counted<'s, T>(
        &'s self,
        draws: &[SampleDraw],
        mut sample: impl FnMut(&'s FlowSet, &[usize]) -> T,
        share: impl Fn(&T, &T) -> f64,
    ) -> Measurement {
        let (mut values, mut floor) = (Vec::new(), Vec::new());
        for draw in draws {
            let real = sample(&self.real, &draw.real);
            values.push(share(&real, &sample(&self.generated, &draw.generated)));
            floor.push(share(&real, &sample(self.floor(), &draw.floor)));
        }
        Measurement {
            generated: Interval::from_repeats(&values),
            floor: Interval::from_repeats(&floor),
        }
    }

    /// Computes the divergence of a categorical field, its values weighted by the flow that has
    /// them.
    pub(crate) fn categorical_distance(
        &self,
        draws: &[SampleDraw],
        ids: &ValueIds,
        field: usize,
        weight: Weight,
    ) -> Measurement {
        let counts = |set: &FlowSet, of: &[usize]| value_counts(set, of, field, ids, weight);
        self.against(draws, counts, |p, q| categorical::jsd_bits(p, q))
    }

    /// Computes the distance of a continuous field, its values weighted by the flow that has them.
    pub(crate) fn continuous_distance(
        &self,
        draws: &[SampleDraw],
        field: usize,
        weight: Weight,
    ) -> Measurement {
        let range = self.range(field);
        let weighted = |set: &FlowSet, of: &[usize]| {
            let values = |&flow: &usize| {
                let weight = weight(set, flow) as f64;
                set.observed[flow].continuous[field].iter().map(move |&value| [value, weight])
            };
            let mut pairs: Vec<[f64; 2]> = of.iter().flat_map(values).collect();
            pairs.sort_by(|a, b| a[0].total_cmp(&b[0]));
            pairs
        };
        self.against(draws, weighted, |a, b| weighted_wasserstein1(a, b, range))
    }

    /// Returns the range of a continuous field's values: that of the real flows.
    fn range(&self, field: usize) -> ValueRange {
        let real = sorted_values(&self.real, &all(&self.real), field);
        ValueRange::from_sorted(&real).unwrap_or(ValueRange { low: 0.0, high: 0.0 })
    }

    fn categorical(&self, draws: &[SampleDraw], ids: &ValueIds) -> Vec<CategoricalField> {
        let field = |(i, &(name, meaning)): (usize, &(&'static str, &'static str))| {
            let everything =
                [&self.real, &self.generated].map(|set| value_counts(set, &all(set), i, ids, once));
            let jsd_bits = self.categorical_distance(draws, ids, i, once);
            let top = top(&everything, |id| ids.label(i, id));
            CategoricalField { name, meaning, values: ids.count(i), jsd_bits, top }
        };
        CATEGORICAL.iter().enumerate().map(field).collect()
    }

    fn continuous(&self, draws: &[SampleDraw]) -> Vec<ContinuousField> {
        let field =
            |(i, &(name, unit, meaning)): (usize, &(&'static str, FieldUnit, &'static str))| {
                let sorted = |set: &FlowSet, of: &[usize]| sorted_values(set, of, i);
                let [real, generated] =
                    [&self.real, &self.generated].map(|set| sorted(set, &all(set)));
                let range = self.range(i);
                ContinuousField {
                    name,
                    meaning,
                    unit,
                    range,
                    clipped: range.clipped(&generated),
                    histogram: Histogram {
                        real: shares(&real, range),
                        generated: shares(&generated, range),
                    },
                    wasserstein1: self.against(draws, sorted, |a, b| wasserstein1(a, b, range)),
                    ks: self.against(draws, sorted, |a, b| ks(a, b)),
                }
            };
        CONTINUOUS.iter().enumerate().map(field).collect()
    }

    fn dependence(&self, draws: &[SampleDraw]) -> Dependence {
        let rows = |set: &'_ FlowSet, of: &[usize]| {
            of.iter().map(|&i| set.observed[i].features).collect::<Vec<_>>()
        };
        let pcd = self.against(draws, rows, |a, b| {
            dependence::pcd(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>())
        });
        let once = |set: &'_ FlowSet, of: &[usize]| {
            of.iter().map(|&i| set.observed[i].single_values).collect::<Vec<_>>()
        };
        let cmd = self.against(&draws[..draws.len().min(FEW)], once, |a, b| {
            dependence::cmd(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>())
        });
        Dependence { features: FEATURE_NAMES.to_vec(), pcd, fields: FLOW_FIELDS.to_vec(), cmd }
    }

    fn diversity(&self, draws: &[SampleDraw], neighbours: usize) -> Diversity {
        let few = few(draws, neighbours);
        let points = |set: &'_ FlowSet, of: &[usize]| self.points(set, of);
        fn headers<'s>(set: &'s FlowSet, of: &[usize]) -> Vec<&'s Vec<u16>> {
            of.iter().map(|&i| &set.headers[i]).collect()
        }
        fn exact<'s>(set: &'s FlowSet, of: &[usize]) -> Vec<&'s Vec<u16>> {
            of.iter().map(|&i| &set.exact[i]).collect()
        }
        Diversity {
            density: self.against(&few, points, |r, g| diversity::density_coverage(r, g).0),
            coverage: self.against(&few, points, |r, g| diversity::density_coverage(r, g).1),
            nearest: self.against(&few, points, |r, g| diversity::nearest_median(g, r)),
            exact_repeats: self.counted(draws, exact, |_, g| diversity::repeat_share(g)),
            header_repeats: self.counted(draws, headers, |_, g| diversity::repeat_share(g)),
            copies: self.counted(draws, headers, |r, g| diversity::copy_share(g, r)),
        }
    }

    /// Returns flows as points, scaled by mean and standard deviation of the real flows.
    fn points(&self, set: &FlowSet, of: &[usize]) -> Vec<Point> {
        let everyone: Vec<_> = self.real.observed.iter().map(|o| &o.features).collect();
        let rows: Vec<_> = of.iter().map(|&i| &set.observed[i].features).collect();
        diversity::standardise(&everyone, &rows)
    }

    fn memorisation(&self, draws: &[SampleDraw], neighbours: usize) -> Option<Memorisation> {
        let training = self.training.as_ref()?;
        let room = neighbours.min(training.observed.len());
        let few = few(draws, room);
        let flows = few[0].real.len();
        // As many of the training flows as of the real ones, spread over all of them.
        let step = training.observed.len() as f64 / flows as f64;
        let drawn: Vec<usize> = (0..flows).map(|i| (i as f64 * step) as usize).collect();
        let known = self.points(training, &drawn);
        let points = |set: &'_ FlowSet, of: &[usize]| self.points(set, of);
        let everything: FxHashSet<&Vec<u16>> = training.headers.iter().collect();
        let headers = |set: &'_ FlowSet, of: &[usize]| -> Vec<bool> {
            of.iter().map(|&i| everything.contains(&set.headers[i])).collect()
        };
        let share =
            |is: &Vec<bool>| is.iter().filter(|&&is| is).count() as f64 / is.len().max(1) as f64;
        Some(Memorisation {
            flows,
            nearest_training: self
                .against(&few, points, |_, g| diversity::nearest_median(g, &known)),
            nearest_held_out: self.against(&few, points, |r, g| diversity::nearest_median(g, r)),
            closer_to_training: self
                .against(&few, points, |r, g| diversity::nearer_share(g, &known, r)),
            copies: self.counted(draws, headers, |_, g| share(g)),
        })
    }

    /// Selects flows of a draw for measures that learn: no two flows of a side are equal in
    /// everything except identity.
    pub(crate) fn material(&self, draw: &SampleDraw, most: usize) -> LearnerSample<'_> {
        fn of<'s>(set: &'s FlowSet, of: &[usize], most: usize) -> Vec<&'s LearnerInput> {
            let mut known = FxHashSet::default();
            let distinct = of.iter().filter(|&&i| known.insert(&set.exact[i]));
            distinct.take(most).map(|&i| &set.learner_inputs[i]).collect()
        }
        LearnerSample {
            real: of(&self.real, &draw.real, most),
            generated: of(&self.generated, &draw.generated, most),
            floor: of(self.floor(), &draw.floor, most),
            has_reference: self.reference.is_some(),
        }
    }
}

/// Weight of the values of a flow, by its index in the set.
pub(crate) type Weight = fn(&FlowSet, usize) -> u64;

/// Weighs every flow alike.
pub(crate) fn once(_: &FlowSet, _: usize) -> u64 {
    1
}

/// Weighs a flow by its packets.
pub(crate) fn packets(set: &FlowSet, flow: usize) -> u64 {
    set.learner_inputs[flow].packets.into()
}

/// Counts the values of a categorical field in some flows of a set.
fn value_counts(
    set: &FlowSet,
    of: &[usize],
    field: usize,
    ids: &ValueIds,
    weight: Weight,
) -> Vec<u64> {
    let mut counts = vec![0; ids.count(field)];
    for &flow in of {
        for &id in &set.observed[flow].categorical[field] {
            counts[id as usize] += weight(set, flow);
        }
    }
    counts
}

/// Returns the values of a continuous field in some flows of a set, in ascending order.
fn sorted_values(set: &FlowSet, of: &[usize], field: usize) -> Vec<f64> {
    let values = of.iter().flat_map(|&flow| set.observed[flow].continuous[field].iter().copied());
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

type Point = [f64; FEATURE_NAMES.len()];

/// Number of draws behind a slow measure.
const FEW: usize = 5;

/// Returns fewer draws of fewer flows, for measures whose cost is quadratic in the sample.
fn few(draws: &[SampleDraw], flows: usize) -> Vec<SampleDraw> {
    draws.iter().take(FEW).map(|d| d.truncated(flows)).collect()
}

fn all(set: &FlowSet) -> Vec<usize> {
    (0..set.observed.len()).collect()
}

/// Returns the values with the largest shares on either side.
fn top<'a>(
    [real, generated]: &[Vec<u64>; 2],
    label: impl Fn(usize) -> &'a str,
) -> Vec<ValueShares> {
    let share =
        |counts: &[u64], id: usize| counts[id] as f64 / counts.iter().sum::<u64>().max(1) as f64;
    let mut bars: Vec<(f64, f64, usize)> =
        (0..real.len()).map(|id| (share(real, id), share(generated, id), id)).collect();
    bars.sort_by(|a, b| (b.0 + b.1).total_cmp(&(a.0 + a.1)).then(a.2.cmp(&b.2)));
    bars.truncate(TOP);
    bars.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
    bars.into_iter()
        .map(|(real, generated, id)| ValueShares { value: label(id).to_owned(), real, generated })
        .collect()
}

/// Returns the shares of values in bins of equal width over a range.
fn shares(values: &[f64], range: ValueRange) -> Vec<f64> {
    let mut counts = [0_u64; STEPS];
    let width = (range.high - range.low).max(1e-9) / STEPS as f64;
    values
        .iter()
        .for_each(|&v| counts[(((v - range.low) / width).max(0.0) as usize).min(STEPS - 1)] += 1);
    counts.iter().map(|&n| n as f64 / values.len().max(1) as f64).collect()
}
