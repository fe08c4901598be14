//! Tests of training on a GPU against the CPU. Skipped without a GPU or without the feature `cuda`;
//! with `LF_TEST_DEVICE=cpu` the CPU takes the place of the GPU.

use linformer::{Batch, Decay, Device, Model, ModelConfig, Optimizer, Precision, Trainer};
use linformer_kernels::attention::fused;

use crate::model::config;
use crate::train::{batch, piece};

/// Returns the device to test.
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn device() -> Option<Device> {
    match std::env::var("LF_TEST_DEVICE").as_deref() {
        Ok("cpu") => return Some(Device::Cpu),
        Ok(other) => panic!("LF_TEST_DEVICE: expected cpu, found {other}"),
        Err(_) => {}
    }
    let found = linformer::device("cuda").ok().filter(|&gpu| fused::is_supported(gpu, 64, None));
    if found.is_none() {
        println!("skipped: no GPU, or built without the feature cuda");
    }
    found
}

/// Returns the losses of some steps in two parts each: whole sequences, and pieces of a long one.
fn losses(model: &ModelConfig, precision: Precision, device: Device) -> Vec<f64> {
    let mut trainer = Trainer::new(Model::new(model, 1, device).unwrap(), Optimizer::default());
    trainer.set_precision(precision);
    let parts = |n: usize| -> [Batch; 2] { [piece(n), batch(n as u64)] };
    (0..5).map(|n| trainer.step(&parts(n), 3e-3, None).unwrap().loss).collect()
}

/// Compares the losses of each step with those of the CPU in 32 bits.
fn check(model: &ModelConfig) {
    let Some(device) = device() else { return };
    let expected = losses(model, Precision::F32, Device::Cpu);
    for (precision, limit) in [(Precision::F32, 1e-3), (Precision::Bf16, 0.05)] {
        let found = losses(model, precision, device);
        for (step, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < limit, "{precision:?}, step {step}: {a}; expected {b}");
        }
    }
}

#[test]
fn learns_as_the_cpu_with_heads_of_all_kernels() {
    for (hidden_size, heads) in [(32, 2), (64, 2), (128, 2), (128, 1)] {
        check(&ModelConfig { hidden_size, heads, ..config() });
    }
}

#[test]
fn learns_as_the_cpu_with_every_part_of_the_model() {
    let sizes = ModelConfig { hidden_size: 64, conv_kernel: 4, gate: true, ..config() };
    check(&sizes);
    check(&ModelConfig { decay: Decay::Fixed, bias: false, ..sizes });
}
