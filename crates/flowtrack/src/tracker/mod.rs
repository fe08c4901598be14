//! Segments into conversations, split where Wireshark 4.0 splits them.

mod assembler;
mod completeness;
mod conversation;
mod copies;
mod crossing;
mod direction_state;
mod flow_verdict;
mod frame;
mod lru;
mod opener;
mod read;
mod slab;
mod table;
mod tuples;
mod verdict;
mod window_scale;

use std::collections::VecDeque;

use tcpwire::{Flags, PacketQuirks, Segment, SeqNum, Tags};

pub use self::assembler::{Assembler, Inserted};
pub use self::crossing::TagKinds;
pub use self::frame::{FramePayload, Framer};
pub use self::opener::ClientEvidence;
pub use self::read::{CaptureCounts, EndedCapture, FlowReader};
pub use self::table::ConversationSummary;
pub use self::verdict::{Class, Close, MAX_GAPS_LISTED, Missing, Surplus, Verdict};

use self::completeness::{SegmentSummary, WiresharkState};
use self::conversation::{Conversation, FlowBuffers, Offsets};
use self::lru::{List, LruLists};
use self::slab::{PER_FREE_PLACE, Slab};
use self::table::{ConversationEntry, ConversationTable, NONE};
use self::tuples::TupleMap;
use crate::{Completeness, Direction, Endpoint, Flow};

/// Quirks that a [`Flow`] cannot represent. A conversation with one of these gets a verdict and is
/// counted, and its packets are discarded.
pub const UNENCODABLE: PacketQuirks = PacketQuirks::IP_OPTIONS
    .union(PacketQuirks::IPV6_EXTENSION)
    .union(PacketQuirks::FRAGMENTED)
    .union(PacketQuirks::HEADER_CUT)
    .union(PacketQuirks::BAD_LENGTH)
    .union(PacketQuirks::IPV4_RESERVED)
    .union(PacketQuirks::INVALID_TIME);

/// Bounds in time and space of a [`Tracker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackerOptions {
    /// Whether only conversations that begin with a SYN are buffered; others keep counters only.
    pub only_opened: bool,
    /// Longest pause within a conversation, in nanoseconds of capture time; a longer one ends it.
    /// Wireshark has no such limit. A conversation is exported and forgotten once its last packet
    /// is twice as long ago. No other result depends on when that happens, as long as the capture's
    /// clock goes back by no more than this.
    pub idle_timeout_ns: Option<i64>,
    /// Largest number of heap octets: packets, open conversations, and the entries of exported
    /// ones. Beyond it, the least recently used open conversations are exported, and the least
    /// recently used exported ones are forgotten as long as exported ones take more than a quarter
    /// of this bound. A further packet of a forgotten conversation begins another one.
    pub max_octets: Option<usize>,
    /// Least time that a closed conversation waits for late packets before its export, in
    /// nanoseconds of capture time.
    pub linger_ns: i64,
    /// Heap octets of closed conversations that wait for late packets, however long: beyond them,
    /// those that closed first are exported. At
    /// most a quarter of `max_octets`.
    pub linger_octets: usize,
    /// Kinds of tags that separate conversations on the same 4-tuple. Wireshark separates by none.
    pub separate: TagKinds,
    /// Longest time between a packet and a copy of it, in nanoseconds.
    pub copy_window_ns: i64,
    /// Whether copies of packets are dropped.
    pub drop_copies: bool,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        TrackerOptions {
            only_opened: false,
            idle_timeout_ns: None,
            max_octets: None,
            // RFC 9293, section 3.4.2: the MSL is two minutes, and TIME-WAIT lasts two of them.
            linger_ns: 240_000_000_000,
            linger_octets: 8 * 1024 * 1024,
            separate: TagKinds::empty(),
            copy_window_ns: 1_000_000,
            drop_copies: false,
        }
    }
}

/// Reason why a conversation was exported, in terms of IPFIX's `flowEndReason` (information element
/// 136).
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

