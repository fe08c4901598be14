//! A packet of a flow as an Ethernet frame.

use flowtrack::{Flow, Packet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tcpwire::{EthernetRepr, Payload, TcpRepr, emit_packet};

use crate::args::{FrameArgs, PayloadArg};

/// At most so many octets of a payload are written: readers of captures refuse frames beyond
/// 262,144.
const MAX_PAYLOAD: u32 = 262_144 - 128;

/// Makes frames, one at a time, in the same memory.
pub(crate) struct Framer {
    ethernet: [EthernetRepr; 2],
    payload: PayloadArg,
    random: ChaCha8Rng,
    tcp: TcpRepr,
    octets: Vec<u8>,
    filling: Vec<u8>,
}

impl Framer {
    pub(crate) fn new(args: &FrameArgs, payload: PayloadArg, seed: u64) -> Framer {
        let forward =
            EthernetRepr { src: args.client_mac.0, dst: args.server_mac.0, vlan: args.vlan };
        let reverse = EthernetRepr { src: forward.dst, dst: forward.src, vlan: args.vlan };
        Framer {
            ethernet: [forward, reverse],
            payload,
            // Another stream than that of the identities.
            random: ChaCha8Rng::seed_from_u64(!seed),
            tcp: TcpRepr::default(),
            octets: Vec::new(),
            filling: Vec::new(),
        }
    }

    /// The frame's octets, and its length on the wire.
    pub(crate) fn frame(&mut self, flow: &Flow, packet: &Packet) -> (&[u8], u32) {
        let ip = flow.headers_of(packet, &mut self.tcp);
        self.octets.clear();
        self.ethernet[packet.direction.index()].emit(&ip, &mut self.octets);
        let link_len = self.octets.len() as u32;
        let written = packet.payload_len.min(MAX_PAYLOAD) as usize;
        let payload = match self.payload {
            PayloadArg::None => Payload::Omitted(packet.payload_len),
            PayloadArg::Random if packet.payload_len <= MAX_PAYLOAD => {
                self.filling.resize(written, 0);
                self.random.fill_bytes(&mut self.filling);
                Payload::Octets(&self.filling)
            }
            PayloadArg::Random | PayloadArg::Zero => Payload::Omitted(packet.payload_len),
        };
        let wire_len = emit_packet(&ip, &self.tcp, payload, &mut self.octets);
        if self.payload != PayloadArg::None && matches!(payload, Payload::Omitted(_)) {
            self.octets.resize(self.octets.len() + written, 0);
        }
        (&self.octets, wire_len.saturating_add(link_len))
    }
}
