//! Causal linear attention in three forms with one signature; every form is tested against
//! [`naive`], outputs and gradients.
//!
//! Shapes: `N` tokens of all sequences, `S` sequences, `B` sequences of one token each, `H` heads,
//! `D` elements of a query or key, `M` elements of a value.

pub mod chunked;
pub mod fused;
pub mod naive;

use tch::Tensor;

use crate::Rotary;

/// Queries, keys and values: `q`, `k` `[N, H, D]`, `v` `[N, H, M]`, of any strides.
#[derive(Clone, Copy, Debug)]
pub struct Qkv<'a> {
    /// Queries, `[N, H, D]`.
    pub q: &'a Tensor,
    /// Keys, `[N, H, D]`.
    pub k: &'a Tensor,
    /// Values, `[N, H, M]`.
    pub v: &'a Tensor,
}

/// Optional parts of the attention operator.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOptions<'a> {
    /// Added to the sum of a token's scores, the denominator.
    pub eps: f64,
    /// Rotates `q` and `k` by each token's position in its sequence, before the feature map.
    pub rotary: Option<&'a Rotary>,
    /// `[H]`, each above 0 and at most 1: factor on a head's state per token (RetNet, arXiv
    /// 2307.08621). Absent: no decay.
    pub decay: Option<&'a Tensor>,
}

impl AttentionOptions<'_> {
    /// Creates options with `eps` alone: no rotary positions, no decay.
    #[must_use]
    pub fn new(eps: f64) -> AttentionOptions<'static> {
        AttentionOptions { eps, rotary: None, decay: None }
    }
}

/// Recurrent state of the attention: of `S` sequences, or of one without the first dimension.
#[derive(Debug)]
pub struct AttentionState {
    /// Sum of `phi(k) v^T`, `[S, H, D, M]`.
    pub s: Tensor,
    /// Sum of `phi(k)`, `[S, H, D]`.
    pub z: Tensor,
}

/// Computes the feature map `phi(x) = elu(x) + 1` in libtorch operations.
pub fn feature_map(x: &Tensor) -> Tensor {
    // elu(x) + 1 = relu(x) + exp(min(x, 0)). Written so, both terms have a finite gradient
    // everywhere, which a choice between x + 1 and exp(x) has not: exp(x) overflows for large x.
    x.relu() + x.clamp_max(0.0).exp()
}
