//! Parts of a comparison: flows by their length, and all flows weighted by packets.
//!
//! Of ten thousand flows three may hold a fifth of all packets: measures that count flows are blind
//! to what these three do.

use std::ops::Range;

use flowtrack::Flow;

use crate::behaviour::{Behaviour, BehaviourCount, BehaviourCounts, behaviour_rates, behaviours};
use crate::comparison::{FieldDistance, PartComparison, PartDistances, Settings};
use crate::learn::{Discriminator, LearnerSample, ROUNDS, trees_alone};
use crate::long_flows::LONG;
use crate::observe::{CATEGORICAL, CONTINUOUS, ValueIds};
use crate::sample::SampleDraw;
use crate::set::FlowSet;
use crate::sets::{Sets, once, packets};
use crate::validity::{Passed, Validity, validity};
use crate::verdicts::VerdictRate;

/// Classes of flows by their number of packets, with the name of each.
const LENGTH_CLASSES: [(&str, Range<usize>); 4] = [
    ("under 16", 0..16),
    ("16 to 127", 16..128),
    ("128 to 1,023", 128..LONG),
    ("1,024 and more", LONG..usize::MAX),
];

/// Name of the part that has all flows, weighted by packets.
const BY_PACKETS: &str = "by packets";
/// Smallest number of flows of a side in a part that is compared.
const MIN_FLOWS: usize = 40;

/// Categorical fields of which a flow, or a side of it, has one value.
const ONE_VALUE: [&str; 5] = ["server_port", "syn_options", "mss", "window_scale", "ttl"];
/// Continuous fields that have a value for each packet or burst, and not for each flow.
const MANY_VALUES: [&str; 4] = ["gap_client", "gap_server", "burst_client", "burst_server"];

/// Returns the indices in [`CATEGORICAL`] of the fields of which a flow has one value.
fn categorical_of_flows() -> Vec<usize> {
    (0..CATEGORICAL.len()).filter(|&i| ONE_VALUE.contains(&CATEGORICAL[i].0)).collect()
}

/// Returns the indices in [`CONTINUOUS`] of the fields of which a flow has one value.
fn continuous_of_flows() -> Vec<usize> {
    (0..CONTINUOUS.len()).filter(|&i| !MANY_VALUES.contains(&CONTINUOUS[i].0)).collect()
}

/// Length, validity and behaviour of one flow.
pub(crate) struct Judged {
    pub(crate) packets: usize,
    pub(crate) passed: Passed,
    pub(crate) behaviours: BehaviourCounts,
}

impl Judged {
    pub(crate) fn new(flow: &Flow) -> Judged {
        Judged { packets: flow.packets.len(), passed: validity(flow), behaviours: behaviours(flow) }
    }

    /// Returns the counts of behaviours with every unit as often as the flow has packets.
    pub(crate) fn weighted_behaviours(&self) -> BehaviourCounts {
        self.behaviours.map(|BehaviourCount { units, shown }| BehaviourCount {
            units: units.saturating_mul(self.packets as u32),
            shown: shown.saturating_mul(self.packets as u32),
        })
    }
}

/// Comparison by parts of the flows.
pub(crate) struct Parts<'a> {
    pub(crate) sets: &'a Sets,
    pub(crate) draws: &'a [SampleDraw],
    pub(crate) ids: &'a ValueIds,
    /// Real flows, and generated ones.
    pub(crate) judged: [Vec<Judged>; 2],
    pub(crate) settings: Settings,
}

