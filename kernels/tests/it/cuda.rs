//! Tests of the CUDA kernels' device code, which `tests/emulation` runs on the CPU: every thread of
//! every block, tiles in shared memory that starts as NaN, bfloat16 rounded as a GPU rounds, the
//! instructions of a warp as their documentation says. The emulation replaces tensor cores, launches
//! and the memory model of a real GPU, so these stay untested here.

use linformer_kernels::attention::{
    AttentionOptions, AttentionState, Decay, Qkv, chunked, fused, naive,
};
use linformer_kernels::{CuSeqlens, Rotary};
use tch::{Device, Kind, Tensor};

use crate::attention::{decay, error};

const EPS: f64 = 1e-6;

/// Arguments of the attention: `lf::cuda::Attention<float>` of `csrc/cuda/attention.h`.
#[repr(C)]
struct Attention {
    inputs: [*const f32; 3],
    input_strides: [i64; 6],
    out: *mut f32,
    den: *mut f32,
    tokens: i64,
    heads: i64,
    d: i64,
    m: i64,
    eps: f32,
    cos_sin_decay: [*const f32; 3],
    grad: *const f32,
    grad_strides: [i64; 2],
    gradients: [*mut f32; 3],
    gradient_strides: [i64; 6],
    given_states: [*const f32; 4],
    made_states: [*mut f32; 4],
}

/// Arguments of one step: `lf::cuda::Step` of `csrc/cuda/attention.h`.
#[repr(C)]
struct Step {
    inputs: [*const f32; 4],
    state_and_out: [*mut f32; 3],
    rows: i64,
    decays: i64,
    d: i64,
    m: i64,
    eps: f32,
}

unsafe extern "C" {
    fn emulate_attention(
        a: *const Attention,
        cu_seqlens: *const i64,
        sequences: i64,
        longest: i64,
        warps: i32,
        order: u32,
    );
    fn emulate_step(step: *const Step);
}

fn numbers(x: &Tensor) -> Vec<f32> {
    Vec::try_from(&x.detach().to_kind(Kind::Float).contiguous().view([-1])).unwrap()
}

/// Kernels that the emulation runs.
#[derive(Clone, Copy)]
enum Kernels {
    /// Kernels of `attention.cuh` in float.
    Float,
    /// Kernels of `attention.cuh` in bfloat16.
    Tiles,
    /// Kernels of `attention_mma.cuh` with this number of warps a block.
    Mma(i32),
}

impl Kernels {
    fn warps(self) -> i32 {
        match self {
            Kernels::Float => 0,
            Kernels::Tiles => 1,
            Kernels::Mma(warps) => warps,
        }
    }
}

struct Case {
    cu_seqlens: CuSeqlens,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    rotary: Option<Rotary>,
    decay: Option<Tensor>,
    /// First states `s0`, `z0`, and the gradients of the last states.
    states: [Tensor; 4],
}

/// Returns the output, the gradients of q, k and v, the last states and the gradients of the first
/// ones, by the emulated kernels in segments of `longest` tokens. `order` draws the order in which
/// threads take turns; with 0, that is the order of their numbers.
fn emulated(case: &Case, longest: i64, kernels: Kernels, order: u32) -> Vec<Tensor> {
    let inputs = [&case.q, &case.k, &case.v, &case.g].map(numbers);
    let states = case.states.each_ref().map(numbers);
    let size = case.q.size();
    let (tokens, heads, d, m) = (size[0], size[1], size[2], case.v.size()[2]);
    let nan = |like: &Tensor| vec![f32::NAN; like.numel()];
    let mut out = [&case.v, &case.q, &case.k, &case.v].map(nan);
    let mut made = case.states.each_ref().map(nan);
    let mut den = vec![f32::NAN; (tokens * heads) as usize];
    let tables = case.rotary.as_ref().map(|rotary| rotary.tables().map(numbers));
    let left = case.decay.as_ref().map(numbers);
    let optional = |x: Option<&Vec<f32>>| x.map_or(std::ptr::null(), |x| x.as_ptr());
    let [o, dq, dk, dv] = out.each_mut().map(|x| x.as_mut_ptr());
    let a = Attention {
        inputs: [inputs[0].as_ptr(), inputs[1].as_ptr(), inputs[2].as_ptr()],
        input_strides: [0; 6],
        out: o,
        den: den.as_mut_ptr(),
        tokens,
        heads,
        d,
        m,
        eps: EPS as f32,
        cos_sin_decay: [
            optional(tables.as_ref().map(|t| &t[0])),
            optional(tables.as_ref().map(|t| &t[1])),
            optional(left.as_ref()),
        ],
        grad: inputs[3].as_ptr(),
        grad_strides: [0; 2],
        gradients: [dq, dk, dv],
        gradient_strides: [0; 6],
        given_states: states.each_ref().map(|x| x.as_ptr()),
        made_states: made.each_mut().map(|x| x.as_mut_ptr()),
    };
    let offsets = case.cu_seqlens.offsets();
    // SAFETY: every pointer is to as many numbers as the sizes say; the emulation sets the strides
    // of contiguous tensors.
    unsafe {
        emulate_attention(
            &raw const a,
            offsets.as_ptr(),
            offsets.len() as i64 - 1,
            longest,
            kernels.warps(),
            order,
        )
    };
    let likes = [&case.v, &case.q, &case.k, &case.v].into_iter().chain(&case.states);
    out.iter()
        .chain(&made)
        .zip(likes)
        .map(|(x, like)| Tensor::from_slice(x).view(like.size().as_slice()))
        .collect()
}

