//! Reasons why a frame gives no segment.

use std::fmt;

use crate::LinkType;

/// Reason why a frame gives no segment, with the number that names what was not read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SkipReason {
    /// IP with another protocol than TCP.
    NotTcp,
    /// Neither IP nor a header that may have IP after it.
    NotIp,
    /// Fragment of a datagram that a later frame completes.
    Fragment,
    /// A link type that is not supported.
    LinkType(LinkType),
    /// An EtherType that is not supported and may have IP after it.
    EtherType(u16),
    /// A PPP protocol that is not supported and may have IP after it.
    PppProtocol(u16),
    /// A datagram to the UDP port of a tunnel, without that tunnel's header.
    UdpPort(u16),
    /// A protocol of IP that may have another header after it, which was not found.
    IpProtocol(u8),
    /// A payload that is encrypted.
    Encrypted,
    /// Several packets in one IEEE 802.11 frame (A-MSDU).
    Aggregate,
    /// The capture ends before the TCP header's window.
    CutBeforeTcp,
    /// An IP header that contradicts itself.
    BadIp,
    /// Fragment of this IP protocol whose datagram was never complete.
    LostFragment(u8),
    /// More headers than are followed.
    TooDeep,
}

impl SkipReason {
    /// Reports whether the frame may have a TCP segment that is lost with it.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        match self {
            SkipReason::NotTcp | SkipReason::NotIp | SkipReason::Fragment => false,
            // TCP, and the protocols that carry IP whatever their own contents: IPv4, IPv6, GRE,
            // EtherIP, L2TP, MPLS.
            SkipReason::LostFragment(protocol) => {
                matches!(protocol, 6 | 4 | 41 | 47 | 97 | 115 | 137)
            }
            _ => true,
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipReason::NotTcp => f.write_str("IP without TCP"),
            SkipReason::NotIp => f.write_str("not IP"),
            SkipReason::Fragment => f.write_str("fragment, read with the last one"),
            SkipReason::LinkType(link) => write!(f, "link type {link} not read"),
            SkipReason::EtherType(number) => write!(f, "EtherType {number:#06x} not read"),
            SkipReason::PppProtocol(number) => write!(f, "PPP protocol {number:#06x} not read"),
            SkipReason::UdpPort(port) => write!(f, "tunnel on UDP port {port} not read"),
            SkipReason::IpProtocol(number) => write!(f, "IP protocol {number} not read"),
            SkipReason::Encrypted => f.write_str("encrypted"),
            SkipReason::Aggregate => f.write_str("several packets in one IEEE 802.11 frame"),
            SkipReason::CutBeforeTcp => f.write_str("cut before the TCP header"),
            SkipReason::BadIp => f.write_str("malformed IP header"),
            SkipReason::LostFragment(6) => f.write_str("TCP fragment without the others"),
            SkipReason::LostFragment(protocol) => {
                write!(f, "fragment of IP protocol {protocol} without the others")
            }
            SkipReason::TooDeep => f.write_str("too many layers"),
        }
    }
}
