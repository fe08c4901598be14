//! A table: the fused operator beside the chunked form in libtorch operations, same inputs, same threads, one run.
//!
//! usage: bench_attention [THREADS]

use std::io::{Write, stdout};
use std::time::Instant;

use linformer_kernels::{Bounds, chunked, fused};
use tch::{Device, Kind, Tensor};

const EPS: f64 = 1e-6;

/// Batch, heads, length, size of a head.
const SHAPES: [(usize, i64, usize, i64); 3] = [(64, 4, 128, 32), (2, 8, 4096, 32), (2, 8, 4096, 64)];

fn main() -> std::io::Result<()> {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    tch::set_num_threads(threads);
    let mut out = stdout().lock();
    let peak = matmul_gflops();
    writeln!(
        out,
        "{threads} threads, {}, float32; best of 3; a product of 2048 x 2048 matrices: {peak:.0} GFLOP/s",
        fused::instruction_set()
    )?;
    writeln!(
        out,
        "{:>24} {:>10} {:>10} {:>8} {:>10} {:>10} {:>8} {:>8}",
        "shape", "fused f", "chunked f", "times", "fused f+b", "chunk. f+b", "times", "of peak"
    )?;
    for shape in SHAPES {
        let [ff, cf, fb, cb] = times(shape);
        let (b, h, t, d) = shape;
        let share = flops(shape) / fb / 1e9 / peak * 100.0;
        let name = format!("B {b} H {h} T {t} D {d}");
        let ms = |s: f64| format!("{:.1} ms", s * 1e3);
        writeln!(
            out,
            "{name:>24} {:>10} {:>10} {:>8.1} {:>10} {:>10} {:>8.1} {share:>6.0} %",
            ms(ff),
            ms(cf),
            cf / ff,
            ms(fb),
            ms(cb),
            cb / fb
        )?;
        out.flush()?;
    }
    Ok(())
}

/// Operations of forward and backward in recurrent form: the least there is to do.
fn flops((b, h, t, d): (usize, i64, usize, i64)) -> f64 {
    let (n, d) = (b as f64 * h as f64 * t as f64, d as f64);
    n * (4.0 * d * (d + 1.0) + 8.0 * d * (d + 1.0) + 2.0 * d * d)
}

/// Seconds: fused and chunked forward, fused and chunked forward with backward.
fn times((b, h, t, d): (usize, i64, usize, i64)) -> [f64; 4] {
    let bounds = Bounds::from_lengths(&vec![t; b]);
    let leaf = || Tensor::randn([bounds.tokens(), h, d], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let (q, k, v, grad) = (leaf(), leaf(), leaf(), leaf().detach());
    let fused = || fused::attention(&q, &k, &v, &bounds, EPS).expect("shapes fit");
    let chunked = || chunked::attention(&q, &k, &v, &bounds, EPS);
    let back =
        |out: Tensor| drop(Tensor::run_backward(&[&(out * &grad).sum(Kind::Float)], &[&q, &k, &v], false, false));
    [
        best(|| drop(tch::no_grad(fused))),
        best(|| drop(tch::no_grad(chunked))),
        best(|| back(fused())),
        best(|| back(chunked())),
    ]
}

fn matmul_gflops() -> f64 {
    let a = Tensor::randn([2048, 2048], (Kind::Float, Device::Cpu));
    2.0 * 2048_f64.powi(3) / best(|| drop(a.matmul(&a))) / 1e9
}

fn best(mut work: impl FnMut()) -> f64 {
    work();
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..3).map(once).fold(f64::INFINITY, f64::min)
}
