//! How fields hang together.

/// Pearson's correlations of the columns of `rows`; 0 where a column does not vary.
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

/// Pairwise correlation difference: the Frobenius norm of the difference of two correlation matrices (Goncalves et al.
/// 2020), over the square root of its number of entries so that it is at most 2.
pub(crate) fn pcd<const N: usize>(a: &[&[f64; N]], b: &[&[f64; N]]) -> f64 {
    let (a, b) = (correlations(a), correlations(b));
    let sum: f64 = a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| (x - y).powi(2)).sum();
    sum.sqrt() / N as f64
}
