//! The I-th of N parts of a run, and its share of the work.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// The I-th of N parts of a run, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RunPart {
    number: u32,
    of: u32,
}

/// Largest number of parts, for which names of parts still sort in their order.
const MAX_PARTS: u32 = 99_999;

impl RunPart {
    /// Returns all parts of a run of `of` parts, in order.
    pub fn all(of: u32) -> impl Iterator<Item = RunPart> {
        (1..=of).map(move |number| RunPart { number, of })
    }

    /// Returns the number of the part, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// Returns the number of parts of the run.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// Returns the part's share of items with these weights: items one behind the other, such that
    /// the shares of all parts have nearly the same weight and follow each other.
    ///
    /// ```
    /// let [first, second] = ["1/2", "2/2"].map(|part| part.parse::<dataset::RunPart>().unwrap());
    /// let sizes = [10, 10, 80, 100];
    /// assert_eq!((first.share(&sizes), second.share(&sizes)), (0..3, 3..4));
    /// ```
    #[must_use]
    pub fn share(self, weights: &[u64]) -> Range<usize> {
        // An item without weight is work too.
        let weight = |w: &u64| u128::from(*w) + 1;
        let all: u128 = weights.iter().map(weight).sum();
        let mut before = 0;
        // An item belongs to the part in which its middle lies.
        let part_of = weights.iter().map(|w| {
            let middle = 2 * before + weight(w);
            before += weight(w);
            middle * u128::from(self.of) / (2 * all)
        });
        let parts: Vec<u128> = part_of.collect();
        let first = |number: u32| parts.partition_point(|part| *part < u128::from(number));
        first(self.number - 1)..first(self.number)
    }

    /// Returns the part's share of `n` items of the same weight.
    ///
    /// ```
    /// let share = |part: &str| part.parse::<dataset::RunPart>().unwrap().share_of(10);
    /// assert_eq!((share("1/3"), share("2/3"), share("3/3")), (0..3, 3..6, 6..10));
    /// ```
    #[must_use]
    pub fn share_of(self, n: u64) -> Range<u64> {
        let bound = |number: u32| {
            let bound = u128::from(n) * u128::from(number) / u128::from(self.of);
            u64::try_from(bound).unwrap_or(n)
        };
        bound(self.number - 1)..bound(self.number)
    }

    /// Returns the name of a file or folder of the part. Names of all parts sort in their order.
    ///
    /// ```
    /// let part: dataset::RunPart = "2/4".parse()?;
    /// assert_eq!(part.name("flows"), "flows-00002-of-00004");
    /// # Ok::<(), String>(())
    /// ```
    #[must_use]
    pub fn name(self, stem: &str) -> String {
        format!("{stem}-{:05}-of-{:05}", self.number, self.of)
    }

    /// Returns the name of the folder that holds the part until the run is joined.
    pub(crate) fn folder_name(self) -> String {
        self.name("part")
    }

    /// Returns the part of such a name.
    pub(crate) fn of_folder_name(name: &str) -> Option<RunPart> {
        let (number, of) = name.strip_prefix("part-")?.split_once("-of-")?;
        let part = RunPart { number: number.parse().ok()?, of: of.parse().ok()? };
        (part.folder_name() == name).then_some(part)
    }

    /// Returns the beginning of the names of the part's shards.
    pub(crate) fn shard_stem(self) -> String {
        self.name("flows")
    }
}

impl fmt::Display for RunPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for RunPart {
    type Err = String;

    /// Parses `I/N`, such as `2/4`.
    fn from_str(text: &str) -> Result<RunPart, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            Some(RunPart { number: number.parse().ok()?, of: of.parse().ok()? })
        });
        let is_valid = |part: &RunPart| (1..=part.of.min(MAX_PARTS)).contains(&part.number);
        match numbers.filter(is_valid).filter(|part| part.of <= MAX_PARTS) {
            Some(part) => Ok(part),
            None => Err(format!("expected I/N with I from 1 to N, at most {MAX_PARTS}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_is_one_of_its_run() {
        let check = |text: &str, is_part: bool| {
            let part = text.parse::<RunPart>();
            assert_eq!(part.is_ok(), is_part, "{text}: {part:?}");
            part.ok().filter(|part| part.to_string() == text)
        };
        assert!(check("1/1", true).is_some());
        assert!(check("99999/99999", true).is_some());
        for text in ["0/1", "2/1", "1/0", "1/100000", "1", "/", "1/", "-1/2", "1/2/3", "a/b", ""] {
            check(text, false);
        }
    }

    #[test]
    fn names_of_folders_are_names_of_parts() {
        let part: RunPart = "7/12".parse().unwrap();
        assert_eq!(part.folder_name(), "part-00007-of-00012");
        assert_eq!(RunPart::of_folder_name(&part.folder_name()), Some(part));
        assert_eq!(part.shard_stem(), "flows-00007-of-00012");
        for other in ["part-7-of-12", "part-00007-of-", "part-00007", "flows-00007-of-00012"] {
            assert_eq!(RunPart::of_folder_name(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn shares_follow_each_other_and_are_even(
            weights in prop::collection::vec(0u64..1000, 0..60),
            of in 1u32..20,
        ) {
            let mut next = 0;
            let all: u64 = weights.iter().map(|w| w + 1).sum();
            let largest = weights.iter().map(|w| w + 1).max().unwrap_or(0);
            for part in RunPart::all(of) {
                let share = part.share(&weights);
                prop_assert_eq!(share.start, next);
                next = share.end;
                let weight: u64 = weights[share].iter().map(|w| w + 1).sum();
                let even = all as f64 / f64::from(of);
                prop_assert!((weight as f64 - even).abs() <= largest as f64);
            }
            prop_assert_eq!(next, weights.len());
        }

        #[test]
        fn shares_of_numbers_follow_each_other(n: u64, of in 1u32..50) {
            let mut next = 0;
            for part in RunPart::all(of) {
                let share = part.share_of(n);
                prop_assert_eq!(share.start, next);
                prop_assert!((share.end - share.start).abs_diff(n / u64::from(of)) <= 1);
                next = share.end;
            }
            prop_assert_eq!(next, n);
        }
    }
}
