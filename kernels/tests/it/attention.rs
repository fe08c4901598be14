use linformer_kernels::{Bounds, Rotary, chunked, fused, naive};
use tch::{Device, Kind, Tensor};

const EPS: f64 = 1e-6;

/// Held by the tests that choose an instruction set, or compare bits.
static CHOICE: std::sync::Mutex<()> = std::sync::Mutex::new(());

struct Case {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Bounds,
}

fn case(lengths: &[usize], heads: i64, d: i64, m: i64, kind: Kind) -> Case {
    tch::manual_seed(lengths.iter().sum::<usize>() as i64 * 131 + d * 7 + m);
    let bounds = Bounds::from_lengths(lengths);
    let n = bounds.tokens();
    let leaf = |size: i64| Tensor::randn([n, heads, size], (kind, Device::Cpu)).set_requires_grad(true);
    Case { q: leaf(d), k: leaf(d), v: leaf(m), bounds }
}

fn leaves(x: &Tensor, kind: Kind) -> Tensor {
    x.detach().to_kind(kind).set_requires_grad(true)
}

/// Largest difference over the largest value. Gradients that cancel to nothing (one token, equal keys) are held to
/// the size of their terms instead.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    let expected = expected.to_kind(Kind::Double);
    let difference = (found.to_kind(Kind::Double) - &expected).abs().max();
    let found = f64::try_from(difference / expected.abs().max().clamp_min(0.1)).unwrap();
    if found.is_nan() { f64::INFINITY } else { found }
}

/// Output and the three gradients under a random, and so never uniform, output gradient.
fn run(case: &Case, kind: Kind, form: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor) -> [Tensor; 4] {
    let [q, k, v] = [&case.q, &case.k, &case.v].map(|x| leaves(x, kind));
    let out = form(&q, &k, &v);
    tch::manual_seed(5);
    let weight = Tensor::randn(out.size(), (Kind::Double, Device::Cpu)).to_kind(kind);
    (&out * weight).sum(kind).backward();
    [out.detach(), q.grad(), k.grad(), v.grad()]
}

fn definition(case: &Case) -> [Tensor; 4] {
    run(case, Kind::Double, |q, k, v| naive::attention(q, k, v, &case.bounds, EPS))
}

fn check(lengths: &[usize], heads: i64, d: i64, m: i64) {
    let case = case(lengths, heads, d, m, Kind::Double);
    let expected = definition(&case);
    for (form, kind, limit) in
        [("fused", Kind::Double, 1e-11), ("fused", Kind::Float, 2e-5), ("chunked", Kind::Double, 1e-11)]
    {
        let found = run(&case, kind, |q, k, v| match form {
            "fused" => fused::attention(q, k, v, &case.bounds, EPS).unwrap(),
            _ => chunked::attention(q, k, v, &case.bounds, EPS),
        });
        for (i, name) in ["out", "dq", "dk", "dv"].iter().enumerate() {
            let e = error(&found[i], &expected[i]);
            assert!(e < limit, "{form} {kind:?} {name}: lengths {lengths:?} D {d} M {m}: error {e:e}");
        }
    }
}

#[test]
fn one_token() {
    check(&[1], 2, 16, 16);
}

#[test]
fn lengths_around_the_chunk() {
    for length in [2, 15, 16, 17, 63, 64, 65, 200] {
        check(&[length], 2, 32, 32);
    }
}

#[test]
fn sizes() {
    for (d, m) in [(16, 16), (32, 32), (48, 48), (64, 64), (128, 128), (32, 64), (64, 16), (20, 33), (2, 1)] {
        check(&[100], 2, d, m);
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    check(&[5, 1, 0, 70, 16, 33, 0], 3, 32, 32);
}

#[test]
fn a_long_sequence() {
    check(&[4097], 1, 32, 32);
}

#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn every_instruction_set_agrees() {
    let _held = CHOICE.lock();
    let case = case(&[3, 90, 17], 2, 48, 32, Kind::Double);
    let expected = definition(&case);
    for name in ["baseline", "avx2", "avx512"] {
        if !fused::choose_instruction_set(name) {
            println!("skipped: this machine has no {name}");
            continue;
        }
        let found = run(&case, Kind::Float, |q, k, v| fused::attention(q, k, v, &case.bounds, EPS).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(error(found, expected) < 2e-5, "{name}");
        }
    }
    assert!(fused::choose_instruction_set("best"));
}

#[test]
fn very_negative_inputs_and_zero_keys() {
    for shift in [-8.0, -20.0, -90.0] {
        let case = case(&[40, 7], 2, 32, 32, Kind::Double);
        let shifted = Case {
            q: &case.q + shift,
            k: &case.k * 0.0,
            v: case.v.shallow_clone(),
            bounds: Bounds::from_lengths(&[40, 7]),
        };
        let expected = definition(&shifted);
        let found = run(&shifted, Kind::Float, |q, k, v| fused::attention(q, k, v, &shifted.bounds, EPS).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(error(found, expected) < 1e-4, "shift {shift}: {:e}", error(found, expected));
        }
    }
}

