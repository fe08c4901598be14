//! Owned header values. Each holds every bit of its header that a flow needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitflags::bitflags;

bitflags! {
    /// Control bits and reserved bits of a TCP header (RFC 9293, section 3.1): the low 12 bits of
    /// octets 12 and 13, Wireshark's `tcp.flags`.
    ///
    /// ```
    /// use tcpwire::Flags;
    ///
    /// let syn_ack = Flags::SYN | Flags::ACK;
    /// assert!(syn_ack.contains(Flags::SYN));
    /// assert_eq!(syn_ack.bits(), 0x012);
    /// assert_eq!(syn_ack.iter_names().map(|(name, _)| name).collect::<Vec<_>>(), ["SYN", "ACK"]);
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Flags: u16 {
        /// End of the sender's data.
        const FIN = 0x001;
        /// Synchronisation of sequence numbers: opens a direction.
        const SYN = 0x002;
        /// Reset of the connection.
        const RST = 0x004;
        /// Push function: deliver to the application without delay.
        const PSH = 0x008;
        /// Significance of the acknowledgment number.
        const ACK = 0x010;
        /// Significance of the urgent pointer.
        const URG = 0x020;
        /// ECN echo (RFC 3168, section 6.1).
        const ECE = 0x040;
        /// Congestion window reduced (RFC 3168, section 6.1).
        const CWR = 0x080;
        /// Accurate ECN (RFC 9768), formerly NS.
        const AE = 0x100;
        /// The three bits that no RFC assigns: zero from a conforming sender.
        const RESERVED = 0xe00;
    }
}

impl Flags {
    /// Returns the sequence numbers that the flags occupy: one each for SYN and FIN
    /// (RFC 9293, section 3.4).
    #[must_use]
    pub const fn seq_len(self) -> u32 {
        self.contains(Flags::SYN) as u32 + self.contains(Flags::FIN) as u32
    }
}

/// A TCP header (RFC 9293, section 3.1). Ports included, payload not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TcpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, as it stands in the header, with or without the ACK flag.
    pub ack: u32,
    /// Reserved bits and flags, 12 bits.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Checksum as it stands in the header.
    pub checksum: u16,
    /// Urgent pointer, with or without the URG flag.
    pub urgent: u16,
    /// Raw options: a multiple of four octets, at most 40. The data offset is `5 + options.len() /
    /// 4`.
    pub options: Vec<u8>,
}

/// An IPv4 header (RFC 791) without options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// DSCP (6 bits) and ECN (2 bits): Wireshark's `ip.dsfield`.
    pub traffic_class: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
}

/// An IPv6 header (RFC 8200) without extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// DSCP (6 bits) and ECN (2 bits): Wireshark's `ipv6.tclass`.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
}

/// An IP header of either version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpRepr {
    /// IPv4.
    V4(Ipv4Repr),
    /// IPv6.
    V6(Ipv6Repr),
}

impl IpRepr {
    /// Source address.
    #[must_use]
    pub fn src(&self) -> IpAddr {
        match self {
            IpRepr::V4(ip) => ip.src.into(),
            IpRepr::V6(ip) => ip.src.into(),
        }
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        match self {
            IpRepr::V4(ip) => ip.dst.into(),
            IpRepr::V6(ip) => ip.dst.into(),
        }
    }
}
