//! Tests of the kernels on a GPU, against the CPU in float64. Skipped without a GPU or without the
//! feature `cuda`; with `LF_TEST_DEVICE=cpu` they hold the CPU's float kernels to the same.

use linformer_kernels::attention::{AttentionOptions, AttentionState, Decay, Qkv, fused};
use linformer_kernels::conv1d::{causal_conv1d, causal_conv1d_ref};
use linformer_kernels::{AdamW, AdamWStep, CuSeqlens, Rotary};
use tch::{Cuda, Device, Kind, Tensor};

use crate::attention::{decay, error};

const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Returns the device to test.
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn device() -> Option<Device> {
    match std::env::var("LF_TEST_DEVICE").as_deref() {
        Ok("cpu") => return Some(Device::Cpu),
        Ok(other) => panic!("LF_TEST_DEVICE: expected cpu, found {other}"),
        Err(_) => {}
    }
    let gpu = Device::Cuda(0);
    let found = fused::is_supported(gpu, 64, None) && Cuda::is_available();
    if !found {
        println!("skipped: no GPU, or built without the feature cuda");
    }
    found.then_some(gpu)
}

/// Returns the kinds that the device has kernels for, each with its largest error.
fn kinds(device: Device) -> Vec<(Kind, f64)> {
    let all = [(Kind::Float, 2e-5), (Kind::BFloat16, 3e-2)];
    all.into_iter().filter(|&(kind, _)| fused::input_kind(device, kind) == kind).collect()
}

/// Returns numbers between -2 and 2 that a bfloat16 holds, in float64. Computed and not random:
/// libtorch's generator is shared with the tests that run at this time.
fn numbers(size: &[i64], phase: f64) -> Tensor {
    let count = size.iter().product::<i64>();
    let angle = Tensor::arange(count, CPU) * 12.9898 + phase * 78.233;
    let noise = (angle.sin() * 43_758.545_3).frac() * 2.0;
    noise.to_kind(Kind::BFloat16).to_kind(Kind::Double).view(size)
}

/// How q, k, v and the gradient lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Strides {
    /// Each in a tensor of its own.
    Whole,
    /// Parts of a row of `[N, 3, H, D]`, as a model's product yields them.
    Packed,
    /// Every second head of a tensor, with columns to spare.
    Spaced,
}

/// Input of the operator.
#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<usize>,
    /// Position of each sequence's first token.
    starts: Option<Vec<usize>>,
    d: i64,
    m: i64,
    rotate: bool,
    forget: bool,
    states: bool,
    strides: Strides,
}

const HEADS: i64 = 2;

fn case(lengths: &[usize], d: i64, m: i64) -> Case {
    let lengths = lengths.to_vec();
    let (rotate, forget, states) = (false, false, false);
    Case { lengths, starts: None, d, m, rotate, forget, states, strides: Strides::Whole }
}

impl Case {
    fn cu_seqlens(&self) -> CuSeqlens {
        let whole = CuSeqlens::from_lengths(&self.lengths);
        match &self.starts {
            Some(starts) => whole.starting_at(starts),
            None => whole,
        }
    }
}

/// Returns a leaf of the values of `x`. The copy keeps `x` itself out of autograd where kind and
/// device are those of `x` already.
fn leaf(x: &Tensor, kind: Kind, device: Device) -> Tensor {
    x.detach().to_kind(kind).to_device(device).copy().set_requires_grad(true)
}

/// Returns `x` with other strides.
fn spaced(x: &Tensor) -> Tensor {
    let (heads, columns) = (x.size()[1], x.size()[2]);
    let wide = x.constant_pad_nd([1, 2]);
    let room = Tensor::stack(&[&wide, &wide.zeros_like()], 2).flatten(1, 2);
    room.slice(1, 0, 2 * heads, 2).narrow(2, 1, columns)
}

