//! Splits for measures that learn: by capture, then by flow.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The fold of each flow, below `folds`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Folds {
    /// The fold of each flow.
    pub(crate) of: Vec<u8>,
    /// Flows whose capture is in one fold alone.
    pub(crate) whole: usize,
}

/// Puts flows into folds of about the same size: whole captures first, the largest of them first, each into the smallest
/// fold. A capture of more flows than a fold should have is spread over all folds, flow by flow.
pub(crate) fn fold_of(captures: &[u32], folds: u8, random: &mut ChaCha8Rng) -> Folds {
    let mut order: Vec<usize> = (0..captures.len()).collect();
    order.shuffle(random);
    // Shuffled first, then stably by capture: captures of one size come in any order.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut at = rustc_hash::FxHashMap::default();
    for flow in order {
        let group = *at.entry(captures[flow]).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(flow);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let fair = captures.len().div_ceil(usize::from(folds));
    let mut sizes = vec![0_usize; folds.into()];
    let mut of = vec![0_u8; captures.len()];
    let mut whole = 0;
    let smallest = |sizes: &[usize]| (0..sizes.len()).min_by_key(|&fold| sizes[fold]).unwrap_or(0);
    for group in groups {
        if group.len() > fair {
            for flow in group {
                let fold = smallest(&sizes);
                of[flow] = fold as u8;
                sizes[fold] += 1;
            }
        } else {
            let fold = smallest(&sizes);
            sizes[fold] += group.len();
            whole += group.len();
            group.iter().for_each(|&flow| of[flow] = fold as u8);
        }
    }
    Folds { of, whole }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn captures_are_whole_unless_they_are_too_large(captures in prop::collection::vec(0..12_u32, 1..200), seed in any::<u64>()) {
            let folds = fold_of(&captures, 3, &mut ChaCha8Rng::seed_from_u64(seed));
            let fair = captures.len().div_ceil(3);
            let mut whole = 0;
            for capture in 0..12 {
                let mut used: Vec<u8> =
                    captures.iter().zip(&folds.of).filter(|(c, _)| **c == capture).map(|(_, f)| *f).collect();
                let size = used.len();
                used.sort_unstable();
                used.dedup();
                if size <= fair {
                    prop_assert!(used.len() <= 1);
                    whole += size;
                }
            }
            prop_assert_eq!(folds.whole, whole);
            let sizes: Vec<usize> = (0..3).map(|f| folds.of.iter().filter(|&&o| o == f).count()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= fair, "{:?}", sizes);
        }
    }
}
