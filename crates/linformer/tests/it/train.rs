use linformer::{Batch, Device, Model, Optimizer, Trainer};

use crate::model::config;

fn trainer() -> Trainer {
    Trainer::new(Model::new(&config(), 1, Device::Cpu).unwrap(), Optimizer::default())
}

/// Sequences that count up from a start: easy to learn.
fn batch(step: u64) -> Batch {
    let sequences: Vec<Vec<u16>> =
        (0..12).map(|i| (0..30).map(|t| ((step * 5 + i * 3 + t) % 23) as u16).collect()).collect();
    Batch::pack(sequences.iter().map(Vec::as_slice))
}

#[test]
fn learns_to_count() {
    let mut trainer = trainer();
    let first = trainer.step(&batch(0), 3e-3).unwrap();
    assert!((first.loss - 23_f64.ln()).abs() < 0.5, "an untrained model knows nothing: {}", first.loss);
    let last = (1..60).map(|i| trainer.step(&batch(i), 3e-3).unwrap()).last().unwrap();
    assert!(last.loss < 0.3, "{}", last.loss);
    assert_eq!(last.step, 60);
}

#[test]
fn stopped_and_loaded_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let mut straight = trainer();
    let mut first = trainer();
    for i in 0..4 {
        straight.step(&batch(i), 1e-3).unwrap();
        first.step(&batch(i), 1e-3).unwrap();
    }
    first.save(&path, &serde_json::json!({ "cursor": 4 })).unwrap();
    let (mut second, caller) = Trainer::load(&path, Device::Cpu).unwrap();
    assert_eq!(caller["cursor"], 4);
    for i in 4..8 {
        let a = straight.step(&batch(i), 1e-3).unwrap();
        let b = second.step(&batch(i), 1e-3).unwrap();
        assert_eq!(a, b);
    }
    for ((name, a), (_, b)) in straight.model().parameters().iter().zip(second.model().parameters()) {
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
    trainer.step(&batch(0), 1e-3).unwrap();
    let error = trainer.step(&Batch::pack([[1_u16].as_slice()]), 1e-3).unwrap_err().to_string();
    assert_eq!(error, "step 2: the loss is NaN");
    assert_eq!(trainer.steps(), 1);
}
