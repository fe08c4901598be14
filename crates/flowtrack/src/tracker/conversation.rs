//! One conversation while it is open.

use tcpwire::{Flags, IpRepr, Segment, SeqNum};

use super::copies::{self, RecentPackets};
use super::crossing::TagHistory;
use super::direction_state::DirectionState;
use super::opener::{ClientEvidence, by_ports};
use super::verdict::{Class, Close, MAX_GAPS_LISTED, Missing, Surplus, Verdict};
use super::window_scale::WindowScales;
use crate::{Direction, OptionsRef, Packet};

/// Buffers of a flow: packets, and the option octets of all packets.
pub(crate) type FlowBuffers = (Vec<Packet>, Vec<u8>);

/// Number of packets that room is made for after the first one.
const MORE_PACKETS: usize = 11;

/// Offsets of a segment's sequence number and acknowledgment number in the streams of its sender
/// and of the other endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Offsets {
    seq: i64,
    ack: i64,
}

/// State of an open conversation, and its packets as long as they are buffered. [`Forward`] is the
/// direction of the first packet seen, whichever endpoint opened.
///
/// [`Forward`]: Direction::Forward
#[derive(Debug)]
pub(crate) struct Conversation {
    packets: Vec<Packet>,
    options: Vec<u8>,
    /// Whether packets are buffered; once discarded, they stay so.
    pub(crate) is_buffering: bool,
    directions: [DirectionState; 2],
    /// Whether a SYN without ACK was seen, by direction.
    syn: [bool; 2],
    /// Whether a SYN-ACK was seen, by direction.
    syn_ack: [bool; 2],
    /// Whether an ACK without SYN or RST was seen, by direction, after a SYN or SYN-ACK of the
    /// other endpoint.
    answered: [bool; 2],
    /// Direction of the first SYN without ACK.
    opener: Option<Direction>,
    /// Direction of the client, as far as it is known without a SYN, and the evidence.
    presumed: (Direction, ClientEvidence),
    scales: WindowScales,
    /// RST that ended the connection.
    reset: Option<Box<Reset>>,
    /// Whether a second handshake was seen.
    opened_twice: bool,
    tags: TagHistory,
    /// Evidence that the capture shows packets of this conversation twice, if positive.
    copy_evidence: i8,
    /// Last packets, where they are not buffered.
    recent: Option<Box<RecentPackets>>,
    strict: StrictFlags,
    ipv4: bool,
    /// Capture time of the first packet, in nanoseconds.
    pub(crate) first_ns: i64,
    /// Whether the conversation is closed and queued for export.
    pub(crate) closing: bool,
    /// Value of [`heap_octets`](Self::heap_octets) when the tracker last counted it.
    pub(crate) counted_octets: usize,
}

impl Conversation {
    /// Creates the conversation that `segment` begins, with empty buffers.
    pub(crate) fn new(segment: &Segment<'_>, (packets, options): FlowBuffers) -> Self {
        Conversation {
            packets,
            options,
            is_buffering: true,
            directions: Default::default(),
            syn: [false; 2],
            syn_ack: [false; 2],
            answered: [false; 2],
            opener: None,
            presumed: by_ports(&segment.tcp),
            scales: WindowScales::default(),
            reset: None,
            opened_twice: false,
            tags: TagHistory::new(segment.tags),
            copy_evidence: 0,
            recent: None,
            strict: StrictFlags::default(),
            ipv4: matches!(segment.ip, IpRepr::V4(_)),
            first_ns: 0,
            closing: false,
            counted_octets: 0,
        }
    }

    /// Returns the direction in which the opener sends, and the evidence.
    pub(crate) fn opener(&self) -> (Direction, ClientEvidence) {
        // RFC 9293, section 3.5: a SYN-ACK answers the opener's SYN.
        match (self.opener, self.syn_ack) {
            (Some(opener), _) => (opener, ClientEvidence::Syn),
            (None, [true, _]) => (Direction::Reverse, ClientEvidence::SynAck),
            (None, [_, true]) => (Direction::Forward, ClientEvidence::SynAck),
            (None, [false, false]) => self.presumed,
        }
    }

    /// Sets the direction of the client, for as long as no SYN tells it.
    pub(crate) fn presume_client(&mut self, client: Direction, evidence: ClientEvidence) {
        self.presumed = (client, evidence);
    }