/// Conversation that a [`Tracker`] exports, once for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishedConversation {
    /// Number of the conversation, from 0, in order of first packets.
    pub id: u64,
    /// Both endpoints, the client first.
    pub endpoints: [Endpoint; 2],
    /// Capture times of the first and the last packet, in nanoseconds.
    pub times_ns: [i64; 2],
    /// First sequence number that was seen of the client and of the server, and the one after the
    /// last that was sent or acknowledged; `None` if none was.
    pub numbers: [Option<[SeqNum; 2]>; 2],
    /// Packets of the conversation; `None` if they were discarded.
    pub flow: Option<Flow>,
    /// Judgment of what was seen and what is missing.
    pub verdict: Verdict,
    /// Quirks of all packets together.
    pub quirks: PacketQuirks,
    /// Reason for the export.
    pub end_reason: EndReason,
}

/// Number of packets after which a conversation without a SYN counts as not opened. Below it, a SYN
/// that was captured out of order may still come.
const MIN_PACKETS_WITHOUT_SYN: u64 = 8;

/// Largest number of octets in buffers that are kept for the next flows.
const MAX_SPARE_OCTETS: usize = 8 * 1024 * 1024;
/// Largest capacity, in packets, of a buffer that is kept for the next flows.
const MAX_SPARE_PACKETS: usize = 2048;

/// Largest number of idle conversations exported after one packet, so that no packet waits for all
/// of them.
const MAX_IDLE_PER_PACKET: usize = 4;

/// Heap octets of an open conversation besides its buffers: its state, its place in the slab, and
/// the overhead of two buffers in the allocator.
const PER_CONVERSATION: usize = size_of::<Conversation>() + PER_FREE_PLACE + 32;

/// Closed conversation that waits for late packets.
#[derive(Clone, Copy, Debug)]
struct Closing {
    /// Capture time when the conversation closed, or of its last packet when it was last checked.
    since_ns: i64,
    /// Number of the conversation: its key may have passed to another one.
    id: u64,
    key: u32,
    /// Heap octets when it closed.
    octets: usize,
}

/// Conversation that begins, as far as its first segment does not tell.
struct Opening {
    time_ns: i64,
    frame: u64,
    /// Tags that separate it from others on the same 4-tuple.
    tags: Tags,
    initiator_is_low: bool,
}

/// Assigns segments to conversations.
///
/// The entry of a conversation is kept after its export for as long as a packet of the conversation
/// may come: until another one begins on the same 4-tuple, or until the entry is forgotten as
/// [`TrackerOptions`] say.
#[derive(Default)]
pub struct Tracker {
    options: TrackerOptions,
    tuples: TupleMap,
    entries: ConversationTable,
    /// Number of the next conversation.
    next_id: u64,
    /// Conversations in order of last packets; only with a bound in time or space.
    lru: Option<LruLists>,
    /// Capture time of the previous packet, in nanoseconds.
    previous_ns: i64,
    /// State of the conversations that are not exported yet.
    open: Slab<Conversation>,
    /// Empty buffers for the next flows.
    spare: Vec<FlowBuffers>,
    spare_octets: usize,
    /// Closed conversations, in the order in which they closed.
    closing: VecDeque<Closing>,
    /// Heap octets of closed conversations, a part of `heap_octets`.
    closing_octets: usize,
    /// Number of packets that are copies of another one.
    copies: u64,
    /// Heap octets of open conversations and all entries.
    heap_octets: usize,
    /// Heap octets of the entries of exported conversations, a part of `heap_octets`.
    exported_octets: usize,
    /// Exported conversations that the caller has not taken yet.
    finished: VecDeque<FinishedConversation>,
    finished_octets: usize,
    /// Summaries of forgotten conversations that the caller has not taken yet.
    forgotten: Vec<ConversationSummary>,
    /// Keys of conversations still to be exported at the end of the capture.
    finishing: Option<std::vec::IntoIter<u32>>,
}

impl Tracker {
    /// Creates a tracker without conversations.
    #[must_use]
    pub fn new(options: TrackerOptions) -> Self {
        let bounded = options.idle_timeout_ns.is_some() || options.max_octets.is_some();
        let quarter = options.max_octets.map_or(usize::MAX, |octets| octets / 4);
        let linger_octets = options.linger_octets.min(quarter);
        Tracker {
            options: TrackerOptions { linger_octets, ..options },
            lru: bounded.then(LruLists::default),
            previous_ns: i64::MIN,
            ..Tracker::default()
        }
    }

