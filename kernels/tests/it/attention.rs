use linformer_kernels::attention::{AttentionOptions, AttentionState, Qkv, chunked, fused, naive};
use linformer_kernels::conv1d::{causal_conv1d, causal_conv1d_ref};
use linformer_kernels::{CuSeqlens, Rotary, cpu, testing};
use tch::{Device, Kind, Tensor};

const EPS: f64 = 1e-6;
const PLAIN: AttentionOptions = AttentionOptions { eps: EPS, rotary: None, decay: None };

/// Lock of the tests that choose an instruction set or compare bits.
static CHOICE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Input of one comparison of forms.
struct Case {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: CuSeqlens,
}

fn case(lengths: &[usize], heads: i64, d: i64, m: i64, kind: Kind) -> Case {
    tch::manual_seed(lengths.iter().sum::<usize>() as i64 * 131 + d * 7 + m);
    let cu_seqlens = CuSeqlens::from_lengths(lengths);
    let n = cu_seqlens.tokens();
    let leaf =
        |size: i64| Tensor::randn([n, heads, size], (kind, Device::Cpu)).set_requires_grad(true);
    Case { q: leaf(d), k: leaf(d), v: leaf(m), cu_seqlens }
}

fn leaves(x: &Tensor, kind: Kind) -> Tensor {
    x.detach().to_kind(kind).set_requires_grad(true)
}

/// Returns the largest difference over the largest expected value, which counts as 0.1 at least:
/// gradients that cancel to nothing (one token, equal keys) are compared with the size of their
/// terms.
pub(crate) fn error(found: &Tensor, expected: &Tensor) -> f64 {
    let expected = expected.to_kind(Kind::Double);
    let difference = (found.to_kind(Kind::Double) - &expected).abs().max();
    let found = f64::try_from(difference / expected.abs().max().clamp_min(0.1)).unwrap();
    if found.is_nan() { f64::INFINITY } else { found }
}

/// Returns the output and the three gradients under an output gradient that is nowhere uniform.
fn run(case: &Case, kind: Kind, form: impl Fn(Qkv) -> Tensor) -> [Tensor; 4] {
    let [q, k, v] = [&case.q, &case.k, &case.v].map(|x| leaves(x, kind));
    let out = form(Qkv { q: &q, k: &k, v: &v });
    // Computed and not random: libtorch's generator is shared with the tests that run at this time.
    let noise = ((Tensor::arange(out.numel() as i64, (Kind::Double, Device::Cpu)) * 12.9898).sin()
        * 43_758.545_3)
        .frac();
    let weight = (noise * 2.0).view_(out.size()).to_kind(kind);
    (&out * weight).sum(kind).backward();
    [out.detach(), q.grad(), k.grad(), v.grad()]
}

fn definition(case: &Case) -> [Tensor; 4] {
    run(case, Kind::Double, |qkv| naive::attention(qkv, &case.cu_seqlens, &PLAIN))
}

/// Returns a decay for each head, from 0.7 up; the last head has none.
pub(crate) fn decay(heads: i64) -> Tensor {
    let all: Vec<f64> = (0..heads)
        .map(|h| if h + 1 == heads { 1.0 } else { 0.7 + 0.3 * h as f64 / heads as f64 })
        .collect();
    Tensor::from_slice(&all)
}

fn check(lengths: &[usize], heads: i64, d: i64, m: i64) {
    let case = case(lengths, heads, d, m, Kind::Double);
    check_decayed(&case, None);
    check_decayed(&case, Some(&decay(heads)));
}

