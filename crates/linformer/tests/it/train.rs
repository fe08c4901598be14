use linformer::{Batch, Device, Model, ModelConfig, Optimizer, Precision, SequencePiece, Trainer};

use crate::model::config;

fn trainer() -> Trainer {
    Trainer::new(Model::new(&config(), 1, Device::Cpu).unwrap(), Optimizer::default())
}

/// Returns sequences that count up, which are easy to learn.
pub(crate) fn batch(step: u64) -> Batch {
    let sequences: Vec<Vec<u16>> =
        (0..12).map(|i| (0..30).map(|t| ((step * 5 + i * 3 + t) % 23) as u16).collect()).collect();
    Batch::pack(sequences.iter().map(Vec::as_slice))
}

#[test]
fn learns_to_count() {
    let mut trainer = trainer();
    let first = trainer.step(&[batch(0)], 3e-3, None).unwrap();
    assert!(
        (first.loss - 23_f64.ln()).abs() < 0.5,
        "an untrained model knows nothing: {}",
        first.loss
    );
    let last = (1..60).map(|i| trainer.step(&[batch(i)], 3e-3, None).unwrap()).last().unwrap();
    assert!(last.loss < 0.3, "{}", last.loss);
    assert_eq!(last.step, 60);
}

#[test]
fn stopped_and_loaded_goes_on_bit_for_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        stopped_and_loaded(precision);
    }
}

fn stopped_and_loaded(precision: Precision) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let mut straight = trainer();
    let mut first = trainer();
    straight.set_precision(precision);
    first.set_precision(precision);
    for i in 0..4 {
        straight.step(&[batch(i)], 1e-3, None).unwrap();
        first.step(&[batch(i)], 1e-3, None).unwrap();
    }
    first.save(&path, &serde_json::json!({ "cursor": 4 })).unwrap();
    let (mut second, caller) = Trainer::load(&path, Device::Cpu).unwrap();
    second.set_precision(precision);
    assert_eq!(caller["cursor"], 4);
    for i in 4..8 {
        let a = straight.step(&[batch(i)], 1e-3, None).unwrap();
        let b = second.step(&[batch(i)], 1e-3, None).unwrap();
        assert_eq!(a, b);
    }
    for ((name, a), (_, b)) in straight.model().parameters().iter().zip(second.model().parameters())
    {
        assert!(a.equal(b), "{name}");
    }
}

/// Returns the `n`-th of five pieces of a long sequence, with a short sequence in the same batch.
pub(crate) fn piece(n: usize) -> Batch {
    let tokens: Vec<u16> = (0..51).map(|t| ((t * t) % 23) as u16).collect();
    let long = SequencePiece {
        sequence: 4,
        start: n * 10,
        tokens: &tokens[n * 10..=n * 10 + 10],
        continues: n < 4,
    };
    Batch::pack_pieces([
        long,
        SequencePiece {
            sequence: n as u64 + 9,
            start: 0,
            tokens: &tokens[n..n + 7],
            continues: false,
        },
    ])
}

#[test]
fn stopped_within_a_sequence_it_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let model = ModelConfig { conv_kernel: 4, decay: linformer::Decay::Fixed, ..config() };
    let mut straight =
        Trainer::new(Model::new(&model, 1, Device::Cpu).unwrap(), Optimizer::default());
    for n in 0..2 {
        straight.step(&[piece(n)], 1e-3, None).unwrap();
    }
    assert_eq!(straight.carried_sequences(), [4]);
    straight.save(&path, &serde_json::Value::Null).unwrap();
    let (mut second, _) = Trainer::load(&path, Device::Cpu).unwrap();
    assert_eq!(second.carried_sequences(), [4]);
    for n in 2..5 {
        let a = straight.step(&[piece(n)], 1e-3, None).unwrap();
        assert_eq!(a, second.step(&[piece(n)], 1e-3, None).unwrap());
    }
    assert_eq!((straight.carried_sequences(), second.carried_sequences()), (vec![], vec![]));
    for ((name, a), (_, b)) in straight.model().parameters().iter().zip(second.model().parameters())
    {
        assert!(a.equal(b), "{name}");
    }
}

#[test]
fn a_model_is_no_training_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    trainer().model().save(&path).unwrap();
    let error = Trainer::load(&path, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("no training state"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_with_its_step() {
    let mut trainer = trainer();
    trainer.step(&[batch(0)], 1e-3, None).unwrap();
    let error =
        trainer.step(&[Batch::pack([[1_u16].as_slice()])], 1e-3, None).unwrap_err().to_string();
    assert_eq!(error, "step 2: the loss is NaN");
    assert_eq!(trainer.steps(), 1);
}

/// Returns the counting sequences of [`batch`] in two parts.
fn halves(step: u64) -> [Batch; 2] {
    let sequences = |range: std::ops::Range<u64>| -> Vec<Vec<u16>> {
        range.map(|i| (0..30).map(|t| ((step * 5 + i * 3 + t) % 23) as u16).collect()).collect()
    };
    [0..5, 5..12].map(|range| Batch::pack(sequences(range).iter().map(Vec::as_slice)))
}

#[test]
fn in_parts_is_as_at_once() {
    let (mut whole, mut parts) = (trainer(), trainer());
    for i in 0..5 {
        let a = whole.step(&[batch(i)], 1e-3, None).unwrap();
        let b = parts.step(&halves(i), 1e-3, None).unwrap();
        assert_eq!((a.step, a.tokens, a.losses.len()), (b.step, b.tokens, b.losses.len()));
        assert!((a.loss - b.loss).abs() < 1e-5, "{} {}", a.loss, b.loss);
        assert!((a.gradient_norm / b.gradient_norm - 1.0).abs() < 1e-3);
    }
}

#[test]
fn bfloat16_learns_the_same() {
    let (mut full, mut half) = (trainer(), trainer());
    half.set_precision(Precision::Bf16);
    for i in 0..40 {
        let a = full.step(&[batch(i)], 3e-3, None).unwrap();
        let b = half.step(&[batch(i)], 3e-3, None).unwrap();
        assert!((a.loss - b.loss).abs() < 0.1, "step {i}: {} {}", a.loss, b.loss);
        assert!(i < 3 || a.losses != b.losses, "it is another precision");
    }
    assert!(half.model().parameters().iter().all(|(_, p)| p.kind() == tch::Kind::Float));
}