/// Returns the output, the last states where the case has states, and the gradients of all inputs.
fn run(case: &Case, kind: Kind, device: Device) -> Vec<Tensor> {
    let cu_seqlens = case.cu_seqlens();
    let (n, s) = (cu_seqlens.tokens(), case.lengths.len() as i64);
    let sums = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    let rotary = case
        .rotate
        .then(|| Rotary::new(cu_seqlens.max_position() as usize, case.d as usize, sums, device));
    let left = case.forget.then(|| decay(HEADS));
    let options = AttentionOptions {
        eps: 1e-6,
        rotary: rotary.as_ref(),
        decay: left.as_ref().map(Decay::Fixed),
    };
    let initial = case.states.then(|| AttentionState {
        s: leaf(&numbers(&[s, HEADS, case.d, case.m], 5.0).abs(), sums, device),
        z: leaf(&numbers(&[s, HEADS, case.d], 6.0).abs(), sums, device),
    });
    let (outputs, leaves) = match case.strides {
        Strides::Packed => packed(case, kind, device, &cu_seqlens, initial, &options),
        _ => {
            let [q, k, v] = [(case.d, 1.0), (case.d, 2.0), (case.m, 3.0)]
                .map(|(size, phase)| leaf(&numbers(&[n, HEADS, size], phase), kind, device));
            let given = [&q, &k, &v].map(|x| match case.strides {
                Strides::Spaced => spaced(x),
                _ => x.shallow_clone(),
            });
            let qkv = Qkv { q: &given[0], k: &given[1], v: &given[2] };
            let (out, last) =
                fused::attention_with_state(qkv, initial.as_ref(), &cu_seqlens, &options).unwrap();
            let mut leaves = vec![q, k, v];
            leaves.extend(initial.map(|state| [state.s, state.z]).into_iter().flatten());
            (vec![out, last.s, last.z], leaves)
        }
    };
    let mut loss = Tensor::zeros([], (sums, device));
    for (i, x) in outputs.iter().enumerate().filter(|(_, x)| x.requires_grad()) {
        // Permuted, so that the gradient does not lie as the output does.
        let size = x.size();
        let weight = numbers(&size, 7.0 + i as f64).to_kind(x.kind()).to_device(device);
        let weight =
            if i == 0 { weight.transpose(0, 1).contiguous().transpose(0, 1) } else { weight };
        loss += (x * weight).sum(sums);
    }
    loss.backward();
    let gradients = leaves.iter().map(Tensor::grad);
    let shown = if case.states { 3 } else { 1 };
    let outputs = outputs.iter().take(shown).map(Tensor::detach);
    outputs.chain(gradients).map(|x| x.to_device(Device::Cpu)).collect()
}

/// The packed operator on q, k and v of a case with `D = M`: outputs and leaves.
fn packed(
    case: &Case,
    kind: Kind,
    device: Device,
    cu_seqlens: &CuSeqlens,
    initial: Option<AttentionState>,
    options: &AttentionOptions,
) -> (Vec<Tensor>, Vec<Tensor>) {
    assert_eq!(case.d, case.m, "packed heads have one size");
    let qkv = leaf(&numbers(&[cu_seqlens.tokens(), 3 * HEADS * case.d], 4.0), kind, device);
    let (out, last) =
        fused::attention_packed_with_state(&qkv, HEADS, initial.as_ref(), cu_seqlens, options)
            .unwrap();
    (vec![out, last.s, last.z], vec![qkv])
}

/// Compares with float64, and a second run bit by bit.
fn check(case: &Case) {
    let Some(device) = device() else { return };
    let expected = run(case, Kind::Double, Device::Cpu);
    for (kind, limit) in kinds(device) {
        let (found, again) = (run(case, kind, device), run(case, kind, device));
        assert_eq!(found.len(), expected.len());
        for (i, expected) in expected.iter().enumerate() {
            let e = error(&found[i], expected);
            assert!(e < limit, "{kind:?}, tensor {i} of {case:?}: error {e:e}");
            assert!(
                found[i].equal(&again[i]),
                "{kind:?}, tensor {i} of {case:?}: other bits again"
            );
        }
    }
}

