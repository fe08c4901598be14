use linformer_kernels::attention::{
    AttentionOptions, AttentionState, Decay, Qkv, chunked, fused, naive,
};
use linformer_kernels::conv1d::{causal_conv1d, causal_conv1d_ref};
use linformer_kernels::{CuSeqlens, Rotary, cpu, testing};
use tch::{Device, Kind, Tensor};

const EPS: f64 = 1e-6;
const PLAIN: AttentionOptions = AttentionOptions { eps: EPS, rotary: None, decay: None };

/// Lock of the tests that choose an instruction set or compare bits.
pub(crate) static CHOICE: std::sync::Mutex<()> = std::sync::Mutex::new(());

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

/// Returns the output and the three gradients.
fn run(case: &Case, kind: Kind, form: impl Fn(Qkv) -> Tensor) -> [Tensor; 4] {
    let [q, k, v] = [&case.q, &case.k, &case.v].map(|x| leaves(x, kind));
    let out = form(Qkv { q: &q, k: &k, v: &v });
    differentiate(&out);
    [out.detach(), q.grad(), k.grad(), v.grad()]
}

/// Like [`run`], with logarithms of the decay for each token: their gradient is the last one.
fn run_decaying(
    case: &Case,
    log_decay: &Tensor,
    kind: Kind,
    form: impl Fn(Qkv, &AttentionOptions) -> Tensor,
) -> [Tensor; 5] {
    let g = leaves(log_decay, kind);
    let options = AttentionOptions { decay: Some(Decay::Log(&g)), ..PLAIN };
    let [out, dq, dk, dv] = run(case, kind, |qkv| form(qkv, &options));
    [out, dq, dk, dv, g.grad()]
}

/// Computes the gradients under an output gradient that is nowhere uniform.
pub(crate) fn differentiate(out: &Tensor) {
    let kind = out.kind();
    // Computed and not random: libtorch's generator is shared with the tests that run at this time.
    let noise = ((Tensor::arange(out.numel() as i64, (Kind::Double, Device::Cpu)) * 12.9898).sin()
        * 43_758.545_3)
        .frac();
    let weight = (noise * 2.0).view_(out.size()).to_kind(kind);
    (out * weight).sum(kind).backward();
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
    check_decaying(&case);
}

/// Returns logarithms of the decay `[N, H]` in float64: from -0.4 to 0, and of every 13 one -69
/// and one 0.
fn log_decay(tokens: i64, heads: i64) -> Tensor {
    let all: Vec<f64> = (0..tokens * heads)
        .map(|i| match i % 13 {
            5 => -69.0,
            9 => 0.0,
            _ => -0.4 * (i as f64 * 0.618_034).fract(),
        })
        .collect();
    Tensor::from_slice(&all).view([tokens, heads])
}

const FORMS: [(&str, Kind, f64); 3] = [
    ("fused", Kind::Double, 1e-11),
    ("fused", Kind::Float, 2e-5),
    ("chunked", Kind::Double, 1e-11),
];

fn check_decaying(case: &Case) {
    let (lengths, d, m) = (case.cu_seqlens.offsets(), case.q.size()[2], case.v.size()[2]);
    let g = log_decay(case.cu_seqlens.tokens(), case.q.size()[1]);
    let expected = run_decaying(case, &g, Kind::Double, |qkv, options| {
        naive::attention(qkv, &case.cu_seqlens, options)
    });
    for (form, kind, limit) in FORMS {
        let found = run_decaying(case, &g, kind, |qkv, options| match form {
            "fused" => fused::attention(qkv, &case.cu_seqlens, options).unwrap(),
            _ => chunked::attention(qkv, &case.cu_seqlens, options),
        });
        for (i, name) in ["out", "dq", "dk", "dv", "dg"].iter().enumerate() {
            let e = error(&found[i], &expected[i]);
            if d == 1 && *name == "dq" && kind == Kind::Float {
                // The normaliser cancels a query of one element: dq is eps times its terms, less
                // than their rounding.
                continue;
            }
            assert!(e < limit, "{form} {kind:?} {name}: ends {lengths:?} D {d} M {m}: error {e:e}");
        }
    }
}