fn check_decayed(case: &Case, decay: Option<&Tensor>) {
    let options = AttentionOptions { decay, ..PLAIN };
    let expected = run(case, Kind::Double, |qkv| naive::attention(qkv, &case.cu_seqlens, &options));
    for (form, kind, limit) in [
        ("fused", Kind::Double, 1e-11),
        ("fused", Kind::Float, 2e-5),
        ("chunked", Kind::Double, 1e-11),
    ] {
        let found = run(case, kind, |qkv| match form {
            "fused" => fused::attention(qkv, &case.cu_seqlens, &options).unwrap(),
            _ => chunked::attention(qkv, &case.cu_seqlens, &options),
        });
        for (i, name) in ["out", "dq", "dk", "dv"].iter().enumerate() {
            let e = error(&found[i], &expected[i]);
            let (lengths, d, m) = (case.cu_seqlens.offsets(), case.q.size()[2], case.v.size()[2]);
            assert!(
                e < limit,
                "{form} {kind:?} {name}: ends {lengths:?} D {d} M {m} decay {decay:?}: error {e:e}"
            );
        }
    }
}

#[test]
fn lengths_around_the_chunk() {
    for length in [1, 2, 15, 16, 17, 63, 64, 65, 200] {
        check(&[length], 2, 32, 32);
    }
}

#[test]
fn sizes() {
    let sizes = [16, 32, 48, 64, 128];
    for (d, m) in
        sizes.iter().flat_map(|&d| sizes.map(|m| (d, m))).chain([(20, 33), (2, 1), (1, 50)])
    {
        check(&[66], 2, d, m);
    }
}

#[test]
fn every_length_with_every_size() {
    for length in [1, 63, 64, 65, 200] {
        for (d, m) in [(16, 16), (48, 48), (64, 64), (128, 128), (128, 16), (16, 64)] {
            check(&[length], 1, d, m);
        }
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    check(&[5, 1, 0, 70, 16, 33, 0], 3, 32, 32);
}

#[test]
fn more_heads_than_go_together() {
    check(&[20, 0, 37], 11, 16, 32);
}

#[test]
fn a_long_sequence() {
    check(&[4097], 1, 32, 32);
    check(&[4097], 1, 64, 48);
}

#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn every_instruction_set_agrees() {
    let _held = CHOICE.lock();
    let case = case(&[3, 90, 17], 2, 48, 32, Kind::Double);
    let expected = definition(&case);
    for name in ["baseline", "avx2", "avx512"] {
        if !cpu::choose_instruction_set(name) {
            println!("skipped: this machine has no {name}");
            continue;
        }
        for (kind, limit) in [(Kind::Float, 2e-5), (Kind::Double, 1e-11)] {
            for _ in 0..2 {
                let found = run(&case, kind, |qkv| {
                    fused::attention(qkv, &case.cu_seqlens, &PLAIN).unwrap()
                });
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(error(found, expected) < limit, "{name} {kind:?}");
                }
            }
        }
    }
    assert!(cpu::choose_instruction_set("best"));
}

#[test]
fn very_negative_inputs_and_zero_keys() {
    for shift in [-8.0, -20.0, -90.0] {
        let case = case(&[40, 7], 2, 32, 32, Kind::Double);
        let shifted = Case {
            q: &case.q + shift,
            k: &case.k * 0.0,
            v: case.v.shallow_clone(),
            cu_seqlens: CuSeqlens::from_lengths(&[40, 7]),
        };
        let expected = definition(&shifted);
        let found = run(&shifted, Kind::Float, |qkv| {
            fused::attention(qkv, &shifted.cu_seqlens, &PLAIN).unwrap()
        });
        for (found, expected) in found.iter().zip(&expected) {
            assert!(error(found, expected) < 1e-4, "shift {shift}: {:e}", error(found, expected));
        }
    }
}

