//! Measures generation by the original model, tcpflowgen's, which reads the whole context again for
//! each token: tokens and packets per second over a flow of 512 tokens, as one JSON object.
//!
//!     bench_generate [threads] [tokens of the flow]

mod original;

use std::time::Instant;

use original::{Original, VOCAB};
use tch::{Device, Kind, Tensor, nn};

/// Average number of 16-bit words of a packet in the original's code.
const WORDS_PER_PACKET: f64 = 20.9;
/// Number of positions in the flow at which a token is timed.
const SAMPLES: i64 = 16;

#[expect(clippy::print_stdout, reason = "a bench answers on stdout")]
fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<i64>().ok());
    let (threads, tokens) = (args.next().unwrap_or(1), args.next().unwrap_or(512));
    linformer::set_threads(threads as usize);
    let _guard = tch::no_grad_guard();
    let vs = nn::VarStore::new(Device::Cpu);
    let model = Original::new(&vs.root());
    let context = Tensor::randint(VOCAB, [1, tokens], (Kind::Int64, Device::Cpu));
    let next = |length: i64| {
        let scores = model.forward(&context.narrow(1, 0, length)).select(1, length - 1);
        (scores / 0.7).softmax(-1, Kind::Float).multinomial(1, true)
    };
    let _ = next(tokens); // warm-up
    let started = Instant::now();
    for i in 0..SAMPLES {
        let _ = next((2 * i + 1) * tokens / (2 * SAMPLES));
    }
    let rate = SAMPLES as f64 / started.elapsed().as_secs_f64();
    println!(
        r#"{{"tokens_per_second":{rate:.3},"packets_per_second":{:.4}}}"#,
        rate / WORDS_PER_PACKET
    );
}
