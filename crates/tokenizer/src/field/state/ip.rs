//! Fields of the IP header.

use flowtrack::{Direction, Packet};
use tcpwire::Flags;

use super::FlowState;
use super::sender::{IpIdMode, SenderState};
use crate::field::delta::{FlowLabelDelta, IpIdDelta};
use crate::field::vocab;

/// Mask of an IPv6 flow label: 20 bits (RFC 8200, section 3).
const FLOW_LABEL_MASK: u32 = 0xf_ffff;

/// Greatest step between two identifications of a side that the next one is expected to repeat.
const MAX_ID_STEP: u16 = 16;

/// IPv4 identification that the state expects.
enum NextId {
    Zero,
    /// First identification of the side other than 0.
    Base,
    Id(u16),
}

impl FlowState {
    /// Returns the IPv4 identification of a packet without an identification token.
    fn next_ip_id(&self, d: Direction, flags: Flags) -> NextId {
        let side = &self.sides[d.index()];
        let is_first = side.packets == 0;
        if !self.is_version_1 {
            // Linux answers a SYN with identification 0, and counts from a number of its own then.
            if is_first && flags.contains(Flags::SYN | Flags::ACK) {
                return NextId::Zero;
            }
            if side.packets == 1 && side.last_was_syn && side.last_ip_id.is_none() {
                return NextId::Base;
            }
        }
        match (side.ip_id_mode, side.last_ip_id) {
            (IpIdMode::Zero, _) => NextId::Zero,
            (_, None) => NextId::Base,
            (IpIdMode::Incremental, Some(id)) => NextId::Id(id.wrapping_add(side.ip_id_step)),
            (IpIdMode::Constant, Some(id)) => NextId::Id(id),
        }
    }

    /// Returns the delta of an IPv4 identification.
    pub(super) fn encode_ip_id(&mut self, d: Direction, flags: Flags, id: u16) -> IpIdDelta {
        let last = self.sides[d.index()].last_ip_id;
        if last.is_none() && id != 0 {
            self.identity_of(d).ip_id_base = Some(id);
        }
        match (self.next_ip_id(d, flags), id) {
            (NextId::Zero, 0) | (NextId::Base, 1..) => return IpIdDelta::Expected,
            (NextId::Id(next), _) if next == id => return IpIdDelta::Expected,
            _ => {}
        }
        match (id, last) {
            (0, _) => IpIdDelta::Zero,
            (_, None) => IpIdDelta::Base,
            (_, Some(last)) => match id.wrapping_sub(last) {
                by if usize::from(by) < vocab::ID.count() => IpIdDelta::More(by as u8),
                by => IpIdDelta::Raw(by),
            },
        }
    }

    /// Returns the IPv4 identification of a packet.
    pub(super) fn decode_ip_id(&mut self, d: Direction, flags: Flags, delta: IpIdDelta) -> u16 {
        let base = self.identity_of(d).ip_id_base.unwrap_or(0);
        let last = self.sides[d.index()].last_ip_id.unwrap_or(base);
        match delta {
            IpIdDelta::Expected => match self.next_ip_id(d, flags) {
                NextId::Zero => 0,
                NextId::Base => base,
                NextId::Id(next) => next,
            },
            IpIdDelta::More(by) => last.wrapping_add(by.into()),
            IpIdDelta::Zero => 0,
            IpIdDelta::Base => base,
            IpIdDelta::Raw(by) => last.wrapping_add(by),
        }
    }

    /// Returns the IPv6 flow label of a packet without a label token.
    fn expected_flow_label(&mut self, d: Direction) -> u32 {
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        self.sides[d.index()].last_flow_label.unwrap_or(base)
    }

    /// Returns the delta of an IPv6 flow label.
    pub(super) fn encode_flow_label(&mut self, d: Direction, label: u32) -> FlowLabelDelta {
        let side = &self.sides[d.index()];
        let (last, has_base) = (side.last_flow_label, side.has_flow_label_base);
        if label != 0 && !has_base {
            self.identity_of(d).flow_label_base = Some(label);
            return if last.is_none() { FlowLabelDelta::Expected } else { FlowLabelDelta::Base };
        }
        // The decoder expects the base in the first packet: a zero there needs its token.
        if label == self.expected_flow_label(d) && (last.is_some() || label != 0) {
            return FlowLabelDelta::Expected;
        }
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        match label {
            0 => FlowLabelDelta::Zero,
            _ if label == base => FlowLabelDelta::Base,
            _ => FlowLabelDelta::Raw(label.wrapping_sub(last.unwrap_or(base)) & FLOW_LABEL_MASK),
        }
    }

    /// Returns the IPv6 flow label of a packet.
    pub(super) fn decode_flow_label(&mut self, d: Direction, delta: FlowLabelDelta) -> u32 {
        let base = self.identity_of(d).flow_label_base.unwrap_or(0);
        match delta {
            FlowLabelDelta::Expected => self.expected_flow_label(d),
            FlowLabelDelta::Zero => 0,
            FlowLabelDelta::Base => base,
            FlowLabelDelta::Raw(by) => {
                self.expected_flow_label(d).wrapping_add(by) & FLOW_LABEL_MASK
            }
        }
    }
}

impl SenderState {
    /// Updates the fields of the IP header with a packet of this side.
    pub(super) fn update_ip(&mut self, packet: &Packet, is_version_1: bool) {
        self.traffic_class[usize::from(packet.payload_len > 0)] = packet.traffic_class;
        self.ttl = Some(packet.ttl);
        self.dont_fragment = Some(packet.dont_fragment);
        // A RST may come from another part of the system, or from a middlebox, with an
        // identification of its own.
        if !packet.flags.contains(Flags::RST) {
            self.ip_id_mode = match (packet.ip_id, self.last_ip_id) {
                (0, _) => IpIdMode::Zero,
                (id, Some(last)) if id == last => IpIdMode::Constant,
                _ => IpIdMode::Incremental,
            };
            let step = packet.ip_id.wrapping_sub(self.last_ip_id.unwrap_or(packet.ip_id));
            if !is_version_1 && (1..=MAX_ID_STEP).contains(&step) {
                self.ip_id_step = step;
            }
        }
        if packet.ip_id != 0 {
            self.last_ip_id = Some(packet.ip_id);
        }
        self.last_flow_label = Some(packet.flow_label);
        self.has_flow_label_base |= packet.flow_label != 0;
    }
}
