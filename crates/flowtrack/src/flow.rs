//! A flow: one TCP conversation, its packets in capture order.

use std::net::{IpAddr, Ipv4Addr};

use bitflags::bitflags;
use tcpwire::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, SeqNum, TcpRepr};

/// Which way a packet travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the client (the opener) to the server.
    Forward,
    /// From the server to the client.
    Reverse,
}

impl Direction {
    /// 0 forward, 1 reverse: for arrays with an entry per direction.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// One end of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// Address.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
}

bitflags! {
    /// Parts of a conversation that were seen: Wireshark's `tcp.completeness`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Completeness: u8 {
        /// A SYN without ACK opened the conversation.
        const SYN = 1;
        /// A SYN-ACK was seen.
        const SYN_ACK = 1 << 1;
        /// An ACK without payload was seen.
        const ACK = 1 << 2;
        /// A segment with payload was seen.
        const DATA = 1 << 3;
        /// A FIN was seen.
        const FIN = 1 << 4;
        /// A RST was seen.
        const RST = 1 << 5;
    }
}

/// Where a packet's option octets lie in [`Flow::options`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OptionsRef {
    /// Index of the first octet.
    pub start: u32,
    /// Number of octets: a multiple of four, at most 40.
    pub len: u8,
}

/// One TCP segment as a flow keeps it: every header bit but ports, addresses and checksums. At most
/// 64 octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Capture time, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Sequence number.
    pub seq: SeqNum,
    /// Acknowledgment number as it stands in the header.
    pub ack: SeqNum,
    /// Payload length in octets, from the IP header.
    pub payload_len: u32,
    /// IPv6 flow label (20 bits); 0 for IPv4.
    pub flow_label: u32,
    /// Option octets, in the flow's arena.
    pub options: OptionsRef,
    /// Reserved bits and flags.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// IPv4 don't-fragment bit; `false` for IPv6.
    pub dont_fragment: bool,
    /// Which way it travels.
    pub direction: Direction,
}

/// One TCP conversation: its ends and its packets in capture order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The end that opened the conversation (sent the SYN, or else the first packet seen).
    pub client: Endpoint,
    /// The other end.
    pub server: Endpoint,
    /// Number of the first packet's frame in its capture, from 1, as Wireshark counts.
    pub first_frame: u64,
    /// Packets in capture order.
    pub packets: Vec<Packet>,
    /// Option octets of all packets.
    pub options: Vec<u8>,
    /// Wireshark's completeness bits.
    pub completeness: Completeness,
}

impl Flow {
    /// Creates a flow without packets and endpoints: unspecified addresses, ports 0.
    #[must_use]
    pub fn empty() -> Flow {
        Flow::new(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into())
    }

    /// Creates a flow without packets, between two addresses and port 0 at either end.
    #[must_use]
    pub fn new(client: IpAddr, server: IpAddr) -> Flow {
        Flow {
            client: Endpoint { addr: client, port: 0 },
            server: Endpoint { addr: server, port: 0 },
            first_frame: 0,
            packets: Vec::new(),
            options: Vec::new(),
            completeness: Completeness::default(),
        }
    }

    /// What it takes beside itself: the room of its buffers, filled or not.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.packets.capacity() * size_of::<Packet>() + self.options.capacity()
    }

    /// The option octets of a packet of this flow.
    ///
    /// # Panics
    /// Where `packet` is of another flow and its options lie outside this one's arena.
    #[must_use]
    #[inline]
    pub fn options_of(&self, packet: &Packet) -> &[u8] {
        let start = packet.options.start as usize;
        &self.options[start..start + usize::from(packet.options.len)]
    }

    /// The headers of a packet of this flow as they stand on the wire, but for lengths and
    /// checksums. `tcp` is overwritten: its options keep their memory.
    ///
    /// # Panics
    /// As [`options_of`](Flow::options_of).
    pub fn headers_of(&self, packet: &Packet, tcp: &mut TcpRepr) -> IpRepr {
        let (from, to) = match packet.direction {
            Direction::Forward => (&self.client, &self.server),
            Direction::Reverse => (&self.server, &self.client),
        };
        let mut options = std::mem::take(&mut tcp.options);
        options.clear();
        options.extend_from_slice(self.options_of(packet));
        *tcp = TcpRepr {
            src_port: from.port,
            dst_port: to.port,
            seq: packet.seq.0,
            ack: packet.ack.0,
            flags: packet.flags,
            window: packet.window,
            checksum: 0,
            urgent: packet.urgent,
            options,
        };
        match (from.addr, to.addr) {
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
}

fn as_v6(addr: IpAddr) -> std::net::Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}
