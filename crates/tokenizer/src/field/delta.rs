//! A packet as the differences between its header fields and the values that TCP makes likely.
//!
//! [`FlowState`](super::state::FlowState) converts between packets and deltas; the writer and the
//! parser convert between deltas and tokens.

use flowtrack::Direction;
use tcpwire::Flags;

use super::options::Elements;

/// Combination of flags that a packet token names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum FlagPattern {
    Syn,
    SynAck,
    #[default]
    Ack,
    PshAck,
    FinAck,
    FinPshAck,
    Rst,
    RstAck,
}

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);
const PSH_ACK: Flags = Flags::PSH.union(Flags::ACK);
const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
const FIN_PSH_ACK: Flags = Flags::FIN.union(Flags::PSH).union(Flags::ACK);
const RST_ACK: Flags = Flags::RST.union(Flags::ACK);

/// Flag bits of every pattern, in the order of the packet tokens: the state reads them several
/// times for each packet.
const PATTERN_BITS: [u16; 8] = {
    let mut bits = [0; 8];
    let mut i = 0;
    while i < bits.len() {
        bits[i] = FlagPattern::ALL[i].flags().bits();
        i += 1;
    }
    bits
};

impl FlagPattern {
    /// Every pattern, in the order of the packet tokens.
    const ALL: [FlagPattern; 8] = [
        FlagPattern::Syn,
        FlagPattern::SynAck,
        FlagPattern::Ack,
        FlagPattern::PshAck,
        FlagPattern::FinAck,
        FlagPattern::FinPshAck,
        FlagPattern::Rst,
        FlagPattern::RstAck,
    ];

    /// Returns the flags that the pattern sets.
    pub(crate) const fn flags(self) -> Flags {
        match self {
            FlagPattern::Syn => Flags::SYN,
            FlagPattern::SynAck => SYN_ACK,
            FlagPattern::Ack => Flags::ACK,
            FlagPattern::PshAck => PSH_ACK,
            FlagPattern::FinAck => FIN_ACK,
            FlagPattern::FinPshAck => FIN_PSH_ACK,
            FlagPattern::Rst => Flags::RST,
            FlagPattern::RstAck => RST_ACK,
        }
    }

    /// Returns the pattern nearest to `flags`, by SYN first, then RST, then FIN and PSH.
    pub(crate) const fn nearest(flags: Flags) -> FlagPattern {
        let has_ack = flags.contains(Flags::ACK);
        if flags.contains(Flags::SYN) {
            if has_ack { FlagPattern::SynAck } else { FlagPattern::Syn }
        } else if flags.contains(Flags::RST) {
            if has_ack { FlagPattern::RstAck } else { FlagPattern::Rst }
        } else {
            match (flags.contains(Flags::FIN), flags.contains(Flags::PSH)) {
                (false, false) => FlagPattern::Ack,
                (true, false) => FlagPattern::FinAck,
                (false, true) => FlagPattern::PshAck,
                (true, true) => FlagPattern::FinPshAck,
            }
        }
    }

    /// Returns whether the pattern sets ACK.
    pub(crate) const fn has_ack(self) -> bool {
        !matches!(self, FlagPattern::Syn | FlagPattern::Rst)
    }

    /// Returns whether the pattern sets SYN.
    pub(crate) const fn is_syn(self) -> bool {
        matches!(self, FlagPattern::Syn | FlagPattern::SynAck)
    }

    /// Returns whether the pattern sets FIN.
    pub(crate) const fn is_fin(self) -> bool {
        matches!(self, FlagPattern::FinAck | FlagPattern::FinPshAck)
    }

    /// Returns whether the pattern sets RST.
    pub(crate) const fn is_rst(self) -> bool {
        matches!(self, FlagPattern::Rst | FlagPattern::RstAck)
    }
}

/// Fields that a packet token says in addition: those that many packets of its kind have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Said {
    #[default]
    Nothing,
    /// The sequence number of a keep-alive.
    KeepAlive,
    /// The acknowledgment of the oldest segment alone.
    FirstSegment,
    /// The length of this side's last payload.
    SameLen,
    /// Both of the last two.
    FirstSegmentSameLen,
}

impl Said {
    /// Returns whether the acknowledgment number is said.
    pub(crate) const fn has_ack(self) -> bool {
        matches!(self, Said::FirstSegment | Said::FirstSegmentSameLen)
    }

    /// Returns whether the payload length is said.
    pub(crate) const fn has_len(self) -> bool {
        matches!(self, Said::SameLen | Said::FirstSegmentSameLen)
    }
}

