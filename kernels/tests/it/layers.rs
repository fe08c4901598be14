//! Layers of a model in training against libtorch's operations in float64.

use linformer_kernels::{Bf16Autocast, cpu, layers};
use tch::{Device, Kind, Reduction, Tensor};

use crate::attention::{CHOICE, differentiate, error};

/// Largest errors of products of floats and of floats rounded to bfloat16, which have 8 bits.
const LIMITS: [f64; 2] = [1e-5, 1e-2];

fn leaf(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true)
}

fn in_double(x: &Tensor) -> Tensor {
    x.detach().to_kind(Kind::Double).set_requires_grad(true)
}

/// Checks the output and the gradient of each input of `form` against those of `definition`.
fn check<const N: usize>(
    what: &str,
    inputs: [&Tensor; N],
    limit: f64,
    form: impl Fn(&[Tensor; N]) -> Tensor,
    definition: impl Fn(&[Tensor; N]) -> Tensor,
) {
    let found = inputs.map(|x| x.detach().set_requires_grad(true));
    let expected = inputs.map(in_double);
    let (y, reference) = (form(&found), definition(&expected));
    assert!(error(&y, &reference) < limit, "{what}: output {}", error(&y, &reference));
    differentiate(&y);
    differentiate(&reference);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = error(&found.grad(), &expected.grad());
        assert!(error < limit, "{what}: gradient {i}: {error}");
    }
}

/// Tokens, inputs and outputs that fill no register block, panel or chunk, and some that do.
const SIZES: [(i64, i64, i64); 8] = [
    (1, 16, 16),
    (7, 48, 23),
    (64, 32, 32),
    (65, 33, 1),
    (129, 16, 33),
    (300, 128, 70),
    (513, 17, 1022),
    (1000, 80, 48),
];

fn check_linear(limit: f64) {
    for (tokens, inputs, outputs) in SIZES {
        let (x, w) = (leaf(&[tokens, inputs]), leaf(&[outputs, inputs]));
        let (bias, residual) = (leaf(&[outputs]), leaf(&[tokens, outputs]));
        let what = format!("{} {tokens} x {inputs} x {outputs}", cpu::instruction_set());
        check(
            &what,
            [&x, &w],
            limit,
            |[x, w]| layers::linear(x, w, None, None).unwrap(),
            |[x, w]| x.linear(w, None::<Tensor>),
        );
        check(
            &what,
            [&x, &w, &bias, &residual],
            limit,
            |[x, w, bias, residual]| layers::linear(x, w, Some(bias), Some(residual)).unwrap(),
            |[x, w, bias, residual]| x.linear(w, Some(bias)) + residual,
        );
    }
}

#[test]
fn products_are_those_of_the_definition() {
    let _lock = CHOICE.lock();
    for set in ["baseline", "avx2", "avx512"] {
        if cpu::choose_instruction_set(set) {
            check_linear(LIMITS[0]);
        }
    }
    assert!(cpu::choose_instruction_set("best"));
}

#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn products_in_bfloat16_are_those_of_the_definition() {
    let _lock = CHOICE.lock();
    if !layers::has_bf16() {
        println!("skipped: this processor has no AVX512_BF16");
        return;
    }
    let _bf16 = Bf16Autocast::enable(Device::Cpu).unwrap();
    check_linear(LIMITS[1]);
}

/// A product of numbers that bfloat16 has is exact: inputs are rounded, and sums are not.
#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn bfloat16_rounds_inputs_and_no_sums() {
    let _lock = CHOICE.lock();
    if !layers::has_bf16() {
        println!("skipped: this processor has no AVX512_BF16");
        return;
    }
    let rounded = |shape: &[i64]| leaf(shape).detach().to_kind(Kind::BFloat16).to_kind(Kind::Float);
    let (x, w) = (rounded(&[100, 700]), rounded(&[40, 700]));
    let _bf16 = Bf16Autocast::enable(Device::Cpu).unwrap();
    let found = layers::linear(&x, &w, None, None).unwrap();
    let expected = x.to_kind(Kind::Double).linear(&w.to_kind(Kind::Double), None::<Tensor>);
    assert!(error(&found, &expected) < LIMITS[0], "{}", error(&found, &expected));
    let once = leaf(&[3, 16]);
    let found = layers::linear(&once, &Tensor::eye(16, (Kind::Float, Device::Cpu)), None, None);
    let expected = once.detach().to_kind(Kind::BFloat16).to_kind(Kind::Float);
    assert!(found.unwrap().equal(&expected), "rounded to nearest, ties to even");
}