    /// Adds the segment of frame `frame`, captured at `time_ns`. Returns the number of the
    /// segment's conversation. A copy is not added if the options say so.
    #[inline]
    pub fn push(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> u64 {
        let (key, direction) = self.find(time_ns, frame, segment);
        let entry = &mut self.entries[key];
        // A quotation was not sent at this point of the capture: it is counted, and is no packet of
        // the flow.
        let is_quoted = segment.quirks.intersects(PacketQuirks::QUOTED);
        let mut offsets = None;
        if entry.open != NONE && !is_quoted {
            let conversation = &mut self.open[entry.open];
            let window_ns = self.options.copy_window_ns;
            let at = conversation.offsets(segment, direction);
            offsets = Some(at);
            if conversation.is_copy(time_ns, segment, direction, at, window_ns) {
                self.copies += 1;
                if self.options.drop_copies {
                    return entry.id;
                }
            } else {
                conversation.record_tags(segment, direction);
            }
        }
        let summary = segment_summary(segment, direction);
        // Wireshark creates the conversation of a reused 4-tuple itself, so that its first segment
        // is not new.
        let new = entry.packets == 0 && !entry.wireshark.bits.contains(Completeness::SYN);
        entry.wireshark.update(&summary, new);
        entry.packets += 1;
        entry.quirks |= segment.quirks;
        entry.last_ns = time_ns;
        let id = entry.id;
        if let Some(offsets) = offsets {
            self.update_open(key, time_ns, segment, direction, offsets);
        } else if !is_quoted {
            entry.packets_after_export = entry.packets_after_export.saturating_add(1);
        }
        self.export_closed(time_ns);
        if self.lru.is_some() {
            self.enforce_bounds(key, time_ns);
        }
        id
    }

    /// Removes and returns the conversations that were exported since the last call, in order of
    /// export.
    pub fn drain_finished(
        &mut self,
    ) -> std::collections::vec_deque::Drain<'_, FinishedConversation> {
        self.finished_octets = 0;
        self.finished.drain(..)
    }

    /// Removes and returns the first exported conversation.
    pub fn pop_finished(&mut self) -> Option<FinishedConversation> {
        let first = self.finished.pop_front()?;
        self.finished_octets -= first.flow.as_ref().map_or(0, Flow::heap_octets);
        Some(first)
    }

    /// Accepts a flow that the caller is done with, so that the next flows reuse its buffers.
    pub fn recycle(&mut self, mut flow: Flow) {
        // With a bound in space the capacity of a conversation's buffers is counted, and must not
        // depend on when the caller recycles those of others.
        if self.options.max_octets.is_some() {
            return;
        }
        let octets = flow.heap_octets();
        if self.spare_octets + octets <= MAX_SPARE_OCTETS
            && flow.packets.capacity() <= MAX_SPARE_PACKETS
        {
            flow.packets.clear();
            flow.options.clear();
            self.spare_octets += octets;
            self.spare.push((flow.packets, flow.options));
        }
    }

    /// Returns the number of conversations that [`drain_finished`](Self::drain_finished) would
    /// give.
    #[must_use]
    pub fn finished_count(&self) -> usize {
        self.finished.len()
    }

    /// Returns the heap octets of the packets that [`drain_finished`](Self::drain_finished) would
    /// give.
    #[must_use]
    pub fn finished_octets(&self) -> usize {
        self.finished_octets
    }

