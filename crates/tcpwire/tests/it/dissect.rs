//! Headers before a TCP header: link layers, tags, tunnels, IP.

use crate::samples::{NONE, ethernet, ipv4, ipv4_with, ipv6, tcp, udp};
use tcpwire::{
    Dissector, Frame, IpRepr, LinkType, PacketQuirks, Segment, SkipReason, Tags,
    TimestampResolution,
};

fn frame(link: LinkType, data: &[u8], orig_len: u32) -> Frame<'_> {
    Frame {
        number: 1,
        time_ns: 0,
        resolution: TimestampResolution::Micros,
        orig_len,
        link,
        interface: 0,
        data,
    }
}

fn dissect<T>(
    link: LinkType,
    data: &[u8],
    then: impl FnOnce(Result<Segment<'_>, SkipReason>) -> T,
) -> T {
    then(Dissector::default().dissect(&frame(link, data, data.len() as u32)))
}

/// Checks that the TCP header of [`tcp`] is found, with two octets of payload and these quirks.
fn check(link: LinkType, data: &[u8], quirks: PacketQuirks) {
    dissect(link, data, |segment| {
        let segment = segment.unwrap();
        assert_eq!((segment.tcp.src_port, segment.tcp.dst_port, segment.tcp.seq.0), (1, 2, 7));
        assert_eq!(segment.payload_len, Some(2));
        assert_eq!(segment.quirks, quirks);
    });
}

#[test]
fn ip_options_and_extension_headers() {
    check(LinkType::RAW, &ipv4_with(6, 0, &[1, 1, 1, 0], &tcp()), PacketQuirks::IP_OPTIONS);
    check(LinkType::RAW, &ipv4_with(6, 0x8000, &[], &tcp()), PacketQuirks::IPV4_RESERVED);
    for next in [0, 43, 60] {
        let payload = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &tcp()].concat();
        check(LinkType::RAW, &ipv6(next, &payload), PacketQuirks::IPV6_EXTENSION);
    }
    let options_of_a_tunnel = ipv4_with(4, 0, &[1, 1, 1, 0], &ipv4(6, &tcp()));
    check(LinkType::RAW, &options_of_a_tunnel, PacketQuirks::TUNNEL);
}

#[test]
fn compressed_payloads() {
    use std::io::Write;
    let mut encoder =
        flate2::write::DeflateEncoder::new(vec![6, 0, 0, 2], flate2::Compression::fast());
    encoder.write_all(&tcp()).unwrap();
    check(LinkType::RAW, &ipv4(108, &encoder.finish().unwrap()), PacketQuirks::IPV6_EXTENSION);
    let bomb = [&[6, 0, 0, 2][..], &[0xff; 30]].concat();
    dissect(LinkType::RAW, &ipv4(108, &bomb), |s| assert_eq!(s, Err(SkipReason::IpProtocol(108))));
}

#[test]
fn fragments_in_any_order() {
    let segment = [tcp(), vec![0; 30]].concat();
    let first = ipv4_with(6, 0x2000, &[], &segment[..24]);
    let last = ipv4_with(6, 3, &[], &segment[24..]);
    for (one, other) in [(&first, &last), (&last, &first)] {
        let mut dissector = Dissector::default();
        let waits = dissector.dissect(&frame(LinkType::RAW, one, one.len() as u32));
        assert_eq!(waits, Err(SkipReason::Fragment));
        let whole = dissector.dissect(&frame(LinkType::RAW, other, other.len() as u32)).unwrap();
        assert_eq!(whole.payload_len, Some(32));
        assert_eq!(whole.quirks, PacketQuirks::FRAGMENTED);
        assert_eq!(dissector.waiting_fragments(), 0);
    }
}

#[test]
fn first_fragment_of_which_the_rest_was_not_captured() {
    let first = ipv4_with(6, 0x2000, &[], &[tcp(), vec![0; 50]].concat());
    let mut dissector = Dissector::default();
    let segment =
        dissector.dissect(&frame(LinkType::RAW, &first[..50], first.len() as u32)).unwrap();
    assert_eq!((segment.payload_len, segment.quirks), (None, PacketQuirks::FRAGMENTED));
}