fn case(lengths: &[usize], heads: i64, d: i64, m: i64, rotate: bool, forget: bool) -> Case {
    let cu_seqlens = CuSeqlens::from_lengths(lengths);
    let (n, s) = (cu_seqlens.tokens(), lengths.len() as i64);
    tch::manual_seed(n + d + m);
    let options = (Kind::Double, Device::Cpu);
    let normal =
        |size: &[i64]| Tensor::randn(size, options).to_kind(Kind::Float).to_kind(Kind::Double);
    Case {
        q: normal(&[n, heads, d]),
        k: normal(&[n, heads, d]),
        v: normal(&[n, heads, m]),
        g: normal(&[n, heads, m]),
        rotary: rotate.then(|| {
            let positions = cu_seqlens.max_position() as usize;
            Rotary::new(positions, d as usize, Kind::Float, Device::Cpu)
        }),
        decay: forget.then(|| decay(heads)),
        states: [
            normal(&[s, heads, d, m]).abs(),
            normal(&[s, heads, d]).abs(),
            normal(&[s, heads, d, m]),
            normal(&[s, heads, d]),
        ],
        cu_seqlens,
    }
}

/// Returns the tensors of [`emulated`] by the fused form in float64, which other tests compare with
/// the definition.
fn expected(case: &Case) -> Vec<Tensor> {
    let leaf = |x: &Tensor| x.detach().set_requires_grad(true);
    let (q, k, v) = (leaf(&case.q), leaf(&case.k), leaf(&case.v));
    let (s0, z0) = (leaf(&case.states[0]), leaf(&case.states[1]));
    let rotary = case.rotary.as_ref().map(Rotary::to_double);
    let options = AttentionOptions {
        eps: EPS,
        rotary: rotary.as_ref(),
        decay: case.decay.as_ref().map(Decay::Fixed),
    };
    let initial = AttentionState { s: s0.shallow_clone(), z: z0.shallow_clone() };
    let qkv = Qkv { q: &q, k: &k, v: &v };
    let (out, last) =
        fused::attention_with_state(qkv, Some(&initial), &case.cu_seqlens, &options).unwrap();
    let total = |x: &Tensor, g: &Tensor| (x * g).sum(Kind::Double);
    (total(&out, &case.g) + total(&last.s, &case.states[2]) + total(&last.z, &case.states[3]))
        .backward();
    // In the order of the emulation: s1, z1, ds0, dz0.
    vec![
        out.detach(),
        q.grad(),
        k.grad(),
        v.grad(),
        last.s.detach(),
        last.z.detach(),
        s0.grad(),
        z0.grad(),
    ]
}

fn check(case: &Case, longest: i64, kernels: Kernels, limit: f64) {
    let names = ["out", "dq", "dk", "dv", "s", "z", "ds0", "dz0"];
    for ((found, expected), name) in
        emulated(case, longest, kernels, 0).iter().zip(&expected(case)).zip(names)
    {
        let (offsets, e) = (case.cu_seqlens.offsets(), error(found, expected));
        assert!(
            e < limit,
            "{name}: offsets {offsets:?}, q {:?}, v {:?}: error {e:e}",
            case.q.size(),
            case.v.size()
        );
    }
}

#[test]
fn float_holds_to_the_fused_form() {
    check(&case(&[1], 1, 16, 16, false, false), 512, Kernels::Float, 2e-5);
    check(&case(&[63, 64, 0, 65, 2], 2, 32, 32, true, false), 512, Kernels::Float, 2e-5);
    check(&case(&[200], 2, 48, 64, false, true), 512, Kernels::Float, 2e-5);
    check(&case(&[70, 3], 2, 64, 16, true, true), 512, Kernels::Float, 2e-5);
    check(&case(&[40], 1, 128, 128, true, false), 512, Kernels::Float, 2e-5);
    check(&case(&[33], 1, 20, 34, true, true), 512, Kernels::Float, 2e-5);
}

#[test]
fn segments_change_nothing_but_rounding() {
    check(&case(&[300, 128, 7], 2, 32, 32, true, true), 64, Kernels::Float, 2e-5);
    check(&case(&[300, 128, 7], 2, 32, 64, true, false), 128, Kernels::Float, 2e-5);
}

#[test]
fn bfloat16_holds_to_the_fused_form() {
    for longest in [64, 512] {
        let tiles = |case: &Case| check(case, longest, Kernels::Tiles, 3e-2);
        tiles(&case(&[63, 64, 0, 65, 2, 200], 2, 32, 32, true, true));
        tiles(&case(&[150], 2, 64, 48, true, false));
    }
    check(&case(&[70], 1, 128, 100, false, false), 512, Kernels::Tiles, 3e-2);
}

