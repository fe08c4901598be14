//! Summary of a comparison, as text and as JSON.

use std::fmt;

use clikit::text::{Rows, count};
use fidelity::{
    CHECKS, Comparison, Damage, Discriminator, Interval, Measurement, Membership, PartComparison,
    Target, TraceComparison, TraceUnit, Validity, VerdictRate,
};
use serde::Serialize;

use crate::external_tools::{ToolOutcome, ToolReports};

/// Results of a run. The serialized form is `metrics.json`.
#[derive(Serialize)]
pub(crate) struct Summary {
    /// Conversations that are not whole sessions and were not compared: real, generated.
    #[serde(rename = "not_whole")]
    pub(crate) not_compared: [u64; 2],
    /// Distances between the two sets of flows.
    #[serde(flatten)]
    pub(crate) found: Comparison,
    /// Bounds for the most important measures, and whether they are met.
    pub(crate) targets: Vec<Target>,
    /// Verdicts of external tools.
    #[serde(rename = "judges")]
    pub(crate) tool_reports: ToolReports,
    /// Membership inference by the model's likelihood, with `--likelihood`.
    pub(crate) membership: Option<Membership>,
    /// Distances between traces, with `--traces`.
    pub(crate) traces: Option<TraceComparison>,
}

/// Distance from the floor, in bits, above which a categorical field is off.
pub(crate) const NEAR_BITS: f64 = 0.02;
/// Distance from the floor, in decades, above which a continuous field is off.
pub(crate) const NEAR_DECADES: f64 = 0.05;

impl fmt::Display for Summary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let mut rows = Rows::default();
        for (side, [flows, packets], not_compared) in [
            ("real", found.real, self.not_compared[0]),
            ("generated", found.generated, self.not_compared[1]),
        ] {
            let more = if not_compared > 0 {
                format!("; {} not whole, not compared", count(not_compared))
            } else {
                String::new()
            };
            rows.push(side, format!("{} sessions, {} packets{more}", count(flows), count(packets)));
        }
        let floor =
            if found.has_reference { "the reference" } else { "disjoint halves of the real flows" };
        rows.push(
            "samples",
            format!(
                "{} of {} flows; the floor is from {floor}",
                found.settings.repeats,
                count(found.sample as u64)
            ),
        );
        rows.push(
            "valid",
            shares(&found.validity_real, &found.validity_generated, Validity::share_all),
        );
        for (i, check) in CHECKS.iter().enumerate() {
            rows.push(
                format!("  {}", check.name),
                shares(&found.validity_real, &found.validity_generated, |v| v.share(i)),
            );
        }
        rows.push("behaviour", "share, generated (real), ratio [95 %]".to_owned());
        for found in &found.behaviours {
            rows.push(format!("  {}", found.name), rates(found));
        }
        rows.push("JSD, bits", "generated [95 %] (floor)".to_owned());
        for field in &found.categorical {
            rows.push(format!("  {}", field.name), against(&field.jsd_bits, Some(NEAR_BITS)));
        }
        rows.push("Wasserstein-1, decades", "generated [95 %] (floor)".to_owned());
        for field in &found.continuous {
            rows.push(
                format!("  {}", field.name),
                against(&field.wasserstein1, Some(NEAR_DECADES)),
            );
        }
        rows.push("parts", "generated (real), distances above their floors".to_owned());
        for part in std::iter::once(&found.by_packets).chain(&found.by_length) {
            rows.push(format!("  {}", part.name), part_line(part, found));
        }
        rows.push("correlations, PCD", against(&found.dependence.pcd, None));
        rows.push("contingencies, CMD", against(&found.dependence.cmd, None));
        let diversity = &found.diversity;
        for (name, value) in [
            ("density", &diversity.density),
            ("coverage", &diversity.coverage),
            ("nearest real flow", &diversity.nearest),
            ("exact repeats", &diversity.exact_repeats),
            ("repeats but for time", &diversity.header_repeats),
            ("copies of real, but for time", &diversity.copies),
        ] {
            rows.push(name, against(value, None));
        }
        self.push_learnt(&mut rows);
        self.push_traces(&mut rows);
        self.push_verdicts(&mut rows);
        let met = self.targets.iter().filter(|t| t.is_met).count();
        rows.push("targets met", format!("{met} of {}", self.targets.len()));
        for target in self.targets.iter().filter(|t| !t.is_met) {
            rows.push(
                format!("  not: {}", target.name),
                format!("{}, wanted {}", target.found, target.wanted),
            );
        }
        rows.fmt(to)
    }
}

impl Summary {
    /// Adds the verdicts of external tools.
    fn push_verdicts(&self, rows: &mut Rows) {
        for (name, judge) in self.tool_reports.by_name() {
            let found = match judge {
                ToolOutcome::NotRun(reason) => {
                    rows.push(name, format!("not run: {reason}"));
                    continue;
                }
                ToolOutcome::Run(found) => found,
            };
            rows.push(name, format!("share of {}s, generated (real), ratio [95 %]", found.per));
            for verdict in &found.verdicts {
                rows.push(format!("  {}", verdict.name), rates(verdict));
            }
        }
    }

