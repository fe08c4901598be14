//! Segments into conversations, split where Wireshark 4.0 splits them.

use std::collections::VecDeque;

use tcpwire::{Marks, Segment};

use crate::completeness::{Seen, WiresharkState};
use crate::conversation::Conversation;
use crate::keys::{EndsRef, Keys};
use crate::verdict::Verdict;
use crate::{Completeness, Direction, Endpoint, Flow, Packet};

/// What a [`Flow`] can not hold: a conversation with one of these is judged and counted, and its packets are let
/// go.
pub const NOT_HELD: Marks = Marks(
    Marks::TUNNEL_OTHER_VERSION.0
        | Marks::IP_OPTIONS.0
        | Marks::IPV6_EXTENSION.0
        | Marks::FRAGMENTED.0
        | Marks::QUOTED.0
        | Marks::HEADER_CUT.0
        | Marks::BAD_LENGTH.0
        | Marks::IPV4_RESERVED.0
        | Marks::WRONG_TIME.0,
);

/// How a [`Tracker`] keeps its space bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackerOptions {
    /// Only conversations that begin with a SYN are wanted: others keep counters only.
    pub only_opened: bool,
    /// A pause longer than this, in nanoseconds of capture time, ends a conversation. Wireshark has none.
    pub idle_timeout_ns: Option<i64>,
    /// Packets and open conversations held at most, in octets; beyond, the conversations idle longest are ended.
    pub max_octets: Option<usize>,
    /// How long a closed conversation waits for late packets before it is given out, in nanoseconds of capture
    /// time.
    pub linger_ns: i64,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        TrackerOptions { only_opened: false, idle_timeout_ns: None, max_octets: None, linger_ns: 240_000_000_000 }
    }
}

/// Why a conversation was given out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// It was closed, and nothing came for a while.
    Closed,
    /// A SYN began another one on the same ports.
    Reused,
    /// It was idle for longer than the time-out.
    Idle,
    /// Space was needed.
    Space,
    /// The capture ended.
    EndOfCapture,
}

/// A conversation that ended: given out once for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Number of the conversation, from 0, in order of first packets.
    pub id: u32,
    /// Its packets; `None` where they were not held.
    pub flow: Option<Flow>,
    /// What it is.
    pub verdict: Verdict,
    /// What its packets carried beside what a flow holds.
    pub marks: Marks,
    /// Why it was given out.
    pub cause: Cause,
}

/// What stays of every conversation: who, and how much.
#[derive(Clone, Debug)]
pub struct Record {
    /// The two ends, opener first.
    pub ends: [Endpoint; 2],
    /// Number of the first packet's frame.
    pub first_frame: u64,
    /// Packets, as Wireshark counts them.
    pub packets: u64,
    /// Packets that came after it was given out.
    pub late_packets: u64,
    /// `tcp.completeness` as `tshark` prints it with the last packet, which it does before that packet is taken in.
    pub completeness_shown: Completeness,
    /// `tcp.completeness` with the last packet: what Wireshark's window shows.
    pub completeness: Completeness,
}

const NONE: u32 = u32::MAX;

/// What stays of a conversation in here.
#[derive(Debug)]
struct Mark {
    ends: EndsRef,
    first_frame: u64,
    packets: u64,
    late_packets: u64,
    last_ns: i64,
    wireshark: WiresharkState,
    /// Index among the open ones, or [`NONE`].
    open: u32,
    marks: Marks,
    /// The first packet's sender is the lower end of the key.
    low_first: bool,
    /// The second end opened.
    swapped: bool,
    closing: bool,
}

/// Conversations with fewer packets than this may still turn out to begin with a SYN that came late.
const SYN_MAY_STILL_COME: u64 = 8;

/// Octets in buffers that are kept for the next flows, at most; and packets in one of them.
const MAX_SPARE: usize = 8 * 1024 * 1024;
const MAX_SPARE_PACKETS: usize = 2048;

/// Sorts segments into conversations.
#[derive(Default)]
pub struct Tracker {
    options: TrackerOptions,
    keys: Keys,
    marks: Vec<Mark>,
    /// Conversations that are not yet given out, and those that were, for the next ones.
    open: Vec<Conversation>,
    free: Vec<u32>,
    /// Buffers of flows that were taken, for the next ones.
    spare: Vec<(Vec<Packet>, Vec<u8>)>,
    spare_octets: usize,
    /// Closed ones, with when they were last looked at.
    closing: VecDeque<(i64, u32)>,
    held_octets: usize,
    ended: Vec<Ended>,
    /// Conversations that the end of the capture has ended.
    finished: u32,
    /// All before this one have ended.
    oldest: u32,
}

impl Tracker {
    /// An empty tracker.
    #[must_use]
    pub fn new(options: TrackerOptions) -> Self {
        Tracker { options, ..Tracker::default() }
    }

