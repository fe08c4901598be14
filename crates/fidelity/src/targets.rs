//! Targets for generated flows, and whether they are met.

use crate::behaviour::{LONG_FLOW, REPETITION};
use crate::comparison::Comparison;
use crate::traces::TraceComparison;
use crate::verdicts::VerdictRate;

/// Target: a bound, the value found, and whether it is met.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Target {
    /// Name of the target in the report.
    pub name: &'static str,
    /// Quantity that the bound applies to.
    #[serde(rename = "of")]
    pub measure: String,
    /// Bound in words, such as `at most 0.05`.
    pub wanted: String,
    /// Value found, in words.
    pub found: String,
    /// Whether the value is within the bound.
    pub is_met: bool,
}

impl Target {
    fn at_most(name: &'static str, measure: &str, found: f64, bound: f64) -> Target {
        Target {
            name,
            wanted: format!("at most {bound:.4}"),
            measure: measure.to_owned(),
            found: format!("{found:.4}"),
            is_met: found <= bound,
        }
    }

    fn at_least(name: &'static str, measure: &str, found: f64, bound: f64) -> Target {
        Target {
            name,
            wanted: format!("at least {bound:.4}"),
            measure: measure.to_owned(),
            found: format!("{found:.4}"),
            is_met: found >= bound,
        }
    }
}

/// Returns the targets for what long flows do: the rates that a few of them can spoil, while
/// measures that count flows show nothing.
fn of_long_flows(found: &Comparison) -> [Target; 2] {
    let share = |behaviour: &str, name, bound: [f64; 2]| {
        let rate = found.behaviours.iter().find(|rate| rate.name == behaviour);
        let ratio = rate.and_then(|rate| rate.ratio);
        let is_met = match (rate, ratio) {
            (_, Some(ratio)) => ratio.high >= bound[0] && ratio.low <= bound[1],
            (Some(rate), None) => rate.generated.low <= 0.001,
            (None, None) => true,
        };
        Target {
            name,
            measure: format!("packets: {behaviour}, generated over real, more than chance"),
            wanted: format!("{} to {}", bound[0], bound[1]),
            found: ratio.map_or_else(|| "no real one".to_owned(), |r| format!("{:.2}", r.value)),
            is_met,
        }
    };
    [share(LONG_FLOW, "long flows", [0.8, 1.25]), share(REPETITION, "loops", [0.0, 1.2])]
}

/// Continuous fields of the target for times: gaps and the handshake's round trip.
const TIMES: [&str; 3] = ["gap_client", "gap_server", "handshake_rtt"];

/// Returns the targets in the order of the report. Verdicts of other programs count where they were
/// asked for.
#[must_use]
pub fn targets(found: &Comparison, verdicts: Option<&[VerdictRate]>) -> Vec<Target> {
    let mut targets = vec![Target::at_least(
        "validity",
        "share of flows that pass every check",
        found.validity_generated.share_all(),
        found.validity_real.share_all(),
    )];
    targets.extend(of_long_flows(found));
    let of_rates = |name, what: &str, rates: &[VerdictRate]| {
        let off = rates.iter().filter(|v| v.is_off()).count();
        Target {
            name,
            measure: format!(
                "{what} whose rate is off the real one by more than 20 % and more than chance \
                 explains"
            ),
            wanted: "none".to_owned(),
            found: if off == 0 { "none".to_owned() } else { format!("{off} of {}", rates.len()) },
            is_met: off == 0,
        }
    };
    targets.push(of_rates("behaviour", "behaviour", &found.behaviours));
    if let Some(verdicts) = verdicts {
        targets.push(of_rates("verdicts", "verdicts of other programs", verdicts));
    }
    let mean = |of: fn(&crate::Measurement) -> f64| {
        found.categorical.iter().map(|f| of(&f.jsd_bits)).sum::<f64>()
            / found.categorical.len().max(1) as f64
    };
    let (value, floor) = (mean(|a| a.generated.value), mean(|a| a.floor.value));
    targets.push(Target::at_most(
        "header fields",
        "mean JSD in bits: the floor and 0.02",
        value,
        floor + 0.02,
    ));
    let above = |name: &str| {
        let field = found.continuous.iter().find(|f| f.name == name);
        field.map_or(0.0, |f| f.wasserstein1.generated.value - f.wasserstein1.floor.value)
    };
    let most = TIMES.into_iter().map(above).fold(0.0, f64::max);
    targets.push(Target::at_most(
        "times",
        "gaps and round trips, decades above the floor",
        most,
        0.05,
    ));
    let coverage = &found.diversity.coverage;
    targets.push(Target::at_least(
        "coverage",
        "coverage over that of real flows",
        coverage.generated.value / coverage.floor.value.max(1e-9),
        0.95,
    ));
    let trees = &found.discriminators.trees;
    targets.push(Target::at_most("told apart by trees", "AUC", trees.generated.value, 0.60));
    if let Some(utility) = &found.utility {
        targets.push(Target::at_least(
            "utility",
            "as much right as after real flows",
            utility.ratio.value,
            0.95,
        ));
    }
    let repeats = &found.diversity.exact_repeats;
    targets.push(Target::at_most(
        "repeats",
        "share of exact repeats among the flows, as real ones have",
        repeats.generated.value,
        repeats.floor.value,
    ));
    if let Some(memory) = &found.memorisation {
        let copies = &memory.copies;
        targets.push(Target::at_most(
            "copies",
            "share of flows that are in the training data, as real ones are",
            copies.generated.value,
            copies.floor.value,
        ));
    }
    targets
}

/// Returns the targets for traces, in the order of the report.
#[must_use]
pub fn trace_targets(found: &TraceComparison) -> Vec<Target> {
    let near = |name: &'static str, what: &str, bound: f64| {
        let measure = found.measures.iter().find(|measure| measure.name == name)?;
        let what = format!("traces: {what}: the floor and {bound}");
        Some(Target::at_most(name, &what, measure.generated.value, measure.floor.value + bound))
    };
    let mut targets: Vec<Target> = [
        near("destination", "JSD of destinations in bits", 0.02),
        near("syn_as_before", "JSD of SYNs as the last one in bits", 0.02),
        near("gap_per_client", "W1 of gaps between starts in decades", 0.05),
        near("open_per_client", "W1 of open flows in decades", 0.05),
        near("burstiness", "difference of burstiness in decades", 0.1),
    ]
    .into_iter()
    .flatten()
    .collect();
    targets.push(Target::at_most(
        "round trips of a pair",
        "traces: mean factor between handshake times of a pair in decades",
        found.rtt_in_pair[1],
        0.2,
    ));
    if let Some(trees) = &found.trees {
        let (trees, more) = (trees.generated.value, trees.generated_with_identifiers.value);
        targets.push(Target::at_most("windows", "traces: AUC of trees on windows", trees, 0.7));
        targets.push(Target::at_most(
            "identifiers",
            "traces: AUC with ports, identifications and TSvals: that without, or chance, and 0.05",
            more,
            trees.max(0.5) + 0.05,
        ));
    }
    targets
}
