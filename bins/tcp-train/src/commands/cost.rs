//! Cost of flows under a model: the bits of each, by packet and field.

use dataset::{FlowPiece, pack_rows};
use linformer::{Batch, CarriedStates, Model, SequencePiece};
use serde::Serialize;
use tokenizer::field::vocab;

use super::workers::Workers;
use crate::fields::{field_names, fields_by_token};

/// Number of parts of a flow that are named.
const NAMED: usize = 3;

/// Cost of one flow, in bits: the negative log2 probability given its class, its length class and
/// the server's port.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowCost {
    /// Bits of all packets.
    pub(crate) bits: f64,
    /// Number of packets in the flow.
    pub(crate) packets: u64,
    /// Bits by field, in the order of [`field_names`].
    by_field: Vec<f64>,
    /// Costliest parts, the costliest one first.
    pub(crate) costliest: Vec<Part>,
    /// Part that the tokens so far are of.
    current: Part,
    /// Whether the last token that is no digit is given.
    is_given: bool,
}

/// Field of one packet, with its cost.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Part {
    /// Number of the packet in the flow, from 1; 0 for the head of the flow.
    pub(crate) packet: u64,
    /// Name of the field.
    pub(crate) field: &'static str,
    /// Bits of the field's tokens.
    pub(crate) bits: f64,
}

impl FlowCost {
    /// Returns the bits per packet.
    pub(crate) fn bits_per_packet(&self) -> f64 {
        self.bits / self.packets.max(1) as f64
    }

    /// Returns the bits of each field that has any.
    pub(crate) fn by_field(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let all = field_names().into_iter().zip(self.by_field.iter().copied());
        all.filter(|(_, bits)| *bits > 0.0)
    }

    /// Adds a token that cost `bits`; `field` is the index of its field, `None` for a digit.
    fn add(&mut self, token: u16, field: Option<usize>, bits: f64, names: &[&'static str]) {
        let is_packet = vocab::PACKET.arg(token).is_some();
        self.packets += u64::from(is_packet);
        let name = field.map_or(self.current.field, |field| names[field]);
        if is_packet || name != self.current.field {
            self.close_part();
            self.current = Part { packet: self.packets, field: name, bits: 0.0 };
        }
        if field.is_some() {
            self.is_given = is_given(token);
        }
        if self.is_given {
            return;
        }
        self.current.bits += bits;
        self.bits += bits;
        self.by_field.resize(names.len(), 0.0);
        let at = names.iter().position(|other| *other == name).unwrap_or(0);
        self.by_field[at] += bits;
    }

    /// Counts the current part among the costliest ones, if it is one of them.
    fn close_part(&mut self) {
        let part = std::mem::take(&mut self.current);
        let at = self.costliest.partition_point(|other| other.bits >= part.bits);
        if part.bits > 0.0 && at < NAMED {
            self.costliest.insert(at, part);
            self.costliest.truncate(NAMED);
        }
    }
}

/// Returns whether the cost of a token is not counted, since analysis takes it as given.
fn is_given(token: u16) -> bool {
    [vocab::CLASS, vocab::LENGTH, vocab::PORT, vocab::PORT_RAW]
        .iter()
        .any(|range| range.arg(token).is_some())
}

/// Computes the cost of flows, given by their tokens.
///
/// # Errors
/// If the model refuses its input.
pub(crate) fn cost(workers: &Workers, flows: &[&[u16]]) -> anyhow::Result<Vec<FlowCost>> {
    workers.map(flows.iter().map(|tokens| tokens.len()), |model, group| {
        cost_of_group(model, &flows[group], workers.batch())
    })
}

fn cost_of_group(model: &Model, flows: &[&[u16]], budget: usize) -> anyhow::Result<Vec<FlowCost>> {
    let (names, fields) = (field_names(), fields_by_token());
    let lengths = (0..).zip(flows).map(|(flow, tokens)| (flow, tokens.len().saturating_sub(1)));
    let mut costs = vec![FlowCost::default(); flows.len()];
    let mut carried = CarriedStates::new();
    for row in pack_rows(lengths, budget, budget) {
        let piece = |piece: &FlowPiece| SequencePiece {
            sequence: piece.flow.into(),
            start: piece.start,
            tokens: &flows[piece.flow as usize][piece.start..=piece.end],
            continues: piece.continues,
        };
        let batch = Batch::pack_pieces(row.iter().map(piece));
        let losses = model.losses_with_state(&batch, &mut carried)?;
        let mut rest = &losses[..];
        for piece in &row {
            let (own, others) = rest.split_at(piece.tokens());
            let targets = &flows[piece.flow as usize][piece.start + 1..=piece.end];
            for (&token, &nats) in targets.iter().zip(own) {
                let bits = f64::from(nats) / std::f64::consts::LN_2;
                costs[piece.flow as usize].add(token, fields[usize::from(token)], bits, &names);
            }
            rest = others;
        }
    }
    costs.iter_mut().for_each(FlowCost::close_part);
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costliest_parts_are_named_and_the_head_is_given() {
        let (names, fields) = (field_names(), fields_by_token());
        let mut cost = FlowCost::default();
        let tokens = [
            (vocab::FLOW.at(0), 1.0),
            (vocab::CLASS.at(0), 64.0),
            (vocab::LENGTH.at(2), 64.0),
            (vocab::PORT_RAW.at(0), 64.0),
            (vocab::DIGIT.at(1), 64.0),
            (vocab::DIGIT.at(2), 64.0),
            (vocab::PACKET.at(3), 2.0),
            (vocab::WIN_UP.at(9), 3.0),
            (vocab::DIGIT.at(7), 4.0),
            (vocab::PACKET.at(3), 5.0),
            (vocab::WIN_UP.at(9), 6.0),
            (vocab::TIME.at(2), 0.5),
        ];
        for (token, bits) in tokens {
            cost.add(token, fields[usize::from(token)], bits, &names);
        }
        cost.close_part();
        assert_eq!((cost.bits, cost.packets, cost.bits_per_packet()), (21.5, 2, 10.75));
        let named: Vec<_> = cost.costliest.iter().map(|p| (p.packet, p.field, p.bits)).collect();
        assert_eq!(named, [(1, "window", 7.0), (2, "window", 6.0), (2, "packet", 5.0)]);
        let window = cost.by_field().find(|(name, _)| *name == "window");
        assert_eq!(window, Some(("window", 13.0)));
        assert_eq!(cost.by_field().next(), Some(("flow", 1.0)));
    }
}
