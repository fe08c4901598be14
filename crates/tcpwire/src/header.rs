//! Owned header values, each with every field of its header that a flow needs.

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

/// A TCP header (RFC 9293, section 3.1), without payload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TcpRepr {
    /// Port of the sender.
    pub src_port: u16,
    /// Port of the receiver.
    pub dst_port: u16,
    /// Sequence number of the first payload octet, or of the SYN.
    pub seq: u32,
    /// Acknowledgment number as the header has it, with or without the ACK flag.
    pub ack: u32,
    /// Control bits and reserved bits, 12 in all.
    pub flags: Flags,
    /// Receive window as the header has it, not scaled (RFC 7323, section 2).
    pub window: u16,
    /// Checksum as the header has it, right or wrong.
    pub checksum: u16,
    /// Urgent pointer as the header has it, with or without the URG flag.
    pub urgent: u16,
    /// Option octets, padding included: a multiple of four, at most [`MAX_OPTION_OCTETS`]. The data
    /// offset is `5 + options.len() / 4`.
    ///
    /// [`MAX_OPTION_OCTETS`]: crate::MAX_OPTION_OCTETS
    pub options: Vec<u8>,
}

/// An IPv4 header (RFC 791) without options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Repr {
    /// Address of the sender.
    pub src: Ipv4Addr,
    /// Address of the receiver.
    pub dst: Ipv4Addr,
    /// DSCP (6 bits) and ECN (2 bits): Wireshark's `ip.dsfield`.
    pub traffic_class: u8,
    /// Identification, the number that fragments of one datagram share.
    pub id: u16,
    /// Don't-fragment flag (DF) of the header.
    pub dont_fragment: bool,
    /// Time to live, in hops.
    pub ttl: u8,
}

/// An IPv6 header (RFC 8200) without extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Repr {
    /// Address of the sender.
    pub src: Ipv6Addr,
    /// Address of the receiver.
    pub dst: Ipv6Addr,
    /// DSCP (6 bits) and ECN (2 bits): Wireshark's `ipv6.tclass`.
    pub traffic_class: u8,
    /// Flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
    /// Hop limit, IPv6's time to live.
    pub hop_limit: u8,
}

/// An IP header of either version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpRepr {
    /// Header of version 4.
    V4(Ipv4Repr),
    /// Header of version 6.
    V6(Ipv6Repr),
}

impl IpRepr {
    /// Returns the sender's address.
    #[must_use]
    pub fn src(&self) -> IpAddr {
        match self {
            IpRepr::V4(ip) => ip.src.into(),
            IpRepr::V6(ip) => ip.src.into(),
        }
    }

    /// Returns the receiver's address.
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        match self {
            IpRepr::V4(ip) => ip.dst.into(),
            IpRepr::V6(ip) => ip.dst.into(),
        }
    }
}