fn check_decayed(case: &Case, decay: Option<&Tensor>) {
    let options = AttentionOptions { decay: decay.map(Decay::Fixed), ..PLAIN };
    let expected = run(case, Kind::Double, |qkv| naive::attention(qkv, &case.cu_seqlens, &options));
    for (form, kind, limit) in FORMS {
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
    let g = log_decay(110, 2);
    let decaying = run_decaying(&case, &g, Kind::Double, |qkv, options| {
        naive::attention(qkv, &case.cu_seqlens, options)
    });
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
            let found = run_decaying(&case, &g, kind, |qkv, options| {
                fused::attention(qkv, &case.cu_seqlens, options).unwrap()
            });
            for (found, expected) in found.iter().zip(&decaying) {
                assert!(error(found, expected) < limit, "{name} {kind:?}");
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
type Form =
    fn(&Tensor, Option<&AttentionState>, &CuSeqlens, &AttentionOptions) -> (Tensor, AttentionState);

const PIECE_HEADS: i64 = 2;

fn packed_form(
    x: &Tensor,
    state: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> (Tensor, AttentionState) {
    fused::attention_packed_with_state(x, PIECE_HEADS, state, cu_seqlens, options).unwrap()
}

fn unpacked_form(
    x: &Tensor,
    state: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> (Tensor, AttentionState) {
    let parts = x.view([-1, 3, PIECE_HEADS, 32]);
    let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i));
    let qkv = Qkv { q: &q, k: &k, v: &v };
    fused::attention_with_state(qkv, state, cu_seqlens, options).unwrap()
}

fn chunked_form(
    x: &Tensor,
    state: Option<&AttentionState>,
    cu_seqlens: &CuSeqlens,
    options: &AttentionOptions,
) -> (Tensor, AttentionState) {
    let parts = x.view([-1, 3, PIECE_HEADS, 32]);
    let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i));
    let qkv = Qkv { q: &q, k: &k, v: &v };
    chunked::attention_with_state(qkv, state, cu_seqlens, options)
}

/// One of three sequences is cut in two: each form carries its state and its position over.
#[test]
fn a_row_of_pieces_goes_on_where_the_one_before_ended() {
    let (fixed, g) = (decay(PIECE_HEADS), log_decay(150, PIECE_HEADS));
    check_pieces("none", [None; 3]);
    check_pieces("fixed", [Some(Decay::Fixed(&fixed)); 3]);
    let rows = [g.narrow(0, 0, 73), g.narrow(0, 73, 77)];
    check_pieces("of each token", [&g, &rows[0], &rows[1]].map(|g| Some(Decay::Log(g))));
}

/// Compares two rows with the whole, of which each has its decay.
fn check_pieces(name: &str, decays: [Option<Decay>; 3]) {
    let rotary = Rotary::new(100, 32, Kind::Double, Device::Cpu);
    let qkv = Tensor::randn([150, 3 * PIECE_HEADS * 32], (Kind::Double, Device::Cpu));
    // Sequences of 40, 90 and 20 tokens; the second one is cut after 33.
    let rows = [qkv.narrow(0, 0, 73), qkv.narrow(0, 73, 77)];
    let whole = CuSeqlens::from_lengths(&[40, 90, 20]);
    let first = CuSeqlens::from_lengths(&[40, 33]);
    let second = CuSeqlens::from_lengths(&[57, 20]).starting_at(&[33, 0]);
    let [of_whole, of_first, of_second] =
        decays.map(|decay| AttentionOptions { eps: EPS, rotary: Some(&rotary), decay });
    let expected = fused::attention_packed(&qkv, PIECE_HEADS, &whole, &of_whole).unwrap();
    let forms: [Form; 3] = [packed_form, unpacked_form, chunked_form];
    for (i, form) in forms.iter().enumerate() {
        let (a, state) = form(&rows[0], None, &first, &of_first);
        let next = |x: &Tensor| Tensor::stack(&[x.get(1), x.get(1).zeros_like()], 0);
        let state = AttentionState { s: next(&state.s), z: next(&state.z) };
        let (b, _) = form(&rows[1], Some(&state), &second, &of_second);
        assert!(error(&Tensor::cat(&[a, b], 0), &expected) < 1e-11, "form {i}, decay {name}");
    }
    let gradients = forms.map(|form| {
        let leaf = leaves(&rows[1], Kind::Double);
        let logs = match decays[2] {
            Some(Decay::Log(g)) => leaves(g, Kind::Double),
            _ => Tensor::zeros([1], (Kind::Double, Device::Cpu)),
        };
        let decay = match decays[2] {
            Some(Decay::Log(_)) => Some(Decay::Log(&logs)),
            other => other,
        };
        let out = form(&leaf, None, &second, &AttentionOptions { decay, ..of_second }).0;
        differentiate(&out);
        let dlogs = logs.grad();
        (leaf.grad(), if dlogs.defined() { dlogs } else { logs })
    });
    for (leaf, logs) in &gradients[..2] {
        assert!(error(leaf, &gradients[2].0) < 1e-11, "gradient, decay {name}");
        assert!(error(logs, &gradients[2].1) < 1e-11, "gradient of the decay {name}");
    }
}

/// Gradients flow from the last states of sequences back to their first ones.
#[test]
fn states_and_their_gradients() {
    let zeros = Tensor::zeros([101, 2], (Kind::Double, Device::Cpu));
    check_states("none", &zeros);
    check_states("fixed", &(zeros + decay(2).log()));
    check_states("of each token", &log_decay(101, 2));
}

/// Compares forms with the recurrence under a kind of decay, which has the same logarithms.
fn check_states(decay: &str, log_decay: &Tensor) {
    let fixed = log_decay.get(0).exp();
    let whole = case(&[40, 61], 2, 32, 16, Kind::Double);
    let options = (Kind::Double, Device::Cpu);
    let (s0, z0) = (Tensor::rand([2, 2, 32, 16], options), Tensor::rand([2, 2, 32], options));
    let (ws, wz) = (Tensor::randn([2, 2, 32, 16], options), Tensor::randn([2, 2, 32], options));
    let gradients = |form: &str| {
        let leaf = |x: &Tensor| leaves(x, Kind::Double);
        let (q, k, v, g) = (leaf(&whole.q), leaf(&whole.k), leaf(&whole.v), leaf(log_decay));
        let (s0, z0) = (leaf(&s0), leaf(&z0));
        let initial = AttentionState { s: s0.shallow_clone(), z: z0.shallow_clone() };
        let (qkv, first) = (Qkv { q: &q, k: &k, v: &v }, Some(&initial));
        let decay = match decay {
            "none" => None,
            "fixed" => Some(Decay::Fixed(&fixed)),
            _ => Some(Decay::Log(&g)),
        };
        let options = AttentionOptions { decay, ..PLAIN };
        let (out, AttentionState { s, z }) = match form {
            "fused" => {
                fused::attention_with_state(qkv, first, &whole.cu_seqlens, &options).unwrap()
            }
            "chunked" => chunked::attention_with_state(qkv, first, &whole.cu_seqlens, &options),
            _ => token_by_token(qkv, &initial, &whole.cu_seqlens, &g),
        };
        ((&out * &out).sum(Kind::Double)
            + (&s * &ws).sum(Kind::Double)
            + (&z * &wz).sum(Kind::Double))
        .backward();
        let mut all = vec![out.detach(), s.detach(), z.detach()];
        all.extend([&q, &k, &v, &s0, &z0].map(Tensor::grad));
        // No gradient flows to a fixed decay.
        all.extend(matches!(decay, Some(Decay::Log(_))).then(|| g.grad()));
        all
    };
    let expected = gradients("recurrence");
    let names = ["out", "s", "z", "dq", "dk", "dv", "ds0", "dz0", "dg"];
    for form in ["fused", "chunked"] {
        for ((found, expected), part) in gradients(form).iter().zip(&expected).zip(names) {
            let e = error(found, expected);
            assert!(e < 1e-11, "{form} {part}, decay {decay}: error {e:e}");
        }
    }
}

/// Computes each sequence by its recurrence, differentiated by autograd: outputs and last states.
fn token_by_token(
    Qkv { q, k, v }: Qkv,
    initial: &AttentionState,
    cu_seqlens: &CuSeqlens,
    log_decay: &Tensor,
) -> (Tensor, AttentionState) {
    let [q, k] = [q, k].map(linformer_kernels::attention::feature_map);
    let (mut outs, mut ss, mut zs) = (Vec::new(), Vec::new(), Vec::new());
    for (i, pair) in cu_seqlens.offsets().windows(2).enumerate() {
        let (mut s, mut z) = (initial.s.get(i as i64), initial.z.get(i as i64));
        for t in pair[0]..pair[1] {
            let (q, k, v) = (q.get(t), k.get(t), v.get(t)); // [H, D]
            let decay = log_decay.get(t).exp();
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
            check_steps(d, m, |_| decay.as_ref().map(Decay::Fixed));
        }
    }
    let g = log_decay(STEPS * 3, 2).to_kind(Kind::Float);
    let of_steps: Vec<Tensor> = (0..STEPS).map(|t| g.view([3, STEPS, 2]).select(1, t)).collect();
    for (d, m) in [(32, 16), (20, 33)] {
        check_steps(d, m, |step| Some(Decay::Log(step.map_or(&g, |t| &of_steps[t as usize]))));
    }
}

const STEPS: i64 = 40;

/// Compares steps with the whole. `decay` gets a step, or none for the whole.
fn check_steps<'a>(d: i64, m: i64, decay: impl Fn(Option<i64>) -> Option<Decay<'a>>) {
    let (steps, b, h) = (STEPS, 3, 2);
    let make = |size| Tensor::randn([b, steps, h, size], (Kind::Float, Device::Cpu));
    let (q, k, v) = (make(d), make(d), make(m));
    let cu_seqlens = CuSeqlens::from_lengths(&[steps as usize; 3]);
    let flat = |x: &Tensor| x.view([b * steps, h, -1]);
    let options = AttentionOptions { decay: decay(None), ..PLAIN };
    let packed = Qkv { q: &flat(&q), k: &flat(&k), v: &flat(&v) };
    let parallel = fused::attention(packed, &cu_seqlens, &options).unwrap();
    let parallel = parallel.view([b, steps, h, m]);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let zero = || AttentionState { s: zeros(&[b, h, d, m]), z: zeros(&[b, h, d]) };
    let (mut fused_state, mut plain_state) = (zero(), zero());
    for t in 0..steps {
        let [q, k, v] = [&q, &k, &v].map(|x| x.select(1, t));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let fused = fused::step(qkv, &mut fused_state, decay(Some(t)), EPS).unwrap();
        let plain = chunked::step(qkv, &mut plain_state, decay(Some(t)), EPS);
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
    let g = log_decay(466, 11);
    let once = |threads| {
        tch::set_num_threads(threads);
        let plain =
            run(&case, Kind::Float, |qkv| fused::attention(qkv, &case.cu_seqlens, &PLAIN).unwrap());
        let decaying = run_decaying(&case, &g, Kind::Float, |qkv, options| {
            fused::attention(qkv, &case.cu_seqlens, options).unwrap()
        });
        plain.into_iter().chain(decaying).collect::<Vec<_>>()
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
        check_decaying(&case);
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
    let qkv = Qkv { q: &case.q, k: &case.k, v: &case.v };
    let g = log_decay(2, 10).to_kind(Kind::Float);
    let options = AttentionOptions { decay: Some(Decay::Log(&g)), ..PLAIN };
    let error = fused::attention(qkv, &case.cu_seqlens, &options).unwrap_err().to_string();
    assert!(
        error.contains("log_decay: expected Float [10, 2] on the CPU, found Float [2, 10]"),
        "{error}"
    );
}
