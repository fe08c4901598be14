//! Conversations that go on from one capture to the next, as in files that `tcpdump -C` rotates.

use std::collections::HashMap;

use flowtrack::{Close, EndReason, Endpoint, FinishedConversation, Missing};
use tcpwire::SeqNum;

/// Conversations at the edges of a capture that are remembered, at most.
const MAX_PER_CAPTURE: usize = 4096;
/// Conversations at the edges of all captures that are remembered, at most.
const MAX_IN_ALL: usize = 1 << 18;
/// Longest time between two captures of one conversation, in nanoseconds: an hour.
const MAX_PAUSE_NS: u64 = 3_600_000_000_000;

/// Largest distance, in octets, between the last sequence number in a capture and the first one in
/// the next.
const MAX_DISTANCE: u32 = 1 << 20;

/// Both endpoints of a conversation, the lower one first.
type Ends = [Endpoint; 2];

/// Place where a conversation enters or leaves a capture.
#[derive(Clone, Copy, Debug)]
struct Edge {
    ends: Ends,
    /// Number of the capture in the run.
    capture: u32,
    /// Time of the first or the last packet, in nanoseconds.
    time_ns: i64,
    /// First or last sequence number of each endpoint.
    numbers: [Option<SeqNum>; 2],
}

/// Conversations of a capture that may have begun before it, and those that may go on after it.
#[derive(Default, Debug)]
pub(crate) struct OpenEnds {
    begun_before: Vec<Edge>,
    open_at_end: Vec<Edge>,
    captures: u32,
}

impl OpenEnds {
    /// Adds a conversation, if it may go beyond the capture.
    pub(crate) fn add(&mut self, one: &FinishedConversation) {
        let verdict = &one.verdict;
        let is_open = verdict.close == Close::Open && one.end_reason == EndReason::EndOfCapture;
        if is_open && self.open_at_end.len() < MAX_PER_CAPTURE {
            self.open_at_end.push(Edge::of(one, 1));
        }
        if verdict.missing.contains(&Missing::Syn) && self.begun_before.len() < MAX_PER_CAPTURE {
            self.begun_before.push(Edge::of(one, 0));
        }
    }

    /// Adds those of another capture.
    pub(crate) fn append(&mut self, other: OpenEnds) {
        let room = |held: &Vec<_>| MAX_IN_ALL.saturating_sub(held.len());
        let (before, after) = (room(&self.begun_before), room(&self.open_at_end));
        let capture = self.captures;
        let of_capture = |edge| Edge { capture, ..edge };
        self.begun_before.extend(other.begun_before.into_iter().take(before).map(of_capture));
        self.open_at_end.extend(other.open_at_end.into_iter().take(after).map(of_capture));
        self.captures += 1;
    }

    /// Returns the number of conversations that begin in the middle within an hour after another
    /// capture ended in the middle of them.
    pub(crate) fn continued(&self) -> u64 {
        let mut open: HashMap<Ends, Vec<&Edge>> = HashMap::new();
        for edge in &self.open_at_end {
            open.entry(edge.ends).or_default().push(edge);
        }
        let goes_on = |edge: &&Edge| {
            open.get(&edge.ends).into_iter().flatten().any(|before| before.is_followed_by(edge))
        };
        self.begun_before.iter().filter(goes_on).count() as u64
    }
}

impl Edge {
    /// Returns the first (0) or the last (1) edge of a conversation.
    fn of(one: &FinishedConversation, which: usize) -> Edge {
        let mut ends = one.endpoints;
        let mut numbers = one.numbers.map(|numbers| numbers.map(|n| n[which]));
        if (ends[0].addr, ends[0].port) > (ends[1].addr, ends[1].port) {
            ends.reverse();
            numbers.reverse();
        }
        Edge { ends, capture: 0, time_ns: one.times_ns[which], numbers }
    }

    /// Reports whether `next` continues the conversation: in another capture, soon after, and near
    /// the same sequence numbers.
    fn is_followed_by(&self, next: &Edge) -> bool {
        let is_near = |(before, after): (&Option<SeqNum>, &Option<SeqNum>)| match (before, after) {
            (Some(before), Some(after)) => after.distance(*before).unsigned_abs() <= MAX_DISTANCE,
            _ => true,
        };
        let pause_ns = next.time_ns.abs_diff(self.time_ns);
        self.capture != next.capture
            && self.time_ns <= next.time_ns
            && pause_ns <= MAX_PAUSE_NS
            && self.numbers.iter().zip(&next.numbers).all(is_near)
    }
}
