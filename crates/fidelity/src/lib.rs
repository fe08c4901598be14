//! Distance between generated and real TCP flows.
//!
//! [`compare`] compares two sets of flows and returns a [`Comparison`]: validity by arithmetic,
//! distributions field by field next to the noise floor (the distance of two real samples of the
//! same size), dependence between fields, coverage and repeats, classifiers that tell real from
//! generated, utility as training data, and memorisation of the training data. Each measure is
//! defined where it is computed; `docs/evaluation.md` lists them. The crate has no files, Arrow or
//! tensors.
//!
//! The parts work alone. [`validity`] checks one flow, and the distances take plain numbers:
//!
//! ```
//! use fidelity::{CHECKS, ValueRange, jsd_bits, validity, wasserstein1};
//!
//! // A session made by hand passes every check.
//! let mut flow = tokenizer::field::doc::worked_flow();
//! assert!(validity(&flow).iter().all(|&passed| passed));
//!
//! // An acknowledgment of octets that were never sent fails one of them.
//! let last = flow.packets.len() - 1;
//! flow.packets[last].ack = flow.packets[last].ack.add(1_000);
//! let failed: Vec<&str> = std::iter::zip(CHECKS, validity(&flow))
//!     .filter(|(_, passed)| !passed)
//!     .map(|(check, _)| check.name)
//!     .collect();
//! assert!(failed.contains(&"acknowledgments"));
//!
//! // Two distributions of a categorical field: counts of equal shape, and disjoint ones.
//! assert_eq!(jsd_bits(&[10, 30], &[1, 3]), 0.0);
//! assert_eq!(jsd_bits(&[10, 0], &[0, 10]), 1.0);
//!
//! // Two samples of a continuous field, one of them shifted by 2.
//! let range = ValueRange { low: 0.0, high: 10.0 };
//! assert_eq!(wasserstein1(&[1.0, 2.0, 3.0], &[3.0, 4.0, 5.0], range), 2.0);
//! ```

#![forbid(unsafe_code)]

mod behaviour;
mod categorical;
mod compare;
mod comparison;
mod continuous;
mod dependence;
mod diversity;
mod label;
mod learn;
mod likelihood;
mod long_flows;
mod observe;
mod options;
mod part;
mod sample;
mod set;
mod sets;
mod targets;
mod traces;
mod validity;
mod verdicts;

pub use behaviour::{BEHAVIOURS, Behaviour, BehaviourCount, BehaviourCounts, behaviours};
pub use categorical::jsd_bits;
pub use compare::{FlowSets, compare};
pub use comparison::{
    CategoricalField, Comparison, ContinuousField, Dependence, Diversity, Error, FieldDistance,
    Histogram, Measurement, Memorisation, PartComparison, PartDistances, Settings, ValueShares,
};
pub use continuous::{ValueRange, ks, wasserstein1};
pub use label::flag_letters;
pub use learn::{Discriminator, Discriminators, FeatureAuc, HeldOut, Utility, auc};
pub use likelihood::{Membership, membership};
pub use observe::{CATEGORICAL, CONTINUOUS, FieldUnit, Observed};
pub use sample::Interval;
pub use targets::{Target, targets, trace_targets};
pub use traces::{
    Burstiness, Damage, TraceComparison, TraceError, TraceFlow, TraceMeasure, TraceSides,
    TraceTrees, TraceUnit, Traces, compare_traces,
};
pub use validity::{CHECKS, Check, Validity, validity};
pub use verdicts::{VerdictCounts, VerdictRate, rates};
