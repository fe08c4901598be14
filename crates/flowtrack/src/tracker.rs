//! Segments into conversations, split where Wireshark 4.0 splits them.

use std::collections::VecDeque;

use tcpwire::{PacketQuirks, Segment};

use crate::completeness::{SegmentSummary, WiresharkState};
use crate::conversation::Conversation;
use crate::lru::{List, LruLists};
use crate::table::{ConversationEntry, ConversationSummary, ConversationTable, NONE};
use crate::tuples::TupleMap;
use crate::verdict::Verdict;
use crate::{Completeness, Direction, Endpoint, Flow, Packet};

/// What a [`Flow`] can not hold: a conversation with one of these is judged and counted, and its
/// packets are let go.
pub const UNENCODABLE: PacketQuirks = PacketQuirks::TUNNEL_OTHER_VERSION
    .union(PacketQuirks::IP_OPTIONS)
    .union(PacketQuirks::IPV6_EXTENSION)
    .union(PacketQuirks::FRAGMENTED)
    .union(PacketQuirks::QUOTED)
    .union(PacketQuirks::HEADER_CUT)
    .union(PacketQuirks::BAD_LENGTH)
    .union(PacketQuirks::IPV4_RESERVED)
    .union(PacketQuirks::INVALID_TIME);

/// How a [`Tracker`] keeps its space bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackerOptions {
    /// Only conversations that begin with a SYN are wanted: others keep counters only.
    pub only_opened: bool,
    /// A pause longer than this, in nanoseconds of capture time, ends a conversation. Wireshark has
    /// none. Twice as long after its last packet a conversation is given out and forgotten. Nothing
    /// else depends on that, as long as the capture's clock does not go back by more than this.
    pub idle_timeout_ns: Option<i64>,
    /// What is held at most, in octets: packets, open conversations, and what stays of those that
    /// were given out. Beyond, the conversations idle longest are given out, and of those that were
    /// the ones idle longest are forgotten, down to a quarter of this. A later packet of a
    /// forgotten one begins another conversation.
    pub max_octets: Option<usize>,
    /// How long a closed conversation waits for late packets before it is given out, in nanoseconds
    /// of capture time.
    pub linger_ns: i64,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        TrackerOptions {
            only_opened: false,
            idle_timeout_ns: None,
            max_octets: None,
            linger_ns: 240_000_000_000,
        }
    }
}

/// Why a conversation was given out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndReason {
    /// The conversation was closed, and no packet followed within the linger time (IPFIX: end of
    /// flow detected, 3).
    EndOfFlow,
    /// A SYN began another conversation on the same 4-tuple.
    PortReuse,
    /// No packet came within the idle time-out (IPFIX: idle timeout, 1).
    IdleTimeout,
    /// The tracker's bound in space was reached (IPFIX: lack of resources, 5).
    LackOfResources,
    /// The capture ended (IPFIX: forced end, 4).
    EndOfCapture,
}

/// A conversation that ended: given out once for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishedConversation {
    /// Number of the conversation, from 0, in order of first packets.
    pub id: u64,
    /// Its packets; `None` where they were not held.
    pub flow: Option<Flow>,
    /// What it is.
    pub verdict: Verdict,
    /// What its packets carried beside what a flow holds.
    pub quirks: PacketQuirks,
    /// Why it was given out.
    pub end_reason: EndReason,
}

/// Conversations with fewer packets than this may still turn out to begin with a SYN that came
/// late.
const SYN_MAY_STILL_COME: u64 = 8;

/// Octets in buffers that are kept for the next flows, at most; and packets in one of them.
const MAX_SPARE: usize = 8 * 1024 * 1024;
const MAX_SPARE_PACKETS: usize = 2048;

/// Idle conversations that are given out after a packet, at most: no packet has to wait for all.
const IDLE_AT_A_TIME: usize = 4;

/// A closed conversation, and when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Closing {
    since_ns: i64,
    id: u64,
    at: u32,
}

/// Sorts segments into conversations.
///
/// What stays of a conversation, its mark, is kept for as long as a packet of it may come: until
/// others begin between the same ends, or until it is forgotten as [`TrackerOptions`] say.
#[derive(Default)]
pub struct Tracker {
    options: TrackerOptions,
    keys: TupleMap,
    marks: ConversationTable,
    /// Number of the next conversation.
    next_id: u64,
    /// Where there is a bound in time or space: which quirks are quiet for longest.
    recency: Option<LruLists>,
    /// When the packet before this one was captured.
    before_ns: i64,
    /// Conversations that are not yet given out, and those that were, for the next ones.
    open: Vec<Conversation>,
    free: Vec<u32>,
    /// Buffers of flows that were taken, for the next ones.
    spare: Vec<(Vec<Packet>, Vec<u8>)>,
    spare_octets: usize,
    closing: VecDeque<Closing>,
    /// What open conversations and all quirks take, and what the quirks of those given out take of
    /// it.
    heap_octets: usize,
    given_octets: usize,
    ended: VecDeque<FinishedConversation>,
    finished_octets: usize,
    forgotten: Vec<ConversationSummary>,
    /// Conversations that the end of the capture ends.
    finishing: Option<std::vec::IntoIter<u32>>,
}

