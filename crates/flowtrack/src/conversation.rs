//! One conversation while its packets come in.

use tcpwire::{Flags, IpRepr, Segment};

use crate::direction_state::DirectionState;
use crate::verdict::{Class, Close, MAX_GAPS_LISTED, Missing, Verdict};
use crate::{Direction, OptionsRef, Packet};

/// What is needed of a conversation to judge it, and its packets as long as they are held. Forward
/// is the direction of the first packet seen, whoever opened.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) packets: Vec<Packet>,
    pub(crate) options: Vec<u8>,
    /// Packets are held; once let go they do not come back.
    pub(crate) held: bool,
    sides: [DirectionState; 2],
    syn: [bool; 2],
    syn_ack: [bool; 2],
    /// An ACK without SYN or RST, by direction, after a SYN or SYN-ACK of the other end.
    answered: [bool; 2],
    /// The direction of the first SYN without ACK.
    opener: Option<Direction>,
    /// The first packet is a SYN-ACK: its receiver opened.
    began_with_syn_ack: bool,
    reset: bool,
    /// RST came after both FINs, or not at all.
    reset_before_fins: bool,
    strict: StrictFlags,
    ipv4: bool,
    /// It waits to be given out, closed.
    pub(crate) closing: bool,
    /// What [`heap_octets`](Self::heap_octets) was when it was last counted.
    pub(crate) counted: usize,
}

impl Conversation {
    /// One that `segment` begins, with empty buffers for packets and options.
    pub(crate) fn new(segment: &Segment<'_>, (packets, options): (Vec<Packet>, Vec<u8>)) -> Self {
        let flags = segment.tcp.flags;
        Conversation {
            packets,
            options,
            held: true,
            sides: Default::default(),
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
            counted: 0,
        }
    }

    /// The direction in which the opener sends.
    pub(crate) fn opener(&self) -> Direction {
        self.opener.unwrap_or(if self.began_with_syn_ack {
            Direction::Reverse
        } else {
            Direction::Forward
        })
    }

    /// Whether a SYN without ACK was seen.
    pub(crate) fn has_syn(&self) -> bool {
        self.opener.is_some()
    }

