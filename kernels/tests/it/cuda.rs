//! The CUDA kernels' device code, run on the CPU by `tests/emulation`: every thread of every block,
//! tiles in shared memory that starts as NaN, bfloat16 rounded as the GPU rounds. What stays
//! untried is what the emulation replaces: tensor cores, the launch and the memory model of a real
//! GPU.

use linformer_kernels::{CuSeqlens, Rotary, chunked, naive};
use tch::{Device, Kind, Tensor};

use crate::attention::{decay, error};

const EPS: f64 = 1e-6;

/// `lf::cuda::Attention<float>`
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

/// `lf::cuda::Step`
#[repr(C)]
struct Step {
    inputs: [*const f32; 4],
    state_and_out: [*mut f32; 3],
    rows: i64,
    heads: i64,
    d: i64,
    m: i64,
    eps: f32,
}

unsafe extern "C" {
    fn emulate_attention(
        a: *const Attention,
        bounds: *const i64,
        sequences: i64,
        longest: i64,
        bf16: i32,
    );
    fn emulate_step(step: *const Step);
}

fn numbers(x: &Tensor) -> Vec<f32> {
    Vec::try_from(&x.detach().to_kind(Kind::Float).contiguous().view([-1])).unwrap()
}

struct Case {
    bounds: CuSeqlens,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    rotary: Option<Rotary>,
    decay: Option<Tensor>,
    /// s0, z0, and the gradients of the last states
    states: [Tensor; 4],
}

/// Output, gradients of q, k, v; last states; gradients of the first.
fn emulated(case: &Case, longest: i64, bf16: bool) -> Vec<Tensor> {
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
    let ends = case.bounds.offsets();
    // SAFETY: every pointer is to as many numbers as the sizes say; the emulation sets the strides
    // of contiguous tensors.
    unsafe {
        emulate_attention(
            &raw const a,
            ends.as_ptr(),
            ends.len() as i64 - 1,
            longest,
            i32::from(bf16),
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
    let bounds = CuSeqlens::from_lengths(lengths);
    let (n, s) = (bounds.tokens(), lengths.len() as i64);
    tch::manual_seed(n + d + m);
    let options = (Kind::Double, Device::Cpu);
    let normal =
        |size: &[i64]| Tensor::randn(size, options).to_kind(Kind::Float).to_kind(Kind::Double);
    Case {
        q: normal(&[n, heads, d]),
        k: normal(&[n, heads, d]),
        v: normal(&[n, heads, m]),
        g: normal(&[n, heads, m]),
        rotary: rotate
            .then(|| Rotary::new(bounds.longest() as usize, d as usize, Kind::Float, Device::Cpu)),
        decay: forget.then(|| decay(heads)),
        states: [
            normal(&[s, heads, d, m]).abs(),
            normal(&[s, heads, d]).abs(),
            normal(&[s, heads, d, m]),
            normal(&[s, heads, d]),
        ],
        bounds,
    }
}

/// The same by the fused form in float64, which other tests hold to the definition.
fn expected(case: &Case) -> Vec<Tensor> {
    use linformer_kernels::fused::{AttentionOptions, State, attention_with_state};
    let leaf = |x: &Tensor| x.detach().set_requires_grad(true);
    let (q, k, v) = (leaf(&case.q), leaf(&case.k), leaf(&case.v));
    let (s0, z0) = (leaf(&case.states[0]), leaf(&case.states[1]));
    let rotary = case.rotary.as_ref().map(Rotary::doubled);
    let options =
        AttentionOptions { eps: EPS, rotary: rotary.as_ref(), decay: case.decay.as_ref() };
    let initial = State { s: s0.shallow_clone(), z: z0.shallow_clone() };
    let (out, last) =
        attention_with_state((&q, &k, &v), Some(&initial), &case.bounds, &options).unwrap();
    let total = |x: &Tensor, g: &Tensor| (x * g).sum(Kind::Double);
    (total(&out, &case.g) + total(&last.s, &case.states[2]) + total(&last.z, &case.states[3]))
        .backward();
    // the emulation's order: s1, z1, ds0, dz0
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

fn check(case: &Case, longest: i64, bf16: bool, limit: f64) {
    let names = ["out", "dq", "dk", "dv", "s", "z", "ds0", "dz0"];
    for ((found, expected), name) in
        emulated(case, longest, bf16).iter().zip(&expected(case)).zip(names)
    {
        let (ends, e) = (case.bounds.offsets(), error(found, expected));
        assert!(
            e < limit,
            "{name}: ends {ends:?}, q {:?}, v {:?}: error {e:e}",
            case.q.size(),
            case.v.size()
        );
    }
}

#[test]
fn float_holds_to_the_fused_form() {
    check(&case(&[1], 1, 16, 16, false, false), 512, false, 2e-5);
    check(&case(&[63, 64, 0, 65, 2], 2, 32, 32, true, false), 512, false, 2e-5);
    check(&case(&[200], 2, 48, 64, false, true), 512, false, 2e-5);
    check(&case(&[70, 3], 2, 64, 16, true, true), 512, false, 2e-5);
    check(&case(&[40], 1, 128, 128, true, false), 512, false, 2e-5);
    check(&case(&[33], 1, 20, 34, true, true), 512, false, 2e-5);
}

#[test]
fn segments_change_nothing_but_rounding() {
    check(&case(&[300, 128, 7], 2, 32, 32, true, true), 64, false, 2e-5);
    check(&case(&[300, 128, 7], 2, 32, 64, true, false), 128, false, 2e-5);
}

#[test]
fn bfloat16_holds_to_the_fused_form() {
    for longest in [64, 512] {
        check(&case(&[63, 64, 0, 65, 2, 200], 2, 32, 32, true, true), longest, true, 3e-2);
        check(&case(&[150], 2, 64, 48, true, false), longest, true, 3e-2);
    }
    check(&case(&[70], 1, 128, 100, false, false), 512, true, 3e-2);
}

/// Values with a mean make dq the small difference of large options: the state is centred before it
/// is rounded.
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
            let (found, expected) = (emulated(&case, 512, true), expected(&case));
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
    let (mut s, mut z) = (make(&[3, heads, d, m]).abs(), make(&[3, heads, d]).abs());
    let left = decay(heads);
    let inputs = [&q, &k, &v, &left].map(numbers);
    let mut made = [numbers(&s), numbers(&z), vec![f32::NAN; (rows * m) as usize]];
    let step = Step {
        inputs: inputs.each_ref().map(|x| x.as_ptr()),
        state_and_out: made.each_mut().map(|x| x.as_mut_ptr()),
        rows,
        heads,
        d,
        m,
        eps: EPS as f32,
    };
    // SAFETY: every pointer is to as many numbers as the sizes say.
    unsafe { emulate_step(&raw const step) };
    let out = chunked::step((&q, &k, &v), (&mut s, &mut z), Some(&left), EPS);
    for (found, expected) in made.iter().zip([&s, &z, &out]) {
        assert!(error(&Tensor::from_slice(found), &expected.view([-1])) < 1e-5);
    }
}

/// The emulation's yardstick, held to the definition once more here.
#[test]
fn the_fused_form_is_the_definition() {
    let case = case(&[30, 5], 2, 16, 16, false, true);
    let naive = naive::decayed(&case.q, &case.k, &case.v, &case.bounds, case.decay.as_ref(), EPS);
    let mut zero = case;
    zero.states.iter_mut().for_each(|x| *x = x.zeros_like());
    assert!(error(&expected(&zero)[0], &naive) < 1e-12);
}
