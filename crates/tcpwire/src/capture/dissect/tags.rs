//! Networks that a frame belongs to, by its interface, tags and tunnels.

use crate::Frame;

/// Interface of a frame, and the networks that its VLAN tags and tunnel headers name. Two networks
/// may use the same addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Tags {
    /// VLAN identifiers, the outer one first: up to two of them as `(outer + 1) * 2^16 + inner +
    /// 1`, more of them mixed. 0 without a tag, and for the identifier 0 of a priority tag.
    pub vlan: u32,
    /// Virtual network identifiers of VXLAN, Geneve and NVGRE, plus 1, mixed if there are several;
    /// 0 without one.
    pub vni: u32,
    /// Number of the interface in its section of a pcapng file.
    pub interface: u32,
}

impl Tags {
    /// Returns the tags of a frame whose headers are not read yet.
    #[inline]
    pub(super) fn on(frame: &Frame<'_>) -> Tags {
        Tags { interface: frame.interface, ..Tags::default() }
    }

    /// Adds the identifier of the next VLAN tag inwards.
    pub(super) fn push_vlan(&mut self, id: u32) {
        // IEEE 802.1Q, table 9-2: identifier 0 marks a priority and names no VLAN.
        if id != 0 {
            self.vlan = self.vlan.rotate_left(16).wrapping_add(id + 1);
        }
    }

    /// Adds the identifier of the next virtual network inwards.
    pub(super) fn push_vni(&mut self, id: u32) {
        self.vni = self.vni.rotate_left(16).wrapping_add(id + 1);
    }
}