/// Packets whose tokens say further fields: flags, with or without payload, whether the
/// acknowledgment advances, and the fields.
const SHAPES: [(FlagPattern, bool, bool, Said); 10] = [
    (FlagPattern::Ack, false, true, Said::FirstSegment),
    (FlagPattern::Ack, false, false, Said::KeepAlive),
    (FlagPattern::Ack, true, false, Said::SameLen),
    (FlagPattern::Ack, true, true, Said::SameLen),
    (FlagPattern::Ack, true, true, Said::FirstSegment),
    (FlagPattern::Ack, true, true, Said::FirstSegmentSameLen),
    (FlagPattern::PshAck, true, false, Said::SameLen),
    (FlagPattern::PshAck, true, true, Said::SameLen),
    (FlagPattern::PshAck, true, true, Said::FirstSegment),
    (FlagPattern::PshAck, true, true, Said::FirstSegmentSameLen),
];

/// Number of packet tokens that say no further field.
pub(crate) const PLAIN_KINDS: usize = 64;
const _: () = assert!(PLAIN_KINDS + 2 * SHAPES.len() == super::vocab::PACKET.count());

/// Properties of a packet that its packet token names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PacketKind {
    /// Direction in which the packet travels.
    pub(crate) direction: Direction,
    /// Flags of the packet, before any toggles.
    pub(crate) pattern: FlagPattern,
    /// Whether the packet carries payload.
    pub(crate) has_payload: bool,
    /// Whether the packet acknowledges more than the packet before it of the same side: everything
    /// received, unless an acknowledgment token says otherwise.
    pub(crate) advances_ack: bool,
    pub(crate) said: Said,
}

impl PacketKind {
    /// Returns the number of the kind's token in the range of packet tokens.
    #[inline]
    pub(crate) fn index(self) -> usize {
        match self.shape() {
            Some(shape) => PLAIN_KINDS + SHAPES.len() * self.direction as usize + shape,
            None => {
                (self.direction as usize) << 5
                    | (self.pattern as usize) << 2
                    | (self.has_payload as usize) << 1
                    | self.advances_ack as usize
            }
        }
    }

    /// Returns the kind of packet token number `i`.
    pub(crate) const fn from_index(i: usize) -> PacketKind {
        if i >= PLAIN_KINDS {
            let (reverse, shape) =
                ((i - PLAIN_KINDS) / SHAPES.len() > 0, (i - PLAIN_KINDS) % SHAPES.len());
            let (pattern, has_payload, advances_ack, said) = SHAPES[shape];
            let direction = if reverse { Direction::Reverse } else { Direction::Forward };
            return PacketKind { direction, pattern, has_payload, advances_ack, said };
        }
        PacketKind {
            direction: if i & 32 == 0 { Direction::Forward } else { Direction::Reverse },
            pattern: FlagPattern::ALL[(i >> 2) & 7],
            has_payload: i & 2 != 0,
            advances_ack: i & 1 != 0,
            said: Said::Nothing,
        }
    }

    /// Returns the index of the kind in [`SHAPES`], if its token says further fields.
    fn shape(self) -> Option<usize> {
        if self.said == Said::Nothing {
            return None;
        }
        let shape = (self.pattern, self.has_payload, self.advances_ack, self.said);
        SHAPES.iter().position(|&s| s == shape)
    }

    /// Returns whether there is a token of such packets that says `said`.
    pub(crate) fn may_say(self, said: Said) -> bool {
        PacketKind { said, ..self }.shape().is_some()
    }

    /// Returns whether the packet acknowledges nothing new, and carries neither payload nor a flag
    /// other than ACK. Unlike a duplicate acknowledgment of RFC 5681, section 2, it may offer
    /// another window, or be a keep-alive.
    pub(crate) fn is_duplicate_ack(self) -> bool {
        matches!(self.pattern, FlagPattern::Ack) && !self.has_payload && !self.advances_ack
    }

    /// Returns whether a session lets a higher acknowledgment overtake this packet's.
    pub(crate) fn may_be_overtaken(self) -> bool {
        match self.pattern {
            FlagPattern::Ack => true,
            FlagPattern::PshAck => self.has_payload,
            _ => false,
        }
    }
}

impl Default for PacketKind {
    fn default() -> PacketKind {
        PacketKind::from_index(0)
    }
}

