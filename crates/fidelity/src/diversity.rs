//! Coverage of the real flows by generated ones, and repetition among flows.

use rustc_hash::{FxHashMap, FxHashSet};

/// Number of nearest neighbours that span a neighbourhood in density and coverage (Naeem et al.
/// 2020, "Reliable fidelity and diversity metrics").
pub(crate) const K: usize = 5;

/// Scales points by mean and standard deviation of the real points, column by column.
pub(crate) fn standardise<const N: usize>(
    real: &[&[f64; N]],
    points: &[&[f64; N]],
) -> Vec<[f64; N]> {
    let n = real.len().max(1) as f64;
    let mean: [f64; N] = std::array::from_fn(|i| real.iter().map(|r| r[i]).sum::<f64>() / n);
    let deviation: [f64; N] = std::array::from_fn(|i| {
        let d = (real.iter().map(|r| (r[i] - mean[i]).powi(2)).sum::<f64>() / n).sqrt();
        if d > 1e-9 { d } else { 1.0 }
    });
    points.iter().map(|p| std::array::from_fn(|i| (p[i] - mean[i]) / deviation[i])).collect()
}

fn squared_distance<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum()
}

/// Returns density and coverage of `generated` over `real`: the mean number of real neighbourhoods
/// around a generated point, divided by `K` (1 for equal distributions), and the share of real
/// neighbourhoods that contain a generated point.
pub(crate) fn density_coverage<const N: usize>(
    real: &[[f64; N]],
    generated: &[[f64; N]],
) -> (f64, f64) {
    if real.len() <= K || generated.is_empty() {
        return (0.0, 0.0);
    }
    let (mut inside, mut covered) = (0u64, 0u64);
    let mut to_others = Vec::with_capacity(real.len());
    for (i, r) in real.iter().enumerate() {
        to_others.clear();
        to_others.extend(
            real.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, o)| squared_distance(r, o)),
        );
        let (_, &mut radius, _) = to_others.select_nth_unstable_by(K - 1, f64::total_cmp);
        let hits = generated.iter().filter(|g| squared_distance(r, g) <= radius).count() as u64;
        inside += hits;
        covered += u64::from(hits > 0);
    }
    (inside as f64 / (K * generated.len()) as f64, covered as f64 / real.len() as f64)
}

/// Returns the median distance from each point to the nearest of `others`.
pub(crate) fn nearest_median<const N: usize>(points: &[[f64; N]], others: &[[f64; N]]) -> f64 {
    let mut nearest: Vec<f64> = points
        .iter()
        .map(|p| others.iter().map(|o| squared_distance(p, o)).fold(f64::INFINITY, f64::min).sqrt())
        .collect();
    nearest.sort_by(f64::total_cmp);
    nearest.get(nearest.len() / 2).copied().unwrap_or(0.0)
}

/// Returns the share of `points` that are nearer to one of `known` than to any of `others`; ties
/// count half.
pub(crate) fn nearer_share<const N: usize>(
    points: &[[f64; N]],
    known: &[[f64; N]],
    others: &[[f64; N]],
) -> f64 {
    let nearest = |p, of: &[[f64; N]]| {
        of.iter().map(|o| squared_distance(p, o)).fold(f64::INFINITY, f64::min)
    };
    let score = |p| match nearest(p, known).total_cmp(&nearest(p, others)) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    };
    points.iter().map(score).sum::<f64>() / points.len().max(1) as f64
}

/// Returns the share of `flows` that equal an earlier one of them.
pub(crate) fn repeat_share<T: Eq + std::hash::Hash>(flows: &[&T]) -> f64 {
    let distinct: FxHashSet<&T> = flows.iter().copied().collect();
    1.0 - distinct.len() as f64 / flows.len().max(1) as f64
}

/// Returns the share of `flows` that equal one of `others`.
pub(crate) fn copy_share<T: Eq + std::hash::Hash>(flows: &[&T], others: &[&T]) -> f64 {
    let others: FxHashMap<&T, ()> = others.iter().map(|&o| (o, ())).collect();
    flows.iter().filter(|f| others.contains_key(*f)).count() as f64 / flows.len().max(1) as f64
}
