//! Gradient-boosted trees by smartcore, with squared error on labels 0 and 1 (Friedman 2001; as a
//! classifier, Buehlmann and Yu 2003, "Boosting with the L2 loss"). Scores are ranked or compared,
//! never read as probabilities.
//!
//! Alternatives, as of 2026: perpetual needs a nightly compiler, forust-ml and gbdt are
//! unmaintained, nanogbm depends on bincode, which is unmaintained.

use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::xgboost::{XGRegressor, XGRegressorParameters};

/// Number of trees of a model.
const TREES: usize = 50;
/// Maximum depth of each tree, in splits.
const DEPTH: u16 = 4;
/// Minimum number of rows in a leaf.
const LEAF: usize = 3;
const RATE: f64 = 0.15;

type Matrix = DenseMatrix<f64>;

/// Feature row of finite numbers; all rows have one length.
pub(crate) type FeatureRow = Vec<f64>;

/// Trains on labelled rows and scores other rows: the higher, the more like label 1. All scores are
/// 0.5 where the rows do not allow training.
pub(crate) fn learn_and_score(
    rows: &[&FeatureRow],
    labels: &[f64],
    others: &[&FeatureRow],
) -> Vec<f64> {
    let nothing = vec![0.5; others.len()];
    if others.is_empty() || labels.iter().all(|&l| l == labels[0]) {
        return nothing;
    }
    let parameters = XGRegressorParameters::default()
        .with_n_estimators(TREES)
        .with_max_depth(DEPTH)
        .with_min_child_weight(LEAF)
        .with_learning_rate(RATE)
        .with_base_score(labels.iter().sum::<f64>() / labels.len() as f64)
        .with_subsample(1.0);
    let scores = || -> Option<Vec<f64>> {
        let model = XGRegressor::fit(&matrix(rows)?, &labels.to_vec(), parameters).ok()?;
        model.predict(&matrix(others)?).ok()
    };
    scores().unwrap_or(nothing)
}

/// Builds smartcore's matrix, or `None` for an empty or non-finite one: smartcore compares numbers
/// by `partial_cmp().unwrap()`.
fn matrix(rows: &[&FeatureRow]) -> Option<Matrix> {
    let finite = |x: f64| if x.is_finite() { x } else { -1.0 };
    DenseMatrix::from_2d_vec(&rows.iter().map(|r| r.iter().map(|&x| finite(x)).collect()).collect())
        .ok()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::learn::auc;

    /// Returns the AUC on random rows of three numbers, labelled by `label`.
    fn learnt(label: fn(&FeatureRow) -> bool) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let rows: Vec<FeatureRow> =
            (0..600).map(|_| (0..3).map(|_| random.random::<f64>()).collect()).collect();
        let labels: Vec<f64> = rows.iter().map(|r| f64::from(u8::from(label(r)))).collect();
        let rows: Vec<&FeatureRow> = rows.iter().collect();
        let scores = learn_and_score(&rows[..400], &labels[..400], &rows[400..]);
        let of = |wanted: f64| -> Vec<f64> {
            scores
                .iter()
                .zip(&labels[400..])
                .filter(|(_, l)| **l == wanted)
                .map(|(s, _)| *s)
                .collect()
        };
        auc(&of(0.0), &of(1.0))
    }

    #[test]
    fn they_learn_what_no_single_number_says() {
        assert!(learnt(|r| (r[0] > 0.5) != (r[1] > 0.5)) > 0.95);
    }

    #[test]
    fn what_is_random_is_not_learnt() {
        let found = learnt(|r| ((r[2] * 1e9) as u64).is_multiple_of(2));
        assert!((found - 0.5).abs() < 0.1, "{found}");
    }

    #[test]
    fn one_label_alone_and_what_is_no_number_do_no_harm() {
        let rows = [vec![f64::NAN, 1.0], vec![f64::INFINITY, 2.0]];
        let rows: Vec<&FeatureRow> = rows.iter().collect();
        assert_eq!(learn_and_score(&rows, &[1.0, 1.0], &rows), [0.5, 0.5]);
        assert_eq!(learn_and_score(&rows, &[0.0, 1.0], &rows).len(), 2);
    }
}
