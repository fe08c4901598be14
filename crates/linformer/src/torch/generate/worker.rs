//! Threads that run sequences: each takes the next one from a common queue whenever a slot is free.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use linformer_kernels::KernelError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::job::{Generated, Job, StopReason};
use super::steps::Slots;
use crate::ModelError;
use crate::sample::{TokenFilter, choose, pick, uniform};

/// Sequence that has ended with its filter, or the failure that ends its thread.
type Outcome<F> = Result<(Generated, F), KernelError>;

/// Runs a job's sequences in its threads, each with `groups` groups of slots that `slots` makes,
/// and
/// delivers them in order.
pub(super) fn run_threads<S: Slots, F: TokenFilter + Send, E: From<ModelError>>(
    job: &Job,
    groups: usize,
    slots: impl Fn(usize) -> Result<S, KernelError> + Sync,
    filter: impl Fn(u64) -> F + Sync,
    deliver: &mut impl FnMut(Generated, F) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let first = job.sequences.start;
    let shared = Shared { next: AtomicU64::new(first), ..Shared::default() };
    let slots_needed = count(job).div_ceil(job.slots.max(1) as u64).max(1) as usize;
    let threads = job.threads.clamp(1, slots_needed);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1024);
        for _ in 0..threads {
            let (sender, worker) = (sender.clone(), Worker { job, shared: &shared });
            let (slots, filter) = (&slots, &filter);
            scope.spawn(move || {
                if let Err(error) = worker.run(groups, slots, filter, &sender) {
                    // Nobody receives once the job has ended otherwise.
                    let _ = sender.send(Err(error));
                }
            });
        }
        drop(sender);
        let outcome = in_order(&receiver, first, &shared, deliver);
        shared.stop.store(true, Ordering::Relaxed);
        // Workers that wait for room in the channel see the stop once it is drained.
        while receiver.recv().is_ok() {}
        outcome
    })
}

