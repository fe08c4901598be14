//! Split of a corpus into training, validation and test; order of the flows in an epoch.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Corpus;
use crate::hash::fnv1a;

/// Shares of a corpus that are held out, as fractions of the number of flows from 0 to 1. The rest
/// is for training.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Shares {
    /// Share for validation: chooses a model during training.
    pub validation: f64,
    /// Share for the test: judges a model after training.
    pub test: f64,
}

/// Part of a corpus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// Flows that a model is trained on.
    Train,
    /// Flows that a model is chosen by.
    Validation,
    /// Flows that a model is judged by.
    Test,
}

impl Part {
    /// Every part, in the order of training, validation and test.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// Returns `train`, `validation` or `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }
}

/// Flows of a corpus by part, each part in the corpus's order. Every flow is in exactly one part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Split {
    /// Indices of the flows for training.
    pub train: Vec<u32>,
    /// Indices of the flows for validation.
    pub validation: Vec<u32>,
    /// Indices of the flows for the test.
    pub test: Vec<u32>,
}

impl Split {
    /// Returns the indices of a part's flows.
    #[must_use]
    pub fn part(&self, part: Part) -> &[u32] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// Returns a hash of the split, equal on every machine and in every version. Checkpoints store
    /// it to recognize their split.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let parts = Part::ALL.map(|part| fnv1a(self.part(part).iter().copied().map(u64::from)));
        fnv1a(parts.into_iter())
    }
}

impl Corpus {
    /// Splits by capture: whole captures, in an order drawn from `seed`, are held out as long as
    /// they fit into the share of the test, then into that of the validation.
    ///
    /// The remainder of a share is drawn flow by flow from the other captures, so a dataset of one
    /// capture is split by flow. The same corpus, shares and seed give the same split. The test
    /// part does not depend on the share of the validation.
    #[must_use]
    pub fn split(&self, shares: Shares, seed: u64) -> Split {
        let sources: Vec<u32> = (0..self.len()).map(|flow| self.source(flow) as u32).collect();
        split(&sources, self.sources().len(), shares, seed)
    }
}

/// Splits flows by their captures alone, given as indices below `count`.
fn split(sources: &[u32], count: usize, shares: Shares, seed: u64) -> Split {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut captures: Vec<usize> = (0..count).collect();
    captures.shuffle(&mut rng);
    let mut parts = vec![Part::Train; sources.len()];
    // The test is drawn first, so that it does not depend on the validation's share.
    for (part, share) in [(Part::Test, shares.test), (Part::Validation, shares.validation)] {
        let wanted = (sources.len() as f64 * share) as usize;
        hold_out(part, wanted, sources, &captures, &mut parts, &mut rng);
    }
    let flows_in =
        |part| (0..parts.len() as u32).filter(|&flow| parts[flow as usize] == part).collect();
    Split {
        train: flows_in(Part::Train),
        validation: flows_in(Part::Validation),
        test: flows_in(Part::Test),
    }
}

/// Moves `wanted` flows from training to `part`.
fn hold_out(
    part: Part,
    mut wanted: usize,
    sources: &[u32],
    captures: &[usize],
    parts: &mut [Part],
    rng: &mut ChaCha8Rng,
) {
    let mut sizes = vec![0_usize; captures.len()];
    let mut is_whole = vec![true; captures.len()];
    for (&source, part) in sources.iter().zip(&*parts) {
        sizes[source as usize] += 1;
        is_whole[source as usize] &= *part == Part::Train;
    }
    let mut is_held_out = vec![false; captures.len()];
    for &capture in captures {
        if is_whole[capture] && sizes[capture] <= wanted {
            is_held_out[capture] = true;
            wanted -= sizes[capture];
        }
    }
    let mut rest = Vec::new();
    for (flow, &source) in sources.iter().enumerate() {
        if is_held_out[source as usize] {
            parts[flow] = part;
        } else if parts[flow] == Part::Train {
            rest.push(flow);
        }
    }
    rest.shuffle(rng);
    rest.iter().take(wanted).for_each(|&flow| parts[flow] = part);
}

/// Returns the flows of a part in the order of one epoch. The order depends only on `seed` and
/// `epoch`.
#[must_use]
pub fn epoch_order(part: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Stream 0 of the seed draws the split.
    rng.set_stream(epoch.wrapping_add(1));
    let mut order = part.to_vec();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the captures that a part has flows of.
    fn sources_of(part: &[u32], sources: &[u32]) -> Vec<u32> {
        let mut found: Vec<u32> = part.iter().map(|&flow| sources[flow as usize]).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn every_flow_is_in_one_part(
            sources in prop::collection::vec(0..9_u32, 0..200),
            validation in 0.0..0.5,
            test in 0.0..0.5,
            seed in any::<u64>(),
        ) {
            let parts = split(&sources, 9, Shares { validation, test }, seed);
            let mut all = [&parts.train[..], &parts.validation, &parts.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..sources.len() as u32).collect::<Vec<_>>());
            prop_assert_eq!(parts.test.len(), (sources.len() as f64 * test) as usize);
            prop_assert_eq!(parts.validation.len(), (sources.len() as f64 * validation) as usize);
        }

        #[test]
        fn the_test_does_not_depend_on_the_validation(
            sources in prop::collection::vec(0..9_u32, 0..200),
            validation in 0.0..0.5,
            test in 0.0..0.5,
            seed in any::<u64>(),
        ) {
            let one = split(&sources, 9, Shares { validation, test }, seed);
            let other = split(&sources, 9, Shares { validation: 0.0, test }, seed);
            prop_assert_eq!(one.test, other.test);
        }
    }

    #[test]
    fn captures_that_fit_are_held_out_whole() {
        let sources: Vec<u32> = (0..100).map(|flow| flow / 10).collect();
        for seed in 0..20 {
            let parts = split(&sources, 10, Shares { validation: 0.2, test: 0.1 }, seed);
            let found = Part::ALL.map(|part| sources_of(parts.part(part), &sources).len());
            assert_eq!(found, [7, 2, 1], "seed {seed}");
        }
    }

    #[test]
    fn flows_are_held_out_where_captures_do_not_fit() {
        let sources = [0; 40];
        let parts = split(&sources, 1, Shares { validation: 0.25, test: 0.1 }, 3);
        assert_eq!(Part::ALL.map(|part| parts.part(part).len()), [26, 10, 4]);
    }

    #[test]
    fn seeds_and_epochs_have_orders_of_their_own() {
        let part: Vec<u32> = (5..50).collect();
        let order = epoch_order(&part, 1, 0);
        assert_eq!(order, epoch_order(&part, 1, 0));
        assert_ne!(order, epoch_order(&part, 1, 1));
        assert_ne!(order, epoch_order(&part, 2, 0));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, part);
    }
}