#[test]
fn swiglu_is_that_of_the_definition() {
    let _lock = CHOICE.lock();
    for set in ["baseline", "avx2", "avx512"] {
        if !cpu::choose_instruction_set(set) {
            continue;
        }
        for (tokens, feed) in [(1, 16), (33, 48), (100, 336)] {
            let up = (leaf(&[tokens, 2 * feed]) * 4.0).detach();
            check(
                &format!("{set} {tokens} x {feed}"),
                [&up],
                LIMITS[0],
                |[up]| layers::swiglu(up).unwrap(),
                |[up]| up.narrow(1, 0, feed).silu() * up.narrow(1, feed, feed),
            );
        }
    }
    assert!(cpu::choose_instruction_set("best"));
}

#[test]
fn the_cross_entropy_is_that_of_the_definition() {
    let _lock = CHOICE.lock();
    for set in ["baseline", "avx2", "avx512"] {
        if !cpu::choose_instruction_set(set) {
            continue;
        }
        for (tokens, vocab) in [(1, 1), (40, 7), (33, 32), (100, 1022)] {
            let targets = Tensor::randint(vocab, [tokens], (Kind::Int64, Device::Cpu));
            let scores = (leaf(&[tokens, vocab]) * 20.0).detach();
            check(
                &format!("{set} {tokens} x {vocab}"),
                [&scores],
                LIMITS[0],
                |[scores]| layers::cross_entropy(scores, &targets).unwrap(),
                |[scores]| {
                    scores.cross_entropy_loss::<Tensor>(&targets, None, Reduction::None, -100, 0.0)
                },
            );
        }
    }
    assert!(cpu::choose_instruction_set("best"));
}

#[test]
fn a_nan_stays_and_a_target_beyond_the_ids_is_refused() {
    let scores = leaf(&[2, 40]).detach();
    let _ = scores.get(1).narrow(0, 5, 1).fill_(f64::NAN);
    let losses = Vec::<f32>::try_from(
        &layers::cross_entropy(&scores, &Tensor::from_slice(&[3_i64, 4])).unwrap(),
    )
    .unwrap();
    assert!(losses[0].is_finite() && losses[1].is_nan(), "{losses:?}");
    let refused = layers::cross_entropy(&scores, &Tensor::from_slice(&[3_i64, 40])).unwrap_err();
    assert!(refused.to_string().contains("expected ids below 40, found 40 at 1"), "{refused}");
}

/// Returns output and gradients of a feed-forward layer with its loss.
fn layer_bits(threads: i32) -> Vec<Tensor> {
    tch::set_num_threads(threads);
    tch::manual_seed(5);
    let (x, up, down) = (leaf(&[777, 48]), leaf(&[160, 48]), leaf(&[48, 80]));
    let (bias, head) = (leaf(&[160]), leaf(&[65, 48]));
    let hidden = layers::swiglu(&layers::linear(&x, &up, Some(&bias), None).unwrap()).unwrap();
    let y = layers::linear(&hidden, &down, None, Some(&x)).unwrap();
    let scores = layers::linear(&y, &head, None, None).unwrap();
    let targets = Tensor::arange(777, (Kind::Int64, Device::Cpu)).remainder(65);
    let losses = layers::cross_entropy(&scores, &targets).unwrap();
    differentiate(&losses);
    let gradients = [x, up, down, bias, head].map(|leaf| leaf.grad());
    gradients.into_iter().chain([losses.detach()]).collect()
}

#[test]
fn same_bits_of_layers_whatever_the_threads() {
    let _lock = CHOICE.lock();
    let before = tch::get_num_threads();
    for bf16 in [false, true] {
        if !(bf16 && layers::has_bf16() || !bf16 && cpu::instruction_set() == "avx512") {
            continue; // libtorch's products promise nothing
        }
        let _bf16 = bf16.then(|| Bf16Autocast::enable(Device::Cpu).unwrap());
        let one = layer_bits(1);
        for threads in [2, 3, 5] {
            let more = layer_bits(threads);
            assert!(one.iter().zip(&more).all(|(a, b)| a.equal(b)), "{threads} threads, {bf16}");
        }
    }
    tch::set_num_threads(before);
}
