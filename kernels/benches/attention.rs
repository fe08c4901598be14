//! Times of forward, and of forward with backward: the fused operator and the chunked form in
//! libtorch operations.

use criterion::{Criterion, criterion_group, criterion_main};
use linformer_kernels::CuSeqlens;
use linformer_kernels::attention::{AttentionOptions, Qkv, chunked, fused};
use tch::{Device, Kind, Tensor};

const EPS: f64 = 1e-6;

fn attention(c: &mut Criterion) {
    for size in [32, 64] {
        let cu_seqlens = CuSeqlens::from_lengths(&[1024; 4]);
        let options = AttentionOptions::new(EPS);
        let leaf = || {
            Tensor::randn([cu_seqlens.tokens(), 4, size], (Kind::Float, Device::Cpu))
                .set_requires_grad(true)
        };
        let (q, k, v) = (leaf(), leaf(), leaf());
        let grad = Tensor::randn([cu_seqlens.tokens(), 4, size], (Kind::Float, Device::Cpu));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let fused = || fused::attention(qkv, &cu_seqlens, &options).expect("shapes fit");
        let chunked = || chunked::attention(qkv, &cu_seqlens, &options);
        let back = |out: Tensor| {
            drop(Tensor::run_backward(
                &[&(out * &grad).sum(Kind::Float)],
                &[&q, &k, &v],
                false,
                false,
            ))
        };
        let mut group = c.benchmark_group(format!("4 x 1024 tokens, 4 heads of {size}"));
        group.sample_size(10);
        group.bench_function("fused, forward", |b| b.iter(|| tch::no_grad(fused)));
        group.bench_function("fused, forward and backward", |b| b.iter(|| back(fused())));
        group.bench_function("chunked, forward", |b| b.iter(|| tch::no_grad(chunked)));
        group.bench_function("chunked, forward and backward", |b| b.iter(|| back(chunked())));
        group.finish();
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
