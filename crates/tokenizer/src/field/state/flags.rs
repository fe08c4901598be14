//! Flags, with the counter of Accurate ECN (RFC 9768) in AE, CWR and ECE.

use flowtrack::{Direction, Packet};
use tcpwire::Flags;

use super::FlowState;
use crate::field::delta::{FlagPattern, PacketDelta};

/// Flags that hold the counter: AE, CWR and ECE.
const ACE: u16 = 0x1c0;
/// Value 1 of the counter as flag bits.
const ONE: u16 = 0x040;
/// First value of the counter (RFC 9768, section 3.2.2.1).
const FIRST: u16 = 5;

/// Agreement of both sides on Accurate ECN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum AccurateEcn {
    /// The last SYN did not ask for it, or the SYN-ACK did not grant it.
    #[default]
    Off,
    /// The last SYN asked for it.
    Requested,
    /// Both sides count marked packets.
    Agreed {
        /// Side whose next packet confirms the SYN-ACK, and the counter of the one after it.
        confirms: Option<(Direction, u16)>,
    },
}

/// Returns the flags that confirm an ECN codepoint: of a SYN in the SYN-ACK, of a SYN-ACK in the
/// acknowledgment of it (RFC 9768, tables 2 and 3).
const fn confirmation(codepoint: u8) -> u16 {
    [2, 3, 4, 6][codepoint as usize] * ONE
}

impl FlowState {
    /// Returns what the SYNs have agreed on about Accurate ECN.
    pub(crate) fn accurate_ecn(&self) -> AccurateEcn {
        self.accurate_ecn
    }

    /// Returns the counter that a packet of side `d` is expected to hold, as flag bits; `None` if
    /// the flags are no counter.
    fn expected_ace(&self, d: Direction, pattern: FlagPattern) -> Option<u16> {
        let counts = matches!(self.accurate_ecn, AccurateEcn::Agreed { .. });
        (counts && !pattern.is_syn() && !pattern.is_rst()).then(|| self.sides[d.index()].ace)
    }

    /// Returns the bits in which the flags of a packet differ from the expected ones.
    pub(super) fn encode_flags(&self, d: Direction, pattern: FlagPattern, flags: Flags) -> u16 {
        let toggle = flags.bits() ^ pattern.flags().bits();
        match self.expected_ace(d, pattern) {
            None => toggle,
            Some(ace) => (toggle & !ACE) | (toggle.wrapping_sub(ace) & ACE),
        }
    }

    /// Returns the flags of a packet.
    pub(super) fn decode_flags(&self, delta: &PacketDelta) -> Flags {
        let flags = delta.flags();
        match self.expected_ace(delta.kind.direction, delta.kind.pattern) {
            None => flags,
            Some(ace) => {
                let bits = flags.bits();
                Flags::from_bits_retain((bits & !ACE) | (bits.wrapping_add(ace) & ACE))
            }
        }
    }

    /// Updates the counter that the sender of a packet is expected to send next.
    pub(super) fn update_ace(&mut self, packet: &Packet) {
        let is_syn = packet.flags.contains(Flags::SYN);
        if (self.accurate_ecn == AccurateEcn::Off && !is_syn) || self.is_version_1 {
            return;
        }
        let d = packet.direction;
        let ace = packet.flags.bits() & ACE;
        let codepoint = packet.traffic_class & 3;
        self.accurate_ecn = match self.accurate_ecn {
            _ if is_syn && !packet.flags.contains(Flags::ACK) => match ace {
                ACE => AccurateEcn::Requested,
                _ => AccurateEcn::Off,
            },
            AccurateEcn::Requested if is_syn => {
                if !(0..4).any(|codepoint| confirmation(codepoint) == ace) {
                    self.accurate_ecn = AccurateEcn::Off;
                    return;
                }
                let marked = u16::from(codepoint == 3);
                self.sides[d.index()].ace = FIRST * ONE;
                self.sides[d.reversed().index()].ace = confirmation(codepoint);
                let first = (FIRST + marked) * ONE;
                AccurateEcn::Agreed { confirms: Some((d.reversed(), first)) }
            }
            before if is_syn || packet.flags.contains(Flags::RST) => before,
            AccurateEcn::Agreed { confirms: Some((side, first)) } if side == d => {
                self.sides[d.index()].ace = first;
                AccurateEcn::Agreed { confirms: None }
            }
            before => {
                self.sides[d.index()].ace = ace;
                before
            }
        };
    }
}