#[test]
fn strided_inputs_and_expanded_gradients() {
    let packed = Tensor::randn([50, 3, 2, 32], (Kind::Double, Device::Cpu));
    let bounds = Bounds::from_lengths(&[20, 30]);
    let gradients = |form: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
        let x = leaves(&packed, Kind::Double);
        form(&x.select(1, 0), &x.select(1, 1), &x.select(1, 2)).sum(Kind::Double).backward(); // gradient of stride 0
        x.grad()
    };
    let expected = gradients(&|q, k, v| naive::attention(q, k, v, &bounds, EPS));
    let found = gradients(&|q, k, v| fused::attention(q, k, v, &bounds, EPS).unwrap());
    assert!(error(&found, &expected) < 1e-11);
    let transposed = gradients(&|q, k, v| {
        let odd = |x: &Tensor| x.permute([2, 1, 0]).contiguous().permute([2, 1, 0]); // innermost stride is not 1
        fused::attention(&odd(q), &odd(k), &odd(v), &bounds, EPS).unwrap()
    });
    assert!(error(&transposed, &expected) < 1e-11);
}

#[test]
fn packed_product_with_rotation() {
    let bounds = Bounds::from_lengths(&[33, 1, 50]);
    let rotary = Rotary::new(50, 32, Kind::Double, Device::Cpu);
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
        let [q, k] = [0, 1].map(|i| rotary.apply(&parts.select(1, i), &bounds));
        naive::attention(&q, &k, &parts.select(1, 2), &bounds, EPS)
    });
    let found = gradient(&|x| fused::attention_packed(x, 4, &bounds, Some(&rotary), EPS).unwrap());
    assert!(error(&found.0, &expected.0) < 1e-11);
    assert!(error(&found.1, &expected.1) < 1e-11);
}

#[test]
fn a_sequence_in_pieces_with_its_state() {
    let whole = case(&[77], 2, 32, 16, Kind::Double);
    let expected = definition(&whole);
    let found = run(&whole, Kind::Double, |q, k, v| {
        let piece = |x: &Tensor, start, len| x.narrow(0, start, len);
        let first = [q, k, v].map(|x| piece(x, 0, 30));
        let second = [q, k, v].map(|x| piece(x, 30, 47));
        let bounds = |n| Bounds::single(n);
        let (a, state) =
            fused::attention_with_state((&first[0], &first[1], &first[2]), None, &bounds(30), None, EPS).unwrap();
        let (b, _) =
            fused::attention_with_state((&second[0], &second[1], &second[2]), Some(&state), &bounds(47), None, EPS)
                .unwrap();
        Tensor::cat(&[a, b], 0)
    });
    for (i, name) in ["out", "dq", "dk", "dv"].iter().enumerate() {
        assert!(error(&found[i], &expected[i]) < 1e-11, "{name}");
    }
}

#[test]
fn recurrent_equals_parallel() {
    let (steps, b, h, d, m) = (40, 3, 2, 32, 16);
    let make = |size| Tensor::randn([b, steps, h, size], (Kind::Float, Device::Cpu));
    let (q, k, v) = (make(d), make(d), make(m));
    let bounds = Bounds::from_lengths(&[steps as usize; 3]);
    let flat = |x: &Tensor| x.view([b * steps, h, -1]);
    let parallel = fused::attention(&flat(&q), &flat(&k), &flat(&v), &bounds, EPS).unwrap().view([b, steps, h, m]);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let mut state = fused::State { s: zeros(&[b, h, d, m]), z: zeros(&[b, h, d]) };
    let (mut s, mut z) = (zeros(&[b, h, d, m]), zeros(&[b, h, d]));
    for t in 0..steps {
        let [q, k, v] = [&q, &k, &v].map(|x| x.select(1, t));
        let fused = fused::step(&q, &k, &v, &mut state, EPS).unwrap();
        let plain = chunked::step(&q, &k, &v, &mut s, &mut z, EPS);
        assert!(error(&fused, &parallel.select(1, t)) < 1e-5, "step {t}");
        assert!(error(&plain, &parallel.select(1, t)) < 1e-5, "step {t}");
    }
}

#[test]
fn same_bits_whatever_the_threads() {
    let _held = CHOICE.lock();
    let case = case(&[300, 5, 80, 81], 3, 32, 32, Kind::Float);
    let once = |threads| {
        tch::set_num_threads(threads);
        run(&case, Kind::Float, |q, k, v| fused::attention(q, k, v, &case.bounds, EPS).unwrap())
    };
    let (one, three) = (once(1), once(3));
    for (a, b) in one.iter().zip(&three) {
        assert!(a.equal(b));
    }
}

#[test]
fn a_wrong_shape_is_an_error() {
    let case = case(&[10], 2, 16, 16, Kind::Float);
    let short = case.v.narrow(0, 0, 9);
    let error = fused::attention(&case.q, &case.k, &short, &case.bounds, EPS).unwrap_err().to_string();
    assert!(error.starts_with("attention: v: expected N and H of q"), "{error}");
    let error = fused::attention(&case.q, &case.k, &case.v, &Bounds::single(11), EPS).unwrap_err().to_string();
    assert!(error.contains("bounds: expected 0 to 10, found 0 to 11"), "{error}");
}
