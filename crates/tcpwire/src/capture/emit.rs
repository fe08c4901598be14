//! Header values as octets, with valid lengths and checksums.

use super::Checksum;
use crate::{IpRepr, Ipv4Repr, Ipv6Repr, MAX_OPTION_OCTETS, TcpRepr};

/// Number of TCP among the IP protocols.
const TCP: u8 = 6;
/// Length of a TCP header without options, in octets.
const TCP_HEADER: usize = 20;

/// Payload after a TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Payload of `len` equal octets, which count in lengths and checksum and are not written.
    Omitted {
        /// Number of octets on the wire.
        len: u32,
        /// Value of each of the octets.
        octet: u8,
    },
    /// Payload with its octets.
    Octets(&'a [u8]),
}

impl Payload<'_> {
    /// Returns the length on the wire, in octets.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length on the wire, not a collection")]
    pub fn len(self) -> u32 {
        match self {
            Payload::Omitted { len, .. } => len,
            Payload::Octets(octets) => octets.len() as u32,
        }
    }
}

/// An Ethernet header (IEEE 802.3), with at most one VLAN tag (IEEE 802.1Q).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EthernetRepr {
    /// MAC address of the sender.
    pub src: [u8; 6],
    /// MAC address of the receiver.
    pub dst: [u8; 6],
    /// VLAN identifier, 12 bits; `None` for a header without a tag.
    pub vlan: Option<u16>,
}

impl EthernetRepr {
    /// Appends the header of a frame that carries an IP packet.
    pub fn emit(&self, ip: &IpRepr, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dst);
        out.extend_from_slice(&self.src);
        if let Some(vlan) = self.vlan {
            out.extend_from_slice(&[0x81, 0x00]);
            out.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
        }
        out.extend_from_slice(match ip {
            IpRepr::V4(_) => &[0x08, 0x00],
            IpRepr::V6(_) => &[0x86, 0xdd],
        });
    }
}

/// Appends an IP packet with a TCP segment. Lengths and checksums are computed; `tcp.checksum` is
/// ignored. Returns the packet's length on the wire, in octets: with an omitted payload, more than
/// were appended.
///
/// A packet too long for its IP length field gets 0 there, as captures show packets that the
/// network card is to split (TCP segmentation offload). Wireshark reads it so.
///
/// Options are padded with zeros (end of option list) to a multiple of four octets; those beyond 40
/// octets are not written.
pub fn emit_packet(ip: &IpRepr, tcp: &TcpRepr, payload: Payload<'_>, out: &mut Vec<u8>) -> u32 {
    let tcp_len = payload.len().saturating_add(tcp.header_len() as u32);
    ip.emit(tcp_len, out);
    let start = out.len();
    tcp.emit(out);
    let mut sum = ip.pseudo_header(tcp_len).with(&out[start..start + 16]).with(&out[start + 18..]);
    match payload {
        Payload::Octets(octets) => {
            sum = sum.with(octets);
            out.extend_from_slice(octets);
        }
        Payload::Omitted { len, octet } => sum = sum.with_repeated(octet, len),
    }
    out[start + 16..start + 18].copy_from_slice(&sum.finish().to_be_bytes());
    tcp_len.saturating_add(ip.header_len() as u32)
}

impl TcpRepr {
    /// Returns the header's length in octets, options included.
    #[must_use]
    pub fn header_len(&self) -> usize {
        TCP_HEADER + self.options.len().min(MAX_OPTION_OCTETS).next_multiple_of(4)
    }

    /// Appends the header, with the checksum of the value.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let words = (self.header_len() / 4) as u16;
        let mut fixed = [0; TCP_HEADER];
        fixed[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.to_be_bytes());
        fixed[12..14].copy_from_slice(&(words << 12 | self.flags.bits() & 0x0fff).to_be_bytes());
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].copy_from_slice(&self.checksum.to_be_bytes());
        fixed[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(&fixed);
        out.extend_from_slice(&self.options[..self.options.len().min(MAX_OPTION_OCTETS)]);
        out.resize(start + self.header_len(), 0);
    }
}

impl IpRepr {
    /// Returns the header's length in octets.
    #[must_use]
    pub fn header_len(&self) -> usize {
        match self {
            IpRepr::V4(_) => 20,
            IpRepr::V6(_) => 40,
        }
    }

    /// Appends the header of a packet with `tcp_len` octets of TCP header and payload.
    pub fn emit(&self, tcp_len: u32, out: &mut Vec<u8>) {
        match self {
            IpRepr::V4(ip) => emit_v4(ip, tcp_len, out),
            IpRepr::V6(ip) => emit_v6(ip, tcp_len, out),
        }
    }

    /// Returns the checksum so far, over the pseudo-header (RFC 9293, section 3.1; RFC 8200,
    /// section 8.1).
    fn pseudo_header(&self, tcp_len: u32) -> Checksum {
        let sum = Checksum::default().with_u32(TCP.into()).with_u32(tcp_len);
        match self {
            IpRepr::V4(ip) => sum.with(&ip.src.octets()).with(&ip.dst.octets()),
            IpRepr::V6(ip) => sum.with(&ip.src.octets()).with(&ip.dst.octets()),
        }
    }
}