#[test]
fn strided_inputs_and_expanded_gradients() {
    let packed = Tensor::randn([50, 3, 2, 32], (Kind::Double, Device::Cpu));
    let cu_seqlens = CuSeqlens::from_lengths(&[20, 30]);
    let gradients = |form: &dyn Fn(Qkv) -> Tensor| {
        let x = leaves(&packed, Kind::Double);
        let [q, k, v] = [0, 1, 2].map(|i| x.select(1, i));
        // The gradient of a sum is expanded from one number: all its strides are 0.
        form(Qkv { q: &q, k: &k, v: &v }).sum(Kind::Double).backward();
        x.grad()
    };
    let expected = gradients(&|qkv| naive::attention(qkv, &cu_seqlens, &PLAIN));
    let found = gradients(&|qkv| fused::attention(qkv, &cu_seqlens, &PLAIN).unwrap());
    assert!(error(&found, &expected) < 1e-11);
    let transposed = gradients(&|qkv| {
        // The innermost stride is not 1.
        let [q, k, v] =
            [qkv.q, qkv.k, qkv.v].map(|x| x.permute([2, 1, 0]).contiguous().permute([2, 1, 0]));
        fused::attention(Qkv { q: &q, k: &k, v: &v }, &cu_seqlens, &PLAIN).unwrap()
    });
    assert!(error(&transposed, &expected) < 1e-11);
}

#[test]
fn packed_product_with_rotation() {
    let cu_seqlens = CuSeqlens::from_lengths(&[33, 1, 50]);
    let rotary = Rotary::new(50, 32, Kind::Double, Device::Cpu);
    let options = AttentionOptions { rotary: Some(&rotary), ..PLAIN };
    let qkv = Tensor::randn([84, 3 * 4 * 32], (Kind::Double, Device::Cpu));
    let weight = Tensor::randn([84, 4, 32], (Kind::Double, Device::Cpu));
    let gradient = |form: &dyn Fn(&Tensor) -> Tensor| {
        let x = leaves(&qkv, Kind::Double);
        let out = form(&x);
        (&out * &weight).sum(Kind::Double).backward();
        (out.detach(), x.grad())
    };
    let expected = gradient(&|x| {
        let parts = x.view([84, 3, 4, 32]);
        let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i));
        naive::attention(Qkv { q: &q, k: &k, v: &v }, &cu_seqlens, &options)
    });
    let found = gradient(&|x| fused::attention_packed(x, 4, &cu_seqlens, &options).unwrap());
    assert!(error(&found.0, &expected.0) < 1e-11);
    assert!(error(&found.1, &expected.1) < 1e-11);
}

#[test]
fn a_sequence_in_pieces_with_its_state() {
    let whole = case(&[77], 2, 32, 16, Kind::Double);
    let expected = definition(&whole);
    let found = run(&whole, Kind::Double, |Qkv { q, k, v }| {
        let piece = |start, len| [q, k, v].map(|x| x.narrow(0, start, len));
        let (first, second) = (piece(0, 30), piece(30, 47));
        let (a, state) = fused::attention_with_state(
            Qkv { q: &first[0], k: &first[1], v: &first[2] },
            None,
            &CuSeqlens::single(30),
            &PLAIN,
        )
        .unwrap();
        let (b, _) = fused::attention_with_state(
            Qkv { q: &second[0], k: &second[1], v: &second[2] },
            Some(&state),
            &CuSeqlens::single(47),
            &PLAIN,
        )
        .unwrap();
        Tensor::cat(&[a, b], 0)
    });
    for (i, name) in ["out", "dq", "dk", "dv"].iter().enumerate() {
        assert!(error(&found[i], &expected[i]) < 1e-11, "{name}");
    }
}

/// Form of the attention over one product `[N, 3 H D]`, with the states before and after.
type Form<'a> =
    dyn Fn(&Tensor, Option<&AttentionState>, &CuSeqlens) -> (Tensor, AttentionState) + 'a;

