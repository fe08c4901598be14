//! Dependence between the fields of a flow: correlations and contingency tables.

use rustc_hash::FxHashMap;

/// Returns Pearson's correlations of the columns of `rows`; 0 for a column that does not vary.
pub(crate) fn correlations<const N: usize>(rows: &[&[f64; N]]) -> [[f64; N]; N] {
    let n = rows.len().max(1) as f64;
    let mean: [f64; N] = std::array::from_fn(|i| rows.iter().map(|r| r[i]).sum::<f64>() / n);
    let mut cov = [[0.0; N]; N];
    for row in rows {
        for i in 0..N {
            for j in i..N {
                cov[i][j] += (row[i] - mean[i]) * (row[j] - mean[j]);
            }
        }
    }
    let scale = |i: usize, j: usize| (cov[i][i] * cov[j][j]).sqrt();
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let (a, b) = (i.min(j), i.max(j));
            if scale(a, b) > 1e-12 { cov[a][b] / scale(a, b) } else { 0.0 }
        })
    })
}

/// Returns the pairwise correlation difference: the Frobenius norm of the difference of two
/// correlation matrices (Goncalves et al. 2020), divided by the square root of the number of
/// entries, so that it is at most 2.
pub(crate) fn pcd<const N: usize>(a: &[&[f64; N]], b: &[&[f64; N]]) -> f64 {
    let (a, b) = (correlations(a), correlations(b));
    let sum: f64 = a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| (x - y).powi(2)).sum();
    sum.sqrt() / N as f64
}

/// Returns the contingency matrix difference, 0 to 1: for each pair of columns the total variation
/// distance (half the sum of absolute differences) between the two normalised tables of joint
/// counts; the mean over all pairs.
pub(crate) fn cmd<const N: usize>(a: &[&[u64; N]], b: &[&[u64; N]]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 0.0 } else { 1.0 };
    }
    let (mut sum, mut pairs) = (0.0, 0);
    let mut table: FxHashMap<(u64, u64), [u32; 2]> = FxHashMap::default();
    for i in 0..N {
        for j in i + 1..N {
            table.clear();
            for (side, rows) in [a, b].into_iter().enumerate() {
                rows.iter().for_each(|row| table.entry((row[i], row[j])).or_default()[side] += 1);
            }
            // In a fixed order, so that the sum is the same to the last bit.
            let mut cells: Vec<[u32; 2]> = table.values().copied().collect();
            cells.sort_unstable();
            let share = |n: u32, of: usize| f64::from(n) / of as f64;
            let differences =
                cells.iter().map(|[x, y]| (share(*x, a.len()) - share(*y, b.len())).abs());
            sum += differences.sum::<f64>() / 2.0;
            pairs += 1;
        }
    }
    sum / f64::from(pairs.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmd_sees_what_no_single_column_shows() {
        // Both columns are half 0 and half 1 on either side; they go together on one and not on the
        // other.
        let together = [[0, 0], [1, 1], [0, 0], [1, 1]];
        let apart = [[0, 1], [1, 0], [0, 1], [1, 0]];
        let mixed = [[0, 0], [0, 1], [1, 0], [1, 1]];
        let rows = |of: &'static [[u64; 2]]| of.iter().collect::<Vec<_>>();
        let all = |of: [[u64; 2]; 4]| -> Vec<&'static [u64; 2]> { rows(Box::leak(Box::new(of))) };
        assert_eq!(cmd(&all(together), &all(together)), 0.0);
        assert_eq!(cmd(&all(together), &all(apart)), 1.0);
        assert_eq!(cmd(&all(together), &all(mixed)), 0.5);
    }
}