/// Returns the number of sequences of a job.
fn count(job: &Job) -> u64 {
    job.sequences.end.saturating_sub(job.sequences.start)
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

/// Delivers the received sequences in order of index, from `next` on; early ones wait in a map.
/// Ends with the first error.
fn in_order<F, E: From<ModelError>>(
    receiver: &mpsc::Receiver<Outcome<F>>,
    mut next: u64,
    shared: &Shared,
    deliver: &mut impl FnMut(Generated, F) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut early = std::collections::BTreeMap::new();
    for outcome in receiver {
        let (generated, filter) = outcome.map_err(ModelError::from)?;
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
    job: &'a Job,
    shared: &'a Shared,
}

/// Slots that advance together, and what runs in each.
struct Group<S, F> {
    slots: S,
    sequences: Vec<Option<Sequence<F>>>,
    /// Whether a step has begun.
    is_running: bool,
}

/// Sequence in progress, with its constraint and its random numbers.
struct Sequence<F> {
    generated: Generated,
    filter: F,
    rng: ChaCha8Rng,
    /// Number of tokens that the model has read.
    read: usize,
}

impl Worker<'_> {
    /// Runs sequences until none is left: while one group's step runs, the others' tokens are
    /// drawn.
    fn run<S: Slots, F: TokenFilter>(
        &self,
        groups: usize,
        slots: &impl Fn(usize) -> Result<S, KernelError>,
        filter: &impl Fn(u64) -> F,
        sender: &mpsc::SyncSender<Outcome<F>>,
    ) -> Result<(), KernelError> {
        let mut groups = self.groups(groups, slots)?;
        let mut candidates = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            for group in &mut groups {
                if group.is_running {
                    group.slots.finish()?;
                    group.is_running = false;
                    if self.advance_all(group, &mut candidates, sender).is_break() {
                        return Ok(());
                    }
                }
                self.fill(group, filter);
                if group.sequences.iter().any(Option::is_some) {
                    group.slots.begin()?;
                    group.is_running = true;
                }
            }
            if groups.iter().any(|group| group.is_running) {
                continue;
            }
            if self.is_exhausted() {
                return Ok(());
            }
            // Too many tokens wait for an earlier sequence, which runs in another thread.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Allocates this thread's slots, in at most `groups` groups of about the same size.
    fn groups<S, F>(
        &self,
        groups: usize,
        slots: &impl Fn(usize) -> Result<S, KernelError>,
    ) -> Result<Vec<Group<S, F>>, KernelError> {
        let all = (self.job.slots.max(1) as u64).min(count(self.job)) as usize;
        let sizes = (0..groups).map(|i| (all + i) / groups).filter(|size| *size > 0);
        let group = |size| {
            let sequences = (0..size).map(|_| None).collect();
            Ok(Group { slots: slots(size)?, sequences, is_running: false })
        };
        sizes.map(group).collect()
    }

    /// Samples the next token of each sequence of a group after a step, and sends those that have
    /// ended. Breaks if nobody receives them.
    fn advance_all<S: Slots, F: TokenFilter>(
        &self,
        group: &mut Group<S, F>,
        candidates: &mut Vec<(u16, f32)>,
        sender: &mpsc::SyncSender<Outcome<F>>,
    ) -> ControlFlow<()> {
        for (i, place) in group.sequences.iter_mut().enumerate() {
            let Some(sequence) = place else { continue };
            if self.advance(sequence, group.slots.logits(i), candidates).is_continue() {
                continue;
            }
            let Some(ended) = place.take() else { continue };
            let tokens = ended.generated.tokens.len() as u64;
            self.shared.waiting.fetch_add(tokens, Ordering::Relaxed);
            if sender.send(Ok((ended.generated, ended.filter))).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Starts new sequences in free slots, and sets each slot's next token.
    fn fill<S: Slots, F: TokenFilter>(&self, group: &mut Group<S, F>, filter: &impl Fn(u64) -> F) {
        for (i, place) in group.sequences.iter_mut().enumerate() {
            if place.is_none() {
                *place = self.start(filter);
                if place.is_some() {
                    group.slots.reset(i);
                }
            }
            if let Some(sequence) = place {
                group.slots.set_token(i, sequence.generated.tokens[sequence.read]);
            }
        }
    }

    /// Returns whether every sequence of the job has started.
    fn is_exhausted(&self) -> bool {
        self.shared.next.load(Ordering::Relaxed) >= self.job.sequences.end
    }

    /// Starts the next sequence, if there is one and it may start now.
    fn start<F: TokenFilter>(&self, filter: &impl Fn(u64) -> F) -> Option<Sequence<F>> {
        let is_crowded =
            self.shared.waiting.load(Ordering::Relaxed) > self.job.max_waiting_tokens as u64;
        if is_crowded || self.is_exhausted() {
            return None;
        }
        let index = self.shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.job.sequences.end {
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
        Some(Sequence {
            generated: Generated { index, tokens, stop_reason: StopReason::CutOff },
            filter,
            rng,
            read: 0,
        })
    }

    /// Samples the next token of a sequence, once the model has read its prompt. Breaks if the
    /// sequence has
    /// ended.
    fn advance<F: TokenFilter>(
        &self,
        sequence: &mut Sequence<F>,
        logits: &[f32],
        candidates: &mut Vec<(u16, f32)>,
    ) -> ControlFlow<()> {
        sequence.read += 1;
        if sequence.read < sequence.generated.tokens.len() {
            return ControlFlow::Continue(());
        }
        let Some(token) = choose(
            logits,
            sequence.filter.allowed(),
            &self.job.sampling,
            &mut sequence.rng,
            candidates,
        ) else {
            let is_stuck = sequence.filter.allowed().iter().all(|word| *word == 0);
            sequence.generated.stop_reason =
                if is_stuck { StopReason::NoAllowedToken } else { StopReason::NonFiniteLogits };
            return ControlFlow::Break(());
        };
        sequence.filter.push(token);
        sequence.generated.tokens.push(token);
        if sequence.filter.is_done() {
            sequence.generated.stop_reason = StopReason::Done;
            return ControlFlow::Break(());
        }
        if sequence.generated.tokens.len() < self.job.max_tokens {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use linformer_kernels::{Decoder, KernelError};
    use tch::Device;

    use super::super::job::{Generated, Job, Prompt};
    use super::super::steps::{CpuSlots, Slots};
    use super::run_threads;
    use crate::{Model, ModelConfig, ModelError, Precision, Sampling, TokenFilter};

    /// Filter that allows every token; token 0 ends the sequence.
    struct Any {
        done: bool,
    }

    impl TokenFilter for Any {
        fn allowed(&mut self) -> &[u64] {
            &[u64::MAX]
        }
        fn push(&mut self, token: u16) {
            self.done = token == 0;
        }
        fn is_done(&self) -> bool {
            self.done
        }
    }

    /// Slots whose step is computed where it is waited for, as on a GPU, and that fail after a
    /// number of steps.
    struct Late<'a> {
        slots: CpuSlots<'a>,
        tokens: Vec<Option<u16>>,
        is_running: bool,
        steps_left: usize,
    }

    impl Slots for Late<'_> {
        fn reset(&mut self, slot: usize) {
            assert!(!self.is_running);
            self.slots.reset(slot);
        }
        fn set_token(&mut self, slot: usize, token: u16) {
            assert!(!self.is_running);
            self.tokens[slot] = Some(token);
        }
        fn begin(&mut self) -> Result<(), KernelError> {
            assert!(!self.is_running);
            self.is_running = true;
            Ok(())
        }
        fn finish(&mut self) -> Result<(), KernelError> {
            assert!(self.is_running);
            self.is_running = false;
            if self.steps_left == 0 {
                let message = "out of order".to_owned();
                return Err(KernelError::Refused { operator: "test", message });
            }
            self.steps_left -= 1;
            for (slot, token) in self.tokens.iter_mut().enumerate() {
                if let Some(token) = token.take() {
                    self.slots.set_token(slot, token);
                }
            }
            self.slots.begin()
        }
        fn logits(&self, slot: usize) -> &[f32] {
            assert!(!self.is_running);
            self.slots.logits(slot)
        }
    }

    fn decoder() -> Decoder {
        let sizes = ModelConfig {
            vocab_size: 64,
            hidden_size: 32,
            heads: 2,
            layers: 2,
            ffn_size: 32,
            ..ModelConfig::tiny()
        };
        Model::new(&sizes, 3, Device::Cpu).unwrap().decoder(Precision::F32).unwrap()
    }

    fn job(slots: usize, threads: usize, max_waiting_tokens: usize) -> Job {
        Job {
            sequences: 0..50,
            prompts: vec![Prompt::only(vec![2, 4]), Prompt::only(vec![7, 8, 9, 10])],
            sampling: Sampling::default(),
            seed: 11,
            slots,
            threads,
            max_tokens: 60,
            max_waiting_tokens,
        }
    }

    fn run<S: Slots>(
        job: &Job,
        groups: usize,
        slots: impl Fn(usize) -> Result<S, KernelError> + Sync,
    ) -> Result<Vec<Generated>, ModelError> {
        let mut all = Vec::new();
        run_threads(job, groups, slots, |_| Any { done: false }, &mut |generated, _| {
            all.push(generated);
            Ok::<_, ModelError>(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    fn late(decoder: &Decoder, slots: usize, steps: usize) -> Result<Late<'_>, KernelError> {
        let tokens = vec![None; slots];
        let slots = CpuSlots::new(decoder, slots);
        Ok(Late { slots, tokens, is_running: false, steps_left: steps })
    }

    #[test]
    fn groups_that_are_waited_for_later_run_the_same_sequences() {
        let decoder = decoder();
        let expected = run(&job(8, 1, 1000), 1, |n| Ok(CpuSlots::new(&decoder, n))).unwrap();
        assert_eq!(expected.len(), 50);
        for (slots, threads, waiting) in [(8, 1, 1000), (1, 1, 9), (7, 3, 0), (64, 2, 1000)] {
            for groups in [1, 2, 3] {
                let found =
                    run(&job(slots, threads, waiting), groups, |n| late(&decoder, n, usize::MAX));
                assert_eq!(found.unwrap(), expected, "{slots} slots, {threads} threads, {groups}");
            }
        }
    }

    #[test]
    fn a_failure_of_a_thread_is_the_end_of_all() {
        let decoder = decoder();
        let found = run(&job(3, 4, 1000), 2, |n| late(&decoder, n, 20));
        assert_eq!(found.unwrap_err().to_string(), "test: out of order");
        let refused = |_| -> Result<Late, KernelError> {
            Err(KernelError::Refused { operator: "test", message: "no memory".to_owned() })
        };
        assert_eq!(run(&job(3, 4, 1000), 2, refused).unwrap_err().to_string(), "test: no memory");
    }
}
