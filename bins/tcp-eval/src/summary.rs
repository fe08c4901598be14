//! What was found, for people and as JSON.

use std::fmt;

use clikit::text::{Rows, count};
use fidelity::{Against, CHECKS, Comparison, Validity};
use serde::Serialize;

/// What was found.
#[derive(Serialize)]
pub(crate) struct Summary {
    /// Conversations of each side that are no whole sessions and were not compared: real, generated.
    pub(crate) not_whole: [u64; 2],
    /// The comparison.
    #[serde(flatten)]
    pub(crate) found: Comparison,
}

/// Farther than this from the floor, in bits, a field is said to be off.
const NEAR_BITS: f64 = 0.02;
/// Farther than this from the floor, in decades, a field is said to be off.
const NEAR_DECADES: f64 = 0.05;

impl fmt::Display for Summary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let mut rows = Rows::default();
        for (side, [flows, packets], not_whole) in
            [("real", found.real, self.not_whole[0]), ("generated", found.generated, self.not_whole[1])]
        {
            let more =
                if not_whole > 0 { format!("; {} not whole, not compared", count(not_whole)) } else { String::new() };
            rows.push(side, format!("{} sessions, {} packets{more}", count(flows), count(packets)));
        }
        let floor = if found.has_reference { "the reference" } else { "disjoint halves of the real flows" };
        rows.push(
            "samples",
            format!("{} of {} flows; the floor is from {floor}", found.settings.repeats, count(found.sample as u64)),
        );
        rows.push("valid", shares(&found.validity_real, &found.validity_generated, Validity::share_all));
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
            rows.push(format!("  {}", field.name), against(&field.wasserstein1, Some(NEAR_DECADES)));
        }
        rows.push("correlations, PCD", against(&found.dependence.pcd, None));
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
        rows.fmt(to)
    }
}

fn shares(real: &Validity, generated: &Validity, of: impl Fn(&Validity) -> f64) -> String {
    format!("{:.2} % (real {:.2} %)", 100.0 * of(generated), 100.0 * of(real))
}

fn against(value: &Against, near: Option<f64>) -> String {
    let Against { generated, floor } = value;
    let off = near.is_some_and(|near| generated.value > floor.value + near);
    let mark = if off { "  off" } else { "" };
    format!("{:.4} [{:.4}, {:.4}] ({:.4}){mark}", generated.value, generated.low, generated.high, floor.value)
}
