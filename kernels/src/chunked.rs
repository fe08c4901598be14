//! Plain libtorch operations, chunk by chunk: linear in length, differentiable by autograd, runs on any device.

use tch::{Kind, Tensor};

use crate::{Bounds, feature_map};

/// Tokens in a chunk.
const CHUNK: i64 = 64;

/// `q`, `k` `[N, H, D]`, `v` `[N, H, M]`; the result is `[N, H, M]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bounds: &Bounds, eps: f64) -> Tensor {
    let [q, k, v] = [&feature_map(q), &feature_map(k), v].map(|x| x.transpose(0, 1)); // [H, N, D]
    let ones = Tensor::ones([v.size()[0], v.size()[1], 1], (v.kind(), v.device()));
    let v = Tensor::cat(&[&v, &ones], -1); // the last column sums the scores
    let sequence = bounds.sequence_of();
    let sequence_of: Vec<i64> = Vec::try_from(&sequence).unwrap_or_default();
    let sequence = sequence.to_device(q.device());
    let mut state: Option<Tensor> = None; // of the sequence that is open at the chunk's start
    let mut parts = Vec::new();
    for (c, tokens) in sequence_of.chunks(CHUNK as usize).enumerate() {
        let (start, len) = (c as i64 * CHUNK, tokens.len() as i64);
        let [q, k, v] = [&q, &k, &v].map(|x| x.narrow(1, start, len));
        let ids = sequence.narrow(0, start, len);
        let same = ids.unsqueeze(0).eq_tensor(&ids.unsqueeze(1)).tril(0).to_kind(q.kind());
        let mut sums = (q.matmul(&k.transpose(1, 2)) * same).matmul(&v); // [H, C, M + 1]
        let before = sequence_of.get((start - 1).max(0) as usize).copied().filter(|_| start > 0);
        if let (Some(state), Some(open)) = (&state, before) {
            sums += (&q * ids.eq(open).to_kind(q.kind()).unsqueeze(-1)).matmul(state);
        }
        let last = tokens[tokens.len() - 1];
        let fresh = (&k * ids.eq(last).to_kind(k.kind()).unsqueeze(-1)).transpose(1, 2).matmul(&v);
        state = Some(match state {
            Some(state) if before == Some(last) => state + fresh,
            _ => fresh,
        });
        parts.push(sums);
    }
    if parts.is_empty() {
        return v.narrow(-1, 0, v.size()[2] - 1).transpose(0, 1);
    }
    let sums = Tensor::cat(&parts, 1);
    let m = sums.size()[2] - 1;
    (sums.narrow(-1, 0, m) / (sums.narrow(-1, m, 1) + eps)).transpose(0, 1)
}

/// One token of each of `B` sequences: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`, with states `s` `[B, H, D, M]` and
/// `z` `[B, H, D]` that change in place. The result is `[B, H, M]`.
pub fn step(q: &Tensor, k: &Tensor, v: &Tensor, s: &mut Tensor, z: &mut Tensor, eps: f64) -> Tensor {
    let (q, k) = (feature_map(q), feature_map(k));
    *s += k.unsqueeze(-1) * v.unsqueeze(-2);
    *z += &k;
    let total = (&q * &*z).sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + eps;
    q.unsqueeze(-2).matmul(s).squeeze_dim(-2) / total
}
