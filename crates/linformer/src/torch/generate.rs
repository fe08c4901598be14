//! Generation of many sequences at once, each with its own state and its own random numbers.
//!
//! Each thread owns a number of slots. A slot whose sequence has ended starts the next one at once
//! (continuous batching). A sequence depends on the weights, the seed and its index alone: the
//! number of slots and threads and the order of sequences do not change it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use linformer_kernels::{Decoder, DecoderState};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::sample::{Sampling, TokenFilter, candidate_weights, choose, pick, uniform};

/// Sequences to generate, and the resources for it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Largest number of sequences.
    pub sequences: u64,
    /// Beginnings of sequences; each sequence starts with one of them, sampled by weight.
    pub prompts: Vec<Prompt>,
    /// Settings of sampling, for all sequences.
    pub sampling: Sampling,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of sequences that each thread runs at once.
    pub slots: usize,
    /// Number of threads that run the decoder.
    pub threads: usize,
    /// Largest number of tokens in a sequence, which is cut off there.
    pub max_tokens: usize,
    /// Number of tokens in finished sequences that wait for an earlier one, beyond which no new one
    /// starts. It bounds the memory that a long sequence makes the later ones take.
    pub max_waiting_tokens: usize,
}

/// Beginning of sequences, with its weight among others.
#[derive(Clone, PartialEq, Debug)]
pub struct Prompt {
    /// Tokens of the beginning, at least one.
    pub tokens: Vec<u16>,
    /// Unnormalised probability of this beginning.
    pub weight: f32,
}

impl Prompt {
    /// Creates a prompt that is the only one.
    #[must_use]
    pub fn only(tokens: Vec<u16>) -> Prompt {
        Prompt { tokens, weight: 1.0 }
    }
}

/// Result of comparing the beginning of a sequence with the conditions on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixMatch {
    /// The conditions are not satisfied, and no continuation satisfies them.
    No,
    /// The conditions are satisfied so far; later tokens decide.
    Partial,
    /// The conditions are satisfied, whichever tokens follow.
    Full,
}

/// Reason why a sequence ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The filter says that the sequence is done.
    Done,
    /// The sequence has [`Job::max_tokens`] tokens.
    CutOff,
    /// No allowed token has a finite score.
    NonFiniteLogits,
    /// The filter allows no token, and does not say that the sequence is done.
    NoAllowedToken,
}

/// Sequence that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generated {
    /// Index of the sequence in its job, from 0.
    pub index: u64,
    /// Tokens of the sequence, beginning with the prompt.
    pub tokens: Vec<u16>,
    /// Reason why the sequence ended.
    pub stop_reason: StopReason,
}

/// Generator of sequences from a model. Clones share the weights.
#[derive(Clone, Debug)]
pub struct Generator {
    decoder: Decoder,
}

/// Number of prompts that the model reads at once while it enumerates them.
const PROMPTS_AT_ONCE: usize = 64;

impl Generator {
    /// Creates a generator from a model's decoder.
    #[must_use]
    pub fn new(decoder: Decoder) -> Generator {
        Generator { decoder }
    }

    /// Enumerates every prefix after `start` that satisfies `matches`, with its probability.
    /// Sampling one by weight gives the same distribution as rejection sampling, without the
    /// rejections.
    pub fn enumerate_prompts<F: TokenFilter>(
        &self,
        start: &[u16],
        filter: impl Fn() -> F,
        sampling: &Sampling,
        matches: impl Fn(&[u16]) -> PrefixMatch,
    ) -> Vec<Prompt> {
        let mut open = vec![Prompt::only(start.to_vec())];
        let mut found = Vec::new();
        while !open.is_empty() {
            let next: Vec<Prompt> = open
                .chunks(PROMPTS_AT_ONCE)
                .flat_map(|some| self.expand(some, &filter, sampling))
                .collect();
            open.clear();
            for prompt in next {
                match matches(&prompt.tokens) {
                    PrefixMatch::No => {}
                    PrefixMatch::Partial => open.push(prompt),
                    PrefixMatch::Full => found.push(prompt),
                }
            }
        }
        found
    }

