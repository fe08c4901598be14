//! What other programs say of packets: how often, beside real ones.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sample::Interval;

/// What a program said of some flows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// What rates are of, for each flow: its packets, or 1 where flows themselves are judged.
    pub of: Vec<u32>,
    /// For each verdict: flow and how often. At most one entry a flow.
    pub verdicts: BTreeMap<String, Vec<(u32, u32)>>,
}

impl Said {
    /// Counts a verdict on a flow once more. Flows come in order.
    pub fn count(&mut self, verdict: &str, flow: u32) {
        let list = match self.verdicts.get_mut(verdict) {
            Some(list) => list,
            None => self.verdicts.entry(verdict.to_owned()).or_default(),
        };
        match list.last_mut() {
            Some((last, n)) if *last == flow => *n += 1,
            _ => list.push((flow, 1)),
        }
    }
}

/// How often a program said something.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct VerdictRate {
    /// What it said.
    pub name: String,
    /// How often, of real and of generated flows.
    pub count: [u64; 2],
    /// Packets or flows that were judged, real and generated.
    pub of: [u64; 2],
    /// Rate of real flows.
    pub real: Interval,
    /// Rate of generated flows.
    pub generated: Interval,
    /// The second over the first, with the interval of both together; absent where it is never said
    /// of real flows.
    pub ratio: Option<Interval>,
}

impl VerdictRate {
    /// Whether the rates differ by more than 20 % and by more than chance explains: an interval
    /// that holds some ratio from 0.8 to 1.2 says nothing, nor does what is never said of one side
    /// and too seldom of the other to be missed there.
    #[must_use]
    pub fn is_off(&self) -> bool {
        // Where so many are expected, none is found once in twenty times.
        const MISSED: f64 = 3.0;
        let expected = |rate: f64, side: usize| rate * self.of[side] as f64;
        match &self.ratio {
            Some(_) if self.count[1] == 0 => expected(self.real.value, 1) > MISSED,
            Some(ratio) => ratio.low > 1.2 || ratio.high < 0.8,
            None => self.generated.low > 0.001 && expected(self.generated.value, 0) > MISSED,
        }
    }
}

/// The rate of each verdict that was said of either side, the most frequent of real ones first.
#[must_use]
pub fn rates(real: &Said, generated: &Said, seed: u64) -> Vec<VerdictRate> {
    const ROUNDS: usize = 200;
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7665_7264);
    let mut draws = |said: &Said| -> Vec<Vec<u32>> {
        let n = said.of.len();
        let mut draw = || {
            let mut times = vec![0; n];
            (0..n).for_each(|_| times[random.random_range(0..n)] += 1);
            times
        };
        (0..ROUNDS).map(|_| draw()).collect()
    };
    let again = [draws(real), draws(generated)];
    let mut names: Vec<&String> = real.verdicts.keys().chain(generated.verdicts.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut rates: Vec<VerdictRate> =
        names.into_iter().map(|name| one(name, [real, generated], &again)).collect();
    rates.sort_by(|a, b| b.real.value.total_cmp(&a.real.value).then_with(|| a.name.cmp(&b.name)));
    rates
}

fn one(name: &str, sides: [&Said; 2], again: &[Vec<Vec<u32>>; 2]) -> VerdictRate {
    let empty = Vec::new();
    let lists = sides.map(|said| said.verdicts.get(name).unwrap_or(&empty));
    let rate = |side: usize, times: Option<&Vec<u32>>| {
        let weight = |flow: usize| times.map_or(1.0, |t| f64::from(t[flow]));
        let said = lists[side].iter().map(|&(flow, n)| f64::from(n) * weight(flow as usize));
        let all = sides[side].of.iter().enumerate().map(|(flow, &n)| f64::from(n) * weight(flow));
        // The sum of nothing is -0.
        said.fold(0.0, |sum, n| sum + n) / all.fold(0.0, |sum, n| sum + n).max(1.0)
    };
    let spread =
        |side: usize| again[side].iter().map(|times| rate(side, Some(times))).collect::<Vec<_>>();
    let (real, generated) = (spread(0), spread(1));
    let around = |value: f64, list: &[f64]| Interval { value, ..Interval::of(list) };
    let (r, g) = (rate(0, None), rate(1, None));
    let ratios: Vec<f64> =
        real.iter().zip(&generated).filter(|(r, _)| **r > 0.0).map(|(r, g)| g / r).collect();
    VerdictRate {
        name: name.to_owned(),
        count: lists.map(|list| list.iter().map(|&(_, n)| u64::from(n)).sum()),
        of: sides.map(|said| said.of.iter().map(|&n| u64::from(n)).sum()),
        real: around(r, &real),
        generated: around(g, &generated),
        ratio: (r > 0.0 && !ratios.is_empty()).then(|| around(g / r, &ratios)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(of: u32, every: u32) -> Said {
        let mut said = Said { of: vec![10; of as usize], ..Said::default() };
        (0..of)
            .filter(|flow| flow.is_multiple_of(every))
            .for_each(|flow| said.count("retransmission", flow));
        said
    }

    #[test]
    fn a_rate_three_times_as_high_is_off_and_the_same_is_not() {
        let same = &rates(&said(600, 4), &said(400, 4), 1)[0];
        assert_eq!((same.real.value, same.count, same.of), (0.025, [150, 100], [6_000, 4_000]));
        assert!(!same.is_off(), "{same:?}");
        let more = &rates(&said(600, 12), &said(400, 4), 1)[0];
        assert!(more.is_off() && (more.ratio.unwrap().value - 3.0).abs() < 0.1, "{more:?}");
        let fewer = &rates(&said(600, 2), &said(400, 8), 1)[0];
        assert!(fewer.is_off(), "{fewer:?}");
    }

    #[test]
    fn what_is_never_said_of_real_flows_has_no_ratio() {
        let none = Said { of: vec![10; 300], ..Said::default() };
        let found = &rates(&none, &said(400, 4), 1)[0];
        assert_eq!(found.ratio, None);
        assert!(found.is_off());
        let rare = &rates(&none, &said(400, 400), 1)[0];
        assert!(!rare.is_off(), "{rare:?}");
        let missing = |every| {
            rates(&said(600, every), &Said { of: vec![10; 600], ..Said::default() }, 1).remove(0)
        };
        assert!(!missing(300).is_off() && missing(30).is_off());
    }
}
