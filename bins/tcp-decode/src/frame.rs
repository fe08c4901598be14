//! Ethernet frames of packets, with the payload that `--payload` asks for.

use flowtrack::{Flow, FramePayload, Framer, Packet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tcpwire::EthernetRepr;

use crate::args::{FrameArgs, PayloadArg};

/// Encoder of packets as frames, with omitted, repeated or random payload.
pub(crate) struct PayloadFramer {
    framer: Framer,
    payload: PayloadArg,
    random: ChaCha8Rng,
    /// Random payload of one packet, a buffer that is reused.
    filling: Vec<u8>,
}

impl PayloadFramer {
    /// Creates an encoder between the Ethernet addresses of `args`. Random payload is drawn from
    /// `seed`.
    pub(crate) fn new(args: &FrameArgs, payload: PayloadArg, seed: u64) -> PayloadFramer {
        let forward =
            EthernetRepr { src: args.client_mac.0, dst: args.server_mac.0, vlan: args.vlan };
        let reverse = EthernetRepr { src: forward.dst, dst: forward.src, vlan: args.vlan };
        PayloadFramer {
            framer: Framer::new([forward, reverse]),
            payload,
            // The identities are drawn from `seed`: payload needs another random stream.
            random: ChaCha8Rng::seed_from_u64(!seed),
            filling: Vec::new(),
        }
    }

    /// Returns the number of payload octets that the frames of a flow have.
    pub(crate) fn payload_octets(&self, flow: &Flow) -> u64 {
        let written = |packet: &Packet| u64::from(packet.payload_len.min(Framer::MAX_PAYLOAD));
        match self.payload {
            PayloadArg::None => 0,
            _ => flow.packets.iter().map(written).sum(),
        }
    }

    /// Returns the frame's octets, and its length on the wire.
    pub(crate) fn frame(&mut self, flow: &Flow, packet: &Packet) -> (&[u8], u32) {
        let payload = match self.payload {
            PayloadArg::None => FramePayload::Omitted,
            PayloadArg::Random if packet.payload_len <= Framer::MAX_PAYLOAD => {
                self.filling.resize(packet.payload_len as usize, 0);
                self.random.fill_bytes(&mut self.filling);
                FramePayload::Octets(&self.filling)
            }
            PayloadArg::Random => FramePayload::Repeated(0),
            PayloadArg::Repeated(octet) => FramePayload::Repeated(octet),
        };
        self.framer.frame(flow, packet, payload)
    }
}