#[test]
fn lengths_come_from_the_ip_header() {
    let snapped = &ipv4(6, &[tcp(), vec![0; 998]].concat())[..40];
    let padded = ethernet(0x0800, &[ipv4(6, &tcp()), vec![0; 20]].concat());
    check(LinkType::ETHERNET, &padded, NONE);
    let padded = ethernet(0x8100, &[&[0, 5, 8, 0][..], &ipv4(6, &tcp()), &[0; 20]].concat());
    check(LinkType::ETHERNET, &padded, PacketQuirks::VLAN);
    let padded = ethernet(0x8100, &[&[0, 5, 0x86, 0xdd][..], &ipv6(6, &tcp()), &[0; 20]].concat());
    check(LinkType::ETHERNET, &padded, PacketQuirks::VLAN);
    let mut dissector = Dissector::default();
    let segment = dissector.dissect(&frame(LinkType::RAW, snapped, 1040)).unwrap();
    assert_eq!((segment.payload_len, segment.quirks), (Some(1000), NONE));
}

#[test]
fn segmentation_offload_leaves_the_length_to_the_frame() {
    let mut octets = ipv4(6, &tcp());
    octets[2..4].fill(0);
    let segment_of = |orig_len| {
        let mut dissector = Dissector::default();
        let segment = dissector.dissect(&frame(LinkType::RAW, &octets, orig_len)).unwrap();
        (segment.payload_len, segment.quirks)
    };
    assert_eq!(segment_of(70_040), (Some(70_000), PacketQuirks::NO_IP_LENGTH));
}

#[test]
fn quoted_in_an_icmp_error() {
    let quoted = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &ipv4(6, &tcp())].concat();
    dissect(LinkType::RAW, &ipv4(1, &quoted), |segment| {
        let segment = segment.unwrap();
        assert_eq!(segment.payload_len, None);
        assert!(segment.quirks.intersects(PacketQuirks::QUOTED));
    });
}

#[test]
fn headers_that_are_cut_or_wrong() {
    let whole = ipv4(6, &tcp());
    let at = |len: usize| {
        let mut dissector = Dissector::default();
        dissector
            .dissect(&frame(LinkType::RAW, &whole[..len], whole.len() as u32))
            .map(|s| s.quirks)
    };
    assert_eq!(at(35), Err(SkipReason::CutBeforeTcp));
    assert_eq!(at(36), Ok(PacketQuirks::HEADER_CUT));
    assert_eq!(at(40), Ok(NONE));
    let mut long_header = whole.clone();
    long_header[32] = 0x60;
    dissect(LinkType::RAW, &long_header, |segment| {
        assert_eq!(segment.unwrap().quirks, PacketQuirks::HEADER_CUT | PacketQuirks::BAD_LENGTH)
    });
    let mut no_header = whole.clone();
    no_header[32] = 0x40;
    dissect(LinkType::RAW, &no_header, |segment| {
        assert_eq!(segment.unwrap().quirks, PacketQuirks::BAD_LENGTH)
    });
    let mut short_ip = whole;
    short_ip[3] = 19;
    dissect(LinkType::RAW, &short_ip, |segment| assert_eq!(segment, Err(SkipReason::BadIp)));
}

#[test]
fn too_many_layers_have_a_name() {
    let deep = (0..60).fold(ipv4(6, &tcp()), |inner, _| ipv4(4, &inner));
    dissect(LinkType::RAW, &deep, |s| assert_eq!(s, Err(SkipReason::TooDeep)));
}

#[test]
fn inner_addresses_are_the_segments_own() {
    let mut inner = ipv4(6, &tcp());
    inner[12..16].copy_from_slice(&[192, 0, 2, 1]);
    dissect(LinkType::RAW, &ipv4(4, &inner), |segment| {
        assert!(matches!(segment.unwrap().ip, IpRepr::V4(ip) if ip.src.octets() == [192, 0, 2, 1]));
    });
}

#[test]
fn ipv6_length_0_leaves_the_length_to_the_frame() {
    let mut octets = ipv6(6, &tcp());
    octets[4..6].fill(0);
    let segment_of = |octets: &[u8], orig_len| {
        let mut dissector = Dissector::default();
        let segment = dissector.dissect(&frame(LinkType::RAW, octets, orig_len)).unwrap();
        (segment.payload_len, segment.quirks)
    };
    assert_eq!(segment_of(&octets, 70_060), (Some(70_000), PacketQuirks::NO_IPV6_LENGTH));
    let tunnel = ipv4(41, &octets);
    let quirks = PacketQuirks::NO_IPV6_LENGTH | PacketQuirks::TUNNEL;
    assert_eq!(segment_of(&tunnel, tunnel.len() as u32), (Some(2), quirks));
    let mut outer = ipv6(6, &[0; 0]);
    outer[6] = 41;
    outer.extend(ipv6(6, &tcp()));
    assert_eq!(segment_of(&outer, outer.len() as u32), (Some(2), PacketQuirks::TUNNEL));
}