/// One of three sequences is cut in two: each form carries its state and its position over.
#[test]
fn a_row_of_pieces_goes_on_where_the_one_before_ended() {
    let (heads, size) = (2, 32);
    let rotary = Rotary::new(100, size as usize, Kind::Double, Device::Cpu);
    let qkv = Tensor::randn([150, 3 * heads * size], (Kind::Double, Device::Cpu));
    // Sequences of 40, 90 and 20 tokens; the second one is cut after 33.
    let rows = [qkv.narrow(0, 0, 73), qkv.narrow(0, 73, 77)];
    let rows_of = || {
        [
            CuSeqlens::from_lengths(&[40, 33]),
            CuSeqlens::from_lengths(&[57, 20]).starting_at(&[33, 0]),
        ]
    };
    for decay in [None, Some(decay(heads))] {
        let options = AttentionOptions { eps: EPS, rotary: Some(&rotary), decay: decay.as_ref() };
        let expected =
            fused::attention_packed(&qkv, heads, &CuSeqlens::from_lengths(&[40, 90, 20]), &options)
                .unwrap();
        let fused = |x: &Tensor, state: Option<&AttentionState>, cu_seqlens: &CuSeqlens| {
            fused::attention_packed_with_state(x, heads, state, cu_seqlens, &options).unwrap()
        };
        let chunked = |x: &Tensor, state: Option<&AttentionState>, cu_seqlens: &CuSeqlens| {
            let parts = x.view([-1, 3, heads, size]);
            let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i));
            let qkv = Qkv { q: &q, k: &k, v: &v };
            chunked::attention_with_state(qkv, state, cu_seqlens, &options)
        };
        let unpacked = |x: &Tensor, state: Option<&AttentionState>, cu_seqlens: &CuSeqlens| {
            let parts = x.view([-1, 3, heads, size]);
            let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i));
            let qkv = Qkv { q: &q, k: &k, v: &v };
            fused::attention_with_state(qkv, state, cu_seqlens, &options).unwrap()
        };
        let forms: [&Form; 3] = [&fused, &chunked, &unpacked];
        for (i, form) in forms.iter().enumerate() {
            let [first, second] = rows_of();
            let (a, state) = form(&rows[0], None, &first);
            let next = |x: &Tensor| Tensor::stack(&[x.get(1), x.get(1).zeros_like()], 0);
            let state = AttentionState { s: next(&state.s), z: next(&state.z) };
            let (b, _) = form(&rows[1], Some(&state), &second);
            assert!(
                error(&Tensor::cat(&[a, b], 0), &expected) < 1e-11,
                "form {i}, decay {decay:?}"
            );
        }
        let leaf = leaves(&rows[1], Kind::Double);
        let [_, second] = rows_of();
        fused::attention_packed_with_state(&leaf, heads, None, &second, &options)
            .unwrap()
            .0
            .sum(Kind::Double)
            .backward();
        let by_parts = leaves(&rows[1], Kind::Double);
        chunked(&by_parts, None, &second).0.sum(Kind::Double).backward();
        assert!(error(&leaf.grad(), &by_parts.grad()) < 1e-11, "gradient, decay {decay:?}");
    }
}

/// Gradients flow from the last states of sequences back to their first ones.
#[test]
fn states_and_their_gradients() {
    for decay in [None, Some(decay(2))] {
        let whole = case(&[40, 61], 2, 32, 16, Kind::Double);
        let options = (Kind::Double, Device::Cpu);
        let (s0, z0) = (Tensor::rand([2, 2, 32, 16], options), Tensor::rand([2, 2, 32], options));
        let (ws, wz) = (Tensor::randn([2, 2, 32, 16], options), Tensor::randn([2, 2, 32], options));
        let gradients = |fused: bool| {
            let leaf = |x: &Tensor| leaves(x, Kind::Double);
            let (q, k, v) = (leaf(&whole.q), leaf(&whole.k), leaf(&whole.v));
            let (s0, z0) = (leaf(&s0), leaf(&z0));
            let initial = AttentionState { s: s0.shallow_clone(), z: z0.shallow_clone() };
            let qkv = Qkv { q: &q, k: &k, v: &v };
            let (out, AttentionState { s, z }) = if fused {
                let options = AttentionOptions { decay: decay.as_ref(), ..PLAIN };
                fused::attention_with_state(qkv, Some(&initial), &whole.cu_seqlens, &options)
                    .unwrap()
            } else {
                token_by_token(qkv, &initial, &whole.cu_seqlens, decay.as_ref())
            };
            ((&out * &out).sum(Kind::Double)
                + (&s * &ws).sum(Kind::Double)
                + (&z * &wz).sum(Kind::Double))
            .backward();
            [
                out.detach(),
                s.detach(),
                z.detach(),
                q.grad(),
                k.grad(),
                v.grad(),
                s0.grad(),
                z0.grad(),
            ]
        };
        let names = ["out", "s", "z", "dq", "dk", "dv", "ds0", "dz0"];
        for ((found, expected), name) in gradients(true).iter().zip(&gradients(false)).zip(names) {
            assert!(error(found, expected) < 1e-11, "{name}, decay {decay:?}");
        }
    }
}

