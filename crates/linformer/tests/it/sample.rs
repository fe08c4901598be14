use linformer::{Sampling, choose};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn draws(logits: &[f32], allowed: u64, sampling: &Sampling, n: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut counts = vec![0; logits.len()];
    for _ in 0..n {
        counts[usize::from(
            choose(logits, &[allowed], sampling, &mut rng, &mut Vec::new()).unwrap(),
        )] += 1;
    }
    counts
}

#[test]
fn draws_as_often_as_the_scores_say() {
    let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), 9.0];
    let counts = draws(&logits, 0b0111, &Sampling::default(), 20_000);
    for (count, share) in counts.iter().zip([0.5, 0.3, 0.2, 0.0]) {
        assert!((*count as f64 / 20_000.0 - share).abs() < 0.015, "{counts:?}");
    }
}

#[test]
fn top_k_and_top_p_cut_the_tail() {
    let logits = [0.2_f32.ln(), 0.5_f32.ln(), 0.3_f32.ln()];
    let two = draws(&logits, 0b111, &Sampling { top_k: 2, ..Sampling::default() }, 2_000);
    assert_eq!(two[0], 0);
    assert!((two[1] as f64 / 2_000.0 - 0.625).abs() < 0.05, "{two:?}");
    assert_eq!(draws(&logits, 0b111, &Sampling { top_p: 0.6, ..Sampling::default() }, 2_000)[0], 0);
    assert_eq!(
        draws(&logits, 0b111, &Sampling { top_p: 0.4, ..Sampling::default() }, 50),
        [0, 50, 0]
    );
    assert_eq!(
        draws(&logits, 0b101, &Sampling { temperature: 0.0, ..Sampling::default() }, 50),
        [0, 0, 50]
    );
}

#[test]
fn nothing_allowed_is_nothing_chosen() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    assert_eq!(choose(&[1.0, 2.0], &[0], &Sampling::default(), &mut rng, &mut Vec::new()), None);
}

/// Returns scores, of which some are NaN or minus infinity.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![-50.0_f32..50.0, Just(f32::NAN), Just(f32::NEG_INFINITY)]
}

proptest! {
    #[test]
    fn chooses_only_what_is_allowed(
        logits in proptest::collection::vec(score(), 130),
        allowed in proptest::array::uniform3(any::<u64>()),
        (temperature, top_k, top_p) in (0.0_f32..3.0, 0_usize..9, 0.0_f32..1.2),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let sampling = Sampling { temperature, top_k, top_p };
        let chosen = choose(&logits, &allowed, &sampling, &mut rng, &mut Vec::new());
        let is_allowed = |id: usize| id < 130 && allowed[id / 64] >> (id % 64) & 1 == 1;
        match chosen {
            Some(id) => prop_assert!(is_allowed(usize::from(id))),
            None => prop_assert!(
                (0..130).all(|id| !is_allowed(id)) || logits.iter().any(|x| !x.is_finite())
            ),
        }
    }
}