#[test]
fn a_jumbo_header_of_a_host_is_no_extension_header() {
    let jumbo = |options: &[u8], len: u32| {
        let header = [&[6, (options.len() / 8) as u8, 0xc2, 4][..], &len.to_be_bytes(), options];
        let mut octets = ipv6(0, &[header.concat(), tcp()].concat());
        octets[4..6].fill(0);
        octets
    };
    let segment_of = |octets: &[u8], orig_len| {
        let mut dissector = Dissector::default();
        let segment = dissector.dissect(&frame(LinkType::RAW, octets, orig_len)).unwrap();
        (segment.payload_len, segment.quirks)
    };
    let big = 8 + 20 + 100_000;
    let alone = segment_of(&jumbo(&[], big), 40 + big);
    assert_eq!(alone, (Some(100_000), PacketQuirks::JUMBO_PAYLOAD));
    let padded = segment_of(&jumbo(&[], 8 + 20 + 1), 40 + 8 + 20 + 2);
    assert_eq!(padded, (Some(1), PacketQuirks::JUMBO_PAYLOAD), "the header says the length");
    let others = segment_of(&jumbo(&[1, 6, 0, 0, 0, 0, 0, 0], 16 + 22), 40 + 16 + 22);
    assert_eq!(others, (Some(2), PacketQuirks::IPV6_EXTENSION));
}

#[test]
fn a_quotation_has_no_other_quirk_and_is_no_loss() {
    let quote = |packet: &[u8]| ipv4(1, &[&[3, 1, 0, 0, 0, 0, 0, 0][..], packet].concat());
    let quoted = quote(&ipv4_with(6, 0x8000, &[1, 1, 1, 0], &tcp()));
    dissect(LinkType::RAW, &quoted, |s| assert_eq!(s.unwrap().quirks, PacketQuirks::QUOTED));
    let in_six = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &ipv6(6, &tcp())].concat();
    dissect(LinkType::RAW, &ipv6(58, &in_six), |s| {
        assert_eq!(s.unwrap().quirks, PacketQuirks::QUOTED)
    });
    let eight_octets = quote(&ipv4(6, &tcp()[..8]));
    dissect(LinkType::RAW, &eight_octets, |s| assert_eq!(s, Err(SkipReason::NotTcp)));
    let fragment = quote(&ipv4_with(6, 0x2000, &[], &tcp()));
    let mut dissector = Dissector::default();
    let said = dissector.dissect(&frame(LinkType::RAW, &fragment, fragment.len() as u32));
    assert_eq!(said, Err(SkipReason::NotTcp));
    assert!(dissector.lost_fragments().is_empty());
}

/// Returns the tags of a frame that holds the TCP header of [`tcp`].
fn tags(data: &[u8]) -> Tags {
    dissect(LinkType::ETHERNET, data, |segment| segment.unwrap().tags)
}

#[test]
fn tags_name_networks() {
    let four = ipv4(6, &tcp());
    let vlan = |id: u8, kind: u16, inner: &[u8]| ethernet(kind, &[&[0xe0, id][..], inner].concat());
    let ip = [&[8, 0][..], &four].concat();
    assert_eq!(tags(&ethernet(0x0800, &four)), Tags::default());
    assert_eq!(tags(&vlan(0, 0x8100, &ip)), Tags::default(), "a priority names no VLAN");
    let single = tags(&vlan(5, 0x8100, &ip));
    let twice =
        |outer, inner| tags(&vlan(outer, 0x88a8, &[&[0x81, 0, 0, inner][..], &ip].concat()));
    let all = [single, twice(5, 5), twice(5, 6), twice(6, 5), tags(&vlan(6, 0x8100, &ip))];
    for (n, a) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|b| a.vlan != b.vlan), "{all:?}");
    }
    let inner = ethernet(0x0800, &four);
    let vxlan = |vni: u8| udp(4789, &[&[8, 0, 0, 0, 0, 0, vni, 0][..], &inner].concat());
    let in_udp = |datagram: &[u8]| tags(&ethernet(0x0800, &ipv4(17, datagram))).vni;
    let geneve = udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 9, 0][..], &inner].concat());
    assert_eq!([in_udp(&vxlan(7)), in_udp(&vxlan(8)), in_udp(&geneve)], [8, 9, 10]);
    let nvgre = [&[0x20, 0, 0x65, 0x58, 0, 0, 7, 1][..], &inner].concat();
    assert_eq!(tags(&ethernet(0x0800, &ipv4(47, &nvgre))).vni, 8);
}
