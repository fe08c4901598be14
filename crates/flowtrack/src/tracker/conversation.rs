//! One conversation while it is open.

use tcpwire::{Flags, IpRepr, Segment};

use super::direction_state::DirectionState;
use super::verdict::{Class, Close, MAX_GAPS_LISTED, Missing, Verdict};
use crate::{Direction, OptionsRef, Packet};

/// Buffers of a flow: packets, and the option octets of all packets.
pub(crate) type FlowBuffers = (Vec<Packet>, Vec<u8>);

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
    /// Whether the first packet is a SYN-ACK, whose receiver then opened.
    began_with_syn_ack: bool,
    /// Whether a RST was seen.
    reset: bool,
    /// Whether a RST was seen before both FINs.
    reset_before_fins: bool,
    strict: StrictFlags,
    ipv4: bool,
    /// Whether the conversation is closed and queued for export.
    pub(crate) closing: bool,
    /// Value of [`heap_octets`](Self::heap_octets) when the tracker last counted it.
    pub(crate) counted_octets: usize,
}

impl Conversation {
    /// Creates the conversation that `segment` begins, with empty buffers.
    pub(crate) fn new(segment: &Segment<'_>, (packets, options): FlowBuffers) -> Self {
        let flags = segment.tcp.flags;
        Conversation {
            packets,
            options,
            is_buffering: true,
            directions: Default::default(),
            syn: [false; 2],
            syn_ack: [false; 2],
            answered: [false; 2],
            opener: None,
            began_with_syn_ack: flags.contains(Flags::SYN) && flags.contains(Flags::ACK),
            reset: false,
            reset_before_fins: false,
            strict: StrictFlags::default(),
            ipv4: matches!(segment.ip, IpRepr::V4(_)),
            closing: false,
            counted_octets: 0,
        }
    }

    /// Returns the direction in which the opener sends.
    pub(crate) fn opener(&self) -> Direction {
        // RFC 9293, section 3.5: a SYN-ACK answers the opener's SYN. Without any SYN, the sender of
        // the first packet counts as the opener.
        self.opener.unwrap_or(if self.began_with_syn_ack {
            Direction::Reverse
        } else {
            Direction::Forward
        })
    }

    /// Reports whether a SYN without ACK was seen.
    pub(crate) fn has_syn(&self) -> bool {
        self.opener.is_some()
    }

    /// Reports whether both streams are closed and acknowledged, or a RST was seen.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // RFC 9293, section 3.6: the connection is closed once both FINs are acknowledged.
        self.reset || self.directions.iter().all(DirectionState::fin_acknowledged)
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
    }

    /// Adds a segment with a well-formed TCP header, captured at `time_ns`.
    #[inline]
    pub(crate) fn push(&mut self, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let (own, other) = (direction.index(), direction.reversed().index());
        let tcp = &segment.tcp;
        let flags = tcp.flags;
        let (syn, ack, rst) =
            (flags.contains(Flags::SYN), flags.contains(Flags::ACK), flags.contains(Flags::RST));
        if syn {
            self.push_syn(segment, direction);
        } else if ack && !rst && (self.syn[other] || self.syn_ack[other]) {
            self.answered[own] = true;
        }
        self.directions[own].record_segment(tcp.seq, flags, segment.payload_len.unwrap_or(0));
        // RFC 9293, section 3.5.2: the acknowledgment number of a RST is computed from the segment
        // that the RST refuses, and confirms no octets as received.
        if ack && !rst {
            self.directions[other].record_ack(tcp.ack);
        }
        // After both FINs the close is regular (RFC 9293, section 3.6); a RST changes nothing.
        if rst {
            let all_fins = self.directions.iter().all(|d| d.fin.is_some());
            self.reset_before_fins |= !self.reset && !all_fins;
            self.reset = true;
        }
        self.strict.push(flags);
        if self.is_buffering {
            self.buffer(time_ns, segment, direction);
        }
    }

    fn push_syn(&mut self, segment: &Segment<'_>, direction: Direction) {
        let state = &mut self.directions[direction.index()];
        state.restart_on_new_isn(segment.tcp.seq);
        if segment.tcp.flags.contains(Flags::ACK) {
            self.syn_ack[direction.index()] = true;
        } else {
            self.syn[direction.index()] = true;
            self.opener.get_or_insert(direction);
        }
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

    /// Returns the verdict, with the opener as the client.
    pub(crate) fn verdict(&self) -> Verdict {
        let client = self.opener().index();
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
                if self.directions[index].fin.is_none() {
                    missing.push(Missing::Fin { direction });
                }
            }
        }
        // Missing octets make any conversation partial; a missing handshake or close does not.
        let whole = missing_octets == [0, 0];
        let class = match close {
            Close::Fin if opened && whole => Class::Graceful,
            Close::Rst if opened && whole => Class::Reset,
            _ if self.has_syn() && whole => Class::Started,
            Close::Fin | Close::Rst if whole && !self.has_syn() => Class::Ended,
            _ => Class::Partial,
        };
        let repeated_octets = [self.directions[client].repeated, self.directions[server].repeated];
        let strict = self.ipv4 && self.strict.is_original();
        Verdict { class, close, missing, missing_octets, repeated_octets, strict }
    }

    fn close(&self) -> Close {
        if self.reset_before_fins {
            Close::Rst
        } else if self.directions.iter().all(|d| d.fin.is_some()) {
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
