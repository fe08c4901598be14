//! Sets of a comparison, and the distances between samples drawn from them.

use rustc_hash::FxHashSet;

use crate::comparison::{
    CategoricalField, ContinuousField, Dependence, Diversity, Histogram, Measurement, Memorisation,
    ValueShares,
};
use crate::continuous::{ValueRange, ks, wasserstein1, weighted_wasserstein1};
use crate::learn::{LearnerInput, LearnerSample};
use crate::observe::{CATEGORICAL, CONTINUOUS, FEATURE_NAMES, FLOW_FIELDS, FieldUnit, ValueIds};
use crate::sample::{Interval, SampleDraw};
use crate::set::FlowSet;
use crate::{categorical, dependence, diversity};

/// Number of values of a categorical field that a report lists.
const TOP: usize = 10;
/// Number of bins of a histogram.
const STEPS: usize = 48;

/// Sets of a comparison, each flow observed once.
pub(crate) struct Sets {
    pub(crate) real: FlowSet,
    pub(crate) reference: Option<FlowSet>,
    pub(crate) generated: FlowSet,
    pub(crate) training: Option<FlowSet>,
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
        range_of(&sorted_values(&self.real, &all(&self.real), field))
    }

    pub(crate) fn categorical(
        &self,
        draws: &[SampleDraw],
        ids: &ValueIds,
    ) -> Vec<CategoricalField> {
        let field = |(i, &(name, meaning)): (usize, &(&'static str, &'static str))| {
            let everything =
                [&self.real, &self.generated].map(|set| value_counts(set, &all(set), i, ids, once));
            let jsd_bits = self.categorical_distance(draws, ids, i, once);
            let top = top(&everything, |id| ids.label(i, id));
            CategoricalField { name, meaning, values: ids.count(i), jsd_bits, top }
        };
        CATEGORICAL.iter().enumerate().map(field).collect()
    }

    pub(crate) fn continuous(&self, draws: &[SampleDraw]) -> Vec<ContinuousField> {
        let field =
            |(i, &(name, unit, meaning)): (usize, &(&'static str, FieldUnit, &'static str))| {
                let sorted = |set: &FlowSet, of: &[usize]| sorted_values(set, of, i);
                let [real, generated] =
                    [&self.real, &self.generated].map(|set| sorted(set, &all(set)));
                let range = range_of(&real);
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

    pub(crate) fn dependence(&self, draws: &[SampleDraw]) -> Dependence {
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

    pub(crate) fn diversity(&self, draws: &[SampleDraw], neighbours: usize) -> Diversity {
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

    pub(crate) fn memorisation(
        &self,
        draws: &[SampleDraw],
        neighbours: usize,
    ) -> Option<Memorisation> {
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

/// Returns the range of sorted values; 0 to 0 of none.
fn range_of(sorted: &[f64]) -> ValueRange {
    ValueRange::from_sorted(sorted).unwrap_or(ValueRange { low: 0.0, high: 0.0 })
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
