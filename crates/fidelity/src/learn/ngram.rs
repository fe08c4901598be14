//! Sequence model of packets: smoothed n-grams.
//!
//! Each packet has two symbols: its shape (direction, flags, length class), predicted from the
//! three shapes before it, and its gap class, predicted from its shape, the previous shape and the
//! previous gap. Probabilities are interpolated from the longest context down to none (Witten and
//! Bell 1991).

use flowtrack::Flow;
use rustc_hash::{FxHashMap, FxHashSet};

/// Number of previous shapes in the context of a shape.
const BEFORE: usize = 3;

/// Shape and gap class of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Symbol {
    shape: u32,
    gap: u32,
}

/// Returns the symbols of a flow, one for each packet.
pub(crate) fn symbols(flow: &Flow) -> Vec<Symbol> {
    let length = |len: u32| match len {
        0 => 0,
        1..=1 => 1,
        2..100 => 2,
        100..500 => 3,
        500..1_300 => 4,
        1_300..1_500 => 5,
        _ => 6,
    };
    let mut before = flow.packets.first().map_or(0, |p| p.time_ns);
    let symbol = |p: &flowtrack::Packet| {
        let gap = (p.time_ns - before).max(0) as u64 / 1_000;
        before = p.time_ns;
        let shape = (u32::from(p.flags.bits()) << 1 | p.direction.index() as u32) << 3
            | length(p.payload_len);
        // Half decades would be finer than a hundred flows can tell.
        Symbol { shape, gap: (gap as f64 + 1.0).log10() as u32 }
    };
    flow.packets.iter().map(symbol).collect()
}

/// Counts of the symbols that followed one context.
#[derive(Default)]
struct Followed {
    total: u32,
    counts: FxHashMap<u32, u32>,
}

/// N-gram counts of shapes and gaps by context.
#[derive(Default)]
pub(crate) struct Ngrams {
    contexts: FxHashMap<u64, Followed>,
    seen: [FxHashSet<u32>; 2],
}

/// Hashes of the contexts of a symbol, longest first; the last one is empty.
type Contexts = [u64; BEFORE + 1];

fn key(kind: u64, parts: &[u32]) -> u64 {
    let start = (kind << 8 | parts.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    parts.iter().fold(start, |hash, &part| {
        (hash ^ u64::from(part) ^ 0xcbf2_9ce4).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

/// Calls `visit` with each symbol of the flow: its kind (0 a shape, 1 a gap), its value and its
/// contexts.
fn for_each_symbol(flow: &[Symbol], mut visit: impl FnMut(usize, u32, &Contexts)) {
    const NONE: u32 = u32::MAX;
    for (i, symbol) in flow.iter().enumerate() {
        let shape = |back: usize| i.checked_sub(back).map_or(NONE, |at| flow[at].shape);
        let gap_before = i.checked_sub(1).map_or(NONE, |at| flow[at].gap);
        let shapes = [shape(1), shape(2), shape(3)];
        visit(
            0,
            symbol.shape,
            &[key(0, &shapes), key(0, &shapes[..2]), key(0, &shapes[..1]), key(0, &[])],
        );
        let gaps = [symbol.shape, shapes[0], gap_before];
        visit(1, symbol.gap, &[key(1, &gaps), key(1, &gaps[..2]), key(1, &gaps[..1]), key(1, &[])]);
    }
}

impl Ngrams {
    /// Adds the counts of a flow.
    pub(crate) fn learn(&mut self, flow: &[Symbol]) {
        for_each_symbol(flow, |kind, value, contexts| {
            self.seen[kind].insert(value);
            for context in contexts {
                let followed = self.contexts.entry(*context).or_default();
                followed.total += 1;
                *followed.counts.entry(value).or_default() += 1;
            }
        });
    }

    /// Returns the bits per packet of the flow under the model.
    pub(crate) fn bits_per_packet(&self, flow: &[Symbol]) -> f64 {
        let mut bits = 0.0;
        for_each_symbol(flow, |kind, value, contexts| {
            bits -= self.probability(kind, value, contexts).log2()
        });
        bits / flow.len().max(1) as f64
    }

    fn probability(&self, kind: usize, value: u32, contexts: &Contexts) -> f64 {
        // Of what was never seen there is one more.
        let nothing = 1.0 / (self.seen[kind].len() + 1) as f64;
        contexts.iter().rev().fold(nothing, |shorter, context| match self.contexts.get(context) {
            None => shorter,
            Some(followed) => {
                let distinct = followed.counts.len() as f64;
                let count = f64::from(followed.counts.get(&value).copied().unwrap_or(0));
                (count + distinct * shorter) / (f64::from(followed.total) + distinct)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(shapes: &[u32]) -> Vec<Symbol> {
        shapes.iter().map(|&shape| Symbol { shape, gap: 0 }).collect()
    }

    #[test]
    fn what_was_learnt_takes_fewer_bits_than_the_same_in_another_order() {
        let mut model = Ngrams::default();
        (0..20).for_each(|_| model.learn(&flow(&[1, 2, 3, 4, 5, 6])));
        let (known, other) = (
            model.bits_per_packet(&flow(&[1, 2, 3, 4, 5, 6])),
            model.bits_per_packet(&flow(&[1, 4, 3, 2, 5, 6])),
        );
        assert!(known < 0.5 && other > 3.0, "{known} {other}");
    }

    #[test]
    fn probabilities_of_all_that_may_follow_sum_to_one() {
        let mut model = Ngrams::default();
        let known = flow(&[1, 2, 1, 3, 1, 2]);
        model.learn(&known);
        for_each_symbol(&known, |kind, _, contexts| {
            // Three shapes and one gap were seen, and one of each that was not.
            let values: &[u32] = if kind == 0 { &[1, 2, 3, 9] } else { &[0, 9] };
            let sum: f64 =
                values.iter().map(|&value| model.probability(kind, value, contexts)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        });
    }

    #[test]
    fn what_was_never_seen_takes_many_bits_and_not_all() {
        let empty = Ngrams::default();
        assert_eq!(empty.bits_per_packet(&flow(&[1, 2])), 0.0);
        let mut model = Ngrams::default();
        model.learn(&flow(&[1, 2, 3]));
        assert!(model.bits_per_packet(&flow(&[7, 8, 9])).is_finite());
        assert_eq!(model.bits_per_packet(&[]), 0.0);
    }
}
