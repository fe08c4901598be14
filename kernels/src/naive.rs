//! The definition: a row of scores for every token. Quadratic, never optimised; every other form is
//! held to it.

use tch::{Kind, Tensor};

use crate::{CuSeqlens, feature_map};

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]`; the result is `[N, H, M]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bounds: &CuSeqlens, eps: f64) -> Tensor {
    decayed(q, k, v, bounds, None, eps)
}

/// The same with scores times `decay^(t - s)`, `decay` `[H]`.
pub fn decayed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bounds: &CuSeqlens,
    decay: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    let sequence = bounds.sequence_of().to_device(q.device());
    let same = sequence.unsqueeze(0).eq_tensor(&sequence.unsqueeze(1));
    let visible = same.tril(0).to_kind(q.kind()); // [N, N]: row t sees s <= t of its own sequence
    let [q, k] = [q, k].map(|x| feature_map(x).transpose(0, 1)); // [H, N, D]
    let mut scores = q.matmul(&k.transpose(1, 2)) * visible;
    if let Some(decay) = decay {
        let place = Tensor::arange(bounds.tokens(), (Kind::Double, q.device()));
        let distance = (place.unsqueeze(1) - place.unsqueeze(0)).clamp_min(0.0);
        scores *= decay.to_kind(Kind::Double).view([-1, 1, 1]).pow(&distance).to_kind(q.kind());
    }
    let total = scores.sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + eps;
    (scores.matmul(&v.transpose(0, 1)) / total).transpose(0, 1)
}
