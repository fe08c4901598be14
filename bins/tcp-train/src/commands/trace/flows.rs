//! Flows by their heads, generated together.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrowio::{FlowRow, Tokens};
use dataset::{Outcome, RowDecoder, summarize};
use linformer::{Generated, Generator, Job, Prompt, StopReason};
use tokenizer::field::{self, CloseKind};
use tokenizer::host::HostSystem;
use tokenizer::skeleton::{Anchor, Syn};
use tokenizer::{FlowIdentity, field::BOS};

use super::filter::{Script, ScriptedFilter, syn_ack_of};
use super::skeletons::PlannedHost;
use crate::commands::filter::FlowFilter;

/// Largest number of flows drawn for one head, of which the first one counts that keeps the
/// relation to the next flow's start.
const CANDIDATES: usize = 4;

/// Flow that was drawn for a head.
#[derive(Clone, Debug)]
pub(super) struct DrawnFlow {
    pub(super) row: FlowRow,
    pub(super) duration_ns: i64,
    pub(super) packets: u64,
    pub(super) is_session: bool,
    pub(super) system: Option<HostSystem>,
    /// TTL of the first packet of each side.
    pub(super) ttls: [Option<u8>; 2],
}

/// Source of flows by their heads.
pub(super) struct Flows<'f> {
    pub(super) generator: &'f Generator,
    /// Job of the flows, whose numbers and seed are set for each run.
    pub(super) job: Job,
    pub(super) filter: &'f (dyn Fn() -> FlowFilter + Sync),
    pub(super) decoder: RowDecoder,
    /// SYN-ACK of each server to each SYN: what it answers depends on what is offered.
    syn_acks: HashMap<(u32, Syn), Arc<[u16]>>,
    /// Number of jobs so far: each has random numbers of its own.
    jobs: u64,
    /// Number of flows that were generated, candidates that were not taken included.
    generated: u64,
    /// Number of tokens of these flows.
    pub(super) tokens: u64,
    pub(super) first_fault: Option<String>,
}

/// Place of a flow in a chunk: its host, its index among that host's flows.
type Slot = (usize, usize);

