//! Tests of the kernels on a GPU, skipped without one or without the feature `cuda`.

use linformer_kernels::CuSeqlens;
use linformer_kernels::attention::{AttentionOptions, AttentionState, Qkv, fused};
use tch::{Cuda, Device, Kind, Tensor};

use crate::attention::{decay, error};

const GPU: Device = Device::Cuda(0);

#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn missing() -> bool {
    let missing = !fused::is_supported(GPU, 64) || !Cuda::is_available();
    if missing {
        println!("skipped: no GPU, or built without the feature cuda");
    }
    missing
}

/// Returns the output and the gradients of q, k and v under a random output gradient.
fn run(
    inputs: &[Tensor; 3],
    cu_seqlens: &CuSeqlens,
    decay: Option<&Tensor>,
    kind: Kind,
    device: Device,
) -> [Tensor; 4] {
    let [q, k, v] =
        inputs.each_ref().map(|x| x.to_kind(kind).to_device(device).set_requires_grad(true));
    let options = AttentionOptions { decay, ..AttentionOptions::new(1e-6) };
    let out = fused::attention(Qkv { q: &q, k: &k, v: &v }, cu_seqlens, &options).unwrap();
    tch::manual_seed(5);
    let weight =
        Tensor::randn(out.size(), (Kind::Double, Device::Cpu)).to_kind(kind).to_device(device);
    (&out * weight).sum(Kind::Float).backward();
    [out.detach(), q.grad(), k.grad(), v.grad()].map(|x| x.to_device(Device::Cpu))
}

#[test]
fn holds_to_the_cpu_in_float64() {
    if missing() {
        return;
    }
    for lengths in [&[1][..], &[63, 64, 0, 65], &[200], &[4097]] {
        for (d, m) in [(16, 16), (32, 32), (48, 64), (64, 64), (128, 128), (128, 16)] {
            for left in [None, Some(decay(2))] {
                let cu_seqlens = CuSeqlens::from_lengths(lengths);
                tch::manual_seed(d + m);
                let make = |size| {
                    Tensor::randn([cu_seqlens.tokens(), 2, size], (Kind::Double, Device::Cpu))
                };
                let inputs = [make(d), make(d), make(m)]
                    .map(|x| x.to_kind(Kind::BFloat16).to_kind(Kind::Double));
                let expected = run(&inputs, &cu_seqlens, left.as_ref(), Kind::Double, Device::Cpu);
                for (kind, limit) in [(Kind::Float, 2e-5), (Kind::BFloat16, 3e-2)] {
                    let found = run(&inputs, &cu_seqlens, left.as_ref(), kind, GPU);
                    let again = run(&inputs, &cu_seqlens, left.as_ref(), kind, GPU);
                    for i in 0..4 {
                        let e = error(&found[i], &expected[i]);
                        assert!(
                            e < limit,
                            "{kind:?} {i}: lengths {lengths:?} D {d} M {m}: error {e:e}"
                        );
                        assert!(found[i].equal(&again[i]), "{kind:?} {i}: not the same bits again");
                    }
                }
            }
        }
    }
}

#[test]
fn steps_hold_to_the_cpu() {
    if missing() {
        return;
    }
    let make = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (q, k, v) = (make(&[5, 2, 64]), make(&[5, 2, 64]), make(&[5, 2, 48]));
    let (s, z) = (make(&[5, 2, 64, 48]).abs(), make(&[5, 2, 64]).abs());
    let step = |device: Device| {
        let mut state =
            AttentionState { s: s.copy().to_device(device), z: z.copy().to_device(device) };
        let [q, k, v] = [&q, &k, &v].map(|x| x.to_device(device));
        let out =
            fused::step(Qkv { q: &q, k: &k, v: &v }, &mut state, Some(&decay(2)), 1e-6).unwrap();
        [out, state.s, state.z].map(|x| x.to_device(Device::Cpu))
    };
    for (found, expected) in step(GPU).iter().zip(&step(Device::Cpu)) {
        assert!(error(found, expected) < 1e-5);
    }
}