#[test]
fn tensor_cores_hold_to_the_fused_form() {
    // Segments of one chunk and of two; chains of segments.
    for warps in [2, 4, 8] {
        let (one, two) = (16 * i64::from(warps), 32 * i64::from(warps));
        for longest in [one, two] {
            let mma = |case: &Case| check(case, longest, Kernels::Mma(warps), 3e-2);
            mma(&case(&[1], 1, 32, 32, false, false));
            mma(&case(&[16, 0, 31, 32], 2, 32, 32, true, true));
            mma(&case(&[15, 129, 0, 300], 2, 64, 64, true, false));
            mma(&case(&[150, 65], 2, 64, 64, false, true));
            mma(&case(&[97], 1, 64, 64, false, false));
        }
    }
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let case = case(&[70, 200, 3], 2, 32, 32, true, true);
    for kernels in [Kernels::Float, Kernels::Tiles, Kernels::Mma(4), Kernels::Mma(8)] {
        let expected = emulated(&case, 128, kernels, 0);
        for order in 1..4 {
            for (found, expected) in emulated(&case, 128, kernels, order).iter().zip(&expected) {
                assert!(found.equal(expected), "{} warps, order {order}", kernels.warps());
            }
        }
    }
}

/// Values with a mean make dq the small difference of large terms: the kernel centres the state
/// before it rounds it.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are of interest")]
fn rounding_of_dq_does_not_grow_with_length_or_mean() {
    for (tokens, means) in
        [(1024, [0.0, 0.5, 2.0]), (4096, [0.0, 0.5, 2.0]), (16_384, [0.0, 0.5, 2.0])]
    {
        for mean in means {
            let mut case = case(&[tokens], 1, 64, 64, false, false);
            let rounded = |x: &Tensor| x.to_kind(Kind::BFloat16).to_kind(Kind::Double);
            let shift = Tensor::randn([1, 1, 64], (Kind::Double, Device::Cpu)) * mean;
            (case.q, case.k) = (rounded(&(&case.q * 1.5)), rounded(&(&case.k * 1.5)));
            (case.v, case.g) = (rounded(&(&case.v + shift)), rounded(&case.g));
            case.states.iter_mut().for_each(|x| *x = x.zeros_like());
            let (found, expected) = (emulated(&case, 256, Kernels::Mma(8), 0), expected(&case));
            let relative = |i: usize| {
                f64::try_from((&found[i] - &expected[i]).norm() / expected[i].norm()).unwrap()
            };
            let [out, dq, dk, dv] = [0, 1, 2, 3].map(relative);
            println!("T {tokens}, mean {mean}: out {out:.1e} dq {dq:.1e} dk {dk:.1e} dv {dv:.1e}");
            assert!(
                dq < 1e-2 && dk < 1e-2 && dv < 1e-2 && out < 1e-2,
                "T {tokens}, mean {mean}: {dq:e} {dk:e} {dv:e}"
            );
        }
    }
}

#[test]
fn a_step_in_place() {
    let (rows, heads, d, m) = (6, 2, 20, 33);
    let make = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (q, k, v) = (make(&[3, heads, d]), make(&[3, heads, d]), make(&[3, heads, m]));
    let (s, z) = (make(&[3, heads, d, m]).abs(), make(&[3, heads, d]).abs());
    let mut state = AttentionState { s, z };
    let left = decay(heads);
    let inputs = [&q, &k, &v, &left].map(numbers);
    let mut made = [numbers(&state.s), numbers(&state.z), vec![f32::NAN; (rows * m) as usize]];
    let step = Step {
        inputs: inputs.each_ref().map(|x| x.as_ptr()),
        state_and_out: made.each_mut().map(|x| x.as_mut_ptr()),
        rows,
        decays: heads,
        d,
        m,
        eps: EPS as f32,
    };
    // SAFETY: every pointer is to as many numbers as the sizes say.
    unsafe { emulate_step(&raw const step) };
    let out =
        chunked::step(Qkv { q: &q, k: &k, v: &v }, &mut state, Some(Decay::Fixed(&left)), EPS);
    for (found, expected) in made.iter().zip([&state.s, &state.z, &out]) {
        assert!(error(&Tensor::from_slice(found), &expected.view([-1])) < 1e-5);
    }
}

/// The fused form, which the emulation is compared with, is compared with the definition here.
#[test]
fn the_fused_form_is_the_definition() {
    let case = case(&[30, 5], 2, 16, 16, false, true);
    let options = AttentionOptions {
        decay: case.decay.as_ref().map(Decay::Fixed),
        ..AttentionOptions::new(EPS)
    };
    let qkv = Qkv { q: &case.q, k: &case.k, v: &case.v };
    let naive = naive::attention(qkv, &case.cu_seqlens, &options);
    let mut zero = case;
    zero.states.iter_mut().for_each(|x| *x = x.zeros_like());
    assert!(error(&expected(&zero)[0], &naive) < 1e-12);
}
