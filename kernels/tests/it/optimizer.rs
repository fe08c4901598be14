use linformer_kernels::{AdamW, clip_grad_norm};
use tch::{Device, Kind, Tensor};

#[test]
fn adamw_follows_its_formula() {
    let options = (Kind::Float, Device::Cpu);
    let (p, g) = (Tensor::randn([7], options), Tensor::randn([7], options));
    let (m, v) = (Tensor::zeros([7], options), Tensor::zeros([7], options));
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let (lr, decay) = (0.1, 0.01);
    let mut expected = p.copy();
    let (mut first, mut second) = (m.copy(), v.copy());
    for step in 1..=3 {
        adamw
            .step(
                &[p.shallow_clone()],
                &[g.shallow_clone()],
                (&[m.shallow_clone()], &[v.shallow_clone()]),
                step,
                (lr, decay),
            )
            .unwrap();
        first = first * 0.9 + &g * 0.1;
        second = second * 0.95 + &g * &g * 0.05;
        let corrected = &first / (1.0 - 0.9_f64.powi(step as i32));
        let root = (&second / (1.0 - 0.95_f64.powi(step as i32))).sqrt() + 1e-8;
        expected = &expected * (1.0 - lr * decay) - corrected / root * lr;
    }
    assert!(p.allclose(&expected, 1e-5, 1e-6, false), "{p:?} {expected:?}");
}

/// Gradients come as autograd makes them: transposed ones too.
#[test]
fn a_gradient_may_be_laid_out_otherwise() {
    let options = (Kind::Float, Device::Cpu);
    let start = Tensor::randn([5, 3], options);
    let gradient = Tensor::randn([3, 5], options);
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let after = |gradient: Tensor| {
        let (p, m, v) =
            (start.copy(), Tensor::zeros([5, 3], options), Tensor::zeros([5, 3], options));
        adamw.step(&[p.shallow_clone()], &[gradient], (&[m], &[v]), 1, (0.1, 0.0)).unwrap();
        p
    };
    assert!(after(gradient.tr()).equal(&after(gradient.tr().contiguous())));
}

#[test]
fn clipping_keeps_the_direction() {
    let grads = [Tensor::from_slice(&[3.0_f32]), Tensor::from_slice(&[0.0_f32, 4.0])];
    assert!((clip_grad_norm(&grads, 1.0).unwrap() - 5.0).abs() < 1e-6);
    assert!((f64::try_from(&grads[0]).unwrap() - 0.6).abs() < 1e-5);
    assert!((clip_grad_norm(&grads, 2.0).unwrap() - 1.0).abs() < 1e-5);
    assert!((f64::try_from(&grads[0]).unwrap() - 0.6).abs() < 1e-5, "a small norm stays");
}
