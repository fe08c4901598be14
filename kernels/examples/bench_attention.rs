//! Prints a table that compares the fused operator with the loops of fast-transformers, with its
//! whole attention step, with the chunked form in libtorch operations, and with itself under each
//! kind of decay: the same inputs, in the same run. `scripts/bench/attention` builds the library of
//! the peer.
//!
//! usage: bench_attention [THREADS [PEER.so]]

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io::{Write, stdout};
use std::time::Instant;

use linformer_kernels::attention::{AttentionOptions, Decay, Qkv, chunked, fused};
use linformer_kernels::{CuSeqlens, cpu, testing};
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

const OPTIONS: AttentionOptions = AttentionOptions { eps: 1e-6, rotary: None, decay: None };

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let peer = args.next().and_then(|path| Peer::open(&path));
    let mut out = stdout().lock();
    writeln!(
        out,
        "float32, {}; best of 5, each after the other in turn; CPU time of all threads",
        cpu::instruction_set()
    )?;
    writeln!(
        out,
        "\nFused (feature map, product, normaliser) and the bare product of fast-transformers, \
         one thread, B 8 H 8 T 4096:"
    )?;
    tch::set_num_threads(1);
    writeln!(out, "{HEADER}  of FMA peak")?;
    for size in [32, 64] {
        bare_product(&mut out, Shape { b: 8, h: 8, t: 4096, d: size }, peer.as_ref())?;
    }
    writeln!(
        out,
        "\nThe whole attention step, {threads} threads (wall time), B 4 H 8 T 4096 D 64:"
    )?;
    tch::set_num_threads(threads);
    writeln!(out, "{HEADER}")?;
    whole_step(&mut out, Shape { b: 4, h: 8, t: 4096, d: 64 }, peer.as_ref())?;
    writeln!(out, "\nThe same for many short sequences, packed: B 64 H 4 T 128 D 32:")?;
    whole_step(&mut out, Shape { b: 64, h: 4, t: 128, d: 32 }, peer.as_ref())?;
    for shape in [Shape { b: 4, h: 8, t: 4096, d: 64 }, Shape { b: 64, h: 4, t: 128, d: 32 }] {
        let Shape { b, h, t, d } = shape;
        writeln!(
            out,
            "\nThe fused form by its decay, {threads} threads: B {b} H {h} T {t} D {d}:"
        )?;
        decays(&mut out, shape)?;
    }
    Ok(())
}

const HEADER: &str =
    "                                     forward   times    forward and backward   times";

#[derive(Clone, Copy)]
struct Shape {
    b: i64,
    h: i64,
    t: i64,
    d: i64,
}

impl Shape {
    /// Counts the floating-point operations of the chunked formulas with chunks of 16: of forward,
    /// and of backward.
    fn operations(self) -> (f64, f64) {
        let (n, d, c) = ((self.b * self.h * self.t) as f64, self.d as f64, 16.0);
        let forward = 2.0 * c * (2.0 * d + 1.0) + 4.0 * d * (d + 1.0);
        (n * forward, n * (2.0 * c * (5.0 * d + 1.0) + 8.0 * d * (d + 1.0) + 2.0 * d * d))
    }

    fn leaf(self) -> Tensor {
        Tensor::randn([self.b, self.t, self.h, self.d], (Kind::Float, Device::Cpu))
            .set_requires_grad(true)
    }

    fn cu_seqlens(self) -> CuSeqlens {
        CuSeqlens::from_lengths(&vec![self.t as usize; self.b as usize])
    }

    fn packed(self, x: &Tensor) -> Tensor {
        x.view([self.b * self.t, self.h, self.d])
    }
}

