//! A flow: one TCP conversation as a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitflags::bitflags;
use tcpwire::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, SeqNum, TcpRepr};

/// Direction of a packet within its flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the client (the opener) to the server.
    Forward,
    /// From the server to the client.
    Reverse,
}

impl Direction {
    /// Returns 0 for forward and 1 for reverse: the index in arrays with an entry per direction.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the opposite direction.
    #[must_use]
    pub const fn reversed(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// Frame of one of several captures that are read as one.
///
/// ```
/// use flowtrack::FrameId;
///
/// assert_eq!((FrameId::of(17).capture(), FrameId::of(17).number()), (0, 17));
/// assert_eq!(FrameId::of(FrameId::new(3, 17).bits()).capture(), 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameId(u64);

impl FrameId {
    /// Bits of the frame's number, below those of the capture's.
    const NUMBER_BITS: u32 = 40;

    /// Creates the id of frame `number`, from 1, in capture number `capture`, from 0.
    #[inline]
    #[must_use]
    pub const fn new(capture: usize, number: u64) -> FrameId {
        FrameId((capture as u64) << Self::NUMBER_BITS | number)
    }

    /// Creates the id that [`bits`](Self::bits) gave. The number of a frame is the id of a frame in
    /// the first capture.
    #[must_use]
    pub const fn of(bits: u64) -> FrameId {
        FrameId(bits)
    }

    /// Returns the id as an integer, in the order of captures and frames.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the number of the capture, from 0.
    #[must_use]
    pub const fn capture(self) -> usize {
        (self.0 >> Self::NUMBER_BITS) as usize
    }

    /// Returns the number of the frame in its capture, from 1.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
}

/// Address and port of the client or the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// IPv4 or IPv6 address; both endpoints of a flow have the same version.
    pub addr: IpAddr,
    /// Port of the TCP endpoint.
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

/// Place of a packet's option octets in [`Flow::options`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OptionsRef {
    /// Index of the first octet.
    pub start: u32,
    /// Number of octets: a multiple of four, at most 40.
    pub len: u8,
}

/// One TCP segment as a flow stores it: every header field but ports, addresses and checksums, in
/// at most 64 octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Capture time, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: SeqNum,
    /// Acknowledgment number as the header has it, with or without the ACK flag.
    pub ack: SeqNum,
    /// Payload length in octets, computed from the IP header.
    pub payload_len: u32,
    /// IPv6 flow label (20 bits); 0 for IPv4.
    pub flow_label: u32,
    /// Place of the option octets in the flow's arena.
    pub options: OptionsRef,
    /// Control bits and reserved bits.
    pub flags: Flags,
    /// Receive window as the header has it, not scaled (RFC 7323, section 2).
    pub window: u16,
    /// Urgent pointer, with or without the URG flag.
    pub urgent: u16,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// IPv4 time to live or IPv6 hop limit.
    pub ttl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// IPv4 don't-fragment bit; `false` for IPv6.
    pub dont_fragment: bool,
    /// Direction in which the packet travels.
    pub direction: Direction,
}

/// One TCP conversation: its endpoints, and its packets in capture order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Endpoint that opened the conversation: the sender of the SYN, or else the one that the
    /// verdict's evidence names.
    pub client: Endpoint,
    /// Endpoint that was contacted.
    pub server: Endpoint,
    /// Number of the first packet's frame in its capture, from 1, as Wireshark counts; of several
    /// captures that are read as one, a [`FrameId`].
    pub first_frame: u64,
    /// Packets in capture order.
    pub packets: Vec<Packet>,
    /// Arena of the option octets of all packets.
    pub options: Vec<u8>,
    /// Wireshark's completeness bits after the last packet.
    pub completeness: Completeness,
}

impl Flow {
    /// Creates a flow without packets and endpoints: unspecified addresses, ports 0.
    #[must_use]
    pub fn empty() -> Flow {
        Flow::new(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into())
    }

    /// Creates a flow without packets, between two addresses and ports 0.
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

    /// Returns the least and the greatest time of the packets, in nanoseconds since the Unix epoch;
    /// `None` without packets. Packets are in capture order, which times may contradict.
    #[must_use]
    pub fn times_ns(&self) -> Option<(i64, i64)> {
        let (first, rest) = self.packets.split_first()?;
        let (mut least, mut greatest) = (first.time_ns, first.time_ns);
        for packet in rest {
            least = least.min(packet.time_ns);
            greatest = greatest.max(packet.time_ns);
        }
        Some((least, greatest))
    }

    /// Returns the heap octets in use, by the capacity of the buffers.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.packets.capacity() * size_of::<Packet>() + self.options.capacity()
    }

    /// Returns the option octets of a packet of this flow.
    ///
    /// # Panics
    /// If `packet` belongs to another flow and its options lie outside this one's arena.
    #[must_use]
    #[inline]
    pub fn options_of(&self, packet: &Packet) -> &[u8] {
        let start = packet.options.start as usize;
        &self.options[start..start + usize::from(packet.options.len)]
    }

    /// Returns the IP header of a packet of this flow and writes its TCP header to `tcp`, with a
    /// checksum of 0. The memory of `tcp.options` is reused.
    ///
    /// # Panics
    /// Like [`options_of`](Flow::options_of).
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
        // Endpoints of different versions are written as IPv6, the IPv4 one mapped.
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

/// Returns an address as IPv6, an IPv4 address in its mapped form (RFC 4291, section 2.5.5.2).
fn as_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}