impl Tracker {
    /// An empty tracker.
    #[must_use]
    pub fn new(options: TrackerOptions) -> Self {
        let bounded = options.idle_timeout_ns.is_some() || options.max_octets.is_some();
        Tracker {
            options,
            recency: bounded.then(LruLists::default),
            before_ns: i64::MIN,
            ..Tracker::default()
        }
    }

    /// Takes in the segment of frame `frame`, captured at `time_ns`. Returns the number of the
    /// conversation it belongs to.
    #[inline]
    pub fn push(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> u64 {
        let (at, direction) = self.find(time_ns, frame, segment);
        let mark = &mut self.marks[at];
        let seen = seen(segment, direction);
        let new = mark.packets == 0 && !mark.wireshark.bits.contains(Completeness::SYN);
        mark.wireshark.take(&seen, new);
        mark.packets += 1;
        mark.quirks |= segment.quirks;
        mark.last_ns = time_ns;
        let id = mark.id;
        if mark.open == NONE {
            mark.packets_after_export += 1;
        } else {
            self.take(at, time_ns, segment, direction);
        }
        self.end_lingering(time_ns);
        if self.recency.is_some() {
            self.keep_bounds(at, time_ns);
        }
        id
    }

    /// The conversations that ended since the last call, in the order in which they did.
    pub fn drain_finished(
        &mut self,
    ) -> std::collections::vec_deque::Drain<'_, FinishedConversation> {
        self.finished_octets = 0;
        self.ended.drain(..)
    }

    /// The first of them alone.
    pub fn pop_finished(&mut self) -> Option<FinishedConversation> {
        let one = self.ended.pop_front()?;
        self.finished_octets -= one.flow.as_ref().map_or(0, Flow::heap_octets);
        Some(one)
    }

    /// Gives back the buffers of a flow that is done with: the next ones are put there. Where space
    /// is bounded they are let go: how much room a conversation's buffers have would depend on when
    /// those of others come back.
    pub fn recycle(&mut self, mut flow: Flow) {
        if self.options.max_octets.is_some() {
            return;
        }
        let octets = flow.heap_octets();
        if self.spare_octets + octets <= MAX_SPARE && flow.packets.capacity() <= MAX_SPARE_PACKETS {
            flow.packets.clear();
            flow.options.clear();
            self.spare_octets += octets;
            self.spare.push((flow.packets, flow.options));
        }
    }

    /// How many conversations [`drain_finished`](Self::drain_finished) would give.
    #[must_use]
    pub fn finished_count(&self) -> usize {
        self.ended.len()
    }

    /// What the packets of these take, in octets.
    #[must_use]
    pub fn finished_octets(&self) -> usize {
        self.finished_octets
    }

