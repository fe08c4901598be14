//! Tests of the convolution's device code, which `tests/emulation` runs on the CPU, against the
//! form in libtorch operations.

use linformer_kernels::CuSeqlens;
use linformer_kernels::conv1d::causal_conv1d_ref;
use tch::{Device, Kind, Tensor};

use crate::attention::error;

unsafe extern "C" {
    fn emulate_convolution(
        x: *const f32,
        w: *const f32,
        dy: *const f32,
        y: *mut f32,
        dx: *mut f32,
        dw: *mut f32,
        channels: i64,
        taps: i64,
        cu_seqlens: *const i64,
        sequences: i64,
        longest: i64,
    );
}

fn numbers(x: &Tensor) -> Vec<f32> {
    Vec::try_from(&x.detach().to_kind(Kind::Float).contiguous().view([-1])).unwrap()
}

/// Compares output and gradients, in segments of `longest` tokens.
fn check(lengths: &[usize], channels: i64, taps: i64, longest: i64) {
    let cu_seqlens = CuSeqlens::from_lengths(lengths);
    let make = |size: &[i64], phase: f64| {
        let count = size.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + phase).sin().view(size)
    };
    let tokens = cu_seqlens.tokens();
    let x = make(&[tokens, channels], 1.0).set_requires_grad(true);
    let weight = make(&[channels, 1, taps], 2.0).set_requires_grad(true);
    let dy = make(&[tokens, channels], 3.0);
    let y = causal_conv1d_ref(&x, &weight, &cu_seqlens);
    (&y * &dy).sum(Kind::Double).backward();

    let (from, by, grad) = (numbers(&x), numbers(&weight.select(1, 0).tr()), numbers(&dy));
    let mut made = [&from, &from, &by].map(|like| vec![f32::NAN; like.len()]);
    let [to_y, to_dx, to_dw] = made.each_mut().map(|x| x.as_mut_ptr());
    let offsets = cu_seqlens.offsets();
    // SAFETY: every pointer is to as many numbers as the sizes say.
    unsafe {
        emulate_convolution(
            from.as_ptr(),
            by.as_ptr(),
            grad.as_ptr(),
            to_y,
            to_dx,
            to_dw,
            channels,
            taps,
            offsets.as_ptr(),
            lengths.len() as i64,
            longest,
        );
    }
    let expected = [y, x.grad(), weight.grad().select(1, 0).tr()];
    for ((made, expected), name) in made.iter().zip(&expected).zip(["y", "dx", "dw"]) {
        let e = error(&Tensor::from_slice(made), &expected.reshape([-1]));
        assert!(e < 1e-5, "{name}: lengths {lengths:?}, {taps} taps, segments of {longest}: {e:e}");
    }
}

#[test]
fn holds_to_the_form_in_operations() {
    check(&[3, 0, 1, 70], 5, 4, 256);
    check(&[40], 3, 1, 256);
    check(&[2, 5], 2, 9, 256);
}

#[test]
fn segments_and_parts_see_the_tokens_before_them() {
    for longest in [1, 3, 16, 20] {
        check(&[50, 33, 0, 16], 2, 4, longest);
    }
}
