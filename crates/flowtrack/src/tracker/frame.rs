//! Packets of a flow as Ethernet frames.

use tcpwire::{EthernetRepr, Payload, TcpRepr, emit_packet};

use crate::{Flow, Packet};

/// Payload of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FramePayload<'a> {
    /// Headers alone, with the packet's payload length; checksums are those of a payload of zeros.
    Omitted,
    /// Octets of one value, at most [`Framer::MAX_PAYLOAD`] of them.
    Repeated(u8),
    /// Octets of the packet's payload length, at most [`Framer::MAX_PAYLOAD`].
    Octets(&'a [u8]),
}

/// Writes packets of flows as Ethernet frames, one at a time, into the same memory.
///
/// ```
/// use flowtrack::{Flow, FramePayload, Framer};
/// use tcpwire::EthernetRepr;
///
/// # fn frames(flow: &Flow) {
/// let (a, b) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
/// let forward = EthernetRepr { src: a, dst: b, vlan: None };
/// let mut framer = Framer::new([forward, EthernetRepr { src: b, dst: a, vlan: None }]);
/// for packet in &flow.packets {
///     let (octets, wire_len) = framer.frame(flow, packet, FramePayload::Omitted);
///     assert!(octets.len() <= wire_len as usize);
/// }
/// # }
/// # frames(&Flow::empty());
/// ```
#[derive(Debug)]
pub struct Framer {
    /// Ethernet headers of the forward and the reverse direction.
    ethernet: [EthernetRepr; 2],
    tcp: TcpRepr,
    octets: Vec<u8>,
}

impl Framer {
    /// Largest number of payload octets in a frame: readers of captures refuse frames of more than
    /// 262,144 octets, and headers take up to 118 of them.
    pub const MAX_PAYLOAD: u32 = 262_144 - 128;

    /// Creates a framer with the Ethernet headers of the forward and the reverse direction.
    #[must_use]
    pub fn new(ethernet: [EthernetRepr; 2]) -> Framer {
        Framer { ethernet, tcp: TcpRepr::default(), octets: Vec::new() }
    }

    /// Writes a packet of `flow`. Returns the frame's octets and the frame's length on the wire.
    ///
    /// # Panics
    /// Like [`Flow::options_of`].
    pub fn frame(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        payload: FramePayload<'_>,
    ) -> (&[u8], u32) {
        let ip = flow.headers_of(packet, &mut self.tcp);
        self.octets.clear();
        self.ethernet[packet.direction.index()].emit(&ip, &mut self.octets);
        let link_len = self.octets.len() as u32;
        let len = packet.payload_len;
        let emitted = match payload {
            FramePayload::Octets(octets) => Payload::Octets(octets),
            FramePayload::Omitted => Payload::Omitted { len, octet: 0 },
            FramePayload::Repeated(octet) => Payload::Omitted { len, octet },
        };
        let wire_len = emit_packet(&ip, &self.tcp, emitted, &mut self.octets);
        if let FramePayload::Repeated(octet) = payload {
            let written = len.min(Self::MAX_PAYLOAD) as usize;
            self.octets.resize(self.octets.len() + written, octet);
        }
        (&self.octets, wire_len.saturating_add(link_len))
    }
}