impl Parts<'_> {
    /// Returns the rate of each behaviour among the wanted flows.
    pub(crate) fn behaviour_rates(&self, wanted: impl Fn(&Judged) -> bool) -> Vec<VerdictRate> {
        let counts = self.judged.each_ref().map(|flows| {
            let wanted = flows.iter().filter(|flow| wanted(flow));
            wanted.map(|flow| flow.behaviours).collect::<Vec<_>>()
        });
        behaviour_rates([&counts[0], &counts[1]], |_| true, self.settings.seed)
    }

    /// Returns the flows that pass each check, real and generated.
    pub(crate) fn validities(&self) -> [Validity; 2] {
        self.judged.each_ref().map(|flows| Validity::from_passed(flows.iter().map(|f| f.passed)))
    }

    /// Returns the share of valid flows, real and generated, by a weight of each.
    fn validity(&self, weight: impl Fn(&Judged) -> usize) -> [f64; 2] {
        self.judged.each_ref().map(|flows| {
            let sum = |of: &dyn Fn(&Judged) -> bool| -> usize {
                flows.iter().filter(|flow| of(flow)).map(&weight).sum()
            };
            sum(&|flow| flow.passed.iter().all(|&passed| passed)) as f64
                / sum(&|_| true).max(1) as f64
        })
    }

    /// Compares all flows, each as often as it has packets. Rates and fields that count packets
    /// already are those of the whole comparison and are left out.
    pub(crate) fn by_packets(&self, trees: &Discriminator) -> PartComparison {
        let [real, generated] =
            self.judged.each_ref().map(|flows| flows.iter().map(Judged::weighted_behaviours));
        let counts = [real.collect::<Vec<_>>(), generated.collect()];
        let of_flows = |behaviour: &Behaviour| behaviour.per.starts_with("flow");
        let categorical = categorical_of_flows().into_iter().map(|i| FieldDistance {
            name: CATEGORICAL[i].0,
            distance: self.sets.categorical_distance(self.draws, self.ids, i, packets),
        });
        let continuous = continuous_of_flows().into_iter().map(|i| FieldDistance {
            name: CONTINUOUS[i].0,
            distance: self.sets.continuous_distance(self.draws, i, packets),
        });
        let sum = |flows: &Vec<Judged>| flows.iter().map(|flow| flow.packets as u64).sum();
        PartComparison {
            name: BY_PACKETS,
            flows: self.judged.each_ref().map(|flows| flows.len() as u64),
            packets: self.judged.each_ref().map(sum),
            distances: Some(PartDistances {
                validity: self.validity(|flow| flow.packets),
                behaviours: behaviour_rates([&counts[0], &counts[1]], of_flows, self.settings.seed),
                categorical: categorical.collect(),
                continuous: continuous.collect(),
                trees: *trees,
            }),
        }
    }

    /// Compares the flows of each class of lengths.
    pub(crate) fn by_length(&self) -> Vec<PartComparison> {
        LENGTH_CLASSES.iter().map(|(name, lengths)| self.of_length(name, lengths)).collect()
    }

    /// Compares the flows whose number of packets is in a range.
    fn of_length(&self, name: &'static str, lengths: &Range<usize>) -> PartComparison {
        let own = self.judged.each_ref().map(|flows| {
            let own = flows.iter().filter(|flow| lengths.contains(&flow.packets));
            own.fold([0, 0], |[flows, packets], flow| [flows + 1, packets + flow.packets as u64])
        });
        let [[real, _], [generated, _]] = own;
        let distances = (real.min(generated) >= MIN_FLOWS as u64).then(|| self.distances(lengths));
        PartComparison { name, flows: own.map(|[n, _]| n), packets: own.map(|[_, n]| n), distances }
    }

    fn distances(&self, lengths: &Range<usize>) -> PartDistances {
        let is_own =
            |set: &FlowSet, i: usize| lengths.contains(&(set.learner_inputs[i].packets as usize));
        let draws: Vec<SampleDraw> = self
            .draws
            .iter()
            .map(|draw| {
                draw.filtered([
                    &|i| is_own(&self.sets.real, i),
                    &|i| is_own(self.sets.floor(), i),
                    &|i| is_own(&self.sets.generated, i),
                ])
            })
            .collect();
        let categorical = (0..CATEGORICAL.len()).map(|i| FieldDistance {
            name: CATEGORICAL[i].0,
            distance: self.sets.categorical_distance(&draws, self.ids, i, once),
        });
        let continuous = (0..CONTINUOUS.len()).map(|i| FieldDistance {
            name: CONTINUOUS[i].0,
            distance: self.sets.continuous_distance(&draws, i, once),
        });
        let samples: Vec<LearnerSample<'_>> = draws
            .iter()
            .take(TREES_OF_PART)
            .map(|draw| self.sets.material(draw, self.settings.learners))
            .collect();
        PartDistances {
            validity: self.validity(|flow| usize::from(lengths.contains(&flow.packets))),
            behaviours: self.behaviour_rates(|flow| lengths.contains(&flow.packets)),
            categorical: categorical.collect(),
            continuous: continuous.collect(),
            trees: trees_alone(&samples, ROUNDS, self.settings.seed),
        }
    }
}

/// Number of draws behind the trees of one class of lengths.
const TREES_OF_PART: usize = 2;