#[test]
fn kinds_of_a_device_are_those_it_has_kernels_for() {
    let all = [Kind::BFloat16, Kind::Half, Kind::Float, Kind::Double];
    let of = |device| all.map(|kind| fused::input_kind(device, kind));
    assert_eq!(of(Device::Cuda(0)), [Kind::BFloat16, Kind::Float, Kind::Float, Kind::Float]);
    assert_eq!(of(Device::Cpu), [Kind::Float, Kind::Float, Kind::Float, Kind::Double]);
}

/// Every kernel in few tokens: what compute-sanitizer runs.
#[test]
fn small_cases_hold_to_float64() {
    for (d, m) in [(32, 32), (64, 64), (128, 16), (20, 33)] {
        check(&Case { rotate: true, forget: true, states: true, ..case(&[70, 0, 3], d, m) });
    }
    check(&Case { rotate: true, strides: Strides::Packed, ..case(&[65, 2], 32, 32) });
}

#[test]
fn lengths_and_sizes_hold_to_float64() {
    for lengths in [&[1][..], &[63, 64, 0, 65], &[200], &[513], &[4097]] {
        for (d, m) in [(16, 16), (32, 32), (48, 64), (64, 64), (128, 128), (128, 16)] {
            for forget in [false, true] {
                check(&Case { forget, ..case(lengths, d, m) });
            }
        }
    }
}

#[test]
fn odd_sizes_and_more_values_than_keys_hold_to_float64() {
    for (d, m) in [(20, 33), (2, 1), (3, 50), (16, 64), (32, 128), (33, 65), (7, 127)] {
        check(&Case { rotate: d % 2 == 0, forget: true, ..case(&[66, 1, 130], d, m) });
    }
}

#[test]
fn packed_pieces_hold_to_float64() {
    for d in [16, 32, 48, 64, 128] {
        for (states, forget) in [(false, false), (true, false), (true, true)] {
            let base = case(&[40, 0, 150, 1, 513], d, d);
            let starts = Some(vec![0, 9, 7, 300, 64]);
            let strides = Strides::Packed;
            check(&Case { starts, rotate: true, forget, states, strides, ..base });
        }
    }
}

#[test]
fn states_and_strides_hold_to_float64() {
    for strides in [Strides::Whole, Strides::Spaced] {
        for (d, m) in [(32, 32), (64, 48), (16, 64), (128, 128)] {
            let base = case(&[100, 0, 1, 600], d, m);
            let starts = Some(vec![5, 0, 0, 1000]);
            check(&Case { starts, rotate: true, states: true, strides, ..base });
        }
    }
}

/// As many short flows as a training batch has.
#[test]
fn many_short_sequences_hold_to_float64() {
    let lengths: Vec<usize> = (0..200).map(|i| i * 7 % 61).collect();
    check(&Case { rotate: true, strides: Strides::Packed, ..case(&lengths, 32, 32) });
}

#[test]
fn steps_hold_to_the_cpu() {
    let Some(device) = device() else { return };
    let make = |shape: &[i64], phase| numbers(shape, phase).to_kind(Kind::Float);
    let (q, k, v) = (make(&[5, 2, 64], 1.0), make(&[5, 2, 64], 2.0), make(&[5, 2, 48], 3.0));
    let (s, z) = (make(&[5, 2, 64, 48], 4.0).abs(), make(&[5, 2, 64], 5.0).abs());
    let step = |device: Device| {
        let mut state =
            AttentionState { s: s.copy().to_device(device), z: z.copy().to_device(device) };
        let [q, k, v] = [&q, &k, &v].map(|x| x.to_device(device));
        let out = fused::step(
            Qkv { q: &q, k: &k, v: &v },
            &mut state,
            Some(Decay::Fixed(&decay(2))),
            1e-6,
        )
        .unwrap();
        [out, state.s, state.z].map(|x| x.to_device(Device::Cpu))
    };
    for (found, expected) in step(device).iter().zip(&step(Device::Cpu)) {
        assert!(error(found, expected) < 1e-5);
    }
}

