//! A packet as it is said: each field relative to what TCP expects, before it becomes ids.
//!
//! [`state`](super::state) turns header values into these and back; [`lex`](super::parse) turns these
//! into ids and back.

use flowtrack::Direction;
use tcpwire::Flags;

use super::options::Elements;

/// The flags that a packet token names.
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

impl FlagPattern {
    pub(crate) const ALL: [FlagPattern; 8] = [
        FlagPattern::Syn,
        FlagPattern::SynAck,
        FlagPattern::Ack,
        FlagPattern::PshAck,
        FlagPattern::FinAck,
        FlagPattern::FinPshAck,
        FlagPattern::Rst,
        FlagPattern::RstAck,
    ];

    /// The flag bits it stands for.
    pub(crate) const fn flags(self) -> u16 {
        match self {
            FlagPattern::Syn => 0x002,
            FlagPattern::SynAck => 0x012,
            FlagPattern::Ack => 0x010,
            FlagPattern::PshAck => 0x018,
            FlagPattern::FinAck => 0x011,
            FlagPattern::FinPshAck => 0x019,
            FlagPattern::Rst => 0x004,
            FlagPattern::RstAck => 0x014,
        }
    }

    /// The kind nearest to `flags`; what differs is toggled beside it.
    pub(crate) const fn nearest(flags: Flags) -> FlagPattern {
        let f = flags.bits();
        let ack = f & 0x010 != 0;
        if f & 0x002 != 0 {
            if ack { FlagPattern::SynAck } else { FlagPattern::Syn }
        } else if f & 0x004 != 0 {
            if ack { FlagPattern::RstAck } else { FlagPattern::Rst }
        } else {
            match f & 0x009 {
                0 => FlagPattern::Ack,
                1 => FlagPattern::FinAck,
                8 => FlagPattern::PshAck,
                _ => FlagPattern::FinPshAck,
            }
        }
    }

    pub(crate) const fn has_ack(self) -> bool {
        self.flags() & 0x010 != 0
    }

    pub(crate) const fn is_syn(self) -> bool {
        matches!(self, FlagPattern::Syn | FlagPattern::SynAck)
    }

    pub(crate) const fn is_fin(self) -> bool {
        matches!(self, FlagPattern::FinAck | FlagPattern::FinPshAck)
    }

    pub(crate) const fn is_rst(self) -> bool {
        matches!(self, FlagPattern::Rst | FlagPattern::RstAck)
    }
}

/// What a packet token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PacketKind {
    pub(crate) direction: Direction,
    pub(crate) pattern: FlagPattern,
    /// Whether it carries payload.
    pub(crate) has_payload: bool,
    /// Whether its acknowledgment moves on (to everything received, where nothing else is said).
    pub(crate) advances_ack: bool,
}

impl PacketKind {
    pub(crate) const fn index(self) -> usize {
        (self.direction as usize) << 5
            | (self.pattern as usize) << 2
            | (self.has_payload as usize) << 1
            | self.advances_ack as usize
    }

    pub(crate) const fn from_index(i: usize) -> PacketKind {
        PacketKind {
            direction: if i & 32 == 0 { Direction::Forward } else { Direction::Reverse },
            pattern: FlagPattern::ALL[(i >> 2) & 7],
            has_payload: i & 2 != 0,
            advances_ack: i & 1 != 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SeqDelta {
    #[default]
    Expected,
    SndUna,
    KeepAlive,
    RetransmitOldest(u8),
    RetransmitNewest(u8),
    FillHole(u8),
    SkipAhead(u8),
    Forward(u16),
    Back(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum AckDelta {
    #[default]
    Expected,
    Segment(u8),
    Newest(u8),
    Zero,
    Forward(u16),
    Back(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LenDelta {
    #[default]
    Expected,
    Same,
    Multiple(u8),
    Octets(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum WindowDelta {
    #[default]
    Same,
    Edge,
    Max,
    Listed(u8),
    Up(u16),
    Down(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OptionsDelta {
    #[default]
    Expected,
    /// A layout of the list; its values are in the elements.
    Layout(u8),
    /// Element by element.
    List,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TsvalDelta {
    #[default]
    Expected,
    /// Off by so many ticks, not 0.
    Off(i8),
    Forward(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TsecrDelta {
    #[default]
    Expected,
    /// The k-th TSval of the other side after the one echoed last, which is the 0th.
    Later(u8),
    Zero,
    Base,
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum IpIdDelta {
    #[default]
    Expected,
    More(u8),
    Zero,
    Base,
    Raw(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum FlowLabelDelta {
    #[default]
    Expected,
    Zero,
    Base,
    Raw(u32),
}

/// A whole packet, said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PacketDelta {
    pub(crate) kind: PacketKind,
    /// Flag bits to toggle.
    pub(crate) toggle: u16,
    pub(crate) seq: SeqDelta,
    pub(crate) ack: AckDelta,
    pub(crate) len: LenDelta,
    pub(crate) window: WindowDelta,
    pub(crate) urgent: u16,
    pub(crate) options: OptionsDelta,
    /// The option elements, where `options` is not `Expected`.
    pub(crate) elements: Elements,
    pub(crate) ts_val: TsvalDelta,
    pub(crate) ts_ecr: TsecrDelta,
    pub(crate) traffic_class: Option<u8>,
    pub(crate) ttl: Option<u8>,
    pub(crate) toggle_df: bool,
    pub(crate) id: IpIdDelta,
    pub(crate) label: FlowLabelDelta,
    /// Time since the packet before, in units of the flow; negative where the clock went back.
    pub(crate) gap: i64,
}

impl Default for PacketKind {
    fn default() -> PacketKind {
        PacketKind::from_index(0)
    }
}

impl PacketDelta {
    /// Makes it a packet of which everything goes as expected; keeps its buffers.
    #[inline]
    pub(crate) fn restart(&mut self, kind: PacketKind) {
        self.kind = kind;
        self.toggle = 0;
        self.seq = SeqDelta::Expected;
        self.ack = AckDelta::Expected;
        self.len = LenDelta::Expected;
        self.window = WindowDelta::Same;
        self.urgent = 0;
        self.options = OptionsDelta::Expected;
        self.elements.clear();
        self.ts_val = TsvalDelta::Expected;
        self.ts_ecr = TsecrDelta::Expected;
        self.traffic_class = None;
        self.ttl = None;
        self.toggle_df = false;
        self.id = IpIdDelta::Expected;
        self.label = FlowLabelDelta::Expected;
        self.gap = 0;
    }

    /// The flags with all toggles.
    pub(crate) const fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.kind.pattern.flags() ^ self.toggle)
    }
}

/// -6..=-1 and 1..=6 as 0..=11.
pub(crate) fn tsval_offset_index(by: i8) -> usize {
    (if by < 0 { by + 6 } else { by + 5 }) as usize
}

pub(crate) fn tsval_offset(index: usize) -> i8 {
    let by = index as i8 - 6;
    if by < 0 { by } else { by + 1 }
}
