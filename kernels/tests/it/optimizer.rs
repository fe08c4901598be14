use linformer_kernels::{AdamW, AdamWStep, clip_grad_norm};
use tch::{Device, Kind, Tensor};

#[test]
fn adamw_follows_its_formula() {
    let options = (Kind::Float, Device::Cpu);
    let (p, g) = (Tensor::randn([7], options), Tensor::randn([7], options));
    let (m, v) = (Tensor::zeros([7], options), Tensor::zeros([7], options));
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let (lr, weight_decay) = (0.1, 0.01);
    let mut expected = p.copy();
    let (mut exp_avg, mut exp_avg_sq) = (m.copy(), v.copy());
    for step in 1..=3 {
        adamw
            .step(AdamWStep {
                params: &[p.shallow_clone()],
                grads: &[g.shallow_clone()],
                exp_avg: &[m.shallow_clone()],
                exp_avg_sq: &[v.shallow_clone()],
                step,
                lr,
                weight_decay,
            })
            .unwrap();
        exp_avg = exp_avg * 0.9 + &g * 0.1;
        exp_avg_sq = exp_avg_sq * 0.95 + &g * &g * 0.05;
        let corrected = &exp_avg / (1.0 - 0.9_f64.powi(step as i32));
        let root = (&exp_avg_sq / (1.0 - 0.95_f64.powi(step as i32))).sqrt() + 1e-8;
        expected = &expected * (1.0 - lr * weight_decay) - corrected / root * lr;
    }
    assert!(p.allclose(&expected, 1e-5, 1e-6, false), "{p:?} {expected:?}");
}

/// Autograd makes gradients of any strides, transposed ones for example.
#[test]
fn a_gradient_may_be_laid_out_otherwise() {
    let options = (Kind::Float, Device::Cpu);
    let start = Tensor::randn([5, 3], options);
    let gradient = Tensor::randn([3, 5], options);
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    let after = |gradient: Tensor| {
        let (p, m, v) =
            (start.copy(), Tensor::zeros([5, 3], options), Tensor::zeros([5, 3], options));
        adamw
            .step(AdamWStep {
                params: &[p.shallow_clone()],
                grads: &[gradient],
                exp_avg: &[m],
                exp_avg_sq: &[v],
                step: 1,
                lr: 0.1,
                weight_decay: 0.0,
            })
            .unwrap();
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
