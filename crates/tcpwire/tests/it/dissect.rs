//! Headers before a TCP header: link layers, tags, tunnels, IP.

use tcpwire::{
    Dissector, Frame, IpRepr, LinkType, PacketQuirks, Segment, SkipReason, TimestampResolution,
};

/// Returns a TCP header from port 1 to port 2, and two octets of payload.
fn tcp() -> Vec<u8> {
    let mut octets =
        vec![0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0xab, 0xcd, 0, 0];
    octets.extend([0xaa, 0xbb]);
    octets
}

fn ipv4_with(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = ((header_len + payload.len()) as u16).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut octets =
        vec![0x40 | (header_len / 4) as u8, 0, total[0], total[1], 0, 5, fragment[0], fragment[1]];
    octets.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    octets.extend(options);
    octets.extend(payload);
    octets
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, 0x4000, &[], payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend((payload.len() as u16).to_be_bytes());
    octets.extend([next, 64]);
    octets.extend([0x20; 16]);
    octets.extend([0x30; 16]);
    octets.extend(payload);
    octets
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16 + 8).to_be_bytes();
    [&[0x99, 0x99][..], &port.to_be_bytes(), &len, &[0, 0], payload].concat()
}

fn frame(link: LinkType, data: &[u8], orig_len: u32) -> Frame<'_> {
    Frame { number: 1, time_ns: 0, resolution: TimestampResolution::Micros, orig_len, link, data }
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

/// Quirks of an ordinary segment.
const NONE: PacketQuirks = PacketQuirks::empty();

#[test]
fn link_layers() {
    let (four, six) = (ipv4(6, &tcp()), ipv6(6, &tcp()));
    let before = |head: &[u8], ip: &[u8]| [head, ip].concat();
    check(LinkType::ETHERNET, &ethernet(0x0800, &four), NONE);
    check(LinkType::ETHERNET, &ethernet(0x86dd, &six), NONE);
    let llc = before(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &four);
    check(LinkType::ETHERNET, &ethernet(llc.len() as u16, &llc), NONE);
    for raw in [LinkType::RAW, LinkType::RAW_BSD, LinkType::RAW_OPENBSD, LinkType::IPV4] {
        check(raw, &four, NONE);
    }
    check(LinkType::RAW, &six, NONE);
    check(LinkType::IPV6, &six, NONE);
    check(LinkType::NULL, &before(&[2, 0, 0, 0], &four), NONE);
    check(LinkType::NULL, &before(&[0, 0, 0, 30], &six), NONE);
    check(LinkType::LOOP, &before(&[0, 0, 0, 2], &four), NONE);
    check(LinkType::LINUX_SLL, &before(&[&[0; 14][..], &[8, 0]].concat(), &four), NONE);
    check(LinkType::LINUX_SLL2, &before(&[&[8, 0][..], &[0; 18]].concat(), &four), NONE);
    check(LinkType::PPP, &before(&[0xff, 3, 0, 0x21], &four), NONE);
    check(LinkType::PPP, &before(&[0x21], &four), NONE);
    check(LinkType::PPP_HDLC, &before(&[0xff, 3, 0, 0x57], &six), NONE);
    check(LinkType::CHDLC, &before(&[0x0f, 0, 8, 0], &four), NONE);
    let pppoe = before(&[0x11, 0, 0, 1, 0, four.len() as u8 + 2, 0, 0x21], &four);
    check(LinkType::PPPOE, &pppoe, NONE);
    check(LinkType::ETHERNET, &ethernet(0x8864, &pppoe), PacketQuirks::PPPOE);
}

#[test]
fn tags_and_labels() {
    let four = ipv4(6, &tcp());
    let tagged = [&[0, 5, 8, 0][..], &four].concat();
    check(LinkType::ETHERNET, &ethernet(0x8100, &tagged), PacketQuirks::VLAN);
    let twice = [&[0, 9, 0x81, 0][..], &tagged].concat();
    check(LinkType::ETHERNET, &ethernet(0x88a8, &twice), PacketQuirks::VLAN);
    let labels = [&[0, 1, 0, 64, 0, 2, 1, 64][..], &four].concat();
    check(LinkType::ETHERNET, &ethernet(0x8847, &labels), PacketQuirks::MPLS);
}

#[test]
fn tunnels() {
    let four = ipv4(6, &tcp());
    let six = ipv6(6, &tcp());
    check(LinkType::RAW, &ipv4(4, &four), PacketQuirks::TUNNEL);
    check(LinkType::RAW, &ipv4(41, &six), PacketQuirks::TUNNEL_OTHER_VERSION);
    check(LinkType::RAW, &ipv6(41, &six), PacketQuirks::TUNNEL);
    check(LinkType::RAW, &ipv4(47, &[&[0, 0, 8, 0][..], &four].concat()), PacketQuirks::TUNNEL);
    let keyed = [&[0xb0, 0, 0x65, 0x58][..], &[0; 12], &ethernet(0x0800, &four)].concat();
    check(LinkType::RAW, &ipv4(47, &keyed), PacketQuirks::TUNNEL);
    let inner = ethernet(0x0800, &four);
    check(
        LinkType::RAW,
        &ipv4(17, &udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat())),
        PacketQuirks::TUNNEL,
    );
    check(
        LinkType::RAW,
        &ipv4(17, &udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0][..], &inner].concat())),
        PacketQuirks::TUNNEL,
    );
    check(
        LinkType::RAW,
        &ipv4(17, &udp(2152, &[&[0x30, 0xff, 0, 0, 0, 0, 0, 1][..], &four].concat())),
        PacketQuirks::TUNNEL,
    );
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
    dissect(LinkType::RAW, &ipv4(108, &bomb), |s| assert_eq!(s, Err(SkipReason::NotTcp)));
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
fn what_is_not_read_has_a_name() {
    dissect(LinkType::RAW, &ipv4(17, &udp(53, &[0; 20])), |s| {
        assert_eq!(s, Err(SkipReason::NotTcp))
    });
    dissect(LinkType::ETHERNET, &ethernet(0x0806, &[0; 28]), |s| {
        assert_eq!(s, Err(SkipReason::NotIp))
    });
    dissect(LinkType(147), &[0; 60], |s| assert_eq!(s, Err(SkipReason::LinkType)));
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
