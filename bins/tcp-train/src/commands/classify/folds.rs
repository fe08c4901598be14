//! Parts of the examples that are held out in turn, with whole groups in each.

use std::collections::BTreeMap;

use dataset::epoch_order;

/// Assigns groups to at most `folds` parts of about the same size: the number of each example's
/// part. The order of the groups is drawn from `seed`.
pub(crate) fn assign(groups: &[String], folds: usize, seed: u64) -> Vec<usize> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for group in groups {
        *sizes.entry(group).or_default() += 1;
    }
    let names: Vec<(&str, usize)> = sizes.into_iter().collect();
    let indices: Vec<u32> = (0..names.len() as u32).collect();
    let mut order = epoch_order(&indices, seed, 0);
    // The largest ones first, and of equal ones those that were drawn first.
    order.sort_by_key(|&group| std::cmp::Reverse(names[group as usize].1));
    let mut filled = vec![0; folds.min(names.len()).max(1)];
    let mut fold_of: BTreeMap<&str, usize> = BTreeMap::new();
    for group in order {
        let (name, size) = names[group as usize];
        let least = (0..filled.len()).min_by_key(|&fold| filled[fold]).unwrap_or(0);
        filled[least] += size;
        fold_of.insert(name, least);
    }
    groups.iter().map(|group| fold_of[group.as_str()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_in_one_part_and_the_parts_are_about_equal() {
        let groups: Vec<String> = (0..60).map(|i| format!("{}", i * i % 13)).collect();
        let folds = assign(&groups, 3, 1);
        let mut sizes = [0; 3];
        for (group, &fold) in groups.iter().zip(&folds) {
            sizes[fold] += 1;
            let first = groups.iter().position(|other| other == group).unwrap();
            assert_eq!(fold, folds[first]);
        }
        assert!(sizes.iter().all(|&size| size > 9), "{sizes:?}");
        assert_ne!(assign(&groups, 3, 2), folds);
        assert_eq!(assign(&vec!["a".to_owned(); 4], 5, 1), [0; 4]);
    }
}
