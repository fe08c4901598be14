//! Parts of a model that analysis takes: hidden states, whitening, the linear classifier.

use linformer::{
    Batch, CarriedStates, Device, LinearProbe, Model, ModelConfig, Rows, SequencePiece, Whitening,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn model() -> Model {
    let config = ModelConfig { vocab_size: 64, conv_kernel: 4, ..ModelConfig::tiny() };
    Model::new(&config, 1, Device::Cpu).unwrap()
}

fn hidden(
    model: &Model,
    batch: &Batch,
    positions: &[usize],
    carried: &mut CarriedStates,
) -> Vec<Vec<f32>> {
    let spans: Vec<_> = positions.iter().map(|&at| at..at + 1).collect();
    let states = model.hidden_sums(batch, &spans, carried).unwrap();
    states.iter().map(<[f32]>::to_vec).collect()
}

fn is_near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn a_hidden_state_knows_its_past_alone() {
    let model = model();
    let tokens: Vec<u16> = (0..40).map(|i| (i * 7 + i / 3) % 64).collect();
    let all = hidden(&model, &Batch::pack([&tokens[..]]), &[9, 30], &mut CarriedStates::new());
    assert_eq!(all[0].len(), model.config().hidden_size);
    let mut other = tokens.clone();
    other[10..].fill(3);
    let changed = hidden(&model, &Batch::pack([&other[..]]), &[9, 30], &mut CarriedStates::new());
    assert!(is_near(&all[0], &changed[0]) && !is_near(&all[1], &changed[1]));
    let beside =
        hidden(&model, &Batch::pack([&other[..], &tokens]), &[48, 69], &mut CarriedStates::new());
    assert!(is_near(&all[0], &beside[0]) && is_near(&all[1], &beside[1]));
}

#[test]
fn a_span_has_the_sum_of_its_states() {
    let model = model();
    let batch = Batch::pack([&[5_u16, 9, 3, 8, 1][..]]);
    let single = hidden(&model, &batch, &[1, 2, 3], &mut CarriedStates::new());
    let sums = model.hidden_sums(&batch, &[1..4, 2..2], &mut CarriedStates::new()).unwrap();
    let sums: Vec<&[f32]> = sums.iter().collect();
    let expected: Vec<f32> = (0..model.config().hidden_size)
        .map(|at| single.iter().map(|state| state[at]).sum())
        .collect();
    assert!(is_near(sums[0], &expected));
    assert!(sums[1].iter().all(|&value| value == 0.0));
}

#[test]
fn pieces_have_the_states_of_the_whole() {
    let model = model();
    let tokens: Vec<u16> = (0..40).map(|i| (i * 5) % 64).collect();
    let whole = hidden(&model, &Batch::pack([&tokens[..]]), &[30], &mut CarriedStates::new());
    let mut carried = CarriedStates::new();
    let piece = |start: usize, end: usize, continues| {
        let tokens = &tokens[start..=end];
        Batch::pack_pieces([SequencePiece { sequence: 3, start, tokens, continues }])
    };
    hidden(&model, &piece(0, 20, true), &[], &mut carried);
    let later = hidden(&model, &piece(20, 39, false), &[10], &mut carried);
    assert!(is_near(&whole[0], &later[0]));
    assert_eq!(carried.sequences().count(), 0);
}

/// Draws vectors of two values around the centre of each of three classes.
fn drawn(count: usize) -> (Vec<f32>, Vec<i64>) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let centres = [[0.0, 0.0], [4.0, 0.0], [0.0, 40.0]];
    let classes: Vec<i64> = (0..count).map(|i| (i % 3) as i64).collect();
    let mut near = |x: f32, by: f32| x + by * (random.random::<f32>() - 0.5);
    let values = classes
        .iter()
        .flat_map(|&class| {
            let [x, y] = centres[class as usize];
            [near(x, 2.0), near(y, 20.0)]
        })
        .collect();
    (values, classes)
}

#[test]
fn whitened_vectors_have_unit_variance_and_no_correlation() {
    let (values, _) = drawn(300);
    let rows = Rows { values: &values, width: 2 };
    let whitening = Whitening::fit(rows, 8).unwrap();
    let white = whitening.apply(rows).unwrap();
    let product = |i: usize, j: usize| {
        white.chunks_exact(2).map(|row| f64::from(row[i] * row[j])).sum::<f64>() / 300.0
    };
    for (i, j, expected) in [(0, 0, 1.0), (1, 1, 1.0), (0, 1, 0.0)] {
        assert!((product(i, j) - expected).abs() < 1e-3, "{i} {j}: {}", product(i, j));
    }
    assert_eq!(Whitening::fit(rows, 1).unwrap().width(), 1);
    // A value that never changes has no direction.
    let flat: Vec<f32> = values.chunks_exact(2).flat_map(|row| [row[0], row[1], 7.0]).collect();
    assert_eq!(Whitening::fit(Rows { values: &flat, width: 3 }, 8).unwrap().width(), 2);
}

#[test]
fn a_probe_tells_classes_that_a_line_divides() {
    let (values, classes) = drawn(300);
    let rows = Rows { values: &values, width: 2 };
    let probe = LinearProbe::fit(rows, &classes, 3, &[1.0; 300], 1e-4).unwrap();
    let all = probe.probabilities(rows).unwrap();
    for (row, &class) in all.chunks_exact(3).zip(&classes) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(row[class as usize] > 0.5, "{row:?}: {class}");
    }
    // A heavy penalty leaves the shares of the classes alone, here by their weights.
    let weights: Vec<f32> = classes.iter().map(|&c| if c == 0 { 2.0 } else { 1.0 }).collect();
    let flat = LinearProbe::fit(rows, &classes, 3, &weights, 1e6).unwrap();
    let shares = flat.probabilities(Rows { values: &[1.0, 1.0], width: 2 }).unwrap();
    assert!(is_near(&shares, &[0.5, 0.25, 0.25]) || (shares[0] - 0.5).abs() < 0.01, "{shares:?}");
}
