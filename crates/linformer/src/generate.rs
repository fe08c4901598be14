//! Many sequences at once, each with its own state and its own random numbers.
//!
//! A thread owns a number of slots. A slot whose sequence is done takes the next one at once. What
//! a sequence becomes depends on the weights, the seed and its index alone: slots, threads and
//! order do not matter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use linformer_kernels::{Decoder, DecoderState};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::sample::{Sampling, TokenFilter, candidate_weights, choose, pick, uniform};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Job {
    /// Number of sequences, at most.
    pub sequences: u64,
    /// What each begins with: one of these, drawn by weight.
    pub prompts: Vec<Prompt>,
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
    /// While sequences of so many tokens are done and wait for an earlier one, no other is begun: a
    /// long sequence does not fill the memory with those behind it.
    pub max_waiting_tokens: usize,
}

/// What a sequence may begin with.
#[derive(Clone, PartialEq, Debug)]
pub struct Prompt {
    /// One token or more.
    pub tokens: Vec<u16>,
    /// How much likelier it is than others.
    pub weight: f32,
}

impl Prompt {
    /// The only one.
    #[must_use]
    pub fn only(tokens: Vec<u16>) -> Prompt {
        Prompt { tokens, weight: 1.0 }
    }
}

/// What is asked of the beginning of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixMatch {
    /// Not this one.
    No,
    /// This one, if what follows is.
    Partial,
    /// This one, whatever follows.
    Full,
}

/// How a sequence ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// Its filter called it done.
    Done,
    /// It had as many tokens as it may have.
    CutOff,
    /// The model gave scores that are no numbers.
    NonFiniteLogits,
    /// Its filter let nothing come next, and did not call it done.
    NoAllowedToken,
}

/// A sequence that is finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generated {
    /// Its index, from 0.
    pub index: u64,
    /// Its tokens, the prompt first.
    pub tokens: Vec<u16>,
    /// How it ended.
    pub stop_reason: StopReason,
}

/// A model that generates.
#[derive(Clone, Debug)]
pub struct Generator {
    decoder: Decoder,
}

/// Sequences read side by side where beginnings are weighed.
const WEIGHED_AT_ONCE: usize = 64;

impl Generator {
    /// From a model's decoder.
    #[must_use]
    pub fn new(decoder: Decoder) -> Generator {
        Generator { decoder }
    }

    /// All wanted beginnings that follow on `start`, each with its probability: drawing one of them
    /// by weight is drawing sequences without any wish and keeping those that fulfil it, and takes
    /// no longer.
    pub fn enumerate_prompts<F: TokenFilter>(
        &self,
        start: &[u16],
        filter: impl Fn() -> F,
        sampling: &Sampling,
        wanted: impl Fn(&[u16]) -> PrefixMatch,
    ) -> Vec<Prompt> {
        let mut open = vec![Prompt::only(start.to_vec())];
        let mut found = Vec::new();
        while !open.is_empty() {
            let next: Vec<Prompt> = open
                .chunks(WEIGHED_AT_ONCE)
                .flat_map(|some| self.expand(some, &filter, sampling))
                .collect();
            open.clear();
            for prompt in next {
                match wanted(&prompt.tokens) {
                    PrefixMatch::No => {}
                    PrefixMatch::Partial => open.push(prompt),
                    PrefixMatch::Full => found.push(prompt),
                }
            }
        }
        found
    }

    /// Each of `prompts`, all of one length, with each token that may follow.
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

    /// Generates all sequences and hands them over in order of index, each with its filter.
    /// `deliver` answers false to stop.
    ///
    /// # Errors
    /// What `deliver` fails with.
    pub fn run<F: TokenFilter + Send, E>(
        &self,
        job: &Job,
        filter: impl Fn(u64) -> F + Sync,
        mut deliver: impl FnMut(Generated, F) -> Result<bool, E>,
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
            while receiver.recv().is_ok() {} // lets workers that wait for room see the stop
            outcome
        })
    }
}

/// What workers and the one who takes what they have made know of each other.
#[derive(Default)]
struct Shared {
    /// The index of the next sequence to begin.
    next: AtomicU64,
    /// Tokens of sequences that are done and wait for an earlier one.
    waiting: AtomicU64,
    stop: AtomicBool,
}

/// Hands over what comes, in order of index; what comes early waits.
fn in_order<F, E>(
    receiver: &mpsc::Receiver<(Generated, F)>,
    shared: &Shared,
    deliver: &mut impl FnMut(Generated, F) -> Result<bool, E>,
) -> Result<(), E> {
    let mut early = std::collections::BTreeMap::new();
    let mut next = 0;
    for (generated, filter) in receiver {
        early.insert(generated.index, (generated, filter));
        while let Some((generated, filter)) = early.remove(&next) {
            next += 1;
            shared.waiting.fetch_sub(generated.tokens.len() as u64, Ordering::Relaxed);
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
    shared: &'a Shared,
}

struct Slot<F> {
    generated: Generated,
    filter: F,
    rng: ChaCha8Rng,
    read: usize,
}

impl Worker<'_> {
    fn run<F: TokenFilter>(
        &self,
        filter: &impl Fn(u64) -> F,
        sender: &mpsc::SyncSender<(Generated, F)>,
    ) {
        let width = (self.job.slots.max(1) as u64).min(self.job.sequences) as usize;
        let mut state = self.decoder.state(width);
        let mut slots: Vec<Option<Slot<F>>> = (0..width).map(|_| None).collect();
        let mut candidates = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.fill(&mut slots, &mut state, filter);
            if slots.iter().all(Option::is_none) {
                if self.is_exhausted() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1)); // an earlier sequence runs in another thread
                continue;
            }
            self.decoder.step(&mut state);
            for (i, place) in slots.iter_mut().enumerate() {
                let Some(slot) = place else { continue };
                if !self.advance(slot, &state, i, &mut candidates) {
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

    /// Puts new sequences into free slots, and each slot's next token into the state.
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

    fn is_exhausted(&self) -> bool {
        self.shared.next.load(Ordering::Relaxed) >= self.job.sequences
    }

    /// The next sequence, if there is one and it may begin now.
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
        let Some(token) =
            choose(logits, slot.filter.allowed(), &self.job.sampling, &mut slot.rng, candidates)
        else {
            let is_stuck = slot.filter.allowed().iter().all(|word| *word == 0);
            slot.generated.stop_reason =
                if is_stuck { StopReason::NoAllowedToken } else { StopReason::NonFiniteLogits };
            return false;
        };
        slot.filter.push(token);
        slot.generated.tokens.push(token);
        if slot.filter.is_done() {
            slot.generated.stop_reason = StopReason::Done;
        }
        slot.generated.stop_reason != StopReason::Done
            && slot.generated.tokens.len() < self.job.max_tokens
    }
}
