//! Plain libtorch operations, chunk by chunk: linear in length, differentiable by autograd, runs on
//! any device.

use tch::{Kind, Tensor};

use crate::fused::State;
use crate::{CuSeqlens, feature_map};

/// Tokens in a chunk.
const CHUNK: i64 = 64;

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
    normalize(&sums(&featurize(q, k, v), bounds, decay), eps)
}

/// The same where sequences go on, as [`crate::fused::attention_with_state`]: `initial` is each
/// one's state before its first token, and the final states come back too.
pub fn decayed_with_state(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    initial: Option<&State>,
    bounds: &CuSeqlens,
    decay: Option<&Tensor>,
    eps: f64,
) -> (Tensor, State) {
    let parts = featurize(q, k, v);
    let [q, k, v] = &parts;
    let (mut carried, mut last) = (Vec::new(), Vec::new());
    for (i, pair) in bounds.offsets().windows(2).enumerate() {
        let [q, k, v] = [q, k, v].map(|x| x.narrow(1, pair[0], pair[1] - pair[0]));
        let left = decay_powers(decay, pair[1] - pair[0], &q);
        let first = initial.map_or_else(
            || Tensor::zeros([q.size()[0], q.size()[2], v.size()[2]], (q.kind(), q.device())),
            |state| Tensor::cat(&[state.s.get(i as i64), state.z.get(i as i64).unsqueeze(-1)], -1),
        );
        let [after, until] =
            [1, 0].map(|from| left.narrow(1, from, pair[1] - pair[0]).unsqueeze(-1));
        carried.push(q.matmul(&first) * after);
        last.push(
            (k * until.flip([1])).transpose(1, 2).matmul(&v)
                + first * left.narrow(1, -1, 1).unsqueeze(-1),
        );
    }
    let all = sums(&parts, bounds, decay);
    let out = if carried.is_empty() { all } else { all + Tensor::cat(&carried, 1) };
    let m = v.size()[2] - 1;
    let last = match last.is_empty() {
        true => Tensor::zeros([0, q.size()[0], q.size()[2], m + 1], (q.kind(), q.device())),
        false => Tensor::stack(&last, 0),
    };
    (
        normalize(&out, eps),
        State { s: last.narrow(-1, 0, m).contiguous(), z: last.select(-1, m).contiguous() },
    )
}

/// Features of `q` and `k`, and `v` with a column of ones, which sums the scores: `[H, N, ..]`.
fn featurize(q: &Tensor, k: &Tensor, v: &Tensor) -> [Tensor; 3] {
    let [q, k, v] = [&feature_map(q), &feature_map(k), v].map(|x| x.transpose(0, 1));
    let ones = Tensor::ones([v.size()[0], v.size()[1], 1], (v.kind(), v.device()));
    let v = Tensor::cat(&[&v, &ones], -1);
    [q, k, v]
}

/// `[H, N, M + 1]` to `[N, H, M]`.
fn normalize(sums: &Tensor, eps: f64) -> Tensor {
    let m = sums.size()[2] - 1;
    (sums.narrow(-1, 0, m) / (sums.narrow(-1, m, 1) + eps)).transpose(0, 1)
}

/// `decay^0` to `decay^n`: `[H, n + 1]`.
fn decay_powers(decay: Option<&Tensor>, n: i64, like: &Tensor) -> Tensor {
    let place = Tensor::arange(n + 1, (Kind::Double, like.device()));
    let decay = match decay {
        Some(decay) => decay.to_device(like.device()).to_kind(Kind::Double),
        None => Tensor::ones([like.size()[0]], (Kind::Double, like.device())),
    };
    decay.unsqueeze(1).pow(&place.unsqueeze(0)).to_kind(like.kind())
}