    /// Returns the number of packets so far that are copies of another one, dropped or not.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// Removes and returns the summaries of conversations that were forgotten since the last call:
    /// they were exported, and no further packet is counted to them.
    pub fn drain_forgotten(&mut self) -> std::vec::Drain<'_, ConversationSummary> {
        self.forgotten.drain(..)
    }

    /// Returns the number of summaries that [`drain_forgotten`](Self::drain_forgotten) would give.
    #[must_use]
    pub fn forgotten_count(&self) -> usize {
        self.forgotten.len()
    }

    /// Returns the summaries of all conversations that are not forgotten, in order of first
    /// packets.
    pub fn summaries(&self) -> impl Iterator<Item = ConversationSummary> {
        self.entries.keys_in_order().into_iter().map(|key| self.entries[key].summary(&self.tuples))
    }

    /// Exports all conversations, in order of first packets.
    pub fn finish(&mut self) {
        while self.finish_until(usize::MAX) {}
    }

    /// Exports conversations, in order of first packets, until `finished` of them wait for the
    /// caller. Returns whether there may be more: a million conversations need not be in memory at
    /// once.
    pub fn finish_until(&mut self, finished: usize) -> bool {
        let mut left =
            self.finishing.take().unwrap_or_else(|| self.entries.keys_in_order().into_iter());
        while self.finished.len() < finished
            && let Some(key) = left.next()
        {
            self.export(key, EndReason::EndOfCapture);
        }
        self.closing.clear();
        self.closing_octets = 0;
        let more = left.len() > 0;
        self.finishing = more.then_some(left);
        more
    }

    /// Returns the heap octets of open conversations and of all entries. Without a bound in time or
    /// space, packets are not counted.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.heap_octets
    }

    /// Sets the direction of the client of the only conversation, for as long as no SYN tells it.
    pub(crate) fn presume_client(&mut self, client: Direction) {
        let (by_ports, evidence) = self.open[0].opener();
        let evidence = if by_ports == client { evidence } else { ClientEvidence::Unknown };
        self.open[0].presume_client(client, evidence);
    }

    /// Returns the number of conversations so far.
    #[must_use]
    pub fn conversation_count(&self) -> u64 {
        self.next_id
    }

    /// Returns the key of a segment's conversation, which may begin with the segment, and the
    /// segment's direction.
    #[inline]
    fn find(&mut self, time_ns: i64, frame: u64, segment: &Segment<'_>) -> (u32, Direction) {
        let tags = if self.options.separate.is_empty() {
            Tags::default()
        } else {
            self.options.separate.of(segment.tags)
        };
        let (latest, from_lower) = self.tuples.latest(segment, tags);
        let Some(key) = latest else {
            let new = Opening { time_ns, frame, tags, initiator_is_low: from_lower };
            return (self.open_conversation(new, segment, None), Direction::Forward);
        };
        let entry = &self.entries[key];
        let direction = if from_lower == entry.initiator_is_low {
            Direction::Forward
        } else {
            Direction::Reverse
        };
        // Beyond the time-out a conversation is over, whether its entry is forgotten yet or not, so
        // that the split does not depend on when entries are forgotten.
        let timeout_ns = self.options.idle_timeout_ns;
        let end_reason =
            if timeout_ns.is_some_and(|timeout| time_ns.saturating_sub(entry.last_ns) > timeout) {
                EndReason::IdleTimeout
            } else if segment.tcp.flags.contains(Flags::SYN)
                && entry.wireshark.is_reused_by(&segment_summary(segment, direction))
            {
                // Wireshark begins another conversation with a SYN whose sequence number is not
                // that of the SYN before.
                EndReason::PortReuse
            } else {
                return (key, direction);
            };
        self.export(key, end_reason);
        let new = Opening { time_ns, frame, tags, initiator_is_low: from_lower };
        let key = self.open_conversation(new, segment, Some((key, end_reason)));
        (key, Direction::Forward)
    }

    /// Opens the conversation that `segment` begins, and returns its key. The conversation before
    /// on the same 4-tuple, exported for the reason given, is forgotten.
    fn open_conversation(
        &mut self,
        new: Opening,
        segment: &Segment<'_>,
        before: Option<(u32, EndReason)>,
    ) -> u32 {
        let mut conversation = Conversation::new(segment, self.spare.pop().unwrap_or_default());
        let mut wireshark = WiresharkState::default();
        if let Some((before, reason)) = before {
            let pause_ns = new.time_ns.saturating_sub(self.entries[before].last_ns);
            // After twice the time-out the entry may be forgotten or not.
            let is_kept = self.options.idle_timeout_ns.is_some_and(|t| pause_ns / 2 <= t);
            if is_kept && let Some(client_is_low) = self.entries[before].known_client_is_low() {
                let is_initiator = client_is_low == new.initiator_is_low;
                let client = if is_initiator { Direction::Forward } else { Direction::Reverse };
                conversation.presume_client(client, ClientEvidence::Earlier);
            }
            if reason == EndReason::PortReuse {
                wireshark = WiresharkState::reused();
            }
            self.forget(before);
        }
        self.spare_octets -= conversation.heap_octets();
        self.heap_octets += PER_CONVERSATION;
        conversation.first_ns = new.time_ns;
        let open = self.open.insert(conversation);
        let tuple = self.tuples.insert(segment, new.tags);
        let entry = ConversationEntry {
            id: self.next_id,
            tuple,
            open,
            first_frame: new.frame,
            packets: 0,
            packets_after_export: 0,
            last_ns: 0,
            wireshark,
            quirks: PacketQuirks::default(),
            initiator_is_low: new.initiator_is_low,
            responder_opened: false,
            client_evidence: ClientEvidence::Unknown,
        };
        self.next_id += 1;
        self.heap_octets += entry.heap_octets();
        let key = self.entries.insert(entry);
        self.tuples.set(tuple, key);
        if let Some(lru) = &mut self.lru {
            lru.push(List::Open, key);
        }
        key
    }

    /// Updates an open conversation with a segment.
    #[inline]
    fn update_open(
        &mut self,
        key: u32,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        offsets: Offsets,
    ) {
        let entry = &self.entries[key];
        let conversation = &mut self.open[entry.open];
        let unencodable = entry.quirks.intersects(UNENCODABLE);
        // Without a valid length the sequence numbers of a segment are unknown.
        let is_sound =
            !segment.quirks.intersects(PacketQuirks::BAD_LENGTH) && segment.payload_len.is_some();
        if !unencodable || is_sound {
            conversation.push(time_ns, segment, direction, offsets);
        }
        let without_syn = self.options.only_opened
            && entry.packets >= MIN_PACKETS_WITHOUT_SYN
            && !conversation.has_syn();
        if conversation.is_buffering && (unencodable || without_syn) {
            conversation.discard_packets();
        }
        if self.lru.is_some() {
            let octets = conversation.heap_octets();
            self.heap_octets = self.heap_octets - conversation.counted_octets + octets;
            conversation.counted_octets = octets;
        }
        if !conversation.closing && conversation.is_closed() {
            conversation.closing = true;
            let octets = PER_CONVERSATION + conversation.heap_octets();
            self.closing_octets += octets;
            self.closing.push_back(Closing { since_ns: time_ns, id: entry.id, key, octets });
        }
    }

    /// Exports closed conversations without a packet for the linger time, as long as all closed
    /// ones take more memory than is theirs.
    #[inline]
    fn export_closed(&mut self, now_ns: i64) {
        if self.closing_octets > self.options.linger_octets {
            self.export_lingering(now_ns);
        }
    }

    #[cold]
    fn export_lingering(&mut self, now_ns: i64) {
        // The queue is in order of `since_ns` as long as the clock does not go back. A conversation
        // with a packet since then goes to the back again.
        while self.closing_octets > self.options.linger_octets
            && let Some(&closing) = self.closing.front()
        {
            let entry = &self.entries[closing.key];
            let is_open = entry.open != NONE && entry.id == closing.id;
            // Whether the first one is still open changes nothing for those behind it.
            if now_ns.saturating_sub(closing.since_ns) <= self.options.linger_ns {
                return;
            }
            self.closing.pop_front();
            self.closing_octets -= closing.octets;
            if !is_open {
                continue;
            }
            let conversation = &mut self.open[entry.open];
            if !conversation.is_closed() {
                // The RST that closed it was revoked.
                conversation.closing = false;
            } else if now_ns.saturating_sub(entry.last_ns) > self.options.linger_ns {
                self.export(closing.key, EndReason::EndOfFlow);
            } else {
                self.closing_octets += closing.octets;
                self.closing.push_back(Closing { since_ns: entry.last_ns, ..closing });
            }
        }
    }

    /// Exports and forgets idle conversations, and those beyond the bound in space. The last
    /// packet, at `now_ns`, belongs to `current`.
    fn enforce_bounds(&mut self, current: u32, now_ns: i64) {
        let list = if self.entries[current].open == NONE { List::Exported } else { List::Open };
        let Some(lru) = &mut self.lru else { return };
        lru.touch(list, current);
        if let Some(timeout_ns) = self.options.idle_timeout_ns {
            // A single time far ahead of its neighbours ends nothing.
            let now_ns = now_ns.min(std::mem::replace(&mut self.previous_ns, now_ns));
            self.forget_idle(List::Exported, now_ns, timeout_ns.saturating_mul(2));
            self.forget_idle(List::Open, now_ns, timeout_ns.saturating_mul(2));
        }
        if let Some(max) = self.options.max_octets {
            while self.heap_octets > max && self.free_space(current, max) {}
        }
    }

    /// Exports and forgets the least recently used conversations that are idle for longer than
    /// `limit_ns`. The next packet on their 4-tuple would begin another conversation anyway.
    fn forget_idle(&mut self, list: List, now_ns: i64, limit_ns: i64) {
        for _ in 0..MAX_IDLE_PER_PACKET {
            let Some(lru) = &mut self.lru else { return };
            let Some(first) = lru.first(list) else { return };
            let last_ns = self.entries[first].last_ns;
            if now_ns.saturating_sub(last_ns) > limit_ns {
                self.export(first, EndReason::IdleTimeout);
                self.forget(first);
            } else if last_ns > now_ns {
                // The clock has gone back since then. The conversations behind this one need not
                // wait until the clock reaches that time again.
                lru.touch(list, first);
            } else {
                return;
            }
        }
    }

    /// Forgets the least recently used exported conversation, or exports the least recently used
    /// open one; `current` is the last choice. Returns whether there was any.
    #[cold]
    fn free_space(&mut self, current: u32, max: usize) -> bool {
        let Some(lru) = &self.lru else { return false };
        let first = |list| lru.first(list).filter(|key| *key != current);
        match (first(List::Exported), first(List::Open)) {
            (Some(exported), open) if self.exported_octets > max / 4 || open.is_none() => {
                self.forget(exported)
            }
            (_, Some(open)) => self.export(open, EndReason::LackOfResources),
            _ if self.entries[current].open != NONE => {
                self.export(current, EndReason::LackOfResources)
            }
            _ => return false,
        }
        true
    }

    /// Exports a conversation, unless it is exported already.
    fn export(&mut self, key: u32, reason: EndReason) {
        let entry = &mut self.entries[key];
        if entry.open == NONE {
            return;
        }
        let conversation = &mut self.open[entry.open];
        let open = std::mem::replace(&mut entry.open, NONE);
        let (client, evidence) = conversation.opener();
        entry.responder_opened = client == Direction::Reverse;
        entry.client_evidence = evidence;
        self.heap_octets -= conversation.counted_octets + PER_CONVERSATION;
        self.exported_octets += entry.heap_octets();
        if let Some(lru) = &mut self.lru {
            lru.remove(List::Open, key);
            lru.push(List::Exported, key);
        }
        // A closed conversation that times out has not ended early.
        let end_reason = match reason {
            EndReason::IdleTimeout if conversation.is_closed() => EndReason::EndOfFlow,
            other => other,
        };
        let verdict = conversation.verdict();
        let (first_ns, numbers) = (conversation.first_ns, conversation.numbers(client));
        let (is_buffered, buffers) = (conversation.is_buffering, conversation.take_buffers());
        self.open.release(open);
        // A conversation of quotations alone has no packets of its own.
        let is_buffered = is_buffered && !buffers.0.is_empty();
        let endpoints = entry.opener_first(&self.tuples);
        let times_ns = [first_ns, entry.last_ns];
        let flow = is_buffered.then(|| flow_from(entry, endpoints, buffers));
        self.finished_octets += flow.as_ref().map_or(0, Flow::heap_octets);
        let (id, quirks) = (entry.id, entry.quirks);
        self.finished.push_back(FinishedConversation {
            id,
            endpoints,
            times_ns,
            numbers,
            flow,
            verdict,
            quirks,
            end_reason,
        });
    }

    /// Removes the entry of an exported conversation.
    fn forget(&mut self, key: u32) {
        let entry = &self.entries[key];
        self.forgotten.push(entry.summary(&self.tuples));
        self.heap_octets -= entry.heap_octets();
        self.exported_octets -= entry.heap_octets();
        self.tuples.remove(entry.tuple, key);
        if let Some(lru) = &mut self.lru {
            lru.remove(List::Exported, key);
        }
        self.entries.remove(key);
    }
}

/// Returns the flow of a conversation. Directions are turned round if the responder opened, so that
/// the opener is the client.
fn flow_from(
    entry: &ConversationEntry,
    [client, server]: [Endpoint; 2],
    (mut packets, options): FlowBuffers,
) -> Flow {
    if entry.responder_opened {
        for packet in &mut packets {
            packet.direction = packet.direction.reversed();
        }
    }
    Flow {
        client,
        server,
        first_frame: entry.first_frame,
        packets,
        options,
        completeness: entry.wireshark.bits,
    }
}

/// Returns the fields of a segment that Wireshark's conversation logic reads.
#[inline]
fn segment_summary(segment: &Segment<'_>, direction: Direction) -> SegmentSummary {
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
