//! Summaries that `train` and `generate` print at the end, as a table or as JSON.

use std::fmt;

use clikit::text::{Rows, count, percent};
use serde::{Deserialize, Serialize};

use super::data::PartCounts;

/// Mean loss over steps or flows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Loss {
    /// Mean cross-entropy per predicted token, in nats.
    pub(crate) nats_per_token: f64,
    /// Mean cross-entropy per packet, in bits: the length of an ideal code with this model.
    pub(crate) bits_per_packet: f64,
}

/// Summary of a training run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TrainSummary {
    /// Size of the training flows.
    pub(crate) train: PartCounts,
    /// Size of the validation flows.
    pub(crate) validation: PartCounts,
    /// Size of the test flows, which were not read.
    pub(crate) test: PartCounts,
    /// Number of flows left out because another one has the same tokens.
    pub(crate) duplicates: u64,
    /// Number of flows left out because `max_repeats` others differ from them in time alone.
    pub(crate) repeats: u64,
    /// Largest number of flows kept among those that differ in time alone; 0: all.
    pub(crate) max_repeats: u64,
    /// Number of flows that take more than one step, with their recurrent state carried over.
    pub(crate) flows_in_pieces: u64,
    /// Number of weights of the model.
    pub(crate) weights: u64,
    /// Number of steps of all sessions of the run.
    pub(crate) steps: u64,
    /// Number of passes over the training flows, with a fraction.
    pub(crate) epochs: f64,
    /// Mean loss of the latest steps.
    pub(crate) training_loss: Loss,
    /// Validation loss of the weights in model.safetensors.
    pub(crate) validation_loss: Option<Loss>,
    /// Number of the step that these weights are from; 0 without validation.
    pub(crate) best_step: u64,
    /// Training time of all sessions of the run, in seconds.
    pub(crate) seconds: f64,
    /// Mean number of predicted tokens per second.
    pub(crate) tokens_per_second: f64,
    /// Mean number of packets trained on per second.
    pub(crate) packets_per_second: f64,
    /// Cause that stopped the run: see `StopCause::name`.
    pub(crate) stopped_by: &'static str,
    /// Number of processes that trained together.
    pub(crate) processes: usize,
    /// Peak resident set size of this process, in octets.
    pub(crate) peak_memory: Option<u64>,
    /// Peak size of all tensors on the CPU, in octets.
    pub(crate) peak_tensor_memory: u64,
}

impl fmt::Display for TrainSummary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::default();
        let counts = |c: &PartCounts| {
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

/// Summary of a generation run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GenerateSummary {
    /// Constraint on the flows, as `--constrain` spells it.
    pub(crate) constrain: String,
    /// Number of flows generated.
    pub(crate) generated: u64,
    /// Number of flows written: those that decode.
    pub(crate) flows: u64,
    /// Number of flows that are whole valid TCP sessions.
    pub(crate) sessions: u64,
    /// Number of packets of the flows written.
    pub(crate) packets: u64,
    /// Number of tokens generated.
    pub(crate) tokens: u64,
    /// Time of the generation, in seconds.
    pub(crate) seconds: f64,
    /// Number of flows written by length class: class n has 2^n to 2^(n+1) - 1 packets, class 15
    /// all from 2^15 on.
    pub(crate) lengths: [u64; 16],
    /// Number of packets of the longest flow.
    pub(crate) longest: u64,
    /// Peak resident set size of the process, in octets.
    pub(crate) peak_memory: Option<u64>,
    /// Peak size of all tensors on the CPU, in octets.
    pub(crate) peak_tensor_memory: u64,
    /// Error of the first flow that does not decode, with the index of the flow.
    pub(crate) first_fault: Option<String>,
}

impl GenerateSummary {
    /// Counts a flow that is written.
    pub(crate) fn add(&mut self, packets: u64, is_session: bool) {
        self.flows += 1;
        self.packets += packets;
        self.sessions += u64::from(is_session);
        self.lengths[(packets.max(1).ilog2() as usize).min(15)] += 1;
        self.longest = self.longest.max(packets);
    }

    /// Adds the summary of a part of the run. Times are those of all processes together, and
    /// memory is that of the largest one.
    pub(crate) fn add_part(&mut self, part: GenerateSummary) {
        self.constrain = part.constrain;
        self.generated += part.generated;
        self.flows += part.flows;
        self.sessions += part.sessions;
        self.packets += part.packets;
        self.tokens += part.tokens;
        self.seconds += part.seconds;
        self.lengths.iter_mut().zip(part.lengths).for_each(|(sum, n)| *sum += n);
        self.longest = self.longest.max(part.longest);
        self.peak_memory = self.peak_memory.max(part.peak_memory);
        self.peak_tensor_memory = self.peak_tensor_memory.max(part.peak_tensor_memory);
        self.first_fault = self.first_fault.take().or(part.first_fault);
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
        rows.push("constrained to", &self.constrain);
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

/// Adds the row with the peaks of memory, if the system reports the peak of the process.
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
