//! A packet as it is said: each field relative to what TCP expects, before it becomes ids.
//!
//! [`state`](super::state) turns header values into these and back; [`lex`](super::lex) turns these
//! into ids and back.

use flowtrack::Direction;
use tcpwire::Flags;

use super::options::Elements;

/// The flags that a packet token names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
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

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Syn,
        Kind::SynAck,
        Kind::Ack,
        Kind::PshAck,
        Kind::FinAck,
        Kind::FinPshAck,
        Kind::Rst,
        Kind::RstAck,
    ];

    /// The flag bits it stands for.
    pub(crate) const fn flags(self) -> u16 {
        match self {
            Kind::Syn => 0x002,
            Kind::SynAck => 0x012,
            Kind::Ack => 0x010,
            Kind::PshAck => 0x018,
            Kind::FinAck => 0x011,
            Kind::FinPshAck => 0x019,
            Kind::Rst => 0x004,
            Kind::RstAck => 0x014,
        }
    }

    /// The kind nearest to `flags`; what differs is toggled beside it.
    pub(crate) const fn nearest(flags: Flags) -> Kind {
        let f = flags.bits();
        let ack = f & 0x010 != 0;
        if f & 0x002 != 0 {
            if ack { Kind::SynAck } else { Kind::Syn }
        } else if f & 0x004 != 0 {
            if ack { Kind::RstAck } else { Kind::Rst }
        } else {
            match f & 0x009 {
                0 => Kind::Ack,
                1 => Kind::FinAck,
                8 => Kind::PshAck,
                _ => Kind::FinPshAck,
            }
        }
    }

    pub(crate) const fn has_ack(self) -> bool {
        self.flags() & 0x010 != 0
    }

    pub(crate) const fn is_syn(self) -> bool {
        matches!(self, Kind::Syn | Kind::SynAck)
    }

    pub(crate) const fn is_fin(self) -> bool {
        matches!(self, Kind::FinAck | Kind::FinPshAck)
    }

    pub(crate) const fn is_rst(self) -> bool {
        matches!(self, Kind::Rst | Kind::RstAck)
    }
}

/// What a packet token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) direction: Direction,
    pub(crate) kind: Kind,
    /// Whether it carries payload.
    pub(crate) data: bool,
    /// Whether its acknowledgment moves on (to everything received, where nothing else is said).
    pub(crate) acks_all: bool,
}

impl Shape {
    pub(crate) const fn index(self) -> usize {
        (self.direction as usize) << 5
            | (self.kind as usize) << 2
            | (self.data as usize) << 1
            | self.acks_all as usize
    }

    pub(crate) const fn from_index(i: usize) -> Shape {
        Shape {
            direction: if i & 32 == 0 { Direction::Forward } else { Direction::Reverse },
            kind: Kind::ALL[(i >> 2) & 7],
            data: i & 2 != 0,
            acks_all: i & 1 != 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SaySeq {
    #[default]
    Expected,
    Una,
    KeepAlive,
    Old(u8),
    New(u8),
    Hole(u8),
    Skip(u8),
    Forward(u16),
    Back(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayAck {
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
pub(crate) enum SayLen {
    #[default]
    Expected,
    Same,
    Multiple(u8),
    Octets(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayWindow {
    #[default]
    Same,
    Edge,
    Max,
    Listed(u8),
    Up(u16),
    Down(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayOptions {
    #[default]
    Expected,
    /// A layout of the list; its values are in the elements.
    Layout(u8),
    /// Element by element.
    List,
}

/// One SACK block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SaySack {
    Segments { at: u8, count: u8 },
    Raw { left: u32, len: u32 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayTsVal {
    #[default]
    Expected,
    /// Off by so many ticks, not 0.
    Off(i8),
    Forward(u16),
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayTsEcr {
    #[default]
    Expected,
    /// The k-th TSval of the other side after the one echoed last, which is the 0th.
    Later(u8),
    Zero,
    Base,
    Raw(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayId {
    #[default]
    Expected,
    More(u8),
    Zero,
    Base,
    Raw(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SayLabel {
    #[default]
    Expected,
    Zero,
    Base,
    Raw(u32),
}

/// A whole packet, said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Say {
    pub(crate) shape: Shape,
    /// Flag bits to toggle.
    pub(crate) toggle: u16,
    pub(crate) seq: SaySeq,
    pub(crate) ack: SayAck,
    pub(crate) len: SayLen,
    pub(crate) window: SayWindow,
    pub(crate) urgent: u16,
    pub(crate) options: SayOptions,
    /// The option elements, where `options` is not `Expected`.
    pub(crate) elements: Elements,
    pub(crate) ts_val: SayTsVal,
    pub(crate) ts_ecr: SayTsEcr,
    pub(crate) traffic_class: Option<u8>,
    pub(crate) ttl: Option<u8>,
    pub(crate) toggle_df: bool,
    pub(crate) id: SayId,
    pub(crate) label: SayLabel,
    /// Time since the packet before, in units of the flow; negative where the clock went back.
    pub(crate) gap: i64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape::from_index(0)
    }
}

impl Say {
    /// Makes it a packet of which everything goes as expected; keeps its buffers.
    #[inline]
    pub(crate) fn restart(&mut self, shape: Shape) {
        self.shape = shape;
        self.toggle = 0;
        self.seq = SaySeq::Expected;
        self.ack = SayAck::Expected;
        self.len = SayLen::Expected;
        self.window = SayWindow::Same;
        self.urgent = 0;
        self.options = SayOptions::Expected;
        self.elements.clear();
        self.ts_val = SayTsVal::Expected;
        self.ts_ecr = SayTsEcr::Expected;
        self.traffic_class = None;
        self.ttl = None;
        self.toggle_df = false;
        self.id = SayId::Expected;
        self.label = SayLabel::Expected;
        self.gap = 0;
    }

    /// The flags with all toggles.
    pub(crate) const fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.shape.kind.flags() ^ self.toggle)
    }
}