    /// Extends each of `prompts`, which have one length, by each token that may follow.
    fn expand<F: TokenFilter>(
        &self,
        prompts: &[Prompt],
        filter: &impl Fn() -> F,
        sampling: &Sampling,
    ) -> Vec<Prompt> {
        let mut state = self.decoder.state(prompts.len());
        for t in 0..prompts[0].tokens.len() {
            prompts
                .iter()
                .enumerate()
                .for_each(|(slot, prompt)| state.set_token(slot, prompt.tokens[t]));
            self.decoder.step(&mut state);
        }
        let (mut all, mut candidates) = (Vec::new(), Vec::new());
        for (slot, prompt) in prompts.iter().enumerate() {
            let mut filter = filter();
            prompt.tokens.iter().for_each(|&token| filter.push(token));
            candidate_weights(
                self.decoder.logits(&state, slot),
                filter.allowed(),
                sampling,
                &mut candidates,
            );
            let total: f32 = candidates.iter().map(|c| c.1).sum();
            all.extend(candidates.iter().map(|&(token, weight)| {
                let tokens = prompt.tokens.iter().copied().chain([token]).collect();
                Prompt { tokens, weight: prompt.weight * weight / total }
            }));
        }
        all
    }

    /// Generates all sequences and calls `deliver` with each of them and its filter, in order of
    /// index. [`ControlFlow::Break`] stops the generation.
    ///
    /// # Errors
    /// With the error of `deliver`.
    pub fn run<F: TokenFilter + Send, E>(
        &self,
        job: &Job,
        filter: impl Fn(u64) -> F + Sync,
        mut deliver: impl FnMut(Generated, F) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let shared = Shared::default();
        let threads =
            job.threads.clamp(1, job.sequences.div_ceil(job.slots.max(1) as u64).max(1) as usize);
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(1024);
            for _ in 0..threads {
                let (sender, worker) =
                    (sender.clone(), Worker { decoder: &self.decoder, job, shared: &shared });
                let filter = &filter;
                scope.spawn(move || worker.run(filter, &sender));
            }
            drop(sender);
            let outcome = in_order(&receiver, &shared, &mut deliver);
            shared.stop.store(true, Ordering::Relaxed);
            // Workers that wait for room in the channel see the stop once it is drained.
            while receiver.recv().is_ok() {}
            outcome
        })
    }
}

/// State shared by the workers and the receiver of their sequences.
#[derive(Default)]
struct Shared {
    /// Index of the next sequence to start.
    next: AtomicU64,
    /// Number of tokens in finished sequences that wait for an earlier one.
    waiting: AtomicU64,
    /// Set when the receiver wants no more sequences.
    stop: AtomicBool,
}