    /// Reports whether a SYN without ACK was seen.
    pub(crate) fn has_syn(&self) -> bool {
        self.opener.is_some()
    }

    /// Reports whether both streams are closed and acknowledged, or a RST was seen.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // RFC 9293, section 3.6: the connection is closed once both FINs are acknowledged.
        self.reset.is_some() || self.directions.iter().all(DirectionState::fin_acknowledged)
    }

    /// Returns the heap octets in use, by the capacity of the buffers.
    #[inline]
    pub(crate) fn heap_octets(&self) -> usize {
        let gaps = self.directions[0].heap_octets() + self.directions[1].heap_octets();
        self.packets.capacity() * size_of::<Packet>() + self.options.capacity() + gaps
    }

    /// Takes the buffers out and frees all other heap memory.
    pub(crate) fn take_buffers(&mut self) -> FlowBuffers {
        self.directions = Default::default();
        (std::mem::take(&mut self.packets), std::mem::take(&mut self.options))
    }

    /// Frees the buffers; packets are no longer buffered.
    pub(crate) fn discard_packets(&mut self) {
        self.is_buffering = false;
        self.packets = Vec::new();
        self.options = Vec::new();
        self.recent = Some(Box::default());
    }

    /// Returns the offsets of a segment's numbers.
    #[inline]
    pub(crate) fn offsets(&self, segment: &Segment<'_>, direction: Direction) -> Offsets {
        let [own, other] = [direction, direction.reversed()].map(|d| &self.directions[d.index()]);
        Offsets { seq: own.offset(segment.tcp.seq), ack: other.offset(segment.tcp.ack) }
    }

    /// Reports whether a segment with these [`offsets`](Self::offsets) is a copy of a packet within
    /// `window_ns` before it. A packet with new octets or a new acknowledgment is none.
    #[inline]
    pub(crate) fn is_copy(
        &mut self,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        offsets: Offsets,
        window_ns: i64,
    ) -> bool {
        let tcp = &segment.tcp;
        let own = direction.index();
        let payload_len = segment.payload_len.unwrap_or(0);
        let seq_len = payload_len + u32::from(tcp.flags.contains(Flags::SYN));
        // The numbers of a RST are not recorded.
        let is_known = tcp.flags.contains(Flags::RST)
            || self.directions[own].is_repeated_by(offsets.seq, seq_len)
                && (!tcp.flags.contains(Flags::ACK)
                    || self.directions[1 - own].is_acked_to(offsets.ack));
        (is_known || self.copy_evidence > copies::MIN_EVIDENCE)
            && self.judge_copy(time_ns, segment, direction, window_ns, is_known)
    }

    /// Judges whether a segment is a copy, by the packets before it. `is_known` says that nothing
    /// in it is new.
    #[cold]
    fn judge_copy(
        &mut self,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        window_ns: i64,
        is_known: bool,
    ) -> bool {
        let is_like = is_known && self.has_recent(time_ns, segment, direction, window_ns);
        if !copies::is_unique(segment) {
            return is_like && self.copy_evidence > 0;
        }
        self.copy_evidence = if is_like {
            (self.copy_evidence + copies::EVIDENCE_OF_ONE).min(copies::MAX_EVIDENCE)
        } else {
            (self.copy_evidence - 1).max(copies::MIN_EVIDENCE)
        };
        is_like
    }

    /// Reports whether a packet like the segment is among the last ones.
    fn has_recent(
        &self,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        window_ns: i64,
    ) -> bool {
        match &self.recent {
            Some(recent) => recent.contains(time_ns, segment, direction, window_ns),
            None => copies::is_among(
                &self.packets,
                &self.options,
                time_ns,
                (segment, direction),
                window_ns,
            ),
        }
    }

    /// Records the tags of a segment that is no copy.
    #[inline]
    pub(crate) fn record_tags(&mut self, segment: &Segment<'_>, direction: Direction) {
        self.tags.record(segment.tags, direction);
    }

    /// Adds a segment with a well-formed TCP header and these [`offsets`](Self::offsets), captured
    /// at `time_ns`.
    #[inline]
    pub(crate) fn push(
        &mut self,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        mut offsets: Offsets,
    ) {
        let tcp = &segment.tcp;
        let flags = tcp.flags;
        let has_numbers = if flags.contains(Flags::RST) {
            self.push_rst(segment, direction);
            false
        } else if flags.contains(Flags::SYN) {
            let is_of_stream = self.push_syn(segment, direction);
            // The SYN may begin the stream anew.
            offsets = self.offsets(segment, direction);
            is_of_stream
        } else {
            true
        };
        if has_numbers {
            self.push_numbers(segment, direction, offsets);
        }
        self.strict.push(flags);
        if self.is_buffering {
            self.buffer(time_ns, segment, direction);
        } else if let Some(recent) = &mut self.recent {
            recent.push(time_ns, segment, direction);
        }
    }

    /// Records the sequence and acknowledgment numbers of a segment without RST.
    #[inline]
    fn push_numbers(&mut self, segment: &Segment<'_>, direction: Direction, offsets: Offsets) {
        let (own, other) = (direction.index(), direction.reversed().index());
        let tcp = &segment.tcp;
        let (syn, ack) = (tcp.flags.contains(Flags::SYN), tcp.flags.contains(Flags::ACK));
        let mut flags = tcp.flags;
        if ack && flags.contains(Flags::FIN) && !self.directions[other].accepts_ack(tcp.ack) {
            flags.remove(Flags::FIN);
        }
        let payload_len = segment.payload_len.unwrap_or(0);
        if !self.directions[own].record_segment(tcp.seq, offsets.seq, flags, payload_len) {
            return;
        }
        if ack {
            let window = self.scales.scaled(tcp.window, syn, own);
            let is_acceptable = self.directions[other].record_ack(tcp.ack, offsets.ack, window);
            self.answered[own] |= is_acceptable && !syn && (self.syn[other] || self.syn_ack[other]);
        }
        if self.reset.is_some() && !syn {
            self.revoke_reset(direction);
        }
    }

    /// Records a RST: one that its receiver cannot accept changes nothing.
    #[cold]
    fn push_rst(&mut self, segment: &Segment<'_>, direction: Direction) {
        let (own, other) = (direction.index(), direction.reversed().index());
        let tcp = &segment.tcp;
        // RFC 9293, section 3.10.7.3: in SYN-SENT, a RST counts if it acknowledges the SYN.
        let is_syn_sent = self.syn[other]
            && !self.syn[own]
            && !self.syn_ack[own]
            && !self.answered[own]
            && !self.directions[own].has_sent();
        let is_acceptable = if is_syn_sent {
            tcp.flags.contains(Flags::ACK) && self.directions[other].is_syn_acked_by(tcp.ack)
        } else {
            self.directions[own].accepts_rst(tcp.seq)
        };
        if is_acceptable && self.reset.is_none() {
            // After both FINs the close is regular (RFC 9293, section 3.6); a RST changes nothing.
            let before_fins = self.directions.iter().any(|d| d.fin().is_none());
            let (high, _) = self.directions[own].progress();
            let (_, acked) = self.directions[other].progress();
            self.reset = Some(Box::new(Reset { by: direction, high, acked, before_fins }));
        }
    }

    /// Forgets the RST of an endpoint that still sends: another one forged the RST (RFC 5961,
    /// section 3).
    #[cold]
    fn revoke_reset(&mut self, direction: Direction) {
        let (own, other) = (direction.index(), direction.reversed().index());
        let (high, _) = self.directions[own].progress();
        let (_, acked) = self.directions[other].progress();
        let reset = self.reset.as_deref();
        if reset.is_some_and(|r| r.by == direction && (high > r.high || acked > r.acked)) {
            self.reset = None;
        }
    }

    /// Prepares for a segment with SYN; `false` if that is of another connection.
    #[cold]
    fn push_syn(&mut self, segment: &Segment<'_>, direction: Direction) -> bool {
        let (own, other) = (direction.index(), direction.reversed().index());
        let tcp = &segment.tcp;
        let ack = tcp.flags.contains(Flags::ACK);
        // RFC 9293, section 3.10.7.3: a SYN-ACK of another SYN is answered with a RST.
        if ack && !self.directions[other].is_syn_acked_by(tcp.ack) {
            return false;
        }
        let payload_len = segment.payload_len.unwrap_or(0);
        let is_open_beyond = self.answered[own]
            && (self.directions[own].has_sent_beyond_syn(payload_len)
                || self.directions[other].has_sent_beyond_syn(0));
        // A SYN-ACK that is sent again until a RST comes opens nothing.
        let was_open = if ack { self.answered[other] } else { self.syn_ack != [false; 2] };
        self.opened_twice |= self.is_closed() && was_open;
        let state = &mut self.directions[own];
        if state.start.is_none() {
            state.begin_at(tcp.seq);
        } else if state.is_isn(tcp.seq) {
            self.opened_twice |= !ack && is_open_beyond;
        } else if !state.has_sent() {
            // Another attempt: nothing but SYNs was sent.
            state.begin_anew();
        } else {
            self.opened_twice = true;
            return false;
        }
        self.scales.record_syn(segment, own);
        if ack {
            // The connection begins here, whatever an earlier one on the same ports had said.
            if !std::mem::replace(&mut self.syn_ack[own], true) {
                self.directions[other].forget_acks();
                self.reset = None;
            }
        } else {
            self.syn[own] = true;
            self.opener.get_or_insert(direction);
        }
        true
    }

    /// Appends a segment to the buffers.
    #[inline]
    fn buffer(&mut self, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let tcp = &segment.tcp;
        let options = OptionsRef { start: self.options.len() as u32, len: tcp.options.len() as u8 };
        self.buffer_options(tcp.options);
        let (flow_label, ip_id, ttl, traffic_class, dont_fragment) = match &segment.ip {
            IpRepr::V4(ip) => (0, ip.id, ip.ttl, ip.traffic_class, ip.dont_fragment),
            IpRepr::V6(ip) => (ip.flow_label, 0, ip.hop_limit, ip.traffic_class, false),
        };
        if self.packets.len() == self.packets.capacity() {
            self.grow(tcp.options.len());
        }
        self.packets.push(Packet {
            time_ns,
            seq: tcp.seq,
            ack: tcp.ack,
            payload_len: segment.payload_len.unwrap_or(0),
            flow_label,
            options,
            flags: tcp.flags,
            window: tcp.window,
            urgent: tcp.urgent,
            ip_id,
            ttl,
            traffic_class,
            dont_fragment,
            direction,
        });
    }

    /// Makes room for more packets, of which the next one has `option_octets` of options: for one,
    /// since most flows of a SYN flood have no more, then for those of a short session.
    #[cold]
    fn grow(&mut self, option_octets: usize) {
        match self.packets.len() {
            0 => self.packets.reserve_exact(1),
            1 => {
                self.packets.reserve_exact(MORE_PACKETS);
                // Timestamps with their padding take 12 octets, and come with every packet.
                self.options.reserve_exact((MORE_PACKETS - 1) * option_octets.min(12));
            }
            len => self.packets.reserve_exact(len),
        }
    }

    #[inline]
    fn buffer_options(&mut self, options: &[u8]) {
        // Most segments have two NOPs and timestamps (RFC 7323, appendix A): a copy whose length is
        // known at compile time is no call.
        match <&[u8; 12]>::try_from(options) {
            Ok(options) => self.options.extend_from_slice(options),
            Err(_) if options.is_empty() => {}
            Err(_) => self.options.extend_from_slice(options),
        }
    }

    /// Returns the first and the last sequence numbers, with `client` as the client.
    pub(crate) fn numbers(&self, client: Direction) -> [Option<[SeqNum; 2]>; 2] {
        let client = client.index();
        [self.directions[client].numbers(), self.directions[1 - client].numbers()]
    }

    /// Returns the verdict, with the opener as the client.
    pub(crate) fn verdict(&self) -> Verdict {
        let (client, client_evidence) = self.opener();
        let client = client.index();
        let server = 1 - client;
        let mut missing = Vec::new();
        let opened = self.list_missing_handshake(client, server, &mut missing);
        let mut missing_octets = [0; 2];
        for (direction, index) in [(Direction::Forward, client), (Direction::Reverse, server)] {
            missing_octets[direction.index()] =
                list_missing_octets(direction, &self.directions[index], &mut missing);
        }
        // After a RST no FIN is due.
        let close = self.close();
        if close == Close::Open {
            for (direction, index) in [(Direction::Forward, client), (Direction::Reverse, server)] {
                if self.directions[index].fin().is_none() {
                    missing.push(Missing::Fin { direction });
                }
            }
        }
        // Missing octets, and packets of another session, make any conversation partial; a missing
        // handshake or close does not.
        let surplus = self.surplus(client);
        let whole = missing_octets == [0, 0] && surplus.is_empty();
        let class = match close {
            Close::Fin if opened && whole => Class::Graceful,
            Close::Rst if opened && whole => Class::Reset,
            _ if self.has_syn() && whole => Class::Started,
            Close::Fin | Close::Rst if whole && !self.has_syn() => Class::Ended,
            _ => Class::Partial,
        };
        let repeated_octets = [self.directions[client].repeated, self.directions[server].repeated];
        let strict = self.ipv4 && self.strict.is_original();
        Verdict {
            class,
            close,
            client_evidence,
            missing,
            surplus,
            missing_octets,
            repeated_octets,
            strict,
        }
    }

    /// Returns everything that is not of one session, with the opener's direction as `client`.
    fn surplus(&self, client: usize) -> Vec<Surplus> {
        let mut surplus = Vec::new();
        if self.opened_twice {
            surplus.push(Surplus::SecondHandshake);
        }
        for (direction, index) in [(Direction::Forward, client), (Direction::Reverse, 1 - client)] {
            if self.directions[index].has_strays {
                surplus.push(Surplus::Strays { direction });
            }
        }
        surplus.extend(self.tags.crossing().map(Surplus::Crossing));
        surplus
    }

    fn close(&self) -> Close {
        if self.reset.as_deref().is_some_and(|reset| reset.before_fins) {
            Close::Rst
        } else if self.directions.iter().all(|d| d.fin().is_some()) {
            Close::Fin
        } else {
            Close::Open
        }
    }

    /// Appends the missing parts of the handshake to `missing`. Returns whether the handshake is
    /// complete.
    fn list_missing_handshake(
        &self,
        client: usize,
        server: usize,
        missing: &mut Vec<Missing>,
    ) -> bool {
        // RFC 9293, section 3.5, figure 7: where both endpoints send a SYN, each answers the
        // other's with a SYN-ACK. An ACK in its place is accepted too.
        let simultaneous = self.syn[server] && (self.syn_ack[client] || self.answered[client]);
        if !self.syn[client] {
            missing.push(Missing::Syn);
        }
        if !self.syn_ack[server] && !simultaneous {
            missing.push(Missing::SynAck);
        }
        let answered = self.answered[client] || simultaneous && self.syn_ack[client];
        if !answered {
            missing.push(Missing::Ack);
        }
        missing.is_empty()
    }
}