fn bare_product(out: &mut impl Write, shape: Shape, peer: Option<&Peer>) -> std::io::Result<()> {
    let (q, k, v, g, cu_seqlens) =
        (shape.leaf(), shape.leaf(), shape.leaf(), shape.leaf().detach(), shape.cu_seqlens());
    let [q, k, v] = [&q, &k, &v].map(|x| shape.packed(x).detach().set_requires_grad(true));
    let g = shape.packed(&g);
    let heads_first = |x: &Tensor| {
        x.detach()
            .view([shape.b, shape.t, shape.h, shape.d])
            .transpose(1, 2)
            .contiguous()
            .set_requires_grad(true)
    };
    let [tq, tk, tv, tg] = [&q, &k, &v, &g].map(heads_first);
    let (theirs, tg) = ([&tq, &tk, &tv], tg.detach());
    let qkv = Qkv { q: &q, k: &k, v: &v };
    let mut work: Vec<Box<dyn FnMut() + '_>> = vec![
        Box::new(|| drop(tch::no_grad(|| fused::attention(qkv, &cu_seqlens, &OPTIONS)))),
        Box::new(|| {
            let y = fused::attention(qkv, &cu_seqlens, &OPTIONS).expect("shapes fit");
            drop(gradients(&y, &g, &[&q, &k, &v]));
        }),
        Box::new(|| {
            let _ = testing::multiply_adds(FMAS);
        }),
    ];
    if let Some(peer) = peer {
        work.push(Box::new(|| drop(tch::no_grad(|| peer.product(theirs)))));
        work.push(Box::new(|| drop(gradients(&peer.product(theirs), &tg, &theirs))));
    }
    let found = best_of_five(&mut work, cpu_seconds);
    let peak = 2.0 * testing::multiply_adds(FMAS) as f64 / found[2];
    let (forward, backward) = shape.operations();
    let share = (forward / found[0] / peak * 100.0, (forward + backward) / found[1] / peak * 100.0);
    let name = |who: &str| format!("D = M = {}, {who}", shape.d);
    let shares = format!("{:.0} % and {:.0} % of {:.0} GFLOP/s", share.0, share.1, peak / 1e9);
    row(out, &name("fused"), (found[0], found[1]), None, &shares)?;
    match peer {
        Some(_) => row(
            out,
            &name("fast-transformers"),
            (found[3], found[4]),
            Some((found[0], found[1])),
            "",
        ),
        None => writeln!(out, "{:>30}", "fast-transformers: missing"),
    }
}

fn whole_step(out: &mut impl Write, shape: Shape, peer: Option<&Peer>) -> std::io::Result<()> {
    let (q, k, v, g, cu_seqlens) =
        (shape.leaf(), shape.leaf(), shape.leaf(), shape.leaf().detach(), shape.cu_seqlens());
    let leaves = [&q, &k, &v];
    let flat = |form: &dyn Fn(Qkv) -> Tensor| {
        let [q, k, v] = leaves.map(|x| shape.packed(x));
        form(Qkv { q: &q, k: &k, v: &v }).view([shape.b, shape.t, shape.h, shape.d])
    };
    let fused = || flat(&|qkv| fused::attention(qkv, &cu_seqlens, &OPTIONS).expect("shapes fit"));
    let chunked = || flat(&|qkv| chunked::attention(qkv, &cu_seqlens, &OPTIONS));
    let mut work: Vec<Box<dyn FnMut() + '_>> = vec![
        Box::new(|| drop(tch::no_grad(fused))),
        Box::new(|| drop(gradients(&fused(), &g, &leaves))),
        Box::new(|| drop(tch::no_grad(chunked))),
        Box::new(|| drop(gradients(&chunked(), &g, &leaves))),
    ];
    if let Some(peer) = peer {
        work.push(Box::new(|| drop(tch::no_grad(|| peer.step(leaves)))));
        work.push(Box::new(|| drop(gradients(&peer.step(leaves), &g, &leaves))));
    }
    let found = best_of_five(&mut work, wall_seconds);
    let ours = (found[0], found[1]);
    row(out, "fused", ours, None, "")?;
    row(out, "ATen operations, chunks of 64", (found[2], found[3]), Some(ours), "")?;
    match peer {
        Some(_) => row(out, "fast-transformers", (found[4], found[5]), Some(ours), ""),
        None => writeln!(out, "{:>30}", "fast-transformers: missing"),
    }
}