impl<'f> Flows<'f> {
    pub(super) fn new(
        generator: &'f Generator,
        job: Job,
        filter: &'f (dyn Fn() -> FlowFilter + Sync),
    ) -> Flows<'f> {
        Flows {
            generator,
            job,
            filter,
            decoder: RowDecoder::default(),
            syn_acks: HashMap::new(),
            jobs: 0,
            generated: 0,
            tokens: 0,
            first_fault: None,
        }
    }

    /// Returns a flow for each head of the hosts; `None` where none decodes. Servers answer as they
    /// did the last time.
    ///
    /// # Errors
    /// If the generator fails.
    pub(super) fn draw(
        &mut self,
        hosts: &[PlannedHost],
    ) -> anyhow::Result<Vec<Vec<Option<DrawnFlow>>>> {
        let mut drawn: Vec<Vec<Option<DrawnFlow>>> =
            hosts.iter().map(|host| vec![None; host.heads.len()]).collect();
        let (mut first, mut later): (Vec<Slot>, Vec<Slot>) = (Vec::new(), Vec::new());
        let mut begun = std::collections::HashSet::new();
        for (h, host) in hosts.iter().enumerate() {
            for (f, head) in host.heads.iter().enumerate() {
                let asked = (head.server, head.syn.clone());
                let is_first = !self.syn_acks.contains_key(&asked) && begun.insert(asked);
                if is_first { first.push((h, f)) } else { later.push((h, f)) }
            }
        }
        for slots in [first, later] {
            self.draw_slots(hosts, slots, &mut drawn)?;
        }
        Ok(drawn)
    }

    /// Draws the flows of some slots, each anew until it keeps its relation.
    fn draw_slots(
        &mut self,
        hosts: &[PlannedHost],
        mut slots: Vec<Slot>,
        drawn: &mut [Vec<Option<DrawnFlow>>],
    ) -> anyhow::Result<()> {
        for _ in 0..CANDIDATES {
            if slots.is_empty() {
                break;
            }
            let scripts = slots.iter().map(|slot| self.script(hosts, *slot)).collect();
            let flows = self.run(&slots, scripts)?;
            let mut missed = Vec::new();
            for (slot, flow) in slots.into_iter().zip(flows) {
                let (h, f) = slot;
                let is_kept = flow.as_ref().is_some_and(|flow| keeps(hosts, slot, flow));
                if !is_kept {
                    missed.push(slot);
                }
                // Without one that keeps the relation, the first one stays.
                if is_kept || drawn[h][f].is_none() {
                    drawn[h][f] = flow;
                }
            }
            slots = missed;
        }
        for (host, flows) in hosts.iter().zip(drawn.iter()) {
            for (head, flow) in host.heads.iter().zip(flows) {
                let Some(Tokens::U16(tokens)) = flow.as_ref().map(|flow| &flow.row.tokens) else {
                    continue;
                };
                let asked = (head.server, head.syn.clone());
                if let Some(syn_ack) = syn_ack_of(tokens) {
                    self.syn_acks.entry(asked).or_insert_with(|| syn_ack.into());
                }
            }
        }
        Ok(())
    }

    fn script(&self, hosts: &[PlannedHost], (h, f): Slot) -> Script {
        let (unit, head) = (hosts[h].unit, &hosts[h].heads[f]);
        let known = self.syn_acks.get(&(head.server, head.syn.clone()));
        Script {
            header: head.prompt(unit)[1..].to_vec(),
            syn: head.syn.tokens.clone(),
            syn_ack: known.cloned().unwrap_or_default(),
        }
    }

    /// Generates a flow for each script, in order.
    fn run(
        &mut self,
        slots: &[Slot],
        scripts: Vec<Script>,
    ) -> anyhow::Result<Vec<Option<DrawnFlow>>> {
        self.jobs += 1;
        let mut job = self.job.clone();
        job.sequences = 0..slots.len() as u64;
        job.prompts = vec![Prompt::only(vec![BOS])];
        job.seed = self.job.seed.wrapping_add(self.jobs.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (generator, new_filter) = (self.generator, self.filter);
        let filter = |index: u64| ScriptedFilter::new(new_filter(), &scripts[index as usize]);
        let mut flows = Vec::with_capacity(slots.len());
        generator.run(&job, filter, |generated, filter| {
            flows.push(self.read(&generated, &filter.into_inner())?);
            Ok::<_, anyhow::Error>(ControlFlow::Continue(()))
        })?;
        Ok(flows)
    }

    fn read(
        &mut self,
        generated: &Generated,
        filter: &FlowFilter,
    ) -> anyhow::Result<Option<DrawnFlow>> {
        self.generated += 1;
        self.tokens += generated.tokens.len() as u64;
        if matches!(generated.stop_reason, StopReason::NonFiniteLogits | StopReason::NoAllowedToken)
        {
            anyhow::bail!(
                "flow {}: token {}: no token may follow",
                self.generated,
                generated.tokens.len()
            );
        }
        let tokens = Tokens::U16(generated.tokens.clone());
        let mut row = FlowRow { tokens, identity: FlowIdentity::default(), summary: None };
        let flow = match self.decoder.decode_with_stand_ins(&row) {
            Ok(flow) => flow,
            Err(error) => {
                let fault = || format!("flow {}: {error}", self.generated);
                self.first_fault.get_or_insert_with(fault);
                return Ok(None);
            }
        };
        if filter.needs_length_class()
            && let Tokens::U16(tokens) = &mut row.tokens
        {
            field::set_length_class(tokens, flow.packets.len());
        }
        let outcome = Outcome::of_decoded(&flow);
        let summary = summarize(&flow, outcome, "");
        let first = flow.packets.first();
        let of = |direction| flow.packets.iter().find(|packet| packet.direction == direction);
        let ttls = [flowtrack::Direction::Forward, flowtrack::Direction::Reverse];
        let drawn = DrawnFlow {
            duration_ns: summary.duration_ns,
            packets: flow.packets.len() as u64,
            is_session: outcome.class.is_complete() && filter.is_session(),
            system: first.and_then(|syn| HostSystem::of_syn(syn, flow.options_of(syn))),
            ttls: ttls.map(|direction| of(direction).map(|packet| packet.ttl)),
            row: FlowRow { summary: Some(summary), ..row },
        };
        self.decoder.recycle(flow);
        Ok(Some(drawn))
    }
}

/// Returns whether a flow is open when the next one starts, if the skeleton has it so.
fn keeps(hosts: &[PlannedHost], (h, f): Slot, flow: &DrawnFlow) -> bool {
    let heads = &hosts[h].heads;
    match heads.get(f + 1) {
        Some(next) if next.anchor == Anchor::While && heads[f].class.close != CloseKind::Open => {
            flow.duration_ns > next.gap_ns
        }
        _ => true,
    }
}
