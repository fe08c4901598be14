//! Measures the fused operator on a GPU in microseconds, for the shapes of docs/results.md.
//!
//! usage: bench_cuda

use std::io::{Write, stdout};
use std::time::Instant;

use linformer_kernels::CuSeqlens;
use linformer_kernels::attention::{AttentionOptions, Qkv, fused};
use tch::{Cuda, Device, Kind, Tensor};

const GPU: Device = Device::Cuda(0);

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    if !Cuda::is_available() || !fused::is_supported(GPU, 64) {
        return writeln!(out, "no GPU, or built without the feature cuda: nothing measured");
    }
    for (b, t) in [(8_i64, 4096_i64), (8, 1024)] {
        for kind in [Kind::BFloat16, Kind::Float] {
            let cu_seqlens = CuSeqlens::from_lengths(&vec![t as usize; b as usize]);
            let leaf = || {
                Tensor::randn([b * t, 8, 64], (Kind::Float, GPU))
                    .to_kind(kind)
                    .set_requires_grad(true)
            };
            let (q, k, v, g) = (leaf(), leaf(), leaf(), leaf().detach());
            let (qkv, options) = (Qkv { q: &q, k: &k, v: &v }, AttentionOptions::new(1e-6));
            let forward = || fused::attention(qkv, &cu_seqlens, &options).expect("shapes fit");
            let alone = microseconds(|| drop(tch::no_grad(forward)));
            let both = microseconds(|| {
                let loss = forward().flatten(0, -1).dot(&g.flatten(0, -1));
                drop(Tensor::run_backward(&[&loss], &[&q, &k, &v], false, false));
            });
            let name = format!("B {b} H 8 T {t} D 64 {kind:?}");
            writeln!(out, "{name:>30}: forward {alone:.0} us, forward and backward {both:.0} us")?;
        }
    }
    Ok(())
}

fn microseconds(mut work: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 50;
    (0..10).for_each(|_| work());
    Cuda::synchronize(0);
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    Cuda::synchronize(0);
    start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}
