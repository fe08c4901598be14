//! Packing of flows into rows, one for each step: rows of a token budget, with long flows in pieces
//! over consecutive rows.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// Pieces of flows that one step trains on.
pub(crate) type Row = Vec<FlowPiece>;

/// Part of a flow, or all of it. The model reads the tokens from `start` to before `end` and
/// predicts the one after each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlowPiece {
    /// Index of the flow in the dataset.
    pub(crate) flow: u32,
    /// Index of the first token read.
    pub(crate) start: usize,
    /// Index of the last token predicted.
    pub(crate) end: usize,
    /// Whether the next row holds the next piece of the flow.
    pub(crate) continues: bool,
}

impl FlowPiece {
    /// Returns the number of tokens predicted.
    pub(crate) fn tokens(&self) -> usize {
        self.end - self.start
    }
}

/// Flow that is cut into pieces.
#[derive(Clone, Copy)]
struct CutFlow {
    flow: u32,
    /// Number of tokens to predict, more than 0.
    tokens: usize,
    /// Largest number of tokens of a piece.
    max_piece: usize,
}

impl CutFlow {
    /// Returns the piece that begins at a token.
    fn piece_at(self, start: usize) -> FlowPiece {
        let end = self.tokens.min(start + self.max_piece);
        FlowPiece { flow: self.flow, start, end, continues: end < self.tokens }
    }

    /// Returns the number of pieces of the flow.
    fn pieces(self) -> usize {
        self.tokens.div_ceil(self.max_piece)
    }
}

/// Packs flows, given with their numbers of tokens to predict, into rows of at most `budget`
/// tokens.
///
/// A row holds at most one piece of each flow, of at most `max_piece` tokens. A flow that has begun
/// has a piece in each row until its end. Flows begin in the order given, except for long ones that
/// would end after all others: these begin earlier.
pub(crate) fn pack_rows(
    flows: impl Iterator<Item = (u32, usize)>,
    max_piece: usize,
    budget: usize,
) -> Vec<Row> {
    let max_piece = max_piece.min(budget);
    let flows: Vec<CutFlow> = flows
        .filter(|(_, tokens)| *tokens > 0)
        .map(|(flow, tokens)| CutFlow { flow, tokens, max_piece })
        .collect();
    let mut queue = FlowQueue::new(&flows);
    let (mut rows, mut row, mut room) = (Vec::new(), Row::new(), budget);
    let mut left: usize = flows.iter().map(|flow| flow.tokens).sum();
    while let Some(flow) = queue.next(left / budget) {
        let first = flow.piece_at(0);
        while first.tokens() > room {
            left -= row.iter().map(FlowPiece::tokens).sum::<usize>();
            row = finish_row(row, &mut rows, &queue);
            room = budget - row.iter().map(FlowPiece::tokens).sum::<usize>();
        }
        room -= first.tokens();
        row.push(first);
    }
    while !row.is_empty() {
        row = finish_row(row, &mut rows, &queue);
    }
    rows
}

/// Appends a row to `rows` and returns the beginning of the next one: the next piece of each flow
/// that continues.
fn finish_row(row: Row, rows: &mut Vec<Row>, queue: &FlowQueue) -> Row {
    let next = row
        .iter()
        .filter(|piece| piece.continues)
        .map(|piece| queue.flow(piece.flow).piece_at(piece.end))
        .collect();
    rows.push(row);
    next
}

/// Flows that have not begun, in the order given, with early access to the longest one.
struct FlowQueue<'a> {
    flows: &'a [CutFlow],
    /// Index in `flows` from which on a flow may not have begun.
    next: usize,
    /// Flows of several pieces that have not begun, as their number of pieces and index in `flows`:
    /// the last entry is the longest flow, and of equal ones the first.
    long: BTreeSet<(usize, Reverse<usize>)>,
    /// Whether each flow has begun.
    begun: Vec<bool>,
    /// Index in `flows` of each flow of several pieces.
    indices: HashMap<u32, usize>,
}

