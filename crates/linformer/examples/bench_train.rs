//! Measures training by the recipe of the original, tcpflowgen, and by ours, with the steps between
//! them one at a time: kernel, packing, vocabulary, tokens per packet. The architecture is the
//! original's throughout. Reads packets per flow on stdin, one number a line.
//!
//!     bench_train [threads]

mod original;

use std::io::Read;
use std::time::Instant;

use linformer::{Batch, Device, Model, ModelConfig, Optimizer, Trainer};
use original::{Original, VOCAB};
use tch::nn::{self, OptimizerConfig};
use tch::{Kind, Reduction, Tensor};

/// Number of tokens in a row.
const CONTEXT: usize = 1024;
/// Average number of 16-bit words of a packet.
const WORDS: f64 = 20.9;
/// Average number of tokens of a packet in the field code.
const FIELDS: f64 = 5.3;
/// Number of token ids of the field code.
const FIELD_VOCAB: usize = 1022;
/// Number of timed rows, after one row of warm-up.
const ROWS: usize = 3;

/// Packets trained on, and the seconds that it took.
struct Timed {
    packets: f64,
    seconds: f64,
}

/// Training over the rows by one recipe.
type Step<'a> = Box<dyn Fn() -> Timed + 'a>;

#[expect(clippy::print_stdout, reason = "a bench answers on stdout")]
fn main() {
    let threads = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1);
    linformer::set_threads(threads);
    let mut text = String::new();
    let _ = std::io::stdin().read_to_string(&mut text);
    let flows: Vec<f64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(!flows.is_empty(), "packets per flow are expected on stdin");
    let words = |padded| rows(&flows, WORDS, padded);
    // Our Model knows 16-bit ids: 65,536 of the 65,546 words.
    let steps: [(&str, Step); 5] = [
        (
            "the original's recipe: words, padded rows, cumulative sums",
            Box::new(|| recipe(&words(true))),
        ),
        ("+ our kernel and fused AdamW", Box::new(|| ours(&words(true), 65_536))),
        ("+ packed rows", Box::new(|| ours(&words(false), 65_536))),
        ("+ a vocabulary of 1,022", Box::new(|| ours(&words(false), FIELD_VOCAB))),
        (
            "+ 5.3 tokens a packet instead of 20.9",
            Box::new(|| ours(&rows(&flows, FIELDS, false), FIELD_VOCAB)),
        ),
    ];
    println!("| | packets/s | times the line before | times the first |");
    println!("| --- | ---: | ---: | ---: |");
    let (mut first, mut before) = (None, None);
    for (name, run) in steps {
        let timed = run();
        let rate = timed.packets / timed.seconds;
        let (first, last) = (*first.get_or_insert(rate), before.replace(rate).unwrap_or(rate));
        println!("| {name} | {rate:.1} | {:.1} | {:.1} |", rate / last, rate / first);
    }
}

/// Returns the lengths of the sequences of each row, and the packets in it. A row is one flow cut
/// or padded to the context, or else as many flows as fit.
fn rows(flows: &[f64], per_packet: f64, padded: bool) -> Vec<(Vec<usize>, f64)> {
    let mut rows = vec![(Vec::new(), 0.0)];
    for &packets in flows.iter().cycle() {
        let length = ((packets * per_packet) as usize).clamp(2, CONTEXT);
        let last = rows.len() - 1;
        let (row, held) = &mut rows[last];
        if !row.is_empty() && (padded || row.iter().sum::<usize>() + length > CONTEXT) {
            if rows.len() > ROWS {
                break;
            }
            rows.push((vec![length], length as f64 / per_packet));
        } else {
            row.push(length);
            *held += length as f64 / per_packet;
        }
    }
    rows
}

/// Trains as the original does: each row is one padded flow. The padding is computed, but not
/// counted.
fn recipe(rows: &[(Vec<usize>, f64)]) -> Timed {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = Original::new(&vs.root());
    let mut adamw = nn::AdamW::default().build(&vs, 1e-4).expect("an optimizer");
    timed(rows, |lengths| {
        let tokens = Tensor::randint(VOCAB, [1, CONTEXT as i64 + 1], (Kind::Int64, Device::Cpu));
        let scores = model.forward(&tokens.narrow(1, 0, CONTEXT as i64)).view([-1, VOCAB]);
        let targets = tokens.narrow(1, 1, CONTEXT as i64).reshape([-1]).copy();
        let length = lengths[0] as i64;
        let _ = targets.narrow(0, length - 1, CONTEXT as i64 - length + 1).fill_(-100);
        let loss = scores.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.0);
        adamw.backward_step_clip_norm(&loss, 1.0);
    })
}

fn ours(rows: &[(Vec<usize>, f64)], vocab_size: usize) -> Timed {
    let config = ModelConfig { vocab_size, ..ModelConfig::original() };
    let model = Model::new(&config, 1, Device::Cpu).expect("a model");
    let mut trainer = Trainer::new(model, Optimizer::default());
    let is_padded = rows.iter().all(|(lengths, _)| lengths.len() == 1);
    timed(rows, |lengths| {
        let token = |i: usize| (i * 7919 % vocab_size) as u16;
        let lengths = if is_padded { vec![CONTEXT] } else { lengths.to_vec() };
        let sequences: Vec<Vec<u16>> =
            lengths.iter().map(|&n| (0..=n).map(token).collect()).collect();
        trainer
            .step(&[Batch::pack(sequences.iter().map(Vec::as_slice))], 1e-4, None)
            .expect("a step");
    })
}

fn timed(rows: &[(Vec<usize>, f64)], mut step: impl FnMut(&[usize])) -> Timed {
    step(&rows[0].0);
    let started = Instant::now();
    for (lengths, _) in &rows[1..] {
        step(lengths);
    }
    Timed {
        packets: rows[1..].iter().map(|row| row.1).sum(),
        seconds: started.elapsed().as_secs_f64(),
    }
}