#[test]
fn states_of_another_device_are_refused() {
    let Some(device) = device().filter(|device| device.is_cuda()) else { return };
    let cu_seqlens = CuSeqlens::single(3);
    let q = Tensor::zeros([3, 2, 16], (Kind::Float, device));
    let state = |device| AttentionState {
        s: Tensor::zeros([1, 2, 16, 16], (Kind::Float, device)),
        z: Tensor::zeros([1, 2, 16], (Kind::Float, device)),
    };
    let qkv = Qkv { q: &q, k: &q, v: &q };
    let options = AttentionOptions::new(1e-6);
    let call =
        |state| fused::attention_with_state(qkv, Some(&state), &cu_seqlens, &options).map(drop);
    call(state(device)).unwrap();
    let refused = call(state(Device::Cpu)).unwrap_err().to_string();
    assert!(refused.contains("on cuda:0, found"), "{refused}");
}

#[test]
fn a_step_of_adamw_holds_to_the_cpu() {
    let Some(device) = device() else { return };
    let step = |device: Device| {
        let make = |phase: f64| {
            [vec![7, 5], vec![64], vec![1]]
                .map(|size| numbers(&size, phase).to_kind(Kind::Float).to_device(device))
        };
        let (params, grads, exp_avg) = (make(1.0), make(2.0), make(3.0));
        let exp_avg_sq = make(4.0).map(|x| x.abs());
        for step in [1, 2, 30] {
            let input = AdamWStep {
                params: &params,
                grads: &grads,
                exp_avg: &exp_avg,
                exp_avg_sq: &exp_avg_sq,
                step,
                lr: 1e-2,
                weight_decay: 0.1,
            };
            AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 }.step(input).unwrap();
        }
        let all = params.into_iter().chain(exp_avg).chain(exp_avg_sq);
        all.map(|x| x.to_device(Device::Cpu)).collect::<Vec<_>>()
    };
    for (found, expected) in step(device).iter().zip(&step(Device::Cpu)) {
        assert!(error(found, expected) < 1e-6);
    }
}

#[test]
fn the_convolution_holds_to_float64() {
    let Some(device) = device() else { return };
    for (lengths, channels, taps) in
        [(&[3, 0, 1, 70][..], 20, 4), (&[600, 2], 300, 4), (&[5], 1, 9)]
    {
        let cu_seqlens = CuSeqlens::from_lengths(lengths);
        let tokens = cu_seqlens.tokens();
        let run = |kind: Kind, device: Device| {
            let weights = if kind == Kind::Double { Kind::Double } else { Kind::Float };
            let x = leaf(&numbers(&[tokens, channels], 1.0), kind, device);
            let w = leaf(&numbers(&[channels, 1, taps], 2.0), weights, device);
            let y = match kind {
                Kind::Double => causal_conv1d_ref(&x, &w, &cu_seqlens),
                _ => causal_conv1d(&x, &w, &cu_seqlens).unwrap(),
            };
            let weight = numbers(&[tokens, channels], 3.0).to_kind(kind).to_device(device);
            (&y * weight).sum(weights).backward();
            [y.detach(), x.grad(), w.grad()].map(|x| x.to_device(Device::Cpu))
        };
        let expected = run(Kind::Double, Device::Cpu);
        for (kind, limit) in kinds(device) {
            for (found, expected) in run(kind, device).iter().zip(&expected) {
                assert!(error(found, expected) < limit, "{kind:?}, {lengths:?}, {taps} taps");
            }
        }
    }
}
