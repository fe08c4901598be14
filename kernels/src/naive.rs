//! The definition: a row of scores for every token. Quadratic, never optimised; every other form is held to it.

use tch::{Kind, Tensor};

use crate::{Bounds, feature_map};

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]`; the result is `[N, H, M]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bounds: &Bounds, eps: f64) -> Tensor {
    let sequence = bounds.sequence_of().to_device(q.device());
    let same = sequence.unsqueeze(0).eq_tensor(&sequence.unsqueeze(1));
    let visible = same.tril(0).to_kind(q.kind()); // [N, N]: row t sees s <= t of its own sequence
    let [q, k] = [q, k].map(|x| feature_map(x).transpose(0, 1)); // [H, N, D]
    let scores = q.matmul(&k.transpose(1, 2)) * visible;
    let total = scores.sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + eps;
    (scores.matmul(&v.transpose(0, 1)) / total).transpose(0, 1)
}
