//! Skeletons of hosts, in chunks.

use std::ops::ControlFlow;

use linformer::{Generated, Generator, Job, Prompt, Sampling, StopReason};
use tokenizer::field::TimeUnit;
use tokenizer::skeleton::{BOS, FlowHead};

use super::filter::{HostFilter, SHARED};

/// Largest number of tokens of a host, beyond which it has no further flow.
const MAX_TOKENS: usize = 1 << 15;
/// Number of flows from which on a chunk of hosts is full.
const CHUNK_FLOWS: usize = 1 << 13;

/// Limits of a trace: the first that is reached ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceLimits {
    pub(super) hosts: u64,
    pub(super) flows: u64,
    /// Time in which flows start, in nanoseconds.
    pub(super) duration_ns: i64,
}

/// Host whose flows are to be generated.
#[derive(Clone, Debug)]
pub(super) struct PlannedHost {
    /// Number of the host, from 0.
    pub(super) number: u64,
    /// First start since that of the trace, in nanoseconds.
    pub(super) start_ns: i64,
    pub(super) unit: TimeUnit,
    /// Heads of its flows, with servers numbered over the whole trace.
    pub(super) heads: Vec<FlowHead>,
}

/// Source of hosts, chunk by chunk.
pub(super) struct Skeletons {
    pub(super) generator: Generator,
    pub(super) sampling: Sampling,
    pub(super) seed: u64,
    pub(super) slots: usize,
    pub(super) threads: usize,
    /// Whether the flows are whole sessions.
    pub(super) is_session: bool,
    pub(super) limits: TraceLimits,
    next: u64,
    flows: u64,
    last_start_ns: i64,
    servers: u32,
    is_over: bool,
}

impl Skeletons {
    pub(super) fn new(
        generator: Generator,
        sampling: Sampling,
        seed: u64,
        threads: usize,
        is_session: bool,
        limits: TraceLimits,
    ) -> Skeletons {
        let slots = generator.default_slots();
        Skeletons {
            generator,
            sampling,
            seed,
            slots,
            threads,
            is_session,
            limits,
            next: 0,
            flows: 0,
            last_start_ns: 0,
            servers: 0,
            is_over: false,
        }
    }

    /// Returns the next hosts, in order of their first starts; none when the trace is over.
    ///
    /// # Errors
    /// If the generator fails.
    pub(super) fn next_chunk(&mut self) -> anyhow::Result<Vec<PlannedHost>> {
        let mut chunk: Vec<PlannedHost> = Vec::new();
        if self.is_over {
            return Ok(chunk);
        }
        let job = Job {
            sequences: self.next..self.limits.hosts,
            prompts: vec![Prompt::only(vec![BOS])],
            sampling: self.sampling,
            // The flows of the trace have other random numbers.
            seed: self.seed ^ 0x7472_6163_6573,
            slots: self.slots,
            threads: self.threads,
            max_tokens: MAX_TOKENS,
            max_waiting_tokens: 1 << 24,
        };
        let (generator, is_session) = (self.generator.clone(), self.is_session);
        let max_flows = self.limits.flows;
        let filter = |index| HostFilter::new(index > 0, is_session, max_flows);
        let mut in_chunk = 0;
        self.is_over = true;
        generator.run(&job, filter, |host, filter| {
            check(&host)?;
            let Some(planned) = self.plan(&host, filter) else {
                return Ok::<_, anyhow::Error>(ControlFlow::Break(()));
            };
            in_chunk += planned.heads.len();
            chunk.push(planned);
            if self.flows >= self.limits.flows {
                return Ok(ControlFlow::Break(()));
            }
            if in_chunk >= CHUNK_FLOWS {
                self.is_over = self.next >= self.limits.hosts;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(chunk)
    }

    /// Places a host in the trace; `None` behind its end.
    fn plan(&mut self, host: &Generated, filter: HostFilter) -> Option<PlannedHost> {
        let parser = filter.parser();
        let start_ns = self.last_start_ns.saturating_add(parser.since_ns());
        let start_ns = if host.index == 0 { 0 } else { start_ns };
        if start_ns > self.limits.duration_ns {
            return None;
        }
        let unit = parser.unit();
        let mut heads = filter.heads;
        let left = self.limits.flows - self.flows;
        heads.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let (before, mut new) = (self.servers, 0);
        for head in &mut heads {
            // The model says a number among servers that it has not seen.
            head.server = match head.server.checked_sub(SHARED) {
                Some(own) => before + own,
                None if before > 0 => head.server % before,
                None => 0,
            };
            new = new.max((head.server + 1).saturating_sub(before));
        }
        self.servers += new;
        self.flows += heads.len() as u64;
        self.next = host.index + 1;
        self.last_start_ns = start_ns;
        Some(PlannedHost { number: host.index, start_ns, unit, heads })
    }
}

/// Fails if a host has no tokens by a fault.
fn check(host: &Generated) -> anyhow::Result<()> {
    let why = match host.stop_reason {
        StopReason::Done | StopReason::CutOff => return Ok(()),
        StopReason::NonFiniteLogits => "the model's scores are no numbers",
        StopReason::NoAllowedToken => {
            "no token may follow by the grammar, which is a fault of the program"
        }
    };
    anyhow::bail!("host {}: token {}: {why}", host.index, host.tokens.len())
}