/// Sequence number of a packet, relative to the state. `k` counts from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SeqDelta {
    /// The sequence number that the state expects: mostly SND.NXT.
    #[default]
    Expected,
    /// SND.UNA: the lowest number that is not acknowledged.
    SndUna,
    /// SND.UNA - 1, as keep-alives have it.
    KeepAlive,
    /// Beginning of the `k`-th oldest segment that is not acknowledged.
    RetransmitOldest(u8),
    /// Beginning of the `k`-th newest segment that is not acknowledged.
    RetransmitNewest(u8),
    /// Beginning of the `k`-th hole.
    FillHole(u8),
    /// `k + 1` full segments ahead of the expected number, so that a hole remains.
    SkipAhead(u8),
    /// Octets ahead of the expected number.
    Forward(u16),
    /// Octets behind the expected number.
    Back(u16),
    /// Distance from the expected number, modulo 2^32.
    Raw(u32),
}

/// Acknowledgment number of a packet, relative to the state. `k` counts from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum AckDelta {
    /// The acknowledgment that the packet kind names.
    #[default]
    Expected,
    /// End of the `k`-th oldest segment that is not acknowledged.
    Segment(u8),
    /// End of the `k`-th newest segment that is not acknowledged.
    Newest(u8),
    /// `k + 1` full segments of the other side more than the last acknowledgment of this side.
    Full(u8),
    /// The value 0 in the header.
    Zero,
    /// Octets more than the last acknowledgment of this side.
    Forward(u16),
    /// Octets less than the last acknowledgment of this side.
    Back(u16),
    /// Distance from the last acknowledgment of this side, modulo 2^32.
    Raw(u32),
}

/// Payload length, relative to a full segment or to the segment sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LenDelta {
    /// A full segment; of a retransmission, the length of the segment or of the hole.
    #[default]
    Expected,
    /// The length of this side's last payload.
    Same,
    /// `k + 2` full segments.
    Multiple(u8),
    /// Length in octets, up to 65,535.
    Octets(u16),
    /// Length in octets, of any size.
    Raw(u32),
}

/// Window field, relative to the last one of this side (RFC 9293, section 3.8.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum WindowDelta {
    /// The window of this side's last packet.
    #[default]
    Same,
    /// The window whose right edge is that of this side's last window.
    SameEdge,
    /// The greatest window of this side since its SYN.
    Max,
    /// The expected window, moved by a step of [`ACKED_STEPS`](super::vocab::ACKED_STEPS).
    Acked(u8),
    /// A window of the list [`WINDOWS`](super::vocab::WINDOWS).
    Listed(u16),
    /// Window, layout, MSS and shift of a SYN, from [`SYN_SETS`](super::vocab::SYN_SETS), by index.
    SynSet(u8),
    /// Increase over the expected window.
    Up(u16),
    /// Decrease from the expected window.
    Down(u16),
}

/// TCP options, relative to those of this side's last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OptionsDelta {
    /// The options of this side's last packet, or none: see the state.
    #[default]
    Expected,
    /// A layout of the list [`LAYOUTS`](super::options::LAYOUTS), by index; values are in
    /// [`PacketDelta::elements`].
    Layout(u8),
    /// A list of elements in [`PacketDelta::elements`].
    List,
    /// The `k`-th last of the lists that either side has sent.
    Recent(u8),
}

/// TSval of a packet (RFC 7323, section 3.2), relative to the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TsvalDelta {
    /// The value of this side's clock at the time of the packet.
    #[default]
    Expected,
    /// Ticks ahead of the clock, or behind it; never 0.
    Offset(i8),
    /// Ticks after this side's last TSval.
    Forward(u16),
    /// Distance from this side's last TSval, modulo 2^32.
    Raw(u32),
}

impl TsvalDelta {
    /// Returns the number of the token of `Offset(by)`: -6 to -1 and 1 to 6 are 0 to 11.
    pub(crate) fn offset_index(by: i8) -> usize {
        (if by < 0 { by + 6 } else { by + 5 }) as usize
    }

    /// Returns the delta of offset token number `index`.
    pub(crate) fn from_offset_index(index: usize) -> TsvalDelta {
        let by = index as i8 - 6;
        TsvalDelta::Offset(if by < 0 { by } else { by + 1 })
    }
}

/// TSecr of a packet (RFC 7323, section 3.2), relative to the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TsecrDelta {
    /// TS.Recent, given the acknowledgment of the packet.
    #[default]
    Expected,
    /// The `k`-th TSval of the other side from the one that this side echoed last, which is the
    /// 0th.
    Later(u8),
    /// The value 0, as in a SYN (RFC 7323, section 3.2).
    Zero,
    /// The base of the other side's clock, which no packet has shown.
    Base,
    /// Distance from the other side's last TSval, modulo 2^32.
    Raw(u32),
}

