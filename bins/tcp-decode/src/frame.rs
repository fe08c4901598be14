//! A packet of a flow as an Ethernet frame.

use std::net::IpAddr;

use flowtrack::{Direction, Flow, Packet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tcpwire::{EthernetRepr, IpRepr, Ipv4Repr, Ipv6Repr, Payload, TcpRepr, emit_packet};

use crate::args::{FrameArgs, PayloadArg};

/// At most so many octets of a payload are written: readers of captures refuse frames beyond 262,144.
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
        let forward = EthernetRepr { src: args.client_mac.0, dst: args.server_mac.0, vlan: args.vlan };
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
        let ip = ip(flow, packet);
        self.tcp(flow, packet);
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

    fn tcp(&mut self, flow: &Flow, packet: &Packet) {
        let ports = match packet.direction {
            Direction::Forward => [flow.client.port, flow.server.port],
            Direction::Reverse => [flow.server.port, flow.client.port],
        };
        let mut options = std::mem::take(&mut self.tcp.options);
        options.clear();
        options.extend_from_slice(flow.options_of(packet));
        self.tcp = TcpRepr {
            src_port: ports[0],
            dst_port: ports[1],
            seq: packet.seq.0,
            ack: packet.ack.0,
            flags: packet.flags,
            window: packet.window,
            checksum: 0,
            urgent: packet.urgent,
            options,
        };
    }
}

fn ip(flow: &Flow, packet: &Packet) -> IpRepr {
    let (src, dst) = match packet.direction {
        Direction::Forward => (flow.client.addr, flow.server.addr),
        Direction::Reverse => (flow.server.addr, flow.client.addr),
    };
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => IpRepr::V4(Ipv4Repr {
            src,
            dst,
            traffic_class: packet.traffic_class,
            id: packet.ip_id,
            dont_fragment: packet.dont_fragment,
            ttl: packet.ttl,
        }),
        (src, dst) => IpRepr::V6(Ipv6Repr {
            src: as_v6(src),
            dst: as_v6(dst),
            traffic_class: packet.traffic_class,
            flow_label: packet.flow_label,
            hop_limit: packet.ttl,
        }),
    }
}

fn as_v6(addr: IpAddr) -> std::net::Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}
