//! Measures the fused operator on a GPU in microseconds, for the shapes of docs/results.md: medians
//! by CUDA events, which hold a call's launches and what the host makes the GPU wait for.
//!
//! usage: bench_cuda

use std::io::{Write, stdout};

use linformer_kernels::CuSeqlens;
use linformer_kernels::attention::{AttentionOptions, Qkv, fused};
use linformer_kernels::testing::GpuTimer;
use tch::{Cuda, Device, Kind, Tensor};

const GPU: Device = Device::Cuda(0);

/// Sequences, heads, tokens of each and elements of a head.
const SHAPES: [(i64, i64, i64, i64); 4] =
    [(8, 8, 4096, 64), (8, 8, 1024, 64), (64, 8, 512, 32), (1024, 8, 32, 32)];

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    if !Cuda::is_available() || !fused::is_supported(GPU, 64, None) {
        return writeln!(out, "no GPU, or built without the feature cuda: nothing measured");
    }
    for (b, h, t, d) in SHAPES {
        for kind in [Kind::BFloat16, Kind::Float] {
            let cu_seqlens = CuSeqlens::from_lengths(&vec![t as usize; b as usize]);
            let leaf = || {
                Tensor::randn([b * t, h, d], (Kind::Float, GPU))
                    .to_kind(kind)
                    .set_requires_grad(true)
            };
            let (q, k, v, g) = (leaf(), leaf(), leaf(), leaf().detach());
            let (qkv, options) = (Qkv { q: &q, k: &k, v: &v }, AttentionOptions::new(1e-6));
            let forward = || fused::attention(qkv, &cu_seqlens, &options).expect("shapes fit");
            let dot = |x: &Tensor| x.flatten(0, -1).dot(&g.flatten(0, -1));
            let alone = microseconds(|| drop(tch::no_grad(forward)));
            let both = microseconds(|| {
                drop(Tensor::run_backward(&[&dot(&forward())], &[&q, &k, &v], false, false));
            });
            let loss = microseconds(|| {
                drop(Tensor::run_backward(&[&dot(&q)], &[&q], false, false));
            });
            let name = format!("B {b} H {h} T {t} D {d} {kind:?}");
            writeln!(
                out,
                "{name:>31}: forward {alone:.0} us, forward and backward {both:.0} us, of which \
                 the loss {loss:.0} us"
            )?;
        }
    }
    Ok(())
}

/// Returns the median time of a call.
fn microseconds(mut work: impl FnMut()) -> f64 {
    (0..10).for_each(|_| work());
    let mut all: Vec<f64> = (0..51)
        .map(|_| {
            let timer = GpuTimer::start().expect("a GPU is there");
            work();
            timer.stop().expect("the GPU runs on")
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