/// Delivers the received sequences in order of index; early ones wait in a map.
fn in_order<F, E>(
    receiver: &mpsc::Receiver<(Generated, F)>,
    shared: &Shared,
    deliver: &mut impl FnMut(Generated, F) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut early = std::collections::BTreeMap::new();
    let mut next = 0;
    for (generated, filter) in receiver {
        early.insert(generated.index, (generated, filter));
        while let Some((generated, filter)) = early.remove(&next) {
            next += 1;
            shared.waiting.fetch_sub(generated.tokens.len() as u64, Ordering::Relaxed);
            if deliver(generated, filter)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// One thread's work on a job.
struct Worker<'a> {
    decoder: &'a Decoder,
    job: &'a Job,
    shared: &'a Shared,
}

/// Sequence in progress, with its constraint and its random numbers.
struct Slot<F> {
    generated: Generated,
    filter: F,
    rng: ChaCha8Rng,
    /// Number of tokens that the model has read.
    read: usize,
}

impl Worker<'_> {
    fn run<F: TokenFilter>(
        &self,
        filter: &impl Fn(u64) -> F,
        sender: &mpsc::SyncSender<(Generated, F)>,
    ) {
        let n = (self.job.slots.max(1) as u64).min(self.job.sequences) as usize;
        let mut state = self.decoder.state(n);
        let mut slots: Vec<Option<Slot<F>>> = (0..n).map(|_| None).collect();
        let mut candidates = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.fill(&mut slots, &mut state, filter);
            if slots.iter().all(Option::is_none) {
                if self.is_exhausted() {
                    return;
                }
                // Too many tokens wait for an earlier sequence, which runs in another thread.
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            self.decoder.step(&mut state);
            for (i, place) in slots.iter_mut().enumerate() {
                let Some(slot) = place else { continue };
                if self.advance(slot, &state, i, &mut candidates).is_break() {
                    let Some(finished) = place.take() else { continue };
                    let tokens = finished.generated.tokens.len() as u64;
                    self.shared.waiting.fetch_add(tokens, Ordering::Relaxed);
                    if sender.send((finished.generated, finished.filter)).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Starts new sequences in free slots, and sets each slot's next token in the state.
    fn fill<F: TokenFilter>(
        &self,
        slots: &mut [Option<Slot<F>>],
        state: &mut DecoderState,
        filter: &impl Fn(u64) -> F,
    ) {
        for (i, place) in slots.iter_mut().enumerate() {
            if place.is_none() {
                *place = self.start(filter);
                if place.is_some() {
                    self.decoder.reset(state, i);
                }
            }
            if let Some(slot) = place {
                state.set_token(i, slot.generated.tokens[slot.read]);
            }
        }
    }

    /// Returns whether every sequence of the job has started.
    fn is_exhausted(&self) -> bool {
        self.shared.next.load(Ordering::Relaxed) >= self.job.sequences
    }

    /// Starts the next sequence, if there is one and it may start now.
    fn start<F: TokenFilter>(&self, filter: &impl Fn(u64) -> F) -> Option<Slot<F>> {
        let is_crowded =
            self.shared.waiting.load(Ordering::Relaxed) > self.job.max_waiting_tokens as u64;
        if is_crowded || self.is_exhausted() {
            return None;
        }
        let index = self.shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.job.sequences {
            return None;
        }
        // A stream for each sequence: its numbers do not depend on those that others draw.
        let mut rng = ChaCha8Rng::seed_from_u64(self.job.seed);
        rng.set_stream(index);
        let tokens = match &self.job.prompts[..] {
            [only] => only.tokens.clone(),
            all => all[pick(all.iter().map(|p| p.weight), uniform(&mut rng)).unwrap_or(0)]
                .tokens
                .clone(),
        };
        let mut filter = filter(index);
        tokens.iter().for_each(|&token| filter.push(token));
        Some(Slot {
            generated: Generated { index, tokens, stop_reason: StopReason::CutOff },
            filter,
            rng,
            read: 0,
        })
    }

    /// Samples the next token of a slot, once it has read its prompt. Breaks if the sequence has
    /// ended.
    fn advance<F: TokenFilter>(
        &self,
        slot: &mut Slot<F>,
        state: &DecoderState,
        index: usize,
        candidates: &mut Vec<(u16, f32)>,
    ) -> ControlFlow<()> {
        slot.read += 1;
        if slot.read < slot.generated.tokens.len() {
            return ControlFlow::Continue(());
        }
        let logits = self.decoder.logits(state, index);
        let Some(token) =
            choose(logits, slot.filter.allowed(), &self.job.sampling, &mut slot.rng, candidates)
        else {
            let is_stuck = slot.filter.allowed().iter().all(|word| *word == 0);
            slot.generated.stop_reason =
                if is_stuck { StopReason::NoAllowedToken } else { StopReason::NonFiniteLogits };
            return ControlFlow::Break(());
        };
        slot.filter.push(token);
        slot.generated.tokens.push(token);
        if slot.filter.is_done() {
            slot.generated.stop_reason = StopReason::Done;
            return ControlFlow::Break(());
        }
        if slot.generated.tokens.len() < self.job.max_tokens {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}
