//! Generation of many sequences at once, each with its own state and its own random numbers.
//!
//! Each thread owns a number of slots. A slot whose sequence has ended starts the next one at once
//! (continuous batching). A sequence depends on the weights, the seed and its index alone: the
//! number of slots and threads and the order of sequences do not change it. A GPU rounds otherwise
//! than the CPU; where the scores of both lead to the same draws, so they do to the same sequence.

mod job;
mod steps;
mod worker;

use std::ops::ControlFlow;

use linformer_kernels::{Decoder, DeviceDecoder, DeviceSlots};
use tch::Device;

use crate::ModelError;
use crate::sample::{Sampling, TokenFilter, candidate_weights};
pub use job::{Generated, Job, PrefixMatch, Prompt, StopReason};
use steps::CpuSlots;
use worker::run_threads;

/// Generator of sequences from a model. Clones share the weights.
#[derive(Clone, Debug)]
pub struct Generator {
    decoder: Decoder,
    /// The model on the GPU that runs the sequences; absent: they run on the CPU.
    on_gpu: Option<DeviceDecoder>,
}

/// Number of prompts that the model reads at once while it enumerates them.
const PROMPTS_AT_ONCE: usize = 64;

/// Number of groups of slots of a thread on a GPU: it draws tokens for one while the GPU computes
/// the other.
const GPU_GROUPS: usize = 2;

impl Generator {
    /// Creates a generator that runs a model's decoder on the CPU.
    #[must_use]
    pub fn new(decoder: Decoder) -> Generator {
        Generator { decoder, on_gpu: None }
    }

    /// Creates a generator that runs a model's decoder on a device. Returns `None` for a GPU if
    /// this was built without CUDA.
    ///
    /// # Errors
    /// If the GPU lacks memory, or the kernels do not support the model's heads.
    pub fn on(device: Device, decoder: Decoder) -> Result<Option<Generator>, ModelError> {
        let Device::Cuda(number) = device else { return Ok(Some(Generator::new(decoder))) };
        let on_gpu = DeviceDecoder::new(&decoder, number)?;
        Ok(on_gpu.map(|on_gpu| Generator { decoder, on_gpu: Some(on_gpu) }))
    }

    /// Returns a number of slots for each thread that suits the device.
    #[must_use]
    pub fn default_slots(&self) -> usize {
        // A GPU needs thousands of rows for the launches of a step's kernels to pay.
        if self.on_gpu.is_some() { 256 } else { 64 }
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
    /// With the error of `deliver`, or if the GPU failed or lacks memory.
    pub fn run<F: TokenFilter + Send, E: From<ModelError>>(
        &self,
        job: &Job,
        filter: impl Fn(u64) -> F + Sync,
        mut deliver: impl FnMut(Generated, F) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        match &self.on_gpu {
            None => {
                let slots = |n| Ok(CpuSlots::new(&self.decoder, n));
                run_threads(job, 1, slots, filter, &mut deliver)
            }
            Some(on_gpu) => {
                let slots = |n| -> Result<DeviceSlots, _> { on_gpu.slots(n) };
                run_threads(job, GPU_GROUPS, slots, filter, &mut deliver)
            }
        }
    }
}