/// Compares the fused form without decay with that under each kind.
fn decays(out: &mut impl Write, shape: Shape) -> std::io::Result<()> {
    let (q, k, v, g, cu_seqlens) =
        (shape.leaf(), shape.leaf(), shape.leaf(), shape.leaf().detach(), shape.cu_seqlens());
    let [q, k, v, g] = [&q, &k, &v, &g].map(|x| shape.packed(x));
    let fixed = Tensor::full([shape.h], 0.95, (Kind::Float, Device::Cpu));
    let log = (Tensor::rand([shape.b * shape.t, shape.h], (Kind::Float, Device::Cpu)) * -0.1)
        .set_requires_grad(true);
    let (qkv, cu_seqlens) = (Qkv { q: &q, k: &k, v: &v }, &cu_seqlens);
    let kinds = [
        ("none", None),
        ("fixed", Some(Decay::Fixed(&fixed))),
        ("of each token", Some(Decay::Log(&log))),
    ];
    let mut work: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for (_, decay) in kinds {
        let options = AttentionOptions { decay, ..OPTIONS };
        let form = move || fused::attention(qkv, cu_seqlens, &options).expect("shapes fit");
        let leaves = [&q, &k, &v, &log];
        let n = if matches!(decay, Some(Decay::Log(_))) { 4 } else { 3 };
        let g = &g;
        work.push(Box::new(move || drop(tch::no_grad(form))));
        work.push(Box::new(move || drop(gradients(&form(), g, &leaves[..n]))));
    }
    let found = best_of_five(&mut work, wall_seconds);
    for (i, (name, _)) in kinds.iter().enumerate() {
        let ours = (i > 0).then_some((found[0], found[1]));
        row(out, name, (found[2 * i], found[2 * i + 1]), ours, "")?;
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    name: &str,
    (forward, both): (f64, f64),
    ours: Option<(f64, f64)>,
    more: &str,
) -> std::io::Result<()> {
    let times = |theirs: f64, ours: Option<f64>| {
        ours.map_or(String::new(), |ours| format!("{:.1}", theirs / ours))
    };
    let (f, b) = (times(forward, ours.map(|o| o.0)), times(both, ours.map(|o| o.1)));
    writeln!(
        out,
        "{name:>30} {:>10.1} ms {f:>7} {:>20.1} ms {b:>7}   {more}",
        forward * 1e3,
        both * 1e3
    )?;
    out.flush()
}

/// Computes the gradients of `leaves` under the gradient `g` of `y`, and nothing else.
fn gradients(y: &Tensor, g: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    let scaled = linear_in(y, g);
    Tensor::run_backward(&[&scaled], leaves, false, false)
}

/// Returns a number whose gradient with respect to `y` is `g`.
fn linear_in(y: &Tensor, g: &Tensor) -> Tensor {
    y.flatten(0, -1).dot(&g.flatten(0, -1))
}

const FMAS: i64 = 10_000_000;

fn best_of_five(work: &mut [Box<dyn FnMut() + '_>], clock: fn() -> f64) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; work.len()];
    for _ in 0..5 {
        for (work, best) in work.iter_mut().zip(&mut best) {
            let start = clock();
            work();
            *best = best.min(clock() - start);
        }
    }
    best
}

fn wall_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

unsafe extern "C" {
    fn clock() -> c_long;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

fn cpu_seconds() -> f64 {
    // SAFETY: reads a clock; POSIX sets CLOCKS_PER_SEC to a million.
    unsafe { clock() as f64 / 1e6 }
}

type Pointer = *const C_tensor;

type Form = unsafe extern "C" fn(Pointer, Pointer, Pointer) -> *mut C_tensor;

/// Functions of `benches/peer/peer.cpp`, which wraps fast-transformers.
struct Peer {
    product: Form,
    step: Form,
}

impl Peer {
    fn open(path: &str) -> Option<Peer> {
        const NOW: c_int = 2;
        let path = CString::new(path).ok()?;
        // SAFETY: the path ends in 0; the library has no constructors but libtorch's registrations.
        let library = unsafe { dlopen(path.as_ptr(), NOW) };
        if library.is_null() {
            return None;
        }
        let form = |name: &std::ffi::CStr| {
            // SAFETY: the library is open, the name ends in 0.
            let found = unsafe { dlsym(library, name.as_ptr()) };
            // SAFETY: the functions of peer.cpp have this type.
            (!found.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, Form>(found) })
        };
        Some(Peer { product: form(c"peer_product")?, step: form(c"peer_step")? })
    }

    fn product(&self, inputs: [&Tensor; 3]) -> Tensor {
        made(self.product, inputs)
    }

    fn step(&self, inputs: [&Tensor; 3]) -> Tensor {
        made(self.step, inputs)
    }
}

fn made(form: Form, [q, k, v]: [&Tensor; 3]) -> Tensor {
    // SAFETY: live tensors of the shapes it expects; the result is a new tensor that nobody else
    // owns.
    unsafe { Tensor::from_ptr(form(q.as_ptr(), k.as_ptr(), v.as_ptr())) }
}