/// Computes each sequence by its recurrence, differentiated by autograd: outputs and last states.
fn token_by_token(
    Qkv { q, k, v }: Qkv,
    initial: &AttentionState,
    cu_seqlens: &CuSeqlens,
    decay: Option<&Tensor>,
) -> (Tensor, AttentionState) {
    let decay = decay.map_or_else(
        || Tensor::ones([q.size()[1]], (Kind::Double, Device::Cpu)),
        Tensor::shallow_clone,
    );
    let [q, k] = [q, k].map(linformer_kernels::attention::feature_map);
    let (mut outs, mut ss, mut zs) = (Vec::new(), Vec::new(), Vec::new());
    for (i, pair) in cu_seqlens.offsets().windows(2).enumerate() {
        let (mut s, mut z) = (initial.s.get(i as i64), initial.z.get(i as i64));
        for t in pair[0]..pair[1] {
            let (q, k, v) = (q.get(t), k.get(t), v.get(t)); // [H, D]
            s = s * decay.view([-1, 1, 1]) + k.unsqueeze(-1) * v.unsqueeze(-2);
            z = z * decay.view([-1, 1]) + &k;
            let total = (&q * &z).sum_dim_intlist([-1].as_slice(), true, Kind::Double) + EPS;
            outs.push(q.unsqueeze(-2).matmul(&s).squeeze_dim(-2) / total);
        }
        ss.push(s);
        zs.push(z);
    }
    let last = AttentionState { s: Tensor::stack(&ss, 0), z: Tensor::stack(&zs, 0) };
    (Tensor::stack(&outs, 0), last)
}

#[test]
fn recurrent_equals_parallel() {
    for decay in [None, Some(decay(2))] {
        for (d, m) in [(32, 16), (16, 16), (64, 64), (20, 33)] {
            check_steps(d, m, decay.as_ref());
        }
    }
}

fn check_steps(d: i64, m: i64, decay: Option<&Tensor>) {
    let (steps, b, h) = (40, 3, 2);
    let make = |size| Tensor::randn([b, steps, h, size], (Kind::Float, Device::Cpu));
    let (q, k, v) = (make(d), make(d), make(m));
    let cu_seqlens = CuSeqlens::from_lengths(&[steps as usize; 3]);
    let flat = |x: &Tensor| x.view([b * steps, h, -1]);
    let options = AttentionOptions { decay, ..PLAIN };
    let packed = Qkv { q: &flat(&q), k: &flat(&k), v: &flat(&v) };
    let parallel = fused::attention(packed, &cu_seqlens, &options).unwrap();
    let parallel = parallel.view([b, steps, h, m]);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let zero = || AttentionState { s: zeros(&[b, h, d, m]), z: zeros(&[b, h, d]) };
    let (mut fused_state, mut plain_state) = (zero(), zero());
    for t in 0..steps {
        let [q, k, v] = [&q, &k, &v].map(|x| x.select(1, t));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let fused = fused::step(qkv, &mut fused_state, decay, EPS).unwrap();
        let plain = chunked::step(qkv, &mut plain_state, decay, EPS);
        assert!(error(&fused, &parallel.select(1, t)) < 1e-5, "step {t}, D {d} M {m}");
        assert!(error(&plain, &parallel.select(1, t)) < 1e-5, "step {t}, D {d} M {m}");
    }
}

