//! Verdicts of other programs on packets and flows, and their rates next to those of real ones.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sample::Interval;

/// Verdicts of one program on a set of flows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerdictCounts {
    /// Denominator of rates for each flow: its number of packets, or 1 where the program judges
    /// flows.
    pub units: Vec<u32>,
    /// Per verdict, the flows it was given to with its count, at most one entry for each flow.
    pub verdicts: BTreeMap<String, Vec<(u32, u32)>>,
}

impl VerdictCounts {
    /// Counts a verdict on a flow once more; flows come in ascending order.
    pub fn add(&mut self, verdict: &str, flow: u32) {
        self.add_many(verdict, flow, 1);
    }

    /// Counts a verdict on a flow `times` more.
    pub(crate) fn add_many(&mut self, verdict: &str, flow: u32, times: u32) {
        let list = match self.verdicts.get_mut(verdict) {
            Some(list) => list,
            None => self.verdicts.entry(verdict.to_owned()).or_default(),
        };
        match list.last_mut() {
            Some((last, n)) if *last == flow => *n += times,
            _ => list.push((flow, times)),
        }
    }
}

/// Rate of one verdict among real and among generated flows.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct VerdictRate {
    /// Name of the verdict as the program gives it.
    pub name: String,
    /// Count among real and among generated flows.
    pub count: [u64; 2],
    /// Number of packets or flows that were judged, real and generated.
    #[serde(rename = "of")]
    pub judged: [u64; 2],
    /// Rate among real flows, with its interval.
    pub real: Interval,
    /// Rate among generated flows, with its interval.
    pub generated: Interval,
    /// Rate among generated flows divided by the rate among real ones, with the interval of both
    /// together; `None` for a verdict that no real flow has.
    pub ratio: Option<Interval>,
}

impl VerdictRate {
    /// Returns whether the rates differ by more than 20 % and by more than chance explains. An
    /// interval that contains some ratio from 0.8 to 1.2 is no difference; neither is a verdict
    /// that one side lacks and the other has too seldom to be missed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        // Where so many are expected, none is found once in twenty times.
        const MISSED: f64 = 3.0;
        let expected = |rate: f64, side: usize| rate * self.judged[side] as f64;
        match &self.ratio {
            Some(_) if self.count[1] == 0 => expected(self.real.value, 1) > MISSED,
            Some(ratio) => ratio.low > 1.2 || ratio.high < 0.8,
            None => self.generated.low > 0.001 && expected(self.generated.value, 0) > MISSED,
        }
    }
}

/// Returns the rate of each verdict of either side, in descending order of its count among real
/// flows.
#[must_use]
pub fn rates(real: &VerdictCounts, generated: &VerdictCounts, seed: u64) -> Vec<VerdictRate> {
    let again = draws([real, generated], seed);
    let mut names: Vec<&String> = real.verdicts.keys().chain(generated.verdicts.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut rates: Vec<VerdictRate> =
        names.into_iter().map(|name| rate_of(name, [real, generated], &again)).collect();
    rates.sort_by(|a, b| b.real.value.total_cmp(&a.real.value).then_with(|| a.name.cmp(&b.name)));
    rates
}

/// Returns the rate of one verdict, also if neither side has it.
pub(crate) fn rate_of_one(name: &str, sides: [&VerdictCounts; 2], seed: u64) -> VerdictRate {
    rate_of(name, sides, &draws(sides, seed))
}

/// Draws the flows of both sides with replacement: how often each flow is in each draw.
fn draws(sides: [&VerdictCounts; 2], seed: u64) -> [Vec<Vec<u32>>; 2] {
    const ROUNDS: usize = 200;
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7665_7264);
    sides.map(|said| {
        let n = said.units.len();
        let mut draw = || {
            let mut times = vec![0; n];
            (0..n).for_each(|_| times[random.random_range(0..n)] += 1);
            times
        };
        (0..ROUNDS).map(|_| draw()).collect()
    })
}

fn rate_of(name: &str, sides: [&VerdictCounts; 2], again: &[Vec<Vec<u32>>; 2]) -> VerdictRate {
    let empty = Vec::new();
    let lists = sides.map(|said| said.verdicts.get(name).unwrap_or(&empty));
    let rate = |side: usize, times: Option<&Vec<u32>>| {
        let weight = |flow: usize| times.map_or(1.0, |t| f64::from(t[flow]));
        let said = lists[side].iter().map(|&(flow, n)| f64::from(n) * weight(flow as usize));
        let all =
            sides[side].units.iter().enumerate().map(|(flow, &n)| f64::from(n) * weight(flow));
        // The sum of nothing is -0.
        said.fold(0.0, |sum, n| sum + n) / all.fold(0.0, |sum, n| sum + n).max(1.0)
    };
    let spread =
        |side: usize| again[side].iter().map(|times| rate(side, Some(times))).collect::<Vec<_>>();
    let (real, generated) = (spread(0), spread(1));
    let around = |value: f64, list: &[f64]| Interval { value, ..Interval::from_repeats(list) };
    let (r, g) = (rate(0, None), rate(1, None));
    let ratios: Vec<f64> =
        real.iter().zip(&generated).filter(|(r, _)| **r > 0.0).map(|(r, g)| g / r).collect();
    VerdictRate {
        name: name.to_owned(),
        count: lists.map(|list| list.iter().map(|&(_, n)| u64::from(n)).sum()),
        judged: sides.map(|said| said.units.iter().map(|&n| u64::from(n)).sum()),
        real: around(r, &real),
        generated: around(g, &generated),
        ratio: (r > 0.0 && !ratios.is_empty()).then(|| around(g / r, &ratios)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(of: u32, every: u32) -> VerdictCounts {
        let mut said = VerdictCounts { units: vec![10; of as usize], ..VerdictCounts::default() };
        (0..of)
            .filter(|flow| flow.is_multiple_of(every))
            .for_each(|flow| said.add("retransmission", flow));
        said
    }

    #[test]
    fn a_rate_three_times_as_high_is_off_and_the_same_is_not() {
        let same = &rates(&said(600, 4), &said(400, 4), 1)[0];
        assert_eq!((same.real.value, same.count, same.judged), (0.025, [150, 100], [6_000, 4_000]));
        assert!(!same.is_off(), "{same:?}");
        let more = &rates(&said(600, 12), &said(400, 4), 1)[0];
        assert!(more.is_off() && (more.ratio.unwrap().value - 3.0).abs() < 0.1, "{more:?}");
        let fewer = &rates(&said(600, 2), &said(400, 8), 1)[0];
        assert!(fewer.is_off(), "{fewer:?}");
    }

    #[test]
    fn what_is_never_said_of_real_flows_has_no_ratio() {
        let none = VerdictCounts { units: vec![10; 300], ..VerdictCounts::default() };
        let found = &rates(&none, &said(400, 4), 1)[0];
        assert_eq!(found.ratio, None);
        assert!(found.is_off());
        let rare = &rates(&none, &said(400, 400), 1)[0];
        assert!(!rare.is_off(), "{rare:?}");
        let missing = |every| {
            rates(
                &said(600, every),
                &VerdictCounts { units: vec![10; 600], ..VerdictCounts::default() },
                1,
            )
            .remove(0)
        };
        assert!(!missing(300).is_off() && missing(30).is_off());
    }
}
