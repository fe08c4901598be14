//! Flows into vectors: the model's hidden states, pooled over the packets of a flow.

use std::ops::Range;

use dataset::{FlowPiece, pack_rows};
use flowtrack::Direction;
use linformer::{Batch, CarriedStates, Model, SequencePiece};
use tokenizer::field::{PacketSpan, PortMask, packet_spans, with_masked_header};

use super::workers::Workers;

/// Moments of a flow at which it gets a vector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moments {
    /// Numbers of packets, ascending.
    pub(crate) packets: Vec<u64>,
    /// Whether the end of the flow is a moment too, after all others.
    pub(crate) end: bool,
}

impl Moments {
    /// Returns the number of moments.
    pub(crate) fn count(&self) -> usize {
        self.packets.len() + usize::from(self.end)
    }

    /// Returns the number of packets after which no moment follows.
    fn last(&self) -> Option<u64> {
        self.packets.last().copied().filter(|_| !self.end)
    }
}

/// Models that give flows their vectors.
pub(crate) struct Embedder {
    workers: Workers,
    pub(crate) moments: Moments,
    port: PortMask,
    /// Number of values of the model's hidden state.
    hidden: usize,
}

/// Vectors of a flow, one for each moment. A flow that ends before a moment has its last vector
/// there.
pub(crate) type FlowVectors = Vec<Vec<f32>>;

impl Embedder {
    /// Creates an embedder of the flows' `moments`.
    pub(crate) fn new(workers: Workers, moments: Moments, port: PortMask) -> Embedder {
        let hidden = workers.with_model(|model| model.config().hidden_size);
        Embedder { workers, moments, port, hidden }
    }

    /// Returns the models of the embedder.
    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Returns the number of values of a vector.
    pub(crate) fn width(&self) -> usize {
        Pool::width(self.hidden)
    }

    /// Returns the number of tokens of flows that should be embedded in one call.
    pub(crate) fn tokens_at_once(&self) -> usize {
        self.workers.tokens_at_once()
    }

    /// Embeds flows, given by their tokens.
    ///
    /// # Errors
    /// If the model refuses its input.
    pub(crate) fn embed(&self, flows: &[&[u16]]) -> anyhow::Result<Vec<FlowVectors>> {
        self.workers.map(flows.iter().map(|tokens| tokens.len()), |model, group| {
            self.embed_group(model, &flows[group])
        })
    }

    fn embed_group(&self, model: &Model, flows: &[&[u16]]) -> anyhow::Result<Vec<FlowVectors>> {
        let batch_tokens = self.workers.batch();
        let flows: Vec<MaskedFlow> = flows.iter().map(|tokens| self.mask(tokens)).collect();
        let lengths = (0..).zip(&flows).map(|(flow, masked)| (flow, masked.predicted()));
        let mut pools: Vec<Pool> = flows.iter().map(|_| Pool::new(self.hidden)).collect();
        let mut vectors = vec![FlowVectors::new(); flows.len()];
        let mut carried = CarriedStates::new();
        for row in pack_rows(lengths, batch_tokens, batch_tokens) {
            let pieces = row.iter().map(|piece| flows[piece.flow as usize].piece(piece));
            let batch = Batch::pack_pieces(pieces);
            let (mut first, mut spans, mut parts) = (0, Vec::new(), Vec::new());
            for piece in &row {
                for part in flows[piece.flow as usize].packets_in(piece) {
                    spans.push(first + part.inputs.start..first + part.inputs.end);
                    parts.push((piece.flow as usize, part));
                }
                first += piece.tokens();
            }
            let sums = model.hidden_sums(&batch, &spans, &mut carried)?;
            for ((flow, part), sum) in parts.into_iter().zip(sums.iter()) {
                let pool = &mut pools[flow];
                pool.add(&part, sum);
                if part.is_ended && self.moments.packets.contains(&pool.packets) {
                    vectors[flow].push(pool.vector());
                }
            }
        }
        for (vectors, pool) in vectors.iter_mut().zip(&pools) {
            vectors.resize_with(self.moments.count(), || pool.vector());
        }
        Ok(vectors)
    }

    /// Masks the header of a flow, and cuts it off after its last moment.
    fn mask(&self, tokens: &[u16]) -> MaskedFlow {
        let mut tokens = with_masked_header(tokens, self.port);
        let most = self.moments.last().map_or(usize::MAX, |packets| packets as usize);
        let packets: Vec<PacketSpan> = packet_spans(&tokens).take(most).collect();
        if let Some(last) = packets.last() {
            // The token after the last packet is no input.
            tokens.truncate(last.end + 1);
        }
        MaskedFlow { tokens, packets }
    }
}

/// Tokens of a flow with a masked header, and its packets.
struct MaskedFlow {
    tokens: Vec<u16>,
    packets: Vec<PacketSpan>,
}

impl MaskedFlow {
    fn predicted(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    fn piece(&self, piece: &FlowPiece) -> SequencePiece<'_> {
        SequencePiece {
            sequence: piece.flow.into(),
            start: piece.start,
            tokens: &self.tokens[piece.start..=piece.end],
            continues: piece.continues,
        }
    }