    /// Takes in the segment of frame `frame`, captured at `time_ns`. Returns the conversation it belongs to.
    #[inline]
    pub fn push(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> u32 {
        let (id, direction) = self.find(time_ns, frame, segment);
        let mark = &mut self.marks[id as usize];
        let seen = seen(segment, direction);
        let new = mark.packets == 0 && !mark.wireshark.bits.any(Completeness::SYN);
        mark.wireshark.take(&seen, new);
        mark.packets += 1;
        mark.marks = mark.marks.with(segment.marks);
        mark.last_ns = time_ns;
        if mark.open == NONE {
            mark.late_packets += 1;
        } else {
            self.take(id, time_ns, segment, direction);
        }
        self.end_lingering(time_ns);
        id
    }

    /// The conversations that ended since the last call, in the order in which they did.
    pub fn ended(&mut self) -> std::vec::Drain<'_, Ended> {
        self.ended.drain(..)
    }

    /// Gives back the buffers of a flow that is done with: the next ones are put there.
    pub fn recycle(&mut self, mut flow: Flow) {
        let octets = buffer_octets(&flow.packets, &flow.options);
        if self.spare_octets + octets <= MAX_SPARE && flow.packets.capacity() <= MAX_SPARE_PACKETS {
            flow.packets.clear();
            flow.options.clear();
            self.spare_octets += octets;
            self.spare.push((flow.packets, flow.options));
        }
    }

    /// How many conversations [`ended`](Self::ended) would give.
    #[must_use]
    pub fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// Ends all conversations, in order of their first packets.
    pub fn finish(&mut self) {
        while self.finish_some(usize::MAX) {}
    }

    /// Ends conversations, in order of their first packets, until so many wait to be given out. Says whether there may be
    /// more: a million need not be there all at once.
    pub fn finish_some(&mut self, waiting: usize) -> bool {
        while self.finished < self.marks.len() as u32 && self.ended.len() < waiting {
            self.end(self.finished, Cause::EndOfCapture);
            self.finished += 1;
        }
        self.closing.clear();
        self.finished < self.marks.len() as u32
    }