    /// What is known of the conversations that were forgotten since the last call: they were given
    /// out, and no packet is counted to them any more.
    pub fn drain_forgotten(&mut self) -> std::vec::Drain<'_, ConversationSummary> {
        self.forgotten.drain(..)
    }

    /// How many conversations [`drain_forgotten`](Self::drain_forgotten) would give.
    #[must_use]
    pub fn forgotten_count(&self) -> usize {
        self.forgotten.len()
    }

    /// What is known of all conversations that are not forgotten, in order of their first packets.
    pub fn summaries(&self) -> impl Iterator<Item = ConversationSummary> {
        self.marks.in_order().into_iter().map(|at| self.marks[at].record(&self.keys))
    }

    /// Tuples all conversations, in order of their first packets.
    pub fn finish(&mut self) {
        while self.finish_until(usize::MAX) {}
    }

    /// Tuples conversations, in order of their first packets, until so many wait to be given out.
    /// Says whether there may be more: a million need not be there all at once.
    pub fn finish_until(&mut self, waiting: usize) -> bool {
        let mut left = self.finishing.take().unwrap_or_else(|| self.marks.in_order().into_iter());
        while self.ended.len() < waiting
            && let Some(at) = left.next()
        {
            self.end(at, EndReason::EndOfCapture);
        }
        self.closing.clear();
        let more = left.len() > 0;
        self.finishing = more.then_some(left);
        more
    }

    /// What open conversations and the quirks of all others take, in octets. Where there is no bound
    /// in time or space, the packets are not counted.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.heap_octets
    }

    /// Number of conversations so far.
    #[must_use]
    pub fn conversation_count(&self) -> u64 {
        self.next_id
    }

    /// The conversation of a segment, begun where there is none, and the segment's direction in it.
    #[inline]
    fn find(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> (u32, Direction) {
        let (latest, from_lower) = self.keys.latest(segment);
        let Some(at) = latest else {
            return (
                self.begin(frame, segment, from_lower, WiresharkState::default()),
                Direction::Forward,
            );
        };
        let mark = &self.marks[at];
        let direction = if from_lower == mark.initiator_is_low {
            Direction::Forward
        } else {
            Direction::Reverse
        };
        // What is idle for long is ended, known or forgotten: nothing that comes after it is told
        // by it.
        if self
            .options
            .idle_timeout_ns
            .is_some_and(|timeout| time_ns.saturating_sub(mark.last_ns) > timeout)
        {
            self.end(at, EndReason::IdleTimeout);
            self.forget(at);
            return (
                self.begin(frame, segment, from_lower, WiresharkState::default()),
                Direction::Forward,
            );
        }
        if mark.wireshark.is_reused_by(&seen(segment, direction)) {
            self.end(at, EndReason::PortReuse);
            self.forget(at);
            return (
                self.begin(frame, segment, from_lower, WiresharkState::reused()),
                Direction::Forward,
            );
        }
        (at, direction)
    }

    fn begin(
        &mut self,
        frame: u64,
        segment: &Segment<'_>,
        initiator_is_low: bool,
        wireshark: WiresharkState,
    ) -> u32 {
        let conversation = Conversation::new(segment, self.spare.pop().unwrap_or_default());
        self.spare_octets -= conversation.heap_octets();
        self.heap_octets += PER_CONVERSATION;
        let open = match self.free.pop() {
            Some(at) => {
                self.open[at as usize] = conversation;
                at
            }
            None => {
                self.open.push(conversation);
                self.open.len() as u32 - 1
            }
        };
        let ends = self.keys.keep(segment);
        let mark = ConversationEntry {
            id: self.next_id,
            ends,
            open,
            first_frame: frame,
            packets: 0,
            packets_after_export: 0,
            last_ns: 0,
            wireshark,
            quirks: PacketQuirks::default(),
            initiator_is_low,
            responder_opened: false,
        };
        self.next_id += 1;
        self.heap_octets += mark.octets();
        let at = self.marks.keep(mark);
        self.keys.set(ends, at);
        if let Some(recency) = &mut self.recency {
            recency.push(List::Open, at);
        }
        at
    }

    #[inline]
    fn take(&mut self, at: u32, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let mark = &self.marks[at];
        let conversation = &mut self.open[mark.open as usize];
        let not_held = mark.quirks.intersects(UNENCODABLE);
        if !(not_held
            && (segment.quirks.intersects(PacketQuirks::QUOTED | PacketQuirks::BAD_LENGTH)
                || segment.payload_len.is_none()))
        {
            conversation.take(time_ns, segment, direction);
        }
        let no_syn = self.options.only_opened
            && mark.packets >= SYN_MAY_STILL_COME
            && !conversation.has_syn();
        if conversation.held && (not_held || no_syn) {
            conversation.let_go();
        }
        if self.recency.is_some() {
            let octets = conversation.heap_octets();
            self.heap_octets = self.heap_octets - conversation.counted + octets;
            conversation.counted = octets;
        }
        if !conversation.closing && conversation.is_closed() {
            conversation.closing = true;
            self.closing.push_back(Closing { since_ns: time_ns, id: mark.id, at });
        }
    }

    /// Gives out the closed conversations to which nothing came for a while.
    #[inline]
    fn end_lingering(&mut self, now_ns: i64) {
        while let Some(&closing) = self.closing.front() {
            if now_ns.saturating_sub(closing.since_ns) <= self.options.linger_ns {
                return;
            }
            self.closing.pop_front();
            let mark = &self.marks[closing.at];
            if mark.open == NONE || mark.id != closing.id {
                continue;
            }
            if now_ns.saturating_sub(mark.last_ns) > self.options.linger_ns {
                self.end(closing.at, EndReason::EndOfFlow);
            } else {
                self.closing.push_back(Closing { since_ns: mark.last_ns, ..closing });
            }
        }
    }

    /// Gives out and forgets what is idle, and what there is no space for. The packet taken in
    /// last, at `now_ns`, is of `current`.
    fn keep_bounds(&mut self, current: u32, now_ns: i64) {
        let list = if self.marks[current].open == NONE { List::Exported } else { List::Open };
        let Some(recency) = &mut self.recency else { return };
        recency.touch(list, current);
        if let Some(timeout_ns) = self.options.idle_timeout_ns {
            // One time that is far ahead of those around it ends nothing.
            let now_ns = now_ns.min(std::mem::replace(&mut self.before_ns, now_ns));
            self.end_idle(List::Exported, now_ns, timeout_ns.saturating_mul(2));
            self.end_idle(List::Open, now_ns, timeout_ns.saturating_mul(2));
        }
        if let Some(max) = self.options.max_octets {
            while self.heap_octets > max && self.make_space(current, max) {}
        }
    }

    /// Gives out and forgets those quiet for longest, where they are so for longer than `limit_ns`:
    /// the next packet between their ends would begin another conversation anyway.
    fn end_idle(&mut self, list: List, now_ns: i64, limit_ns: i64) {
        for _ in 0..IDLE_AT_A_TIME {
            let Some(recency) = &mut self.recency else { return };
            let Some(first) = recency.first(list) else { return };
            let last_ns = self.marks[first].last_ns;
            if now_ns.saturating_sub(last_ns) > limit_ns {
                self.end(first, EndReason::IdleTimeout);
                self.forget(first);
            } else if last_ns > now_ns {
                // The clock has gone back since: those behind it need not wait until it gets there
                // again.
                recency.touch(list, first);
            } else {
                return;
            }
        }
    }

    /// Forgets the conversation quiet for longest of those given out, or gives out the one of those
    /// open. `current` comes last. Says whether there was one.
    #[cold]
    fn make_space(&mut self, current: u32, max: usize) -> bool {
        let Some(recency) = &self.recency else { return false };
        let first = |list| recency.first(list).filter(|at| *at != current);
        match (first(List::Exported), first(List::Open)) {
            (Some(given), open) if self.given_octets > max / 4 || open.is_none() => {
                self.forget(given)
            }
            (_, Some(open)) => self.end(open, EndReason::LackOfResources),
            _ if self.marks[current].open != NONE => self.end(current, EndReason::LackOfResources),
            _ => return false,
        }
        true
    }

    fn end(&mut self, at: u32, end_reason: EndReason) {
        let mark = &mut self.marks[at];
        if mark.open == NONE {
            return;
        }
        let conversation = &mut self.open[mark.open as usize];
        self.free.push(mark.open);
        mark.open = NONE;
        mark.responder_opened = conversation.opener() == Direction::Reverse;
        self.heap_octets -= conversation.counted + PER_CONVERSATION;
        self.given_octets += mark.octets();
        if let Some(recency) = &mut self.recency {
            recency.remove(List::Open, at);
            recency.push(List::Exported, at);
        }
        // What is closed has not ended early.
        let end_reason = match end_reason {
            EndReason::IdleTimeout if conversation.is_closed() => EndReason::EndOfFlow,
            other => other,
        };
        let verdict = conversation.verdict();
        let (held, buffers) = (conversation.held, conversation.empty());
        let flow = held.then(|| flow_of(mark, mark.opener_first(&self.keys), buffers));
        self.finished_octets += flow.as_ref().map_or(0, Flow::heap_octets);
        self.ended.push_back(FinishedConversation {
            id: mark.id,
            flow,
            verdict,
            quirks: mark.quirks,
            end_reason,
        });
    }

    /// Lets go the mark of a conversation that was given out.
    fn forget(&mut self, at: u32) {
        let mark = &self.marks[at];
        self.forgotten.push(mark.record(&self.keys));
        self.heap_octets -= mark.octets();
        self.given_octets -= mark.octets();
        self.keys.forget(mark.ends, at);
        if let Some(recency) = &mut self.recency {
            recency.remove(List::Exported, at);
        }
        self.marks.let_go(at);
    }
}

/// What an open conversation takes beside its buffers: its state, the number of its place, and what
/// two buffers cost an allocator.
const PER_CONVERSATION: usize = size_of::<Conversation>() + size_of::<u32>() + 32;

fn flow_of(
    mark: &ConversationEntry,
    [client, server]: [Endpoint; 2],
    (mut packets, options): (Vec<Packet>, Vec<u8>),
) -> Flow {
    if mark.responder_opened {
        for packet in &mut packets {
            packet.direction = packet.direction.reversed();
        }
    }
    Flow {
        client,
        server,
        first_frame: mark.first_frame,
        packets,
        options,
        completeness: mark.wireshark.bits,
    }
}

#[inline]
fn seen(segment: &Segment<'_>, direction: Direction) -> SegmentSummary {
    let tcp = &segment.tcp;
    SegmentSummary {
        direction,
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        payload_len: segment.payload_len,
        bogus: tcp.header_len < 20,
    }
}
