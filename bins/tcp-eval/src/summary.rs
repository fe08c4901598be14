//! What was found, for people and as JSON.

use std::fmt;

use clikit::text::{Rows, count};
use fidelity::{
    Against, CHECKS, Comparison, Discriminator, Interval, Membership, Target, Validity,
};
use serde::Serialize;

use crate::judges::{Judge, Judges};

/// What was found.
#[derive(Serialize)]
pub(crate) struct Summary {
    /// Conversations of each side that are no whole sessions and were not compared: real,
    /// generated.
    pub(crate) not_whole: [u64; 2],
    /// The comparison.
    #[serde(flatten)]
    pub(crate) found: Comparison,
    /// What one wants, and whether it is so.
    pub(crate) targets: Vec<Target>,
    /// What other programs say.
    pub(crate) judges: Judges,
    /// Whether the model's likelihood tells what it was trained on.
    pub(crate) membership: Option<Membership>,
}

/// Farther than this from the floor, in bits, a field is said to be off.
pub(crate) const NEAR_BITS: f64 = 0.02;
/// Farther than this from the floor, in decades, a field is said to be off.
pub(crate) const NEAR_DECADES: f64 = 0.05;

impl fmt::Display for Summary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let mut rows = Rows::default();
        for (side, [flows, packets], not_whole) in [
            ("real", found.real, self.not_whole[0]),
            ("generated", found.generated, self.not_whole[1]),
        ] {
            let more = if not_whole > 0 {
                format!("; {} not whole, not compared", count(not_whole))
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
        self.learnt(&mut rows);
        self.judged(&mut rows);
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
    /// What other programs say.
    fn judged(&self, rows: &mut Rows) {
        for (name, judge) in self.judges.each() {
            let found = match judge {
                Judge::NotRun(reason) => {
                    rows.push(name, format!("not run: {reason}"));
                    continue;
                }
                Judge::Run(found) => found,
            };
            rows.push(name, format!("share of {}s, generated (real), ratio [95 %]", found.per));
            for verdict in &found.verdicts {
                let rate = |i: &Interval| format!("{:.3} %", 100.0 * i.value);
                let ratio = verdict.ratio.as_ref().map_or_else(|| "no ratio".to_owned(), interval);
                let mark = if verdict.is_off() { "  off" } else { "" };
                let text = format!(
                    "{} ({}), {ratio}{mark}",
                    rate(&verdict.generated),
                    rate(&verdict.real)
                );
                rows.push(format!("  {}", verdict.name), text);
            }
        }
    }

    /// The measures that learn.
    fn learnt(&self, rows: &mut Rows) {
        let told = &self.found.discriminators;
        let auc =
            |d: &Discriminator| against(&Against { generated: d.generated, floor: d.floor }, None);
        rows.push("told apart, AUC", "generated [95 %] (floor)".to_owned());
        rows.push("  trees", auc(&told.trees));
        let without = || "not measured: a side has no client ports and initial numbers".to_owned();
        rows.push(
            "  trees, with identifiers",
            told.trees_with_identifiers.as_ref().map_or_else(without, auc),
        );
        rows.push("  sequence model", auc(&told.sequence));
        for tell in told.tells.iter().take(3).filter(|t| t.generated > t.floor + 0.05) {
            rows.push(
                "    by itself",
                format!("{}: {:.3} ({:.3})", tell.name, tell.generated, tell.floor),
            );
        }
        match &self.found.utility {
            None => rows.push("utility", "not measured: expected two server ports with 15 flows each".to_owned()),
            Some(u) => rows.push(
                "utility, server port",
                format!(
                    "{} of real ({:.3} right after generated flows, {:.3} after real ones, {:.3} by guessing)",
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

fn shares(real: &Validity, generated: &Validity, of: impl Fn(&Validity) -> f64) -> String {
    format!("{:.2} % (real {:.2} %)", 100.0 * of(generated), 100.0 * of(real))
}

fn against(value: &Against, near: Option<f64>) -> String {
    let Against { generated, floor } = value;
    let off = near.is_some_and(|near| generated.value > floor.value + near);
    let mark = if off { "  off" } else { "" };
    format!(
        "{:.4} [{:.4}, {:.4}] ({:.4}){mark}",
        generated.value, generated.low, generated.high, floor.value
    )
}

fn interval(value: &Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", value.value, value.low, value.high)
}