/// Returns a 16-bit length field: 0 for a length that does not fit.
fn length_field(octets: u32) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(0).to_be_bytes()
}

/// Appends an IPv4 header (RFC 791, section 3.1).
fn emit_v4(ip: &Ipv4Repr, tcp_len: u32, out: &mut Vec<u8>) {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[1] = ip.traffic_class;
    header[2..4].copy_from_slice(&length_field(tcp_len.saturating_add(20)));
    header[4..6].copy_from_slice(&ip.id.to_be_bytes());
    header[6] = u8::from(ip.dont_fragment) << 6;
    header[8] = ip.ttl;
    header[9] = TCP;
    header[12..16].copy_from_slice(&ip.src.octets());
    header[16..20].copy_from_slice(&ip.dst.octets());
    let checksum = Checksum::default().with(&header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Appends an IPv6 header (RFC 8200, section 3).
fn emit_v6(ip: &Ipv6Repr, tcp_len: u32, out: &mut Vec<u8>) {
    let mut header = [0; 40];
    let first = 6 << 28 | u32::from(ip.traffic_class) << 20 | ip.flow_label & 0x000f_ffff;
    header[0..4].copy_from_slice(&first.to_be_bytes());
    header[4..6].copy_from_slice(&length_field(tcp_len));
    header[6] = TCP;
    header[7] = ip.hop_limit;
    header[8..24].copy_from_slice(&ip.src.octets());
    header[24..40].copy_from_slice(&ip.dst.octets());
    out.extend_from_slice(&header);
}

#[cfg(test)]
mod tests {
    use pnet_packet::Packet;
    use pnet_packet::ipv4::Ipv4Packet;
    use pnet_packet::ipv6::Ipv6Packet;
    use pnet_packet::tcp::{self, TcpPacket};
    use pnet_packet::{ethernet::EthernetPacket, ipv4};
    use proptest::prelude::*;

    use super::*;
    use crate::Flags;

    prop_compose! {
        fn any_tcp()(
            ports in any::<[u16; 2]>(),
            seq in any::<u32>(),
            ack in any::<u32>(),
            flags in 0..0x1000_u16,
            window in any::<u16>(),
            checksum in any::<u16>(),
            urgent in any::<u16>(),
            options in prop::collection::vec(any::<[u8; 4]>(), 0..=10),
        ) -> TcpRepr {
            let ([src_port, dst_port], options) = (ports, options.concat());
            let flags = Flags::from_bits_retain(flags);
            TcpRepr { src_port, dst_port, seq, ack, flags, window, checksum, urgent, options }
        }
    }

    fn any_ip() -> impl Strategy<Value = IpRepr> {
        let v4 = (any::<[u32; 2]>(), any::<u8>(), any::<u16>(), any::<bool>(), any::<u8>());
        let v6 = (any::<[u128; 2]>(), any::<u8>(), 0..1_u32 << 20, any::<u8>());
        prop_oneof![
            v4.prop_map(|(ends, traffic_class, id, dont_fragment, ttl)| IpRepr::V4(Ipv4Repr {
                src: ends[0].into(),
                dst: ends[1].into(),
                traffic_class,
                id,
                dont_fragment,
                ttl,
            })),
            v6.prop_map(|(ends, traffic_class, flow_label, hop_limit)| IpRepr::V6(Ipv6Repr {
                src: ends[0].into(),
                dst: ends[1].into(),
                traffic_class,
                flow_label,
                hop_limit,
            })),
        ]
    }

    /// Checks the IP header with pnet_packet. Returns the TCP segment, and the checksum over
    /// `wire`.
    fn check_ip(ip: &IpRepr, octets: &[u8], wire: &[u8]) -> (Vec<u8>, u16) {
        match ip {
            IpRepr::V4(ip) => {
                let seen = Ipv4Packet::new(octets).unwrap();
                assert_eq!((seen.get_version(), seen.get_header_length()), (4, 5));
                assert_eq!((seen.get_source(), seen.get_destination()), (ip.src, ip.dst));
                assert_eq!(seen.get_dscp() << 2 | seen.get_ecn(), ip.traffic_class);
                assert_eq!((seen.get_identification(), seen.get_ttl()), (ip.id, ip.ttl));
                assert_eq!(
                    (seen.get_flags(), seen.get_fragment_offset()),
                    (u8::from(ip.dont_fragment) << 1, 0)
                );
                assert_eq!(usize::from(seen.get_total_length()), wire.len());
                assert_eq!(seen.get_checksum(), ipv4::checksum(&seen));
                assert_eq!(seen.get_next_level_protocol().0, 6);
                let segment = TcpPacket::new(&wire[20..]).unwrap();
                (octets[20..].to_vec(), tcp::ipv4_checksum(&segment, &ip.src, &ip.dst))
            }
            IpRepr::V6(ip) => {
                let seen = Ipv6Packet::new(octets).unwrap();
                assert_eq!((seen.get_version(), seen.get_next_header().0), (6, 6));
                assert_eq!((seen.get_source(), seen.get_destination()), (ip.src, ip.dst));
                assert_eq!(
                    (seen.get_traffic_class(), seen.get_flow_label()),
                    (ip.traffic_class, ip.flow_label)
                );
                assert_eq!(seen.get_hop_limit(), ip.hop_limit);
                assert_eq!(usize::from(seen.get_payload_length()), wire.len() - 40);
                let segment = TcpPacket::new(&wire[40..]).unwrap();
                (octets[40..].to_vec(), tcp::ipv6_checksum(&segment, &ip.src, &ip.dst))
            }
        }
    }

    fn check_tcp(tcp: &TcpRepr, segment: &[u8]) {
        let seen = TcpPacket::new(segment).unwrap();
        assert_eq!((seen.get_source(), seen.get_destination()), (tcp.src_port, tcp.dst_port));
        assert_eq!((seen.get_sequence(), seen.get_acknowledgement()), (tcp.seq, tcp.ack));
        assert_eq!(
            u16::from(seen.get_reserved()) << 8 | u16::from(seen.get_flags()),
            tcp.flags.bits()
        );
        assert_eq!((seen.get_window(), seen.get_urgent_ptr()), (tcp.window, tcp.urgent));
        assert_eq!(seen.get_options_raw(), tcp.options);
        assert_eq!(usize::from(seen.get_data_offset()) * 4, tcp.header_len());
    }

    proptest! {
        #[test]
        fn pnet_reads_what_is_written(
            ip in any_ip(),
            tcp in any_tcp(),
            payload in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let mut octets = Vec::new();
            let wire_len = emit_packet(&ip, &tcp, Payload::Octets(&payload), &mut octets);
            prop_assert_eq!(wire_len as usize, octets.len());
            let (segment, checksum) = check_ip(&ip, &octets, &octets);
            check_tcp(&tcp, &segment);
            let seen = TcpPacket::new(&segment).unwrap();
            prop_assert_eq!(seen.payload(), payload);
            prop_assert_eq!(seen.get_checksum(), checksum);
        }

        #[test]
        fn an_omitted_payload_counts_in_the_checksum(
            ip in any_ip(),
            tcp in any_tcp(),
            len in 0..3000_u32,
            octet in any::<u8>(),
        ) {
            let (mut head, mut whole) = (Vec::new(), Vec::new());
            let wire_len = emit_packet(&ip, &tcp, Payload::Omitted { len, octet }, &mut head);
            emit_packet(&ip, &tcp, Payload::Octets(&vec![octet; len as usize]), &mut whole);
            prop_assert_eq!(wire_len as usize, whole.len());
            prop_assert_eq!(head.len(), ip.header_len() + tcp.header_len());
            prop_assert_eq!(&whole[..head.len()], &head[..]);
            check_ip(&ip, &head, &whole);
        }

        #[test]
        fn a_header_keeps_its_own_checksum(tcp in any_tcp()) {
            let mut octets = Vec::new();
            tcp.emit(&mut octets);
            prop_assert_eq!(TcpPacket::new(&octets).unwrap().get_checksum(), tcp.checksum);
            check_tcp(&tcp, &octets);
        }
    }

    fn v4() -> IpRepr {
        let [src, dst] = [1, 2].map(|i| [192, 0, 2, i].into());
        IpRepr::V4(Ipv4Repr { src, dst, traffic_class: 0, id: 1, dont_fragment: true, ttl: 64 })
    }

    #[test]
    fn a_packet_beyond_16_bits_has_length_0() {
        for (payload, field) in [(65_495, 65_535), (65_496, 0), (200_000, 0)] {
            let mut octets = Vec::new();
            let wire_len = emit_packet(
                &v4(),
                &TcpRepr::default(),
                Payload::Omitted { len: payload, octet: 0 },
                &mut octets,
            );
            assert_eq!(wire_len, payload + 40);
            assert_eq!(Ipv4Packet::new(&octets).unwrap().get_total_length(), field);
        }
    }

    #[test]
    fn odd_options_are_filled_up() {
        let tcp = TcpRepr { options: vec![1, 2, 3, 4, 5], ..TcpRepr::default() };
        let mut octets = Vec::new();
        tcp.emit(&mut octets);
        assert_eq!(octets[12] >> 4, 7);
        assert_eq!(octets[20..], [1, 2, 3, 4, 5, 0, 0, 0]);
    }

    #[test]
    fn ethernet_says_what_follows() {
        for (vlan, len) in [(None, 14), (Some(0x1123), 18)] {
            let ethernet = EthernetRepr { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2], vlan };
            let mut octets = Vec::new();
            ethernet.emit(&v4(), &mut octets);
            assert_eq!(octets.len(), len);
            assert_eq!(octets[len - 2..], [0x08, 0x00]);
            let seen = EthernetPacket::new(&octets).unwrap();
            assert_eq!(
                (seen.get_source().octets(), seen.get_destination().octets()),
                (ethernet.src, ethernet.dst)
            );
            if vlan.is_some() {
                assert_eq!(octets[12..16], [0x81, 0x00, 0x01, 0x23]);
            }
        }
    }
}
