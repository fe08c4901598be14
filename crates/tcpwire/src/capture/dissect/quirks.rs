//! Properties of a captured segment that its header values do not express.

use bitflags::bitflags;

bitflags! {
    /// Properties of a captured segment that the other fields of its [`Segment`](crate::Segment) do
    /// not express: headers outside the innermost IP header, malformed lengths, incomplete
    /// captures. Wireshark reports such properties as expert info, Zeek as weirds.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PacketQuirks: u16 {
        /// An IEEE 802.1Q, 802.1ad or 802.1ah tag before the IP header.
        const VLAN = 1;
        /// An MPLS label stack (RFC 3032) before the IP header.
        const MPLS = 1 << 1;
        /// A PPPoE header (RFC 2516) before the IP header.
        const PPPOE = 1 << 2;
        /// Tunnel: an outer IP header of either version.
        const TUNNEL = 1 << 3;
        /// Another tag between Ethernet and the IP header, such as a VN-Tag, a Cisco metadata tag,
        /// a redundancy tag, MACsec, or a fabric's own header.
        const LINK_TAG = 1 << 4;
        /// Options in the innermost IPv4 header.
        const IP_OPTIONS = 1 << 5;
        /// Extension headers after the innermost IP header: IPv6's own, AH or IPComp.
        const IPV6_EXTENSION = 1 << 6;
        /// IP fragments: the segment was reassembled, or is the first fragment alone.
        const FRAGMENTED = 1 << 7;
        /// Quotation in an ICMP error: the segment was not sent at this point of the capture.
        const QUOTED = 1 << 8;
        /// A TCP header that was captured in part.
        const HEADER_CUT = 1 << 9;
        /// A data offset under 5, or an IP payload that ends before the TCP header does.
        const BAD_LENGTH = 1 << 10;
        /// The reserved bit of the IPv4 flags (RFC 791, section 3.1) is set.
        const IPV4_RESERVED = 1 << 11;
        /// An IPv4 total length of 0, as captures show segmentation offload: the frame's length is
        /// used.
        const NO_IP_LENGTH = 1 << 12;
        /// An invalid capture time
        /// ([`TimestampResolution::Invalid`](crate::TimestampResolution::Invalid)).
        const INVALID_TIME = 1 << 13;
        /// An IPv6 payload length of 0, as captures show segmentation offload: the frame's length
        /// is used.
        const NO_IPV6_LENGTH = 1 << 14;
        /// A hop-by-hop header with the jumbo payload option alone (RFC 2675), as captures show the
        /// segmentation offload of Linux (BIG TCP).
        const JUMBO_PAYLOAD = 1 << 15;
    }
}

impl PacketQuirks {
    /// Text of each quirk for summaries, in order of bits.
    const DESCRIPTIONS: [(PacketQuirks, &'static str); 16] = [
        (PacketQuirks::VLAN, "VLAN tag"),
        (PacketQuirks::MPLS, "MPLS label"),
        (PacketQuirks::PPPOE, "PPPoE header"),
        (PacketQuirks::TUNNEL, "tunnel header"),
        (PacketQuirks::LINK_TAG, "link-layer tag"),
        (PacketQuirks::IP_OPTIONS, "IPv4 options"),
        (PacketQuirks::IPV6_EXTENSION, "IP extension header"),
        (PacketQuirks::FRAGMENTED, "IP fragments"),
        (PacketQuirks::QUOTED, "ICMP quotation"),
        (PacketQuirks::HEADER_CUT, "TCP header cut by the snap length"),
        (PacketQuirks::BAD_LENGTH, "TCP header length wrong"),
        (PacketQuirks::IPV4_RESERVED, "IPv4 reserved bit"),
        (PacketQuirks::NO_IP_LENGTH, "IPv4 total length 0"),
        (PacketQuirks::INVALID_TIME, "wrong time"),
        (PacketQuirks::NO_IPV6_LENGTH, "IPv6 length 0"),
        (PacketQuirks::JUMBO_PAYLOAD, "jumbo payload header"),
    ];

    /// Returns the texts of the quirks in the set, for summaries, in order of bits.
    pub fn descriptions(self) -> impl Iterator<Item = &'static str> {
        let all = PacketQuirks::DESCRIPTIONS.into_iter();
        all.filter(move |(quirk, _)| self.contains(*quirk)).map(|(_, text)| text)
    }
}
