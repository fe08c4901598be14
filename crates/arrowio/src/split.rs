//! Which flows train a model, which ones choose it and which ones judge it; and in what order they
//! are seen.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Corpus;
use crate::corpus::hash;

/// How much of a corpus is held out; the rest is for training. Shares of the number of flows, each
/// from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Shares {
    /// For choosing a model while it is trained.
    pub validation: f64,
    /// For judging it once it is done.
    pub test: f64,
}

/// A part of a corpus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// What a model is trained on.
    Train,
    /// What a model is chosen by.
    Validation,
    /// What a model is judged by.
    Test,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// `train`, `validation` or `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }
}

/// The flows of a corpus by part, each in the corpus's order. Every flow is in one part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Split {
    /// For training.
    pub train: Vec<u32>,
    /// For validation.
    pub validation: Vec<u32>,
    /// For the test.
    pub test: Vec<u32>,
}

impl Split {
    /// The flows of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> &[u32] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// A number that stands for the split: the same on every machine and in every version.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let parts = Part::ALL.map(|part| hash(self.part(part).iter().copied().map(u64::from)));
        hash(parts.into_iter())
    }
}

impl Corpus {
    /// Splits by the capture that flows come from: whole captures, in an order drawn from `seed`,
    /// are held out while they fit into the share of the test, then into that of the validation.
    /// What a share still wants is drawn from the flows of the other captures, one by one: so a
    /// dataset of one capture is split by flow. The same corpus, shares and seed give the same
    /// split, and the test does not depend on the validation's share.
    #[must_use]
    pub fn split(&self, shares: Shares, seed: u64) -> Split {
        let sources: Vec<u32> = (0..self.len()).map(|flow| self.source(flow) as u32).collect();
        split(&sources, self.sources().len(), shares, seed)
    }
}

/// Splits flows of which only the sources are known, as numbers below `count`.
fn split(sources: &[u32], count: usize, shares: Shares, seed: u64) -> Split {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut captures: Vec<usize> = (0..count).collect();
    captures.shuffle(&mut rng);
    let mut parts = vec![Part::Train; sources.len()];
    for (part, share) in [(Part::Test, shares.test), (Part::Validation, shares.validation)] {
        let wanted = (sources.len() as f64 * share) as usize;
        hold_out(part, wanted, sources, &captures, &mut parts, &mut rng);
    }
    let of = |part| (0..parts.len() as u32).filter(|&flow| parts[flow as usize] == part).collect();
    Split { train: of(Part::Train), validation: of(Part::Validation), test: of(Part::Test) }
}

/// Gives `wanted` flows of those for training to `part`.
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
    let mut is_held = vec![false; captures.len()];
    for &capture in captures {
        if is_whole[capture] && sizes[capture] <= wanted {
            is_held[capture] = true;
            wanted -= sizes[capture];
        }
    }
    let mut rest = Vec::new();
    for (flow, &source) in sources.iter().enumerate() {
        if is_held[source as usize] {
            parts[flow] = part;
        } else if parts[flow] == Part::Train {
            rest.push(flow);
        }
    }
    rest.shuffle(rng);
    rest.iter().take(wanted).for_each(|&flow| parts[flow] = part);
}

/// The flows of a part in the order of one epoch, which depends on `seed` and `epoch` alone.
#[must_use]
pub fn epoch_order(part: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Stream 0 draws the split.
    rng.set_stream(epoch.wrapping_add(1));
    let mut order = part.to_vec();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Which sources a part has flows of.
    fn sources_of(part: &[u32], sources: &[u32]) -> Vec<u32> {
        let mut found: Vec<u32> = part.iter().map(|&flow| sources[flow as usize]).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn every_flow_is_in_one_part(sources in prop::collection::vec(0..9_u32, 0..200),
            validation in 0.0..0.5, test in 0.0..0.5, seed in any::<u64>()) {
            let parts = split(&sources, 9, Shares { validation, test }, seed);
            let mut all = [&parts.train[..], &parts.validation, &parts.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..sources.len() as u32).collect::<Vec<_>>());
            prop_assert_eq!(parts.test.len(), (sources.len() as f64 * test) as usize);
            prop_assert_eq!(parts.validation.len(), (sources.len() as f64 * validation) as usize);
        }

        #[test]
        fn the_test_does_not_depend_on_the_validation(sources in prop::collection::vec(0..9_u32, 0..200),
            validation in 0.0..0.5, test in 0.0..0.5, seed in any::<u64>()) {
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
