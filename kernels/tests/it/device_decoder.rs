//! Tests of the decoder's device code, which `tests/emulation` runs on the CPU, against the decoder
//! for the CPU.

use linformer_kernels::testing::CDecodeApi;
use linformer_kernels::{Decoder, DecoderShape, DeviceDecoder, DeviceSlots, WeightKind};

use crate::decoder::{SHAPE, weights};

unsafe extern "C" {
    safe fn emulated_decoder() -> *const CDecodeApi;
}

fn emulated(decoder: &Decoder) -> Result<DeviceDecoder, String> {
    // SAFETY: the table lives as long as the program.
    let api = unsafe { &*emulated_decoder() };
    DeviceDecoder::with_api(decoder, 0, api).map_err(|error| error.to_string())
}

/// Returns whether a slot takes part in step `t`. Each rests at times, and they start one by one.
fn takes_part(slot: usize, t: usize) -> bool {
    t >= slot % 5 && (slot + t) % 4 != 1
}

/// Returns whether a slot starts another sequence before step `t`.
fn starts_anew(slot: usize, t: usize) -> bool {
    t > 0 && (t + slot) % 7 == 3
}

fn token(shape: &DecoderShape, slot: usize, t: usize) -> u16 {
    ((slot * 31 + t * 17 + slot * t) % shape.vocab) as u16
}

/// Compares the scores of all slots with those of the CPU over some steps.
fn check(device: impl Fn(&Decoder) -> DeviceDecoder, shape: DecoderShape, slots: usize) {
    let cpu = Decoder::new(shape, weights(&shape), WeightKind::Float).unwrap();
    let mut expected = cpu.state(slots);
    let mut found = device(&cpu).slots(slots).unwrap();
    for t in 0..8 {
        for slot in (0..slots).filter(|&slot| starts_anew(slot, t)) {
            cpu.reset(&mut expected, slot);
            found.reset(slot);
        }
        let rows: Vec<usize> = (0..slots).filter(|&slot| takes_part(slot, t)).collect();
        for &slot in &rows {
            expected.set_token(slot, token(&shape, slot, t));
            found.set_token(slot, token(&shape, slot, t));
        }
        cpu.step(&mut expected);
        found.begin().unwrap();
        found.finish().unwrap();
        for slot in rows {
            let pairs = cpu.logits(&expected, slot).iter().zip(found.logits(slot));
            let error = pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            // NaN fails too.
            assert!(error < 2e-5, "{shape:?}, {slots} slots: step {t}, slot {slot}: {error}");
        }
    }
}

fn check_shapes(device: impl Fn(&Decoder) -> DeviceDecoder) {
    check(&device, SHAPE, 3);
    // More rows than a block computes, more inputs than it holds, and panels of 16 columns.
    check(&device, DecoderShape { ffn_size: 272, ..SHAPE }, 35);
    check(&device, DecoderShape { gated: false, conv_kernel: 0, ..SHAPE }, 17);
    check(&device, DecoderShape { rms: true, conv_kernel: 1, ..SHAPE }, 16);
    let one_head = DecoderShape { hidden_size: 80, heads: 1, vocab: 100, conv_kernel: 4, ..SHAPE };
    check(&device, one_head, 2);
    check(&device, DecoderShape { hidden_size: 288, heads: 12, ..SHAPE }, 5);
}

#[test]
fn scores_are_those_of_the_cpu() {
    check_shapes(|decoder| emulated(decoder).unwrap());
}

/// Returns the scores after each of `tokens`, run in `slot` while other slots run other sequences.
fn scores(slots: &mut DeviceSlots, tokens: &[u16], slot: usize, others: &[usize]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    slots.reset(slot);
    for (t, &token) in tokens.iter().enumerate() {
        for other in others.iter().filter(|&other| other + t % 3 != 5) {
            slots.set_token(*other, ((t * 7 + other * 3) % SHAPE.vocab) as u16);
        }
        slots.set_token(slot, token);
        slots.begin().unwrap();
        slots.finish().unwrap();
        all.push(slots.logits(slot).to_vec());
    }
    all
}

fn check_independence(decoder: &DeviceDecoder) {
    let tokens = [1, 5, 36, 0, 9, 9, 2];
    let alone = scores(&mut decoder.slots(1).unwrap(), &tokens, 0, &[]);
    let others: Vec<usize> = (0..40).filter(|other| *other != 21).collect();
    let mut many = decoder.slots(40).unwrap();
    assert_eq!(alone, scores(&mut many, &tokens, 21, &others));
    assert_eq!(alone, scores(&mut many, &tokens, 21, &[3]));
}

#[test]
fn a_slot_knows_nothing_of_the_others_nor_of_its_past() {
    check_independence(
        &emulated(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap()).unwrap(),
    );
}

#[test]
fn too_little_memory_is_told_with_what_is_there() {
    let decoder =
        emulated(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap()).unwrap();
    let held = decoder.slots(9).unwrap();
    let error = decoder.slots(9_000).unwrap_err().to_string();
    let start = "decoder on the GPU: memory for 9000 sequences: expected ";
    assert!(error.starts_with(start) && error.contains(" octets, found "), "{error}");
    drop(held);
    decoder.slots(90).unwrap();
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let shape = DecoderShape { hidden_size: 1040, heads: 1, ffn_size: 16, ..SHAPE };
    let error =
        emulated(&Decoder::new(shape, weights(&shape), WeightKind::Float).unwrap()).unwrap_err();
    assert_eq!(error, "decoder on the GPU: expected heads of at most 1024, found 1040");
}

#[test]
#[should_panic(expected = "scores are those of a finished step")]
fn scores_of_a_running_step_are_not_lent() {
    let decoder =
        emulated(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap()).unwrap();
    let mut slots = decoder.slots(1).unwrap();
    slots.set_token(0, 1);
    slots.begin().unwrap();
    let _ = slots.logits(0);
}

/// Tests of the decoder on a GPU.
mod gpu {
    use super::{
        Decoder, DeviceDecoder, SHAPE, WeightKind, check_independence, check_shapes, weights,
    };

    /// Returns the decoder on the first GPU, or `None` with a message where there is none.
    #[expect(clippy::print_stdout, reason = "says what it skipped")]
    fn on_gpu(decoder: &Decoder) -> Option<DeviceDecoder> {
        let found =
            tch::Cuda::is_available().then(|| DeviceDecoder::new(decoder, 0).unwrap()).flatten();
        if found.is_none() {
            println!("skipped: no GPU, or built without the feature cuda");
        }
        found
    }

    #[test]
    fn scores_are_those_of_the_cpu() {
        if on_gpu(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap()).is_some() {
            check_shapes(|decoder| on_gpu(decoder).unwrap());
        }
    }

    #[test]
    fn a_slot_knows_nothing_of_the_others_nor_of_its_past() {
        if let Some(decoder) =
            on_gpu(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap())
        {
            check_independence(&decoder);
        }
    }

    #[test]
    fn too_little_memory_is_told_with_what_is_there() {
        if let Some(decoder) =
            on_gpu(&Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap())
        {
            let error = decoder.slots(100_000_000).unwrap_err().to_string();
            assert!(error.contains("memory for 100000000 sequences: expected "), "{error}");
            decoder.slots(9).unwrap();
        }
    }
}
