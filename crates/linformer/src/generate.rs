//! Many sequences at once, each with its own state and its own random numbers.
//!
//! A thread owns a number of slots. A slot whose sequence is done takes the next one at once. What a sequence
//! becomes depends on the weights, the seed and its index alone: slots, threads and order do not matter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use linformer_kernels::{Decoder, DecoderState};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::sample::{Sampling, TokenFilter, choose};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Job {
    /// Number of sequences.
    pub sequences: u64,
    /// The tokens each begins with: at least one.
    pub prompt: Vec<u16>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Where random numbers come from.
    pub seed: u64,
    /// Sequences side by side in each thread.
    pub slots: usize,
    /// Threads.
    pub threads: usize,
    /// A sequence that is not done after this many tokens is cut off.
    pub max_tokens: usize,
}

/// A sequence that is finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generated {
    /// Its index, from 0.
    pub index: u64,
    /// Its tokens, the prompt first.
    pub tokens: Vec<u16>,
    /// Whether its filter called it done; else it was cut off.
    pub done: bool,
}

/// A model that generates.
#[derive(Clone, Debug)]
pub struct Generator {
    decoder: Decoder,
}

impl Generator {
    /// From a model's decoder.
    #[must_use]
    pub fn new(decoder: Decoder) -> Generator {
        Generator { decoder }
    }

    /// Generates all sequences and hands them over in order of index, each with its filter. `deliver` answers false
    /// to stop.
    ///
    /// # Errors
    /// What `deliver` fails with.
    pub fn run<F: TokenFilter + Send, E>(
        &self,
        job: &Job,
        filter: impl Fn(u64) -> F + Sync,
        mut deliver: impl FnMut(Generated, F) -> Result<bool, E>,
    ) -> Result<(), E> {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let threads = job.threads.clamp(1, job.sequences.div_ceil(job.slots.max(1) as u64).max(1) as usize);
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(1024);
            for _ in 0..threads {
                let (sender, worker) =
                    (sender.clone(), Worker { decoder: &self.decoder, job, next: &next, stop: &stop });
                let filter = &filter;
                scope.spawn(move || worker.run(filter, &sender));
            }
            drop(sender);
            let outcome = in_order(&receiver, &mut deliver);
            stop.store(true, Ordering::Relaxed);
            while receiver.recv().is_ok() {} // lets workers that wait for room see the stop
            outcome
        })
    }
}

/// Hands over what comes, in order of index; what comes early waits.
fn in_order<F, E>(
    receiver: &mpsc::Receiver<(Generated, F)>,
    deliver: &mut impl FnMut(Generated, F) -> Result<bool, E>,
) -> Result<(), E> {
    let mut early = std::collections::BTreeMap::new();
    let mut next = 0;
    for (generated, filter) in receiver {
        early.insert(generated.index, (generated, filter));
        while let Some((generated, filter)) = early.remove(&next) {
            next += 1;
            if !deliver(generated, filter)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

struct Worker<'a> {
    decoder: &'a Decoder,
    job: &'a Job,
    next: &'a AtomicU64,
    stop: &'a AtomicBool,
}

struct Slot<F> {
    generated: Generated,
    filter: F,
    rng: ChaCha8Rng,
    read: usize,
}

impl Worker<'_> {
    fn run<F: TokenFilter>(&self, filter: &impl Fn(u64) -> F, sender: &mpsc::SyncSender<(Generated, F)>) {
        let width = (self.job.slots.max(1) as u64).min(self.job.sequences) as usize;
        let mut state = self.decoder.state(width);
        let mut slots: Vec<Option<Slot<F>>> = (0..width).map(|_| self.start(filter)).collect();
        let mut candidates = Vec::new();
        while slots.iter().any(Option::is_some) && !self.stop.load(Ordering::Relaxed) {
            for (i, slot) in slots.iter().enumerate() {
                if let Some(slot) = slot {
                    state.set_token(i, slot.generated.tokens[slot.read]);
                }
            }
            self.decoder.step(&mut state);
            for (i, place) in slots.iter_mut().enumerate() {
                let Some(slot) = place else { continue };
                if !self.advance(slot, &state, i, &mut candidates) {
                    let Some(finished) = place.take() else { continue };
                    if sender.send((finished.generated, finished.filter)).is_err() {
                        return;
                    }
                    self.decoder.reset(&mut state, i);
                    *place = self.start(filter);
                }
            }
        }
    }

    /// The next sequence, if there is one.
    fn start<F: TokenFilter>(&self, filter: &impl Fn(u64) -> F) -> Option<Slot<F>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.job.sequences {
            return None;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.job.seed);
        rng.set_stream(index);
        let mut filter = filter(index);
        self.job.prompt.iter().for_each(|&token| filter.push(token));
        let generated = Generated { index, tokens: self.job.prompt.clone(), done: false };
        Some(Slot { generated, filter, rng, read: 0 })
    }

    /// Takes a slot one token further; false where its sequence is finished.
    fn advance<F: TokenFilter>(
        &self,
        slot: &mut Slot<F>,
        state: &DecoderState,
        place: usize,
        candidates: &mut Vec<(u16, f32)>,
    ) -> bool {
        slot.read += 1;
        if slot.read < slot.generated.tokens.len() {
            return true; // still reading the prompt
        }
        let logits = self.decoder.logits(state, place);
        let drawn = choose(logits, slot.filter.legal(), &self.job.sampling, &mut slot.rng, candidates);
        if let Some(token) = drawn {
            slot.filter.push(token);
            slot.generated.tokens.push(token);
        }
        slot.generated.done = slot.filter.is_done();
        drawn.is_some() && !slot.generated.done && slot.generated.tokens.len() < self.job.max_tokens
    }
}
