//! Causal linear attention in three forms with one signature; every form is tested against
//! [`naive`], outputs and gradients.
//!
//! Shapes: `N` tokens of all sequences, `S` sequences, `B` sequences of one token each, `H` heads,
//! `D` elements of a query or key, `M` elements of a value.

pub mod chunked;
pub mod fused;
pub mod naive;

use tch::{Device, Kind, Tensor};

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
    /// Decay of the heads' states from one token to the next. Absent: no decay.
    pub decay: Option<Decay<'a>>,
}

/// Factor on a head's state per token.
#[derive(Clone, Copy, Debug)]
pub enum Decay<'a> {
    /// One factor for each head, `[H]`, above 0 and at most 1 (RetNet, arXiv 2307.08621). No
    /// gradient flows to it.
    Fixed(&'a Tensor),
    /// Logarithm of the factor for each token and head, `[N, H]`, finite and at most 0, in the kind
    /// of the sums (Mamba-2, arXiv 2405.21060; GLA, arXiv 2312.06635): the factor on the state
    /// before the token.
    Log(&'a Tensor),
}

impl<'a> Decay<'a> {
    /// Returns the tensor of [`Decay::Fixed`].
    fn fixed(self) -> Option<&'a Tensor> {
        match self {
            Decay::Fixed(decay) => Some(decay),
            Decay::Log(_) => None,
        }
    }

    /// Returns the tensor of [`Decay::Log`].
    fn log(self) -> Option<&'a Tensor> {
        match self {
            Decay::Fixed(_) => None,
            Decay::Log(log) => Some(log),
        }
    }

    /// Returns the logarithms for each head and each of `tokens`, `[H, N]` in float64 on
    /// `device`.
    fn logs(self, tokens: i64, device: Device) -> Tensor {
        let double = |x: &Tensor| x.to_device(device).to_kind(Kind::Double);
        match self {
            Decay::Fixed(decay) => double(decay).log().unsqueeze(1).expand([-1, tokens], false),
            Decay::Log(log) => double(log).tr(),
        }
    }

    /// Returns the factors of one token of each sequence, `[H]` or `[B, H]`.
    fn factors(self) -> Tensor {
        match self {
            Decay::Fixed(decay) => decay.shallow_clone(),
            Decay::Log(log) => log.exp(),
        }
    }
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

/// Computes, from `g` `[H, T]`, the sum over the tokens behind `s` up to `t` at row `t` and column
/// `s`, `[H, T, T]`: `c_t - c_s` with the running sum `c`; minus infinity above the diagonal.
fn sums_between(g: &Tensor) -> Tensor {
    let c = g.cumsum(-1, Kind::Double);
    let later = Tensor::ones([c.size()[1]; 2], (Kind::Bool, c.device())).triu(1);
    (c.unsqueeze(-1) - c.unsqueeze(-2)).masked_fill(&later, f64::NEG_INFINITY)
}
