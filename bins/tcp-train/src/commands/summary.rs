//! What a run has to say at its end.

use std::fmt;

use clikit::text::{Rows, count, percent};
use serde::Serialize;

use super::data::Counts;

/// Loss on some flows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Loss {
    /// Nats per token.
    pub(crate) nats_per_token: f64,
    /// Bits per packet: what an ideal coder would need with this model.
    pub(crate) bits_per_packet: f64,
}

/// A training run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TrainSummary {
    pub(crate) train: Counts,
    pub(crate) validation: Counts,
    pub(crate) test: Counts,
    pub(crate) duplicates: u64,
    /// Flows left out because `max_repeats` others differ from them in time alone.
    pub(crate) repeats: u64,
    pub(crate) max_repeats: u64,
    /// Flows that are learnt in more than one step, with their state carried on.
    pub(crate) flows_in_pieces: u64,
    pub(crate) weights: u64,
    pub(crate) steps: u64,
    pub(crate) epochs: f64,
    /// Over the last steps.
    pub(crate) training_loss: Loss,
    /// Of the weights kept.
    pub(crate) validation_loss: Option<Loss>,
    pub(crate) best_step: u64,
    /// Of this run and the ones it goes on from.
    pub(crate) seconds: f64,
    pub(crate) tokens_per_second: f64,
    pub(crate) packets_per_second: f64,
    pub(crate) stopped_by: &'static str,
    /// Processes that trained together.
    pub(crate) processes: usize,
    /// Octets resident at most, in this process.
    pub(crate) peak_memory: Option<u64>,
    /// Octets in tensors on the CPU at most.
    pub(crate) peak_tensor_memory: u64,
}

impl fmt::Display for TrainSummary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::default();
        let counts = |c: &Counts| {
            format!(
                "{} flows, {} packets, {} tokens",
                count(c.flows),
                count(c.packets),
                count(c.tokens)
            )
        };
        let loss = |l: &Loss| {
            format!(
                "{:.4} nats per token, {:.2} bits per packet",
                l.nats_per_token, l.bits_per_packet
            )
        };
        rows.push("trained on", counts(&self.train));
        rows.push("validated on", counts(&self.validation));
        if self.test.flows > 0 {
            rows.push("kept for a test", counts(&self.test));
        }
        rows.push("duplicates left out", format!("{} flows", count(self.duplicates)));
        if self.repeats > 0 {
            let others = format!("{} others differ in time alone", count(self.max_repeats));
            rows.push(
                "repeats left out",
                format!("{} flows, of which {others}", count(self.repeats)),
            );
        }
        if self.flows_in_pieces > 0 {
            rows.push("learnt in pieces", format!("{} flows", count(self.flows_in_pieces)));
        }
        rows.push("weights", count(self.weights));
        rows.push(
            "steps",
            format!(
                "{} ({:.1} epochs), ended by {}",
                count(self.steps),
                self.epochs,
                self.stopped_by
            ),
        );
        rows.push("training loss", loss(&self.training_loss));
        if let Some(validation) = &self.validation_loss {
            rows.push(
                "validation loss",
                format!("{}, at step {}", loss(validation), count(self.best_step)),
            );
        }
        rows.push("time", format!("{:.0} s", self.seconds));
        let speeds = [self.tokens_per_second, self.packets_per_second].map(|x| count(x as u64));
        rows.push("speed", format!("{} tokens/s, {} packets/s", speeds[0], speeds[1]));
        if self.processes > 1 {
            rows.push("processes", count(self.processes as u64));
        }
        push_memory(&mut rows, self.peak_memory, self.peak_tensor_memory);
        write!(to, "{rows}")
    }
}

/// A generation run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GenerateSummary {
    pub(crate) constrain: &'static str,
    /// Flows generated.
    pub(crate) generated: u64,
    /// Flows written: those that decode.
    pub(crate) flows: u64,
    /// Flows that are whole valid TCP sessions.
    pub(crate) sessions: u64,
    pub(crate) packets: u64,
    pub(crate) tokens: u64,
    pub(crate) seconds: f64,
    /// Flows by length class, from 0 packets on: class n has 2^n to 2^(n+1) - 1.
    pub(crate) lengths: [u64; 16],
    /// Packets of the longest flow.
    pub(crate) longest: u64,
    /// Octets resident at most.
    pub(crate) peak_memory: Option<u64>,
    /// Octets in tensors on the CPU at most.
    pub(crate) peak_tensor_memory: u64,
    /// Why the first flow that does not decode does not.
    pub(crate) first_fault: Option<String>,
}

impl GenerateSummary {
    /// Counts a flow that decodes.
    pub(crate) fn add(&mut self, packets: u64, is_session: bool) {
        self.flows += 1;
        self.packets += packets;
        self.sessions += u64::from(is_session);
        self.lengths[(packets.max(1).ilog2() as usize).min(15)] += 1;
        self.longest = self.longest.max(packets);
    }
}

impl fmt::Display for GenerateSummary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::default();
        let rate = |n: u64| count((n as f64 / self.seconds.max(1e-9)) as u64);
        rows.push(
            "generated",
            format!(
                "{} flows, {} packets, {} tokens",
                count(self.generated),
                count(self.packets),
                count(self.tokens)
            ),
        );
        rows.push("constrained to", self.constrain);
        rows.push(
            "decode",
            format!("{} flows, {}", count(self.flows), percent(self.flows, self.generated)),
        );
        rows.push(
            "whole valid sessions",
            format!("{} flows, {}", count(self.sessions), percent(self.sessions, self.generated)),
        );
        rows.push("packets per flow", format!("{} in the longest", count(self.longest)));
        rows.push("time", format!("{:.1} s", self.seconds));
        push_memory(&mut rows, self.peak_memory, self.peak_tensor_memory);
        let speeds = [self.generated, self.packets, self.tokens].map(rate);
        rows.push(
            "speed",
            format!("{} flows/s, {} packets/s, {} tokens/s", speeds[0], speeds[1], speeds[2]),
        );
        write!(to, "{rows}")
    }
}

fn push_memory(rows: &mut Rows, peak: Option<u64>, tensors: u64) {
    if let Some(peak) = peak {
        rows.push(
            "memory",
            format!(
                "{} MiB at most, {} MiB in tensors at most",
                count(peak >> 20),
                count(tensors >> 20)
            ),
        );
    }
}