    /// Adds the measures of traces.
    fn push_traces(&self, rows: &mut Rows) {
        let Some(found) = &self.traces else { return };
        for (side, [captures, clients, flows]) in
            [("traces, real", found.real), ("traces, generated", found.generated)]
        {
            let [captures, clients, flows] = [captures, clients, flows].map(|n| count(n as u64));
            rows.push(side, format!("{captures} captures, {clients} clients, {flows} flows"));
        }
        let damages = Damage::ALL.map(Damage::name).join(", ");
        rows.push("distances", format!("generated [95 %] (floor); real with {damages}"));
        for measure in &found.measures {
            let near = match measure.unit {
                TraceUnit::Bits => NEAR_BITS,
                TraceUnit::Decades => NEAR_DECADES,
            };
            let value = Measurement { generated: measure.generated, floor: measure.floor };
            let damaged: Vec<String> = measure.damaged.iter().map(|d| format!("{d:.3}")).collect();
            rows.push(
                format!("  {}", measure.name),
                format!("{}; {}", against(&value, Some(near)), damaged.join(" ")),
            );
        }
        let Some(trees) = &found.trees else {
            let few = "not measured: expected 20 windows of ten flows of a client on each side";
            rows.push("windows, AUC", few.to_owned());
            return;
        };
        let line = |generated, floor, damaged: &[Interval; 2]| {
            let value = against(&Measurement { generated, floor }, None);
            format!("{value}; {:.3} {:.3}", damaged[0].value, damaged[1].value)
        };
        let [real, generated] = trees.windows.map(|n| count(n as u64));
        let windows =
            format!("{real} real windows of ten flows of a client, {generated} generated");
        rows.push("windows, AUC", windows);
        rows.push("  trees", line(trees.generated, trees.floor, &trees.damaged));
        rows.push(
            "  trees, with identifiers",
            line(
                trees.generated_with_identifiers,
                trees.floor_with_identifiers,
                &trees.damaged_with_identifiers,
            ),
        );
    }

    /// Adds the measures that learn.
    fn push_learnt(&self, rows: &mut Rows) {
        let told = &self.found.discriminators;
        let auc = |d: &Discriminator| {
            against(&Measurement { generated: d.generated, floor: d.floor }, None)
        };
        rows.push("told apart, AUC", "generated [95 %] (floor)".to_owned());
        rows.push("  trees", auc(&told.trees));
        let without = || "not measured: a side has no client ports and initial numbers".to_owned();
        rows.push(
            "  trees, with identifiers",
            told.trees_with_identifiers.as_ref().map_or_else(without, auc),
        );
        rows.push("  sequence model", auc(&told.sequence));
        for feature in told.single_features.iter().take(3).filter(|t| t.generated > t.floor + 0.05)
        {
            rows.push(
                "    by itself",
                format!("{}: {:.3} ({:.3})", feature.name, feature.generated, feature.floor),
            );
        }
        match &self.found.utility {
            None => rows.push(
                "utility",
                "not measured: expected two server ports with 15 flows each".to_owned(),
            ),
            Some(u) => rows.push(
                "utility, server port",
                format!(
                    "{} of real ({:.3} right after generated flows, {:.3} after real ones, {:.3} \
                     by guessing)",
                    interval(&u.ratio),
                    u.generated.value,
                    u.real.value,
                    u.chance
                ),
            ),
        }
        match &self.found.memorisation {
            None => rows.push("memorisation", "not measured: no --training".to_owned()),
            Some(m) => {
                rows.push("copies of training data", against(&m.copies, None));
                rows.push("nearer to training data", against(&m.closer_to_training, None));
            }
        }
        match &self.membership {
            None => rows.push("membership", "not measured: no --likelihood".to_owned()),
            Some(m) => rows.push("membership, AUC", interval(&m.auc)),
        }
    }
}

/// Formats the rate among generated flows, that among real ones, and their ratio.
fn rates(verdict: &VerdictRate) -> String {
    let rate = |i: &Interval| format!("{:.3} %", 100.0 * i.value);
    let ratio = verdict.ratio.as_ref().map_or_else(|| "no ratio".to_owned(), interval);
    let mark = if verdict.is_off() { "  off" } else { "" };
    format!("{} ({}), {ratio}{mark}", rate(&verdict.generated), rate(&verdict.real))
}

/// Formats the size of a part of the flows and its distances.
fn part_line(part: &PartComparison, found: &Comparison) -> String {
    let share = |side: usize, all: [u64; 2]| {
        format!("{:.1} %", 100.0 * part.packets[side] as f64 / all[1].max(1) as f64)
    };
    let size = format!(
        "{} ({}) flows, {} ({}) of the packets",
        count(part.flows[1]),
        count(part.flows[0]),
        share(1, found.generated),
        share(0, found.real)
    );
    let Some(distances) = &part.distances else { return size };
    let [[bits, bits_floor], [decades, decades_floor]] =
        [distances.mean_categorical(), distances.mean_continuous()];
    format!(
        "{size}; valid {:.1} % ({:.1} %); JSD {:+.3} bits, W1 {:+.3} decades, AUC {:.3} ({:.3})",
        100.0 * distances.validity[1],
        100.0 * distances.validity[0],
        bits - bits_floor,
        decades - decades_floor,
        distances.trees.generated.value,
        distances.trees.floor.value
    )
}

/// Formats the share of generated flows, and that of the real ones.
fn shares(real: &Validity, generated: &Validity, of: impl Fn(&Validity) -> f64) -> String {
    format!("{:.2} % (real {:.2} %)", 100.0 * of(generated), 100.0 * of(real))
}

/// Formats a distance with its interval and floor; one farther than `near` from the floor is off.
fn against(value: &Measurement, near: Option<f64>) -> String {
    let Measurement { generated, floor } = value;
    let off = near.is_some_and(|near| generated.value > floor.value + near);
    let mark = if off { "  off" } else { "" };
    format!(
        "{:.4} [{:.4}, {:.4}] ({:.4}){mark}",
        generated.value, generated.low, generated.high, floor.value
    )
}

/// Formats a value with its interval.
fn interval(value: &Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", value.value, value.low, value.high)
}