/// RST that its receiver accepted, with what was seen before.
#[derive(Clone, Copy, Debug)]
struct Reset {
    /// Direction of the RST.
    by: Direction,
    /// Offset after the highest octet that its sender sent before.
    high: i64,
    /// Highest acknowledgment that its sender sent before.
    acked: Option<i64>,
    /// Whether a FIN was missing then.
    before_fins: bool,
}

/// Appends the gaps of a direction to `missing`, at most [`MAX_GAPS_LISTED`] of them. Returns the
/// number of octets in all gaps.
fn list_missing_octets(
    direction: Direction,
    state: &DirectionState,
    missing: &mut Vec<Missing>,
) -> u64 {
    let mut octets = state.discarded();
    for (n, gap) in state.missing().enumerate() {
        octets += gap.end - gap.start;
        if n < MAX_GAPS_LISTED {
            missing.push(Missing::Octets { direction, octets: gap });
        }
    }
    octets
}

/// Flags of the first three packets and the last four, for [`Verdict::strict`].
#[derive(Clone, Copy, Debug, Default)]
struct StrictFlags {
    first: [u8; 3],
    last: [u8; 4],
    packets: u32,
}

impl StrictFlags {
    /// Flags from FIN to URG: the original compared no ECN bits.
    const KNOWN: Flags = Flags::FIN
        .union(Flags::SYN)
        .union(Flags::RST)
        .union(Flags::PSH)
        .union(Flags::ACK)
        .union(Flags::URG);

    #[inline]
    fn push(&mut self, flags: Flags) {
        let flags = flags.intersection(Self::KNOWN).bits() as u8;
        if let Some(slot) = self.first.get_mut(self.packets as usize) {
            *slot = flags;
        }
        self.last = [self.last[1], self.last[2], self.last[3], flags];
        self.packets = self.packets.saturating_add(1);
    }

    fn is_original(&self) -> bool {
        const S: u8 = Flags::SYN.bits() as u8;
        const A: u8 = Flags::ACK.bits() as u8;
        const SA: u8 = Flags::SYN.union(Flags::ACK).bits() as u8;
        const FA: u8 = Flags::FIN.union(Flags::ACK).bits() as u8;
        self.packets >= 7 && self.first == [S, SA, A] && self.last == [FA, A, FA, A]
    }
}
