//! The definition: a row of scores for every token. Quadratic in length and never optimised; every
//! other form is compared with it.
//!
//! For one head of one sequence, with the logarithm `g_t` of the decay in token `t` (0 without one,
//! the same in every token if it is fixed):
//!
//! ```text
//! c_t  = sum_{s<=t} g_s                                         [T]
//! A_ts = exp(c_t - c_s) phi(q_t) . phi(k_s)   if s <= t, else 0 [T, T]
//! d_t  = sum_s A_ts + eps                                       [T]
//! O_t  = (sum_s A_ts v_s) / d_t                                 [T, M]
//! ```

use tch::{Kind, Tensor};

use super::{AttentionOptions, Qkv, feature_map, sums_between};
use crate::CuSeqlens;

/// Computes the attention of each sequence, `[N, H, M]`.
pub fn attention(qkv: Qkv, cu_seqlens: &CuSeqlens, options: &AttentionOptions) -> Tensor {
    let [q, k] = [qkv.q, qkv.k].map(|x| {
        let x =
            options.rotary.map_or_else(|| x.shallow_clone(), |rotary| rotary.apply(x, cu_seqlens));
        feature_map(&x).transpose(0, 1) // [H, N, D]
    });
    let v = qkv.v.transpose(0, 1); // [H, N, M]

    // [N, N]: row t sees the columns s <= t of its own sequence, and nothing of the others.
    let sequence = cu_seqlens.sequence_of().to_device(q.device());
    let same_sequence = sequence.unsqueeze(0).eq_tensor(&sequence.unsqueeze(1));
    let visible = same_sequence.tril(0).to_kind(q.kind());

    // A_ts = phi(q_t) . phi(k_s)
    let mut scores = q.matmul(&k.transpose(1, 2)) * visible; // [H, N, N]
    if let Some(decay) = options.decay {
        // A_ts *= exp(c_t - c_s); the sums start with the row, as their differences do not tell
        scores *=
            sums_between(&decay.logs(cu_seqlens.tokens(), q.device())).exp().to_kind(q.kind());
    }
    // d_t = sum_s A_ts + eps
    let denominator = scores.sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + options.eps;
    // O_t = (sum_s A_ts v_s) / d_t
    (scores.matmul(&v) / denominator).transpose(0, 1)
}