    /// Number of conversations so far.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.marks.len()
    }

    /// What is known of conversation `id`.
    ///
    /// # Panics
    /// Where there is no such conversation.
    #[must_use]
    pub fn record(&self, id: u32) -> Record {
        let mark = &self.marks[id as usize];
        Record {
            ends: self.opener_first(mark),
            first_frame: mark.first_frame,
            packets: mark.packets,
            late_packets: mark.late_packets,
            completeness_shown: mark.wireshark.shown,
            completeness: mark.wireshark.bits,
        }
    }

    /// The ends of a conversation, opener first.
    fn opener_first(&self, mark: &Mark) -> [Endpoint; 2] {
        let [low, high] = self.keys.ends(mark.ends);
        if mark.low_first == mark.swapped { [high, low] } else { [low, high] }
    }

    /// The conversation of a segment, begun where there is none, and the segment's direction in it.
    #[inline]
    fn find(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> (u32, Direction) {
        let (latest, from_lower) = self.keys.latest(segment);
        let Some(id) = latest else {
            return (self.begin(frame, segment, from_lower, WiresharkState::default()), Direction::Forward);
        };
        let mark = &self.marks[id as usize];
        let direction = if from_lower == mark.low_first { Direction::Forward } else { Direction::Reverse };
        if mark.wireshark.is_reused_by(&seen(segment, direction)) {
            self.end(id, Cause::Reused);
            return (self.begin(frame, segment, from_lower, WiresharkState::reused()), Direction::Forward);
        }
        if self.options.idle_timeout_ns.is_some_and(|timeout| time_ns.saturating_sub(mark.last_ns) > timeout) {
            self.end(id, Cause::Idle);
            return (self.begin(frame, segment, from_lower, WiresharkState::default()), Direction::Forward);
        }
        (id, direction)
    }

    fn begin(&mut self, frame: u64, segment: &Segment<'_>, low_first: bool, wireshark: WiresharkState) -> u32 {
        let buffers = self.spare.pop().unwrap_or_default();
        self.spare_octets -= buffer_octets(&buffers.0, &buffers.1);
        let open = match self.free.pop() {
            Some(at) => {
                self.open[at as usize] = Conversation::new(segment, buffers);
                at
            }
            None => {
                self.open.push(Conversation::new(segment, buffers));
                self.open.len() as u32 - 1
            }
        };
        self.held_octets += PER_CONVERSATION;
        let id = self.marks.len() as u32;
        self.marks.push(Mark {
            ends: self.keys.begin(segment, id),
            first_frame: frame,
            packets: 0,
            late_packets: 0,
            last_ns: 0,
            wireshark,
            open,
            marks: Marks::default(),
            low_first,
            swapped: false,
            closing: false,
        });
        id
    }

    #[inline]
    fn take(&mut self, id: u32, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let mark = &mut self.marks[id as usize];
        let conversation = &mut self.open[mark.open as usize];
        if mark.marks.any(NOT_HELD) {
            if conversation.held {
                self.held_octets -= held_octets(conversation);
                conversation.let_go();
            }
            if segment.marks.any(Marks::QUOTED.with(Marks::BAD_LENGTH)) || segment.payload_len.is_none() {
                return;
            }
        }
        conversation.take(time_ns, segment, direction);
        if conversation.held {
            self.held_octets += size_of::<Packet>() + segment.tcp.options.len();
            if self.options.only_opened && mark.packets >= SYN_MAY_STILL_COME && !conversation.has_syn() {
                self.held_octets -= held_octets(conversation);
                conversation.let_go();
            }
        }
        if !mark.closing && conversation.is_closed() {
            mark.closing = true;
            self.closing.push_back((time_ns, id));
        }
        if self.options.max_octets.is_some_and(|max| self.held_octets > max) {
            self.make_space(id);
        }
    }

    /// Gives out the closed conversations to which nothing came for a while.
    #[inline]
    fn end_lingering(&mut self, now_ns: i64) {
        while let Some(&(since_ns, id)) = self.closing.front() {
            if now_ns.saturating_sub(since_ns) <= self.options.linger_ns {
                return;
            }
            self.closing.pop_front();
            let mark = &self.marks[id as usize];
            if mark.open == NONE {
                continue;
            }
            if now_ns.saturating_sub(mark.last_ns) > self.options.linger_ns {
                self.end(id, Cause::Closed);
            } else {
                self.closing.push_back((mark.last_ns, id));
            }
        }
    }

    /// Ends conversations, those idle longest first, until a quarter of the space is free. `current` stays.
    #[cold]
    fn make_space(&mut self, current: u32) {
        let goal = self.options.max_octets.unwrap_or(usize::MAX) / 4 * 3;
        while self.marks.get(self.oldest as usize).is_some_and(|mark| mark.open == NONE) {
            self.oldest += 1;
        }
        let mut idle: Vec<(i64, u32)> = (self.oldest..self.marks.len() as u32)
            .map(|id| (&self.marks[id as usize], id))
            .filter(|(mark, id)| mark.open != NONE && *id != current)
            .map(|(mark, id)| (mark.last_ns, id))
            .collect();
        idle.sort_unstable();
        for (_, id) in idle {
            if self.held_octets <= goal {
                return;
            }
            self.end(id, Cause::Space);
        }
        if self.held_octets > goal {
            self.end(current, Cause::Space);
        }
    }

    fn end(&mut self, id: u32, cause: Cause) {
        let mark = &mut self.marks[id as usize];
        if mark.open == NONE {
            return;
        }
        let conversation = &mut self.open[mark.open as usize];
        self.free.push(mark.open);
        mark.open = NONE;
        mark.swapped = conversation.opener() == Direction::Reverse;
        self.held_octets -= held_octets(conversation) + PER_CONVERSATION;
        let verdict = conversation.verdict();
        let buffers = (std::mem::take(&mut conversation.packets), std::mem::take(&mut conversation.options));
        let held = conversation.held;
        let mark = &self.marks[id as usize];
        let flow = held.then(|| flow_of(mark, self.opener_first(mark), buffers));
        self.ended.push(Ended { id, flow, verdict, marks: mark.marks, cause });
    }
}

/// What an open conversation takes beside its packets: its state, and the room that buffers begin with.
const PER_CONVERSATION: usize = size_of::<Conversation>() + 3 * size_of::<Packet>();

fn held_octets(conversation: &Conversation) -> usize {
    conversation.packets.len() * size_of::<Packet>() + conversation.options.len()
}

fn buffer_octets(packets: &Vec<Packet>, options: &Vec<u8>) -> usize {
    packets.capacity() * size_of::<Packet>() + options.capacity()
}

fn flow_of(mark: &Mark, [client, server]: [Endpoint; 2], (mut packets, options): (Vec<Packet>, Vec<u8>)) -> Flow {
    if mark.swapped {
        for packet in &mut packets {
            packet.direction = packet.direction.reversed();
        }
    }
    Flow { client, server, first_frame: mark.first_frame, packets, options, completeness: mark.wireshark.bits }
}

#[inline]
fn seen(segment: &Segment<'_>, direction: Direction) -> Seen {
    let tcp = &segment.tcp;
    Seen {
        direction,
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        payload_len: segment.payload_len,
        bogus: tcp.header_len < 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_takes_64_octets() {
        assert_eq!(size_of::<Mark>(), 64);
    }
}
