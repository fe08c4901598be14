//! The attention chunk by chunk in libtorch operations: linear in length, differentiated by
//! autograd, for any device.

use tch::{Kind, Tensor};

use super::{AttentionOptions, AttentionState, Decay, Qkv, feature_map, sums_between};
use crate::CuSeqlens;

/// Tokens in a chunk: scores take `[H, 64, 64]`, and a row of `N` tokens takes `N / 64` steps.
const CHUNK: i64 = 64;

/// Features of queries and keys, and values with a column of ones: `q`, `k` `[H, N, D]`, `v` `[H,
/// N, M + 1]`. The column of ones sums the scores, so that one product gives numerators and
/// denominators.
struct Featurized {
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

/// Computes the attention of each sequence, `[N, H, M]`.
pub fn attention(qkv: Qkv, cu_seqlens: &CuSeqlens, options: &AttentionOptions) -> Tensor {
    let featurized = featurize(qkv, cu_seqlens, options);
    normalize(&sums(&featurized, cu_seqlens, options.decay), options.eps)
}

/// Like [`attention`], with recurrent states: `initial` is each sequence's state before its first
/// token (zero if absent), and the states after the last tokens are returned too.
pub fn attention_with_state(
    qkv: Qkv,
    initial: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> (Tensor, AttentionState) {
    let featurized = featurize(qkv, cu_seqlens, options);
    let Featurized { q, k, v } = &featurized;
    let (mut carried, mut last) = (Vec::new(), Vec::new());
    let logs = options.decay.map(|decay| decay.logs(cu_seqlens.tokens(), q.device()));
    for (i, pair) in cu_seqlens.offsets().windows(2).enumerate() {
        let (start, len) = (pair[0], pair[1] - pair[0]);
        let [q, k, v] = [q, k, v].map(|x| x.narrow(1, start, len));
        let first = initial.map_or_else(
            || Tensor::zeros([q.size()[0], q.size()[2], v.size()[2]], (q.kind(), q.device())),
            |state| Tensor::cat(&[state.s.get(i as i64), state.z.get(i as i64).unsqueeze(-1)], -1),
        );
        let (seen, fresh) = (q.matmul(&first), |k: &Tensor| k.transpose(1, 2).matmul(&v));
        let factors = logs.as_ref().map(|logs| Factors::new(&logs.narrow(1, start, len), q.kind()));
        let [seen, state] = match factors {
            Some(f) => [seen * f.since, fresh(&(k * f.until)) + first * f.whole],
            None => [seen, fresh(&k) + first],
        };
        carried.push(seen);
        last.push(state);
    }
    let within = sums(&featurized, cu_seqlens, options.decay);
    let all = if carried.is_empty() { within } else { within + Tensor::cat(&carried, 1) };
    let m = v.size()[2] - 1;
    let last = if last.is_empty() {
        Tensor::zeros([0, q.size()[0], q.size()[2], m + 1], (q.kind(), q.device()))
    } else {
        Tensor::stack(&last, 0)
    };
    let state = AttentionState {
        s: last.narrow(-1, 0, m).contiguous(),
        z: last.select(-1, m).contiguous(),
    };
    (normalize(&all, options.eps), state)
}

/// Rotates, applies the feature map and moves the heads to the front.
fn featurize(qkv: Qkv, cu_seqlens: &CuSeqlens, options: &AttentionOptions) -> Featurized {
    let [q, k] = [qkv.q, qkv.k].map(|x| match options.rotary {
        Some(rotary) => feature_map(&rotary.apply(x, cu_seqlens)).transpose(0, 1),
        None => feature_map(x).transpose(0, 1),
    });
    let v = qkv.v.transpose(0, 1);
    let ones = Tensor::ones([v.size()[0], v.size()[1], 1], (v.kind(), v.device()));
    Featurized { q, k, v: Tensor::cat(&[&v, &ones], -1) }
}

/// Divides numerators by denominators: `[H, N, M + 1]` to `[N, H, M]`.
fn normalize(sums: &Tensor, eps: f64) -> Tensor {
    let m = sums.size()[2] - 1;
    (sums.narrow(-1, 0, m) / (sums.narrow(-1, m, 1) + eps)).transpose(0, 1)
}

/// Factors between the tokens of a stretch and the state before it. `c` is the running sum of the
/// logarithms of the decay.
struct Factors {
    /// `exp(c_t)`: of the state before the stretch in token `t`, `[H, T, 1]`.
    since: Tensor,
    /// `exp(c_T - c_s)`: of token `s` in the state after the stretch, `[H, T, 1]`.
    until: Tensor,
    /// `exp(c_T)`: of the state before the stretch in the one after it, `[H, 1, 1]`.
    whole: Tensor,
}

impl Factors {
    /// Computes the factors from the logarithms of the decay, `[H, T]` in float64.
    fn new(logs: &Tensor, kind: Kind) -> Factors {
        let c = logs.cumsum(1, Kind::Double);
        let all = logs.sum_dim_intlist([1].as_slice(), true, Kind::Double);
        let [since, until, whole] =
            [&c, &(&all - &c), &all].map(|sum| sum.exp().to_kind(kind).unsqueeze(-1));
        Factors { since, until, whole }
    }
}

/// Sums scores times values over each token's sequence so far, `[H, N, M + 1]`. Every sequence
/// starts from a state of zero.
fn sums(
    Featurized { q, k, v }: &Featurized,
    cu_seqlens: &CuSeqlens,
    decay: Option<Decay>,
) -> Tensor {
    let sequence = cu_seqlens.sequence_of();
    let sequence_of: Vec<i64> = Vec::try_from(&sequence).unwrap_or_default();
    let sequence = sequence.to_device(q.device());
    // Split and not narrow: the gradient of a split is one concatenation, that of each narrow a
    // tensor of the whole row.
    let logs = decay.map(|decay| decay.logs(cu_seqlens.tokens(), q.device()).split(CHUNK, 1));
    let [qs, ks, vs] = [q, k, v].map(|x| x.split(CHUNK, 1));
    let mut state: Option<Tensor> = None; // of the sequence that the chunk's first token continues
    let mut parts = Vec::new();
    for (c, tokens) in sequence_of.chunks(CHUNK as usize).enumerate() {
        let (start, len) = (c as i64 * CHUNK, tokens.len() as i64);
        let (q, k, v) = (&qs[c], &ks[c], &vs[c]);
        let ids = sequence.narrow(0, start, len);
        let factors = logs.as_ref().map(|logs| Factors::new(&logs[c], q.kind()));

        // Within the chunk: scores of tokens of one sequence, the diagonal included.
        let same = ids.unsqueeze(0).eq_tensor(&ids.unsqueeze(1)).tril(0).to_kind(q.kind());
        let mut scores = q.matmul(&k.transpose(1, 2)) * same;
        if let Some(logs) = &logs {
            scores *= sums_between(&logs[c]).exp().to_kind(q.kind());
        }
        let mut sums = scores.matmul(v); // [H, C, M + 1]

        // Before the chunk: the state, for the tokens that continue its sequence.
        let before = sequence_of.get((start - 1).max(0) as usize).copied().filter(|_| start > 0);
        if let (Some(state), Some(open)) = (&state, before) {
            let seen = (q * ids.eq(open).to_kind(q.kind()).unsqueeze(-1)).matmul(state);
            sums += factors.as_ref().map_or(seen.shallow_clone(), |f| &seen * &f.since);
        }

        // After the chunk: the state of its last token's sequence.
        let last = tokens[tokens.len() - 1];
        let mut newest = k * ids.eq(last).to_kind(k.kind()).unsqueeze(-1);
        if let Some(factors) = &factors {
            newest *= &factors.until;
        }
        let fresh = newest.transpose(1, 2).matmul(v);
        state = Some(match state {
            Some(state) if before == Some(last) => match &factors {
                Some(factors) => state * &factors.whole + fresh,
                None => state + fresh,
            },
            _ => fresh,
        });
        parts.push(sums);
    }
    if parts.is_empty() { v.shallow_clone() } else { Tensor::cat(&parts, 1) }
}

/// Advances `B` sequences by one token each: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`. Updates the
/// states in place and returns `[B, H, M]`.
pub fn step(qkv: Qkv, state: &mut AttentionState, decay: Option<Decay>, eps: f64) -> Tensor {
    let AttentionState { s, z } = state;
    let (q, k) = (feature_map(qkv.q), feature_map(qkv.k));
    if let Some(decay) = decay {
        let factors = decay.factors().to_device(s.device()).to_kind(s.kind()).unsqueeze(-1);
        *s *= factors.unsqueeze(-1);
        *z *= factors;
    }
    *s += k.unsqueeze(-1) * qkv.v.unsqueeze(-2);
    *z += &k;
    let denominator = (&q * &*z).sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + eps;
    q.unsqueeze(-2).matmul(&*s).squeeze_dim(-2) / denominator
}
