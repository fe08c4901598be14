//! Choice of the next token from the model's scores.

use rand::Rng;

/// Constraint on the next token, such as a grammar. It follows one sequence.
///
/// The crate knows no token's meaning; an implementation comes from outside.
pub trait TokenFilter {
    /// Returns the mask of the tokens that may come next: bit `id % 64` of word `id / 64`. At least
    /// one bit is set unless the sequence is done.
    fn allowed(&mut self) -> &[u64];
    /// Appends a token to the sequence.
    fn push(&mut self, token: u16);
    /// Returns whether the sequence has ended.
    fn is_done(&self) -> bool;
}

/// Settings of sampling: temperature, top-k and top-p.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Divisor of the scores: 1 samples from the model's distribution, 0 takes the likeliest token.
    pub temperature: f32,
    /// Number of likeliest tokens that are candidates; 0: all.
    pub top_k: usize,
    /// Probability that the likeliest tokens have together when no more become candidates; 1: all.
    pub top_p: f32,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// Samples one of the allowed tokens. Returns `None` if none has a finite score. `candidates` is a
/// buffer, reused from call to call.
pub fn choose(
    logits: &[f32],
    allowed: &[u64],
    sampling: &Sampling,
    rng: &mut impl Rng,
    candidates: &mut Vec<(u16, f32)>,
) -> Option<u16> {
    // Drawn even if only one token is allowed, so that every token takes one number of the stream.
    let uniform = uniform(rng);
    candidate_weights(logits, allowed, sampling, candidates);
    pick(candidates.iter().map(|c| c.1), uniform).map(|i| candidates[i].0)
}

/// Fills `candidates` with the allowed tokens and their unnormalised probabilities, after
/// temperature, top-k and top-p. Leaves it empty if no allowed token has a finite score.
pub(crate) fn candidate_weights(
    logits: &[f32],
    allowed: &[u64],
    sampling: &Sampling,
    candidates: &mut Vec<(u16, f32)>,
) {
    gather(logits, allowed, candidates);
    let best = candidates.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
    if !best.is_finite() {
        candidates.clear();
        return;
    }
    if candidates.len() == 1 || sampling.temperature <= 0.0 {
        let likeliest = candidates.iter().find(|c| c.1 == best).map(|c| (c.0, 1.0));
        candidates.clear();
        candidates.extend(likeliest);
        return;
    }
    for candidate in candidates.iter_mut() {
        candidate.1 = ((candidate.1 - best) / sampling.temperature).exp();
    }
    keep_likeliest(candidates, sampling);
}

/// Returns a uniform number in `[0, 1)`, from 53 bits.
pub(crate) fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the index whose share of the weights `uniform`, a number in `[0, 1)`, falls into.
pub(crate) fn pick(
    weights: impl DoubleEndedIterator<Item = f32> + ExactSizeIterator + Clone,
    uniform: f64,
) -> Option<usize> {
    let total: f64 = weights.clone().map(f64::from).sum();
    let mut left = uniform * total;
    for (i, weight) in weights.clone().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return Some(i);
        }
    }
    // Rounding can leave a rest after the last weight.
    weights.enumerate().rev().find(|(_, weight)| *weight > 0.0).map(|(i, _)| i)
}

/// Collects the allowed tokens with their scores; NaN counts as minus infinity.
fn gather(logits: &[f32], allowed: &[u64], candidates: &mut Vec<(u16, f32)>) {
    candidates.clear();
    for (word, &bits) in allowed.iter().enumerate() {
        let mut bits = bits;
        while bits != 0 {
            let id = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(&score) = logits.get(id) {
                candidates
                    .push((id as u16, if score.is_nan() { f32::NEG_INFINITY } else { score }));
            }
        }
    }
}

/// Truncates the candidates by top-k, then by top-p. Of equal weights, the lower id comes first.
fn keep_likeliest(candidates: &mut Vec<(u16, f32)>, sampling: &Sampling) {
    let by_k = sampling.top_k > 0 && sampling.top_k < candidates.len();
    if !by_k && sampling.top_p >= 1.0 {
        return;
    }
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if by_k {
        candidates.truncate(sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        let total: f32 = candidates.iter().map(|c| c.1).sum();
        let mut sum = 0.0;
        let enough = candidates.iter().position(|c| {
            sum += c.1;
            sum >= sampling.top_p * total
        });
        candidates.truncate(enough.map_or(candidates.len(), |i| i + 1));
    }
}