    /// Whether both streams are closed and acknowledged, or a RST was seen.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.reset || self.sides.iter().all(DirectionState::fin_acknowledged)
    }

    /// What it takes beside itself: the room of its buffers, filled or not.
    #[inline]
    pub(crate) fn heap_octets(&self) -> usize {
        let gaps = self.sides[0].heap_octets() + self.sides[1].heap_octets();
        self.packets.capacity() * size_of::<Packet>() + self.options.capacity() + gaps
    }

    /// Takes out the buffers, and lets go what else is held.
    pub(crate) fn empty(&mut self) -> (Vec<Packet>, Vec<u8>) {
        self.sides = Default::default();
        (std::mem::take(&mut self.packets), std::mem::take(&mut self.options))
    }

    /// Lets the packets go, for good.
    pub(crate) fn let_go(&mut self) {
        self.held = false;
        self.packets = Vec::new();
        self.options = Vec::new();
    }

    /// Takes in a segment whose TCP header is sound; `time_ns` is when it was captured.
    #[inline]
    pub(crate) fn take(&mut self, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let (own, other) = (direction.index(), direction.reversed().index());
        let tcp = &segment.tcp;
        let flags = tcp.flags;
        let (syn, ack, rst) =
            (flags.contains(Flags::SYN), flags.contains(Flags::ACK), flags.contains(Flags::RST));
        if syn {
            self.take_syn(segment, direction);
        } else if ack && !rst && (self.syn[other] || self.syn_ack[other]) {
            self.answered[own] = true;
        }
        self.sides[own].sent(tcp.seq, flags, segment.payload_len.unwrap_or(0));
        if ack && !rst {
            self.sides[other].acknowledged(tcp.ack);
        }
        if rst {
            self.reset_before_fins |= !self.reset && !self.sides.iter().all(|s| s.fin.is_some());
            self.reset = true;
        }
        self.strict.take(flags);
        if self.held {
            self.hold(time_ns, segment, direction);
        }
    }

    fn take_syn(&mut self, segment: &Segment<'_>, direction: Direction) {
        let side = &mut self.sides[direction.index()];
        side.restart_if_new(segment.tcp.seq);
        if segment.tcp.flags.contains(Flags::ACK) {
            self.syn_ack[direction.index()] = true;
        } else {
            self.syn[direction.index()] = true;
            self.opener.get_or_insert(direction);
        }
    }

    #[inline]
    fn hold(&mut self, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        let tcp = &segment.tcp;
        let options = OptionsRef { start: self.options.len() as u32, len: tcp.options.len() as u8 };
        self.hold_options(tcp.options);
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
    fn hold_options(&mut self, options: &[u8]) {
        // Two padding octets and a timestamp is what most segments have: a copy of known length is
        // no call.
        match <&[u8; 12]>::try_from(options) {
            Ok(options) => self.options.extend_from_slice(options),
            Err(_) if options.is_empty() => {}
            Err(_) => self.options.extend_from_slice(options),
        }
    }

    /// What was seen and what is missing, as seen from the opener.
    pub(crate) fn verdict(&self) -> Verdict {
        let client = self.opener().index();
        let server = 1 - client;
        let mut missing = Vec::new();
        let opened = self.missing_of_handshake(client, server, &mut missing);
        let mut missing_octets = [0; 2];
        for (direction, side) in [(Direction::Forward, client), (Direction::Reverse, server)] {
            missing_octets[direction.index()] =
                self.missing_octets(direction, &self.sides[side], &mut missing);
        }
        let close = self.close();
        if close == Close::Open {
            for (direction, side) in [(Direction::Forward, client), (Direction::Reverse, server)] {
                if self.sides[side].fin.is_none() {
                    missing.push(Missing::Fin { direction });
                }
            }
        }
        let whole = missing_octets == [0, 0];
        let class = match close {
            Close::Fin if opened && whole => Class::Graceful,
            Close::Rst if opened && whole => Class::Reset,
            _ if self.has_syn() && whole => Class::Started,
            Close::Fin | Close::Rst if whole && !self.has_syn() => Class::Ended,
            _ => Class::Partial,
        };
        let repeated_octets = [self.sides[client].repeated, self.sides[server].repeated];
        let strict = self.ipv4 && self.strict.is_original();
        Verdict { class, close, missing, missing_octets, repeated_octets, strict }
    }

    fn close(&self) -> Close {
        if self.reset_before_fins {
            Close::Rst
        } else if self.sides.iter().all(|s| s.fin.is_some()) {
            Close::Fin
        } else {
            Close::Open
        }
    }

    /// Whether the handshake is there; what of it is not goes into `missing`.
    fn missing_of_handshake(
        &self,
        client: usize,
        server: usize,
        missing: &mut Vec<Missing>,
    ) -> bool {
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

    fn missing_octets(
        &self,
        direction: Direction,
        side: &DirectionState,
        missing: &mut Vec<Missing>,
    ) -> u64 {
        let mut octets = side.given_up();
        for (n, gap) in side.missing().enumerate() {
            octets += gap.end - gap.start;
            if n < MAX_GAPS_LISTED {
                missing.push(Missing::Octets { direction, octets: gap });
            }
        }
        octets
    }
}

/// The flags of the first three packets and the last four, for the original's pattern.
#[derive(Clone, Copy, Debug, Default)]
struct StrictFlags {
    first: [u8; 3],
    last: [u8; 4],
    packets: u32,
}

impl StrictFlags {
    /// FIN to URG: the original knew no ECN bits.
    const KNOWN: u16 = 0x3f;

    #[inline]
    fn take(&mut self, flags: Flags) {
        let flags = (flags.bits() & Self::KNOWN) as u8;
        if let Some(slot) = self.first.get_mut(self.packets as usize) {
            *slot = flags;
        }
        self.last = [self.last[1], self.last[2], self.last[3], flags];
        self.packets = self.packets.saturating_add(1);
    }

    fn is_original(&self) -> bool {
        const S: u8 = Flags::SYN.bits() as u8;
        const A: u8 = Flags::ACK.bits() as u8;
        const FA: u8 = Flags::FIN.bits() as u8 | A;
        self.packets >= 7 && self.first == [S, S | A, A] && self.last == [FA, A, FA, A]
    }
}