impl<'a> FlowQueue<'a> {
    /// Returns a queue in which no flow has begun.
    fn new(flows: &'a [CutFlow]) -> FlowQueue<'a> {
        let several = flows.iter().enumerate().filter(|(_, flow)| flow.pieces() > 1);
        FlowQueue {
            flows,
            next: 0,
            long: several.clone().map(|(i, flow)| (flow.pieces(), Reverse(i))).collect(),
            begun: vec![false; flows.len()],
            indices: several.map(|(i, flow)| (flow.flow, i)).collect(),
        }
    }

    /// Removes and returns the flow to begin now, when about `rows_left` rows are left: the longest
    /// one if it needs all of them, else the first.
    fn next(&mut self, rows_left: usize) -> Option<CutFlow> {
        let longest = self.long.last().filter(|(pieces, _)| *pieces >= rows_left);
        let urgent = longest.map(|(_, Reverse(i))| *i);
        let index = urgent.or_else(|| (self.next..self.flows.len()).find(|&i| !self.begun[i]))?;
        if urgent.is_none() {
            self.next = index + 1;
        }
        self.begun[index] = true;
        self.long.remove(&(self.flows[index].pieces(), Reverse(index)));
        Some(self.flows[index])
    }

    /// Returns a flow of several pieces by its index in the dataset.
    fn flow(&self, flow: u32) -> CutFlow {
        self.flows[self.indices[&flow]]
    }
}

/// Splits a row into `n` parts of about as many tokens each. Pieces stay whole and in order; a part
/// may be empty.
pub(crate) fn split_row(row: &[FlowPiece], n: usize) -> Vec<Row> {
    let all = row.iter().map(FlowPiece::tokens).sum::<usize>().max(1);
    let mut parts = vec![Vec::new(); n];
    let mut before = 0;
    for piece in row {
        // The middle of a piece decides on its part.
        parts[((before + piece.tokens() / 2) * n / all).min(n - 1)].push(*piece);
        before += piece.tokens();
    }
    parts
}

/// Returns the flows of a row that continue in the next one.
pub(crate) fn continued_flows(row: &[FlowPiece]) -> Vec<u64> {
    row.iter().filter(|piece| piece.continues).map(|piece| piece.flow.into()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{FlowPiece, pack_rows, split_row};

    proptest! {
        #[test]
        fn every_token_once_and_every_flow_in_one_go(
            sizes in prop::collection::vec(0..90_usize, 0..40),
            max_piece in 1..30_usize,
            budget in 1..60_usize,
            n in 1..4_usize,
        ) {
            let flows = sizes.iter().enumerate().map(|(i, &size)| (i as u32, size));
            let rows = pack_rows(flows, max_piece, budget);
            // The token at which each continued flow is.
            let mut open: BTreeMap<u32, usize> = BTreeMap::new();
            let mut done = vec![0; sizes.len()];
            for row in &rows {
                prop_assert!(row.iter().map(FlowPiece::tokens).sum::<usize>() <= budget);
                prop_assert_eq!(split_row(row, n).concat(), row.clone());
                let mut next = BTreeMap::new();
                for one in row {
                    prop_assert_eq!(one.start, open.remove(&one.flow).unwrap_or(0));
                    prop_assert_eq!(one.start, done[one.flow as usize]);
                    prop_assert!(one.tokens() > 0 && one.tokens() <= max_piece);
                    prop_assert_eq!(one.continues, one.end < sizes[one.flow as usize]);
                    done[one.flow as usize] = one.end;
                    if one.continues {
                        prop_assert!(next.insert(one.flow, one.end).is_none());
                    }
                }
                prop_assert!(open.is_empty(), "a flow once begun has a piece in each row");
                open = next;
            }
            prop_assert_eq!(done, sizes);
        }
    }

    #[test]
    fn a_long_flow_begins_in_time() {
        let sizes = std::iter::repeat_n(10, 100).chain([400]);
        let rows = pack_rows(sizes.enumerate().map(|(i, size)| (i as u32, size)), 10, 20);
        assert!(rows.len() <= 75, "{} rows for 1,400 tokens", rows.len());
        let whole = rows.iter().filter(|row| row.len() == 2).count();
        assert!(whole >= 65, "{whole} rows are full");
    }

    #[test]
    fn short_flows_keep_their_order() {
        let rows = pack_rows([(7, 5), (3, 6), (9, 2)].into_iter(), 10, 11);
        let flows: Vec<Vec<u32>> =
            rows.iter().map(|row| row.iter().map(|piece| piece.flow).collect()).collect();
        assert_eq!(flows, [vec![7, 3], vec![9]]);
    }
}