/// What each token's query sums up over its sequence so far, the state at the start of each being
/// zero.
fn sums([q, k, v]: &[Tensor; 3], bounds: &CuSeqlens, decay: Option<&Tensor>) -> Tensor {
    let sequence = bounds.sequence_of();
    let sequence_of: Vec<i64> = Vec::try_from(&sequence).unwrap_or_default();
    let sequence = sequence.to_device(q.device());
    let left = decay.map(|decay| DecayPowers(decay_powers(Some(decay), CHUNK, q)));
    // split, not narrow: its gradient is one concatenation
    let [qs, ks, vs] = [q, k, v].map(|x| x.split(CHUNK, 1));
    let mut state: Option<Tensor> = None; // of the sequence that is open at the chunk's start
    let mut parts = Vec::new();
    for (c, tokens) in sequence_of.chunks(CHUNK as usize).enumerate() {
        let (start, len) = (c as i64 * CHUNK, tokens.len() as i64);
        let (q, k, v) = (&qs[c], &ks[c], &vs[c]);
        let ids = sequence.narrow(0, start, len);
        let same = ids.unsqueeze(0).eq_tensor(&ids.unsqueeze(1)).tril(0).to_kind(q.kind());
        let mut scores = q.matmul(&k.transpose(1, 2)) * same;
        if let Some(left) = &left {
            scores *= left.between(len);
        }
        let mut sums = scores.matmul(v); // [H, C, M + 1]
        let before = sequence_of.get((start - 1).max(0) as usize).copied().filter(|_| start > 0);
        if let (Some(state), Some(open)) = (&state, before) {
            let seen = (q * ids.eq(open).to_kind(q.kind()).unsqueeze(-1)).matmul(state);
            sums += left.as_ref().map_or(seen.shallow_clone(), |left| &seen * left.after(1, len));
        }
        let last = tokens[tokens.len() - 1];
        let mut newest = k * ids.eq(last).to_kind(k.kind()).unsqueeze(-1);
        if let Some(left) = &left {
            newest *= left.after(0, len).flip([1]);
        }
        let fresh = newest.transpose(1, 2).matmul(v);
        state = Some(match state {
            Some(state) if before == Some(last) => match &left {
                Some(left) => state * left.after(len, 1) + fresh,
                None => state + fresh,
            },
            _ => fresh,
        });
        parts.push(sums);
    }
    if parts.is_empty() { v.shallow_clone() } else { Tensor::cat(&parts, 1) }
}

/// Powers of the decay, `decay^0` to `decay^C`: `[H, C + 1]`.
struct DecayPowers(Tensor);

impl DecayPowers {
    /// `[H, len, len]`: what is left at a row's token of a column's; above the diagonal, anything.
    fn between(&self, len: i64) -> Tensor {
        let place = Tensor::arange(len, (Kind::Int64, self.0.device()));
        let distance = (place.unsqueeze(1) - place.unsqueeze(0)).clamp_min(0);
        self.0.index_select(1, &distance.view([-1])).view([-1, len, len])
    }

    /// `[H, n, 1]`: powers from `first`.
    fn after(&self, first: i64, n: i64) -> Tensor {
        self.0.narrow(1, first, n).unsqueeze(-1)
    }
}

/// [`crate::fused::convolve`] in plain libtorch operations.
pub fn convolve(x: &Tensor, weight: &Tensor, bounds: &CuSeqlens) -> Tensor {
    let (n, taps) = (x.size()[0], weight.size()[2]);
    let place = bounds.before().to_device(x.device());
    let tap = |j: i64| {
        let back = (taps - 1 - j).min(n);
        let shifted = x.narrow(0, 0, n - back).constant_pad_nd([0, 0, back, 0]);
        let seen = place.ge(taps - 1 - j).to_kind(x.kind()).unsqueeze(-1);
        shifted * seen * weight.select(2, j).view([1, -1])
    };
    (1..taps).fold(tap(0), |sum, j| sum + tap(j))
}

/// One token of each of `B` sequences: `q`, `k` `[B, H, D]`, `v` `[B, H, M]`, with states `s` `[B,
/// H, D, M]` and `z` `[B, H, D]` that change in place. The result is `[B, H, M]`.
pub fn step(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    (s, z): (&mut Tensor, &mut Tensor),
    decay: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    let (q, k) = (feature_map(q), feature_map(k));
    if let Some(decay) = decay {
        let decay = decay.to_device(s.device()).to_kind(s.kind());
        *s *= decay.view([1, -1, 1, 1]);
        *z *= decay.view([1, -1, 1]);
    }
    *s += k.unsqueeze(-1) * v.unsqueeze(-2);
    *z += &k;
    let total = (&q * &*z).sum_dim_intlist([-1].as_slice(), true, None::<Kind>) + eps;
    q.unsqueeze(-2).matmul(&*s).squeeze_dim(-2) / total
}
