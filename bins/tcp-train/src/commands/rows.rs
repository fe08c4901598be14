//! How flows are shared out over steps: rows of a token budget, long flows in pieces from row to
//! row.

use std::collections::BTreeSet;

/// What a step learns from.
pub(crate) type Row = Vec<Piece>;

/// A part of a flow, or all of it: reads the tokens from `start` up to `end` and predicts the one
/// after each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) flow: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) goes_on: bool,
}

impl Piece {
    /// Tokens predicted.
    pub(crate) fn tokens(&self) -> usize {
        self.end - self.start
    }
}

/// A flow with the tokens that it has to predict, cut into pieces of at most so many.
#[derive(Clone, Copy)]
struct Long {
    flow: u32,
    tokens: usize,
    piece: usize,
}

impl Long {
    fn from(self, start: usize) -> Piece {
        let end = self.tokens.min(start + self.piece);
        Piece { flow: self.flow, start, end, goes_on: end < self.tokens }
    }

    fn pieces(self) -> usize {
        self.tokens.div_ceil(self.piece)
    }
}

/// Rows of at most `budget` tokens, of at most one piece of each flow, `piece` tokens at most; a
/// flow once begun has a piece in each row until it ends. Flows begin in the order given, but for
/// long ones that would not be done when the others are: these begin in time.
pub(crate) fn rows(
    flows: impl Iterator<Item = (u32, usize)>,
    piece: usize,
    budget: usize,
) -> Vec<Row> {
    let piece = piece.min(budget);
    let flows: Vec<Long> =
        flows.filter(|f| f.1 > 0).map(|(flow, tokens)| Long { flow, tokens, piece }).collect();
    let mut waiting = Waiting::new(&flows);
    let (mut all, mut row, mut room) = (Vec::new(), Row::new(), budget);
    let mut left: usize = flows.iter().map(|flow| flow.tokens).sum();
    while let Some(flow) = waiting.next(left / budget) {
        let first = flow.from(0);
        while first.tokens() > room {
            left -= row.iter().map(Piece::tokens).sum::<usize>();
            row = close(row, &mut all, &waiting);
            room = budget - row.iter().map(Piece::tokens).sum::<usize>();
        }
        room -= first.tokens();
        row.push(first);
    }
    while !row.is_empty() {
        row = close(row, &mut all, &waiting);
    }
    all
}

/// Puts a row behind the others and begins the next one with what goes on.
fn close(row: Row, all: &mut Vec<Row>, waiting: &Waiting) -> Row {
    let next = row
        .iter()
        .filter(|piece| piece.goes_on)
        .map(|piece| waiting.flow(piece.flow).from(piece.end))
        .collect();
    all.push(row);
    next
}

/// Flows that have not begun.
struct Waiting<'a> {
    flows: &'a [Long],
    next: usize,
    /// Those of several pieces, the longest last, by their place in `flows`.
    long: BTreeSet<(usize, std::cmp::Reverse<usize>)>,
    begun: Vec<bool>,
    places: std::collections::HashMap<u32, usize>,
}

impl<'a> Waiting<'a> {
    fn new(flows: &'a [Long]) -> Waiting<'a> {
        let several = flows.iter().enumerate().filter(|(_, flow)| flow.pieces() > 1);
        Waiting {
            flows,
            next: 0,
            long: several.clone().map(|(i, flow)| (flow.pieces(), std::cmp::Reverse(i))).collect(),
            begun: vec![false; flows.len()],
            places: several.map(|(i, flow)| (flow.flow, i)).collect(),
        }
    }

    /// The flow to begin now, where so many rows are left.
    fn next(&mut self, rows_left: usize) -> Option<Long> {
        let urgent =
            self.long.last().filter(|(pieces, _)| *pieces >= rows_left).map(|(_, place)| place.0);
        let place =
            urgent.or_else(|| (self.next..self.flows.len()).find(|&place| !self.begun[place]))?;
        if urgent.is_none() {
            self.next = place + 1;
        }
        self.begun[place] = true;
        self.long.remove(&(self.flows[place].pieces(), std::cmp::Reverse(place)));
        Some(self.flows[place])
    }

    fn flow(&self, flow: u32) -> Long {
        self.flows[self.places[&flow]]
    }
}

/// A row in `n` parts of about as many tokens each, pieces whole and in order. Some may be empty.
pub(crate) fn parts(row: &[Piece], n: usize) -> Vec<Row> {
    let all = row.iter().map(Piece::tokens).sum::<usize>().max(1);
    let mut parts = vec![Vec::new(); n];
    let mut before = 0;
    for piece in row {
        parts[((before + piece.tokens() / 2) * n / all).min(n - 1)].push(*piece);
        before += piece.tokens();
    }
    parts
}

/// The flows of a row that go on in the next one.
pub(crate) fn going_on(row: &[Piece]) -> Vec<u64> {
    row.iter().filter(|piece| piece.goes_on).map(|piece| piece.flow.into()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Piece, parts, rows};

    proptest! {
        #[test]
        fn every_token_once_and_every_flow_in_one_go(sizes in prop::collection::vec(0..90_usize, 0..40),
            piece in 1..30_usize, budget in 1..60_usize, n in 1..4_usize) {
            let rows = rows(sizes.iter().enumerate().map(|(i, &size)| (i as u32, size)), piece, budget);
            let mut open: BTreeMap<u32, usize> = BTreeMap::new(); // flows under way and where they stand
            let mut done = vec![0; sizes.len()];
            for row in &rows {
                prop_assert!(row.iter().map(Piece::tokens).sum::<usize>() <= budget);
                prop_assert_eq!(parts(row, n).concat(), row.clone());
                let mut next = BTreeMap::new();
                for one in row {
                    prop_assert_eq!(one.start, open.remove(&one.flow).unwrap_or(0));
                    prop_assert_eq!(one.start, done[one.flow as usize]);
                    prop_assert!(one.tokens() > 0 && one.tokens() <= piece);
                    prop_assert_eq!(one.goes_on, one.end < sizes[one.flow as usize]);
                    done[one.flow as usize] = one.end;
                    if one.goes_on {
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
        let rows = rows(sizes.enumerate().map(|(i, size)| (i as u32, size)), 10, 20);
        assert!(rows.len() <= 75, "{} rows for 1,400 tokens", rows.len());
        let whole = rows.iter().filter(|row| row.len() == 2).count();
        assert!(whole >= 65, "{whole} rows are full");
    }

    #[test]
    fn short_flows_keep_their_order() {
        let rows = rows([(7, 5), (3, 6), (9, 2)].into_iter(), 10, 11);
        let flows: Vec<Vec<u32>> =
            rows.iter().map(|row| row.iter().map(|piece| piece.flow).collect()).collect();
        assert_eq!(flows, [vec![7, 3], vec![9]]);
    }
}