    /// Iterates over the packets with tokens among the inputs of a piece.
    fn packets_in(&self, piece: &FlowPiece) -> impl Iterator<Item = PacketPart> {
        let (start, end) = (piece.start, piece.end);
        let first = self.packets.partition_point(|packet| packet.end <= start);
        let packets = self.packets[first..].iter().take_while(move |packet| packet.start < end);
        packets.map(move |packet| PacketPart {
            direction: packet.direction,
            inputs: packet.start.max(start) - start..packet.end.min(end) - start,
            is_ended: packet.end <= end,
        })
    }
}

/// Tokens of a packet among the inputs of a piece.
struct PacketPart {
    direction: Direction,
    /// Indices of the inputs.
    inputs: Range<usize>,
    /// Whether the packet ends with them.
    is_ended: bool,
}

/// Hidden states of a flow, pooled packet by packet.
struct Pool {
    /// Number of packets that have ended.
    packets: u64,
    /// Mean over the tokens of the client's packets, and over those of the server's.
    sides: [Mean; 2],
}

/// Mean of hidden states.
#[derive(Clone, Default)]
struct Mean {
    sum: Vec<f64>,
    /// Number of tokens in the sum.
    tokens: u64,
}

impl Mean {
    fn add(&mut self, sum: &[f32], tokens: usize) {
        self.sum.iter_mut().zip(sum).for_each(|(all, more)| *all += f64::from(*more));
        self.tokens += tokens as u64;
    }

    fn values(&self) -> impl Iterator<Item = f32> {
        self.sum.iter().map(|sum| (sum / self.tokens.max(1) as f64) as f32)
    }
}

impl Pool {
    /// Creates the pool of no packet, for hidden states of `hidden` values.
    fn new(hidden: usize) -> Pool {
        let mean = Mean { sum: vec![0.0; hidden], tokens: 0 };
        Pool { packets: 0, sides: [mean.clone(), mean] }
    }

    /// Returns the number of values of a vector.
    fn width(hidden: usize) -> usize {
        2 * hidden
    }

    /// Adds the sum of the hidden states of a packet's part.
    fn add(&mut self, part: &PacketPart, sum: &[f32]) {
        self.sides[part.direction.index()].add(sum, part.inputs.len());
        self.packets += u64::from(part.is_ended);
    }

    fn vector(&self) -> Vec<f32> {
        self.sides.iter().flat_map(Mean::values).collect()
    }
}

#[cfg(test)]
mod tests {
    use linformer::{Device, ModelConfig};
    use tokenizer::field::doc::worked_flow;
    use tokenizer::field::{self, vocab};

    use super::*;

    fn embedder(packets: &[u64], end: bool, batch: usize) -> Embedder {
        let config = ModelConfig { vocab_size: field::VOCAB_SIZE, ..ModelConfig::tiny() };
        let model = Model::new(&config, 1, Device::Cpu).unwrap();
        let moments = Moments { packets: packets.to_vec(), end };
        Embedder::new(Workers::of(vec![model], batch), moments, PortMask::Hidden)
    }

    fn tokens() -> Vec<u16> {
        let mut tokens = Vec::new();
        field::encode(&worked_flow(), &mut tokens).unwrap();
        tokens
    }

    fn is_near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn a_vector_knows_the_packets_before_it_alone() {
        let all = tokens();
        let third = packet_spans(&all).nth(2).unwrap();
        let mut other = all[..third.end].to_vec();
        other.extend([all[third.end], vocab::END]);
        other[3] = vocab::LENGTH.at(9);
        let vectors = embedder(&[3], true, 1000).embed(&[&all, &other]).unwrap();
        assert!(is_near(&vectors[0][0], &vectors[1][0]));
        assert!(!is_near(&vectors[0][1], &vectors[1][1]));
        let first = embedder(&[3], false, 1000).embed(&[&all]).unwrap();
        assert_eq!(first[0].len(), 1);
        assert!(is_near(&first[0][0], &vectors[0][0]));
    }

    #[test]
    fn a_flow_in_pieces_has_the_vectors_of_the_whole() {
        let all = tokens();
        let whole = embedder(&[2, 5], true, 1000).embed(&[&all]).unwrap();
        for batch in [1, 7, 16] {
            let pieces = embedder(&[2, 5], true, batch).embed(&[&all, &all]).unwrap();
            for (a, b) in whole[0].iter().zip(&pieces[1]) {
                assert!(is_near(a, b), "{batch}");
            }
        }
    }

    #[test]
    fn a_flow_that_ends_before_a_moment_has_its_last_vector_there() {
        let all = tokens();
        let vectors = embedder(&[2, 500], true, 1000).embed(&[&all]).unwrap();
        assert_eq!(vectors[0][1], vectors[0][2]);
        assert_ne!(vectors[0][0], vectors[0][1]);
    }
}