/// IPv4 identification, relative to this side's last one (RFC 6864).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum IpIdDelta {
    /// The next identification in this side's manner.
    #[default]
    Expected,
    /// Increase over this side's last identification, modulo 2^16: 0 to 16.
    More(u8),
    /// The value 0, whatever came before.
    Zero,
    /// The base of this side, which no packet has shown.
    Base,
    /// Distance from this side's last identification, modulo 2^16.
    Raw(u16),
}

/// IPv6 flow label, relative to this side's last one (RFC 6437).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum FlowLabelDelta {
    /// The label of this side's last packet.
    #[default]
    Expected,
    /// The value 0: the packet has no label.
    Zero,
    /// The base of this side.
    Base,
    /// Distance from this side's last label, modulo 2^20.
    Raw(u32),
}

/// Time of a packet, in units of the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeDelta {
    /// Time since the flow's packet before; negative if the capture's clock was set back.
    Gap(i64),
    /// Time since the moment at which the answer was due; negative before it.
    Due(i64),
}

impl Default for TimeDelta {
    fn default() -> TimeDelta {
        TimeDelta::Gap(0)
    }
}

/// The differences of a whole packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PacketDelta {
    /// Properties that the packet token names.
    pub(crate) kind: PacketKind,
    /// Bits in which the flags differ from the pattern of the kind; with Accurate ECN, the bits of
    /// its counter are the increase over the expected value.
    pub(crate) flag_toggle: u16,
    pub(crate) seq: SeqDelta,
    pub(crate) ack: AckDelta,
    pub(crate) len: LenDelta,
    pub(crate) window: WindowDelta,
    /// Urgent pointer as in the header, with or without URG.
    pub(crate) urgent: u16,
    pub(crate) options: OptionsDelta,
    /// Option elements; empty if the options are the expected ones.
    pub(crate) elements: Elements,
    pub(crate) ts_val: TsvalDelta,
    pub(crate) ts_ecr: TsecrDelta,
    /// DSCP and ECN, if they differ from those of this side's last packet.
    pub(crate) traffic_class: Option<u8>,
    /// TTL or hop limit, if it differs from that of this side's last packet.
    pub(crate) ttl: Option<u8>,
    /// Whether the don't-fragment bit differs from that of this side's last packet.
    pub(crate) toggles_df: bool,
    pub(crate) ip_id: IpIdDelta,
    pub(crate) flow_label: FlowLabelDelta,
    pub(crate) time: TimeDelta,
}

impl PacketDelta {
    /// Resets every field to its expected value; keeps the buffers.
    #[inline]
    pub(crate) fn restart(&mut self, kind: PacketKind) {
        let said = kind.said;
        self.kind = kind;
        self.flag_toggle = 0;
        self.seq = if said == Said::KeepAlive { SeqDelta::KeepAlive } else { SeqDelta::Expected };
        self.ack = if said.has_ack() { AckDelta::Segment(0) } else { AckDelta::Expected };
        self.len = if said.has_len() { LenDelta::Same } else { LenDelta::Expected };
        self.window = WindowDelta::Same;
        self.urgent = 0;
        self.options = OptionsDelta::Expected;
        self.elements.clear();
        self.ts_val = TsvalDelta::Expected;
        self.ts_ecr = TsecrDelta::Expected;
        self.traffic_class = None;
        self.ttl = None;
        self.toggles_df = false;
        self.ip_id = IpIdDelta::Expected;
        self.flow_label = FlowLabelDelta::Expected;
        self.time = TimeDelta::Gap(0);
    }

    /// Lets the packet token say as many fields as one can.
    pub(crate) fn say_fields(&mut self) {
        let has_ack = self.ack == AckDelta::Segment(0);
        let said = match (self.seq, has_ack, self.len) {
            (SeqDelta::KeepAlive, ..) => Said::KeepAlive,
            (SeqDelta::Expected, true, LenDelta::Same) => Said::FirstSegmentSameLen,
            (SeqDelta::Expected, true, _) => Said::FirstSegment,
            (SeqDelta::Expected, false, LenDelta::Same) => Said::SameLen,
            _ => return,
        };
        if self.kind.may_say(said) {
            self.kind.said = said;
        }
    }

    /// Returns the flags of the packet, up to the counter of Accurate ECN.
    pub(crate) const fn flags(&self) -> Flags {
        Flags::from_bits_retain(PATTERN_BITS[self.kind.pattern as usize] ^ self.flag_toggle)
    }

    /// Returns whether the packet repeats a segment that was sent before, or fills a hole.
    pub(crate) fn is_retransmission(&self) -> bool {
        matches!(
            self.seq,
            SeqDelta::RetransmitOldest(_) | SeqDelta::RetransmitNewest(_) | SeqDelta::FillHole(_)
        )
    }
}
