//! Link-layer header types in captures.

use std::fmt;

/// Link-layer header type, by its LINKTYPE number in capture files
/// (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: a 4-octet address family in host order.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet, without preamble and frame check sequence.
    pub const ETHERNET: LinkType = LinkType(1);
    /// ARCNET without the second destination octet.
    pub const ARCNET: LinkType = LinkType(7);
    /// PPP, with or without HDLC framing.
    pub const PPP: LinkType = LinkType(9);
    /// FDDI: a frame control octet and addresses before LLC.
    pub const FDDI: LinkType = LinkType(10);
    /// Raw IP, as OpenBSD writes it.
    pub const RAW_OPENBSD: LinkType = LinkType(14);
    /// Raw IP, as most BSDs write it.
    pub const RAW_BSD: LinkType = LinkType(12);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: LinkType = LinkType(50);
    /// PPP over Ethernet, session packets without their Ethernet header.
    pub const PPPOE: LinkType = LinkType(51);
    /// Raw IP: the version is in the first octet.
    pub const RAW: LinkType = LinkType(101);
    /// Cisco PPP with HDLC framing.
    pub const CHDLC: LinkType = LinkType(104);
    /// IEEE 802.11 without radio information.
    pub const IEEE80211: LinkType = LinkType(105);
    /// OpenBSD loopback: a 4-octet address family in network order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked capture: 16 octets before the protocol's own header.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// IEEE 802.11 after a radiotap header.
    pub const RADIOTAP: LinkType = LinkType(127);
    /// ARCNET with the header that Linux gives it.
    pub const ARCNET_LINUX: LinkType = LinkType(129);
    /// PPP after one octet that tells the direction.
    pub const PPP_WITH_DIRECTION: LinkType = LinkType(204);
    /// Raw IP of version 4 only.
    pub const IPV4: LinkType = LinkType(228);
    /// Raw IP of version 6 only.
    pub const IPV6: LinkType = LinkType(229);
    /// IP over InfiniBand, 40 octets of addresses before it.
    pub const IPOIB: LinkType = LinkType(242);
    /// Linux cooked capture, version 2: 20 octets before the protocol's own header.
    pub const LINUX_SLL2: LinkType = LinkType(276);
    /// IEEE 802.11 after a Prism header.
    pub const PRISM: LinkType = LinkType(119);
    /// Frames after a header that names their link type, of protocol TZSP.
    pub const TZSP: LinkType = LinkType(128);
    /// PKTAP under the number that Apple's own captures give it.
    pub const PKTAP_APPLE: LinkType = LinkType(149);
    /// IEEE 802.11 after an AVS header.
    pub const AVS: LinkType = LinkType(163);
    /// Frames after a header that names their link type (PPI).
    pub const PPI: LinkType = LinkType(192);
    /// Log messages of Linux netfilter (NFLOG).
    pub const NFLOG: LinkType = LinkType(239);
    /// Frames after a header that names their link type, of Darwin.
    pub const PKTAP: LinkType = LinkType(258);
    /// Records that Wireshark numbers as frames and that hold no packet: system log entries, custom
    /// blocks. The number is private to this crate.
    pub const NO_PACKET: LinkType = LinkType(0xffff_0002);
    /// IP over InfiniBand in snoop files. The number is private to this crate and far above every
    /// assigned one.
    pub const IPOIB_SNOOP: LinkType = LinkType(0xffff_0001);
}

impl LinkType {
    /// First of the numbers that datalink types of snoop files get if nothing reads them.
    const SNOOP: u32 = 0xfffe_0000;

    /// Returns the link type of a datalink number of snoop files that nothing reads.
    pub(crate) const fn of_snoop(datalink: u32) -> LinkType {
        LinkType(LinkType::SNOOP | datalink & 0xffff)
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ LinkType::SNOOP..=0xfffe_ffff => write!(f, "{} of snoop", number & 0xffff),
            number => write!(f, "{number}"),
        }
    }
}
