//! Sequences to generate, and the reports on them.

use std::ops::Range;

use crate::sample::Sampling;

/// Sequences to generate, and the resources for it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Indices of the sequences, at most. Those of several jobs that differ in this alone are the
    /// sequences of one job with all indices.
    pub sequences: Range<u64>,
    /// Beginnings of sequences; each sequence starts with one of them, sampled by weight.
    pub prompts: Vec<Prompt>,
    /// Settings of sampling, for all sequences.
    pub sampling: Sampling,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of sequences that each thread runs at once.
    pub slots: usize,
    /// Number of threads that run the decoder on the CPU, or that draw tokens for a GPU.
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