#[test]
fn a_convolution_restarts_with_each_sequence() {
    let cu_seqlens = CuSeqlens::from_lengths(&[1, 9, 0, 2, 30]);
    let (x, weight) = (
        Tensor::randn([42, 40], (Kind::Float, Device::Cpu)),
        Tensor::randn([40, 1, 4], (Kind::Float, Device::Cpu)),
    );
    let gradient = |form: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
        let (x, weight) = (leaves(&x, Kind::Float), leaves(&weight, Kind::Float));
        let out = form(&x, &weight);
        (&out * &out).sum(Kind::Float).backward();
        [out.detach(), x.grad(), weight.grad()]
    };
    let torch = gradient(&|x, weight| {
        let whole = cu_seqlens.offsets().windows(2).filter(|pair| pair[0] < pair[1]);
        let parts = whole.map(|pair| {
            let x = x.narrow(0, pair[0], pair[1] - pair[0]).tr();
            let x = x.constant_pad_nd([3, 0]).unsqueeze(0);
            x.conv1d(weight, None::<Tensor>, 1, 0, 1, 40).squeeze_dim(0).tr()
        });
        Tensor::cat(&parts.collect::<Vec<_>>(), 0)
    });
    let fused = gradient(&|x, weight| causal_conv1d(x, weight, &cu_seqlens).unwrap());
    let plain = gradient(&|x, weight| causal_conv1d_ref(x, weight, &cu_seqlens));
    for i in 0..3 {
        assert!(error(&fused[i], &torch[i]) < 1e-5 && error(&plain[i], &torch[i]) < 1e-5, "{i}");
    }
}

#[test]
fn same_bits_whatever_the_threads() {
    let _held = CHOICE.lock();
    let case = case(&[300, 5, 80, 81], 11, 32, 32, Kind::Float);
    let once = |threads| {
        tch::set_num_threads(threads);
        run(&case, Kind::Float, |qkv| fused::attention(qkv, &case.cu_seqlens, &PLAIN).unwrap())
    };
    let one = once(1);
    for again in [once(1), once(3), once(2), once(1)] {
        for (a, b) in one.iter().zip(&again) {
            assert!(a.equal(b));
        }
    }
}

#[test]
fn nothing_is_read_before_it_is_written() {
    let _held = CHOICE.lock();
    testing::fill_outputs_with_nan(true);
    for (d, m) in [(32, 32), (20, 33)] {
        let case = case(&[17, 0, 40], 2, d, m, Kind::Double);
        let made = Tensor::empty([1000], (Kind::Double, Device::Cpu));
        assert!(
            f64::try_from(made.sum(Kind::Double)).unwrap().is_nan(),
            "libtorch fills what it makes"
        );
        let expected = definition(&case);
        let found = run(&case, Kind::Double, |qkv| {
            fused::attention(qkv, &case.cu_seqlens, &PLAIN).unwrap()
        });
        for (found, expected) in found.iter().zip(&expected) {
            assert!(error(found, expected) < 1e-11);
        }
    }
    testing::fill_outputs_with_nan(false);
}

#[test]
fn a_wrong_shape_is_an_error() {
    let case = case(&[10], 2, 16, 16, Kind::Float);
    let short = case.v.narrow(0, 0, 9);
    let attention = |v: &Tensor, cu_seqlens: &CuSeqlens| {
        let qkv = Qkv { q: &case.q, k: &case.k, v };
        fused::attention(qkv, cu_seqlens, &PLAIN).unwrap_err().to_string()
    };
    let error = attention(&short, &case.cu_seqlens);
    assert!(error.starts_with("attention: v: expected N and H of q"), "{error}");
    let error = attention(&case.v, &CuSeqlens::single(11));
    assert!(error.contains("cu_seqlens: expected 0 to 10, found 0 to 11"), "{error}");
}
