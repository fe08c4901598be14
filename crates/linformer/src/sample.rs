//! Which token comes next.

use rand::Rng;

/// Which tokens may come next. A grammar says so from outside; this crate knows no token's meaning.
pub trait TokenFilter {
    /// Bit `id % 64` of word `id / 64` is set where `id` may come next. At least one is, unless all
    /// is done.
    fn allowed(&mut self) -> &[u64];
    /// Takes the token that came.
    fn push(&mut self, token: u16);
    /// Whether nothing comes any more.
    fn is_done(&self) -> bool;
}

/// How a token is drawn from its scores.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Divides the scores: 1 draws as the model says, towards 0 the likeliest.
    pub temperature: f32,
    /// Only the `k` likeliest; 0: all.
    pub top_k: usize,
    /// Only the likeliest that together have this probability; 1: all.
    pub top_p: f32,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// Draws one of the legal tokens; `None` where none has a score that is a number. `candidates` is
/// memory to use again.
pub fn choose(
    logits: &[f32],
    allowed: &[u64],
    sampling: &Sampling,
    rng: &mut impl Rng,
    candidates: &mut Vec<(u16, f32)>,
) -> Option<u16> {
    let uniform = uniform(rng); // drawn even where there is no choice: one number a token, always
    candidate_weights(logits, allowed, sampling, candidates);
    pick(candidates.iter().map(|c| c.1), uniform).map(|i| candidates[i].0)
}

/// Puts the legal tokens into `candidates`, each with its weight: how much likelier it is drawn
/// than others.
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

/// A number from 0 to 1, 1 left out.
pub(crate) fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The place that `uniform` falls on where each has a share as large as its weight.
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
    weights.enumerate().rev().find(|(_, weight)| *weight > 0.0).map(|(i, _)| i)
}

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

/// Top-k, then top-p; ties go to the lower id.
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
