//! Membership inference: how well a model's likelihood reveals its training flows.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::learn::bootstrap_auc;
use crate::sample::Interval;

/// Result of membership inference by likelihood.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Membership {
    /// Number of flows of the training data, and of held-out flows.
    pub flows: [usize; 2],
    /// Mean bits per packet of the training flows, and of the held-out flows.
    pub bits_per_packet: [f64; 2],
    /// ROC-AUC: the probability that a training flow takes fewer bits than a held-out flow; 0.5
    /// where the likelihood reveals nothing.
    pub auc: Interval,
}

/// Computes membership inference from the bits per packet of training flows and of held-out
/// flows.
#[must_use]
pub fn membership(training: &[f64], held_out: &[f64], seed: u64) -> Membership {
    const ROUNDS: u32 = 200;
    let mean = |bits: &[f64]| bits.iter().sum::<f64>() / bits.len().max(1) as f64;
    let negated = |bits: &[f64]| bits.iter().map(|b| [-b, 1.0]).collect::<Vec<_>>();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Membership {
        flows: [training.len(), held_out.len()],
        bits_per_packet: [mean(training), mean(held_out)],
        auc: bootstrap_auc(&[[negated(held_out), negated(training)]], ROUNDS, &mut random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_fewer_bits_was_trained_on() {
        let low: Vec<f64> = (0..50).map(|i| 4.0 + f64::from(i) * 0.01).collect();
        let high: Vec<f64> = low.iter().map(|b| b + 1.0).collect();
        assert_eq!(membership(&low, &high, 1).auc.value, 1.0);
        let same = membership(&low, &low, 1).auc;
        assert!(same.value == 0.5 && same.low < 0.5 && same.high > 0.5, "{same:?}");
    }
}
