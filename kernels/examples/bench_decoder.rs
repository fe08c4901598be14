//! Measures the decoder on a GPU beside the one on the CPU, with the sizes of the preset `small` and
//! no draws: tokens per second by threads and slots, on stdout.
//!
//!     bench_decoder [seconds for each line [threads slots]]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linformer_kernels::{
    BlockWeights, Decoder, DecoderShape, DecoderWeights, DeviceDecoder, KernelError, LinearWeights,
    NormWeights, WeightKind,
};

const SHAPE: DecoderShape = DecoderShape {
    vocab: 1024,
    hidden_size: 256,
    heads: 8,
    ffn_size: 688,
    norm_eps: 1e-5,
    attention_eps: 1e-6,
    rms: false,
    gated: true,
    conv_kernel: 0,
};
const LAYERS: usize = 6;
/// Number of groups of slots of a thread on a GPU, as in generation.
const GROUPS: usize = 2;

#[expect(clippy::print_stdout, reason = "a bench answers on stdout")]
fn main() -> Result<(), KernelError> {
    let args: Vec<f64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let decoder = Decoder::new(SHAPE, weights(), WeightKind::Float)?;
    let time = Duration::from_secs_f64(args.first().copied().unwrap_or(1.0));
    let rate = measure(all, time, |until| on_the_cpu(&decoder, 64, until));
    println!("CPU, {all} threads of 64 slots: {rate:.0} tokens/s");
    let Some(on_gpu) = DeviceDecoder::new(&decoder, 0)? else {
        println!("no kernels for GPUs in this program");
        return Ok(());
    };
    let mut sizes = vec![(1, 2), (1, 64), (1, 256), (1, 1024), (2, 512), (4, 256), (8, 256)];
    sizes.extend([32, 64, 128, 256, 512].map(|slots| (all, slots)));
    if let [_, threads, slots] = args[..] {
        sizes = vec![(threads as usize, slots as usize)];
    }
    for (threads, slots) in sizes {
        let work = |until| in_groups(&on_gpu, slots, until);
        let rate = measure(threads, time, work);
        println!("GPU, {threads} threads of {slots} slots: {rate:.0} tokens/s");
    }
    Ok(())
}

/// Returns the tokens per second of threads that each do `work` until a time and return a count.
fn measure(
    threads: usize,
    time: Duration,
    work: impl Fn(Instant) -> Result<u64, KernelError> + Sync,
) -> f64 {
    let tokens = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let done = work(started + time).expect("the decoder takes its own model");
                tokens.fetch_add(done, Ordering::Relaxed)
            });
        }
    });
    tokens.into_inner() as f64 / started.elapsed().as_secs_f64()
}

fn on_the_cpu(decoder: &Decoder, slots: usize, until: Instant) -> Result<u64, KernelError> {
    let (mut state, mut tokens) = (decoder.state(slots), 0);
    while Instant::now() < until {
        (0..slots).for_each(|slot| state.set_token(slot, token(slot, tokens)));
        decoder.step(&mut state);
        tokens += slots as u64;
    }
    Ok(tokens)
}

/// Runs slots in groups, of which each begins its next step as soon as the last one has ended.
fn in_groups(decoder: &DeviceDecoder, slots: usize, until: Instant) -> Result<u64, KernelError> {
    let size = slots / GROUPS;
    let mut groups = (0..GROUPS).map(|_| decoder.slots(size)).collect::<Result<Vec<_>, _>>()?;
    let mut tokens = 0;
    for group in &mut groups {
        group.begin()?;
    }
    while Instant::now() < until {
        for group in &mut groups {
            group.finish()?;
            (0..size).for_each(|slot| group.set_token(slot, token(slot, tokens)));
            group.begin()?;
            tokens += size as u64;
        }
    }
    for group in &mut groups {
        group.finish()?;
    }
    Ok(tokens)
}

fn token(slot: usize, tokens: u64) -> u16 {
    ((slot as u64 * 31 + tokens) % SHAPE.vocab as u64) as u16
}

/// Returns some numbers, small enough for scores to stay so.
fn weights() -> DecoderWeights {
    let numbers = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin() * 0.05).collect::<Vec<f32>>();
    let (w, f) = (SHAPE.hidden_size, SHAPE.ffn_size);
    let norm = || NormWeights { weight: vec![1.0; w], bias: Some(numbers(w)) };
    let linear =
        |i: usize, o: usize| LinearWeights { weight: numbers(i * o), bias: Some(numbers(o)) };
    let block = || BlockWeights {
        attention_norm: norm(),
        qkv: linear(w, 3 * w),
        conv: None,
        gate: None,
        out: linear(w, w),
        feed_norm: norm(),
        up: linear(w, 2 * f),
        down: linear(f, w),
        decay: None,
    };
    DecoderWeights {
        embed: numbers(SHAPE.vocab * w),
        decay: vec![0.99; SHAPE.heads],
        blocks: (0..LAYERS).map(|_| block()).collect(),
        norm: norm(),
        head: linear(w, SHAPE.vocab),
    }
}
