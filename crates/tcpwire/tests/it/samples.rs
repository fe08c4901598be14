//! Frames with one TCP header each, behind every header that is read.

use tcpwire::{Frame, LinkType, PacketQuirks, TimestampResolution};

/// Quirks of an ordinary segment.
pub(crate) const NONE: PacketQuirks = PacketQuirks::empty();
/// Quirks of a segment after an outer IP header.
const TUNNEL: PacketQuirks = PacketQuirks::TUNNEL;
/// Quirks of a segment after a tag.
const TAG: PacketQuirks = PacketQuirks::LINK_TAG;
/// Port that is named as one of VXLAN.
pub(crate) const VXLAN_PORT: u16 = 14_789;

/// Kind of the header that a sample is about: which table of the dissector has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Link,
    EtherType,
    IpProtocol,
    UdpPort,
    /// None of the tables: GRE, LLC and the like.
    Other,
}

/// A frame with the TCP header of [`tcp`].
pub(crate) struct Sample {
    /// Name of the variant of its header.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Number of the header in its table.
    pub(crate) number: u32,
    pub(crate) link: LinkType,
    pub(crate) octets: Vec<u8>,
    pub(crate) quirks: PacketQuirks,
    /// Whether Wireshark 4.0 finds the header too.
    pub(crate) in_wireshark: bool,
}

impl Sample {
    /// Returns the sample as a frame that was captured up to `len` octets.
    pub(crate) fn frame(&self, len: usize) -> Frame<'_> {
        Frame {
            number: 1,
            time_ns: 0,
            resolution: TimestampResolution::Micros,
            orig_len: self.octets.len() as u32,
            link: self.link,
            interface: 0,
            data: &self.octets[..len],
        }
    }

    /// Says that Wireshark 4.0 does not find the header.
    fn alone(self) -> Sample {
        Sample { in_wireshark: false, ..self }
    }
}

/// Returns a TCP header from port 1 to port 2, and two octets of payload.
pub(crate) fn tcp() -> Vec<u8> {
    let mut octets =
        vec![0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0xab, 0xcd, 0, 0];
    octets.extend([0xaa, 0xbb]);
    octets
}

/// Returns an IPv4 packet of `protocol`, with flags and fragment offset.
pub(crate) fn ipv4_with(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
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

pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, 0x4000, &[], payload)
}

pub(crate) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend((payload.len() as u16).to_be_bytes());
    octets.extend([next, 64]);
    octets.extend([0x20; 16]);
    octets.extend([0x30; 16]);
    octets.extend(payload);
    octets
}

pub(crate) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), payload].concat()
}

pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16 + 8).to_be_bytes();
    [&[0x99, 0x99][..], &port.to_be_bytes(), &len, &[0, 0], payload].concat()
}

/// Returns `octets` after `head`.
fn join(head: &[u8], octets: &[u8]) -> Vec<u8> {
    [head, octets].concat()
}

fn of(
    kind: Kind,
    number: u32,
    name: &'static str,
    link: u32,
    octets: Vec<u8>,
    quirks: PacketQuirks,
) -> Sample {
    Sample { name, kind, number, link: LinkType(link), octets, quirks, in_wireshark: true }
}

fn link(number: u32, name: &'static str, octets: Vec<u8>) -> Sample {
    of(Kind::Link, number, name, number, octets, NONE)
}

fn ether_type(number: u16, name: &'static str, payload: Vec<u8>, quirks: PacketQuirks) -> Sample {
    of(Kind::EtherType, number.into(), name, 1, ethernet(number, &payload), quirks)
}

fn ip_protocol(number: u8, name: &'static str, payload: Vec<u8>, quirks: PacketQuirks) -> Sample {
    of(Kind::IpProtocol, number.into(), name, 101, ipv4(number, &payload), quirks)
}

fn udp_port(port: u16, name: &'static str, payload: Vec<u8>) -> Sample {
    of(Kind::UdpPort, port.into(), name, 101, ipv4(17, &udp(port, &payload)), TUNNEL)
}

fn other(name: &'static str, link: u32, octets: Vec<u8>, quirks: PacketQuirks) -> Sample {
    of(Kind::Other, 0, name, link, octets, quirks)
}

/// Reports on stderr that part of a test was skipped.
#[expect(clippy::print_stderr, reason = "a message to the person who runs the tests")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Returns the samples of all kinds.
pub(crate) fn samples() -> Vec<Sample> {
    [
        plain_links(),
        links_with_addresses(),
        links_with_metadata(),
        links_of_radio(),
        ether_types(),
        payloads_of_mpls(),
        ip_protocols(),
        gre(),
        udp_ports(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn four() -> Vec<u8> {
    ipv4(6, &tcp())
}

fn six() -> Vec<u8> {
    ipv6(6, &tcp())
}

/// Returns an Ethernet frame with IPv4.
fn inner() -> Vec<u8> {
    ethernet(0x0800, &four())
}

/// LLC and SNAP of IPv4.
const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

fn plain_links() -> Vec<Sample> {
    vec![
        link(0, "little-endian", join(&[2, 0, 0, 0], &four())),
        link(0, "big-endian, Darwin's IPv6", join(&[0, 0, 0, 30], &six())),
        link(9, "without address and control", join(&[0x21], &four())),
        link(9, "with address and control", join(&[0xff, 3, 0, 0x21], &four())),
        link(12, "IPv4", four()),
        link(14, "IPv4", four()),
        link(50, "IPv6", join(&[0xff, 3, 0, 0x57], &six())),
        link(51, "IPv4", join(&[0x11, 0, 0, 1, 0, four().len() as u8 + 2, 0, 0x21], &four())),
        link(100, "IPv4", join(&SNAP, &four())),
        link(
            100,
            "bridged Ethernet",
            [&[0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7, 0, 0], &inner()[..]].concat(),
        ),
        link(101, "IPv6", six()),
        link(104, "IPv4", join(&[0x0f, 0, 8, 0], &four())),
        link(107, "network layer identifier", join(&[0x18, 0x41, 3, 0xcc], &four())),
        link(107, "network layer identifier of IPv6", join(&[0x18, 0x41, 3, 0x8e], &six())),
        link(107, "SNAP", join(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0], &four())),
        link(107, "EtherType", join(&[0x18, 0x41, 8, 0], &four())),
        link(107, "address of four octets", join(&[0x18, 0x40, 0, 1, 3, 0xcc], &four())),
        link(108, "IPv4", join(&[0, 0, 0, 2], &four())),
        link(108, "IPv6 of OpenBSD", join(&[0, 0, 0, 24], &six())),
        link(204, "IPv4", join(&[1, 0xff, 3, 0, 0x21], &four())),
        link(205, "IPv4", join(&[1, 0x0f, 0, 8, 0], &four())).alone(),
        link(206, "IPv4", join(&[1, 0x18, 0x41, 3, 0xcc], &four())).alone(),
        link(166, "IPv4", join(&[0, 3, 0, 0x21], &four())).alone(),
        link(219, "IPv4", join(&[0, 1, 1, 64], &four())).alone(),
        link(219, "IPv6 after two labels", join(&[0, 1, 0, 64, 0, 2, 1, 64], &six())).alone(),
        link(11, "IPv4", join(&SNAP, &four())),
        link(12, "PPP", join(&[0xff, 3, 0, 0x21], &four())),
        link(16, "IPv4", four()),
        link(18, "IPv4", four()),
        link(19, "IPv4", four()),
        link(99, "IPv4", [&[0; 6][..], &[8, 0], &[0; 36], &four()].concat()),
        link(106, "IPv4", four()),
        link(112, "IPv4", join(&[0x0f, 0, 8, 0], &four())),
        link(228, "IPv4", four()),
        link(229, "IPv6", six()),
    ]
    .into_iter()
    .map(|mut sample| {
        if sample.number == 219 {
            sample.quirks = PacketQuirks::MPLS;
        }
        sample
    })
    .collect()
}

/// Returns the frame check sequence of an Ethernet frame.
fn check_sequence(frame: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(frame);
    crc.sum().to_le_bytes()
}

fn links_with_addresses() -> Vec<Sample> {
    let fcs = check_sequence(&inner());
    let preamble = [0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5];
    let ipoib = [&[0; 40][..], &[8, 0, 0, 0], &four()].concat();
    let token_ring = [&[0x10, 0x40][..], &[2; 6], &[2; 6], &SNAP, &four()].concat();
    let routed =
        [&[0x10, 0x40][..], &[2; 6], &[0x82, 2, 2, 2, 2, 2], &[2, 0], &SNAP, &four()].concat();
    vec![
        link(1, "IPv4", inner()),
        link(1, "LLC with SNAP", {
            let llc = join(&SNAP, &four());
            ethernet(llc.len() as u16, &llc)
        }),
        link(1, "LLC with IP's own access point", {
            let llc = join(&[6, 6, 3], &four());
            ethernet(llc.len() as u16, &llc)
        }),
        link(1, "Cisco ISL", {
            let rest = [&inner()[..], &fcs].concat();
            let head = [0x01, 0, 0x0c, 0, 0, 0, 2, 2, 2, 2, 2, 2, 0, rest.len() as u8 + 12];
            [&head[..], &[0xaa, 0xaa, 3, 0, 0, 0x0c, 0, 10, 0, 0, 0, 0], &rest].concat()
        }),
        link(6, "IPv4", token_ring),
        link(6, "with a routing field", routed),
        link(7, "RFC 1201", join(&[1, 2, 212, 0, 0, 1], &four())),
        link(10, "IPv4", [&[0x50][..], &[2; 12], &SNAP, &four()].concat()),
        link(122, "IPv4", [&[0x10, 0, 2, 2, 2, 2, 2, 2][..], &[2; 8], &SNAP, &four()].concat()),
        link(123, "LLC", [&[0x02, 0, 0, 100][..], &SNAP, &four()].concat()),
        link(123, "LAN emulation", [&[0x01, 0, 0, 100, 0, 1][..], &inner()].concat()),
        link(129, "RFC 1201", join(&[1, 2, 0, 0, 212, 0, 0, 1], &four())),
        link(138, "IPv4", [&[2; 16][..], &[8, 0], &four()].concat()),
        link(143, "IPv4", {
            let frame = [&inner()[..], &fcs].concat();
            [&[0, 0, 0, frame.len() as u8, 0x31, 0x07][..], &frame].concat()
        }),
        link(143, "extended header", {
            let frame = [&inner()[..], &fcs].concat();
            [&[1, 3, 0, frame.len() as u8 + 3, 0x12, 1, 0, 0x26, 0xc8][..], &frame].concat()
        }),
        link(240, "with a check sequence", [&[0, 4, 0, 0][..], &inner(), &fcs].concat()),
        link(241, "with a preamble", [&[0, 4, 0, 0][..], &preamble, &inner(), &fcs].concat())
            .alone(),
        link(242, "IPv4", ipoib),
        link(259, "IPv4", [&[0x55, 0x55, 0xd5, 0x55, 0x55, 0, 1, 0][..], &inner()].concat()),
        link(274, "express frame", [&preamble[..], &inner(), &fcs].concat()),
        link(281, "IPv4", [&[2; 12][..], &[0, 0, 0, 1], &[8, 0], &four()].concat()).alone(),
        link(282, "IPv4", [&[0, 0, 0, 1][..], &inner()].concat()).alone(),
        link(284, "IPv4", [&[2; 12][..], &[0xc0, 1, 0, 0], &[8, 0], &four()].concat()).alone(),
        link(
            285,
            "IPv4",
            [&[2; 12][..], &[0xda, 0xda, 0, 0, 0xc0, 1, 0, 0], &[8, 0], &four()].concat(),
        )
        .alone(),
        link(LinkType::IPOIB_SNOOP.0, "IPv4", [&[8, 0, 0, 0][..], &four()].concat()).alone(),
    ]
}

fn links_with_metadata() -> Vec<Sample> {
    let attribute = |kind: u16, value: &[u8]| {
        let len = (value.len() as u16 + 4).to_le_bytes();
        let mut octets = [&len[..], &kind.to_le_bytes(), value].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    };
    let nflog = |family: u8, packet: &[u8]| {
        let prefix = attribute(10, b"nfl\0");
        [&[family, 0, 0, 5][..], &attribute(1, &[8, 0, 1, 0]), &prefix, &attribute(9, packet)]
            .concat()
    };
    let pktap = |dlt: u32, packet: &[u8]| {
        let mut head = vec![0; 108];
        head[0] = 108;
        head[4] = 1;
        head[8..12].copy_from_slice(&dlt.to_le_bytes());
        join(&head, packet)
    };
    let ppi = |dlt: u8, packet: &[u8]| join(&[0, 0, 8, 0, dlt, 0, 0, 0], packet);
    let pflog = |len: u8, family: u8, packet: &[u8]| {
        let mut head = vec![0; usize::from(len).next_multiple_of(4)];
        head[..2].copy_from_slice(&[len, family]);
        join(&head, packet)
    };
    let erf = |kind: u8, head: &[u8], packet: &[u8], more: usize| {
        let len = ((16 + head.len() + packet.len()) as u16).to_be_bytes();
        let wire = ((packet.len() - more) as u16).to_be_bytes();
        let record = [0, 0, 0, 0, 0, 0xf1, 0x53, 0x65, kind, 4, len[0], len[1], 0, 0];
        [&record[..], &wire, head, packet].concat()
    };
    let framed = [&inner()[..], &[0xde, 0xad, 0xbe, 0xef]].concat();
    let juniper = |flags: u8, rest: &[u8]| join(&[b'M', b'G', b'C', flags], rest);
    vec![
        link(109, "IPv4", [&[2, 0, 0, 0][..], &[0; 8], &four()].concat()),
        link(109, "IPv6 of OpenBSD", [&[24, 0, 0, 0][..], &[0; 8], &six()].concat()),
        link(113, "IPv4", [&[0; 2][..], &[0, 1], &[0; 10], &[8, 0], &four()].concat()),
        link(113, "LLC", [&[0; 2][..], &[0, 1], &[0; 10], &[0, 4], &SNAP, &four()].concat()),
        link(117, "FreeBSD", pflog(61, 2, &four())),
        link(117, "OpenBSD", pflog(100, 2, &four())),
        link(117, "IPv6 of OpenBSD", pflog(100, 24, &six())),
        link(117, "IPv6 of Darwin", pflog(61, 30, &six())),
        link(128, "Ethernet", [&[1, 0, 0, 1, 10, 1, 5, 0, 1][..], &inner()].concat()),
        link(149, "Ethernet", pktap(1, &inner())),
        link(178, "Ethernet", juniper(0, &inner())),
        link(178, "extensions", juniper(0x80, &[&[0, 3, 1, 1, 0][..], &inner()].concat())),
        link(178, "no link-layer header", juniper(2, &[&[2, 0, 0, 0][..], &four()].concat())),
        link(179, "IPv4", juniper(0, &[&[0xff, 3, 0, 0x21][..], &four()].concat())),
        link(180, "IPv4", juniper(0, &[&[0x18, 0x41, 3, 0xcc][..], &four()].concat())),
        link(181, "IPv4", juniper(0, &[&[0x0f, 0, 8, 0][..], &four()].concat())),
        link(192, "Ethernet", ppi(1, &inner())),
        link(192, "IEEE 802.11", ppi(105, &radio_frame(0x08, 1, &[]))),
        link(192, "raw IPv6", ppi(101, &six())),
        link(197, "Ethernet", erf(2, &[0, 0], &framed, 0)),
        link(197, "Ethernet after an extension header", {
            erf(0x82, &[&[3, 0, 0, 0, 0, 0, 0, 1][..], &[0, 0]].concat(), &framed, 0)
        }),
        link(197, "HDLC", erf(1, &[], &join(&[0x0f, 0, 8, 0], &four()), 0)),
        link(197, "IPv4", erf(22, &[], &four(), 0)),
        link(197, "IPv6", erf(23, &[], &six(), 0)),
        link(226, "IPv4", [&[1, 2, 0, 0, 0, 0, 0, 42][..], &[0; 16], &four()].concat()),
        link(226, "IPv6", [&[1, 26, 0, 0, 0, 0, 0, 62][..], &[0; 16], &six()].concat()),
        link(239, "IPv4", nflog(2, &four())),
        link(239, "IPv6", nflog(10, &six())),
        link(258, "Ethernet", pktap(1, &inner())),
        link(258, "raw IPv6", pktap(12, &six())),
        link(258, "loopback", pktap(0, &join(&[30, 0, 0, 0], &six()))),
        link(276, "IPv4", [&[8, 0][..], &[0; 6], &[0, 1], &[0; 10], &four()].concat()),
    ]
}

/// Returns an IEEE 802.11 data frame to an access point, with octets between header and LLC.
fn radio_frame(control: u8, flags: u8, between: &[u8]) -> Vec<u8> {
    [&[control, flags, 0, 0][..], &[2; 18], &[0, 0], between, &SNAP, &four()].concat()
}

fn links_of_radio() -> Vec<Sample> {
    let data = || radio_frame(0x08, 1, &[]);
    let prism = |len: u8| {
        let mut head = vec![0; usize::from(len)];
        head[..8].copy_from_slice(&[0x44, 0, 0, 0, len, 0, 0, 0]);
        head
    };
    let avs = |version: u8| {
        let mut head = vec![0; 64];
        head[..8].copy_from_slice(&[0x80, 0x21, 0x10, version, 0, 0, 0, 64]);
        head
    };
    let subframe = {
        let packet = join(&SNAP, &four());
        [&[2; 12][..], &(packet.len() as u16).to_be_bytes(), &packet].concat()
    };
    let aggregate = [&[0x88, 1, 0, 0][..], &[2; 18], &[0, 0], &[0x80, 0], &subframe].concat();
    vec![
        link(105, "data", data()),
        link(105, "quality of service", radio_frame(0x88, 1, &[0, 0])),
        link(105, "four addresses", radio_frame(0x08, 3, &[2; 6])),
        link(105, "aggregate of one packet", aggregate),
        link(119, "Prism", join(&prism(144), &data())),
        link(119, "AVS in place of Prism", join(&avs(1), &data())),
        link(127, "data", join(&[0, 0, 8, 0, 0, 0, 0, 0], &data())),
        link(163, "data", join(&avs(1), &data())),
    ]
}

fn ether_types() -> Vec<Sample> {
    let (four, six) = (four(), six());
    let four_typed = |head: &[u8]| [head, &[8, 0], &four].concat();
    let six_typed = |head: &[u8]| [head, &[0x86, 0xdd], &six].concat();
    let vlan = PacketQuirks::VLAN;
    let check = [0xcc; 16];
    vec![
        ether_type(0x0800, "IPv4", four.clone(), NONE),
        ether_type(0x86dd, "IPv6", six.clone(), NONE),
        ether_type(0x8100, "IPv4", four_typed(&[0, 5]), vlan),
        ether_type(0x8100, "IPv6", six_typed(&[0, 5]), vlan),
        ether_type(0x88a8, "two tags", four_typed(&[0, 9, 0x81, 0, 0, 5]), vlan),
        ether_type(0x9100, "two tags", four_typed(&[0, 9, 0x81, 0, 0, 5]), vlan),
        ether_type(0x9200, "one tag", four_typed(&[0, 5]), vlan).alone(),
        ether_type(0x88e7, "IPv4", [&[0, 0, 0, 7][..], &inner()].concat(), vlan),
        ether_type(0x8847, "IPv4", join(&[0, 1, 0, 64, 0, 2, 1, 64], &four), PacketQuirks::MPLS),
        ether_type(0x8848, "IPv6", join(&[0, 1, 1, 64], &six), PacketQuirks::MPLS),
        ether_type(
            0x8864,
            "IPv4",
            join(&[0x11, 0, 0, 1, 0, four.len() as u8 + 2, 0, 0x21], &four),
            PacketQuirks::PPPOE,
        ),
        ether_type(0x8870, "IPv4", join(&SNAP, &four), NONE),
        ether_type(0x880b, "IPv4", join(&[0, 0x21], &four), NONE).alone(),
        ether_type(0x6558, "IPv4", inner(), NONE),
        ether_type(0x22f3, "no options", [&[0, 0x3f, 0, 1, 0, 2][..], &inner()].concat(), TAG),
        ether_type(
            0x22f3,
            "one word of options",
            [&[0, 0x7f, 0, 1, 0, 2, 0, 0, 0, 0][..], &inner()].concat(),
            TAG,
        ),
        ether_type(
            0x88e5,
            "short tag",
            [&four_typed(&[2, 0, 0, 0, 0, 1])[..], &check].concat(),
            TAG,
        ),
        ether_type(
            0x88e5,
            "channel identifier",
            [&six_typed(&[0x22, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 0, 1])[..], &check].concat(),
            TAG,
        ),
        ether_type(0x8903, "IPv4", [&[0, 0x20][..], &inner(), &[0; 4]].concat(), TAG),
        ether_type(0x8909, "IPv4", four_typed(&[1, 1, 0, 1, 0, 5]), TAG),
        ether_type(0x8909, "IPv6", six_typed(&[1, 1, 0, 1, 0, 5]), TAG),
        ether_type(0x8926, "IPv4", four_typed(&[0, 0, 0, 0x14]), TAG),
        ether_type(0x8926, "VLAN", four_typed(&[0, 0, 0, 0x14, 0x81, 0, 0, 5]), TAG | vlan),
        ether_type(0x892f, "IPv4", four_typed(&[0, 58, 0, 1]), TAG),
        ether_type(0x892f, "IPv6", six_typed(&[0, 78, 0, 1]), TAG),
        ether_type(0x893f, "IPv4", four_typed(&[0, 0, 0, 1, 0, 0]), TAG),
        ether_type(0x894f, "IPv4", join(&[0, 2, 2, 1, 0, 0, 0, 255], &four), TAG),
        ether_type(0x894f, "IPv6", join(&[0, 2, 2, 2, 0, 0, 0, 255], &six), TAG),
        ether_type(
            0x894f,
            "Ethernet after metadata",
            [&[0, 6, 1, 3, 0, 0, 0, 255][..], &[0; 16], &inner()].concat(),
            TAG,
        ),
        ether_type(0xf1c1, "IPv4", four_typed(&[0, 0, 0, 9]), TAG),
        ether_type(0xf1c1, "VLAN", six_typed(&[0, 0, 0, 9, 0x81, 0, 0, 5]), TAG | vlan),
    ]
}

/// Ethernet in MPLS, with and without a control word, and with addresses that begin like IP.
fn payloads_of_mpls() -> Vec<Sample> {
    let label = [0, 1, 0x31, 0x40];
    let mut begins_like_ip = inner();
    begins_like_ip[0] = 0x45;
    let mut begins_like_six = inner();
    begins_like_six[0] = 0x60;
    let mut begins_with_zero = ethernet(0x86dd, &six());
    begins_with_zero[0] = 0;
    let vlan = ethernet(0x8100, &[&[0, 5, 8, 0][..], &four()].concat());
    let mpls = PacketQuirks::MPLS;
    let word = [0, 0, 0, 1];
    let all = [
        ("control word", [&label[..], &word, &inner()].concat(), mpls, true),
        ("no control word", join(&label, &ethernet(0x0800, &four())), mpls, false),
        ("no control word, address with zero", join(&label, &begins_with_zero), mpls, false),
        ("no control word, VLAN", join(&label, &vlan), mpls | PacketQuirks::VLAN, true),
        ("no control word, address like IPv4", join(&label, &begins_like_ip), mpls, false),
        ("no control word, address like IPv6", join(&label, &begins_like_six), mpls, false),
    ];
    all.into_iter()
        .map(|(name, payload, quirks, in_wireshark)| Sample {
            in_wireshark,
            ..other(name, 1, ethernet(0x8847, &payload), quirks)
        })
        .collect()
}

fn ip_protocols() -> Vec<Sample> {
    let extended = |next: u8| {
        let payload = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp()].concat();
        of(
            Kind::IpProtocol,
            next.into(),
            "IPv6",
            101,
            ipv6(next, &payload),
            PacketQuirks::IPV6_EXTENSION,
        )
    };
    let authentication = [&[6, 4, 0, 0][..], &[0; 20], &tcp()].concat();
    let in_six = |next: u8, name, payload: Vec<u8>| {
        of(Kind::IpProtocol, next.into(), name, 101, ipv6(next, &payload), TUNNEL)
    };
    let cookie = [&[0, 0, 0, 9][..], &inner()].concat();
    vec![
        extended(0),
        extended(43),
        extended(60),
        ip_protocol(4, "in IPv4", four(), TUNNEL),
        in_six(4, "in IPv6", four()),
        ip_protocol(6, "in IPv4", tcp(), NONE),
        ip_protocol(17, "VXLAN", udp(4789, &join(&[8, 0, 0, 0, 0, 0, 1, 0], &inner())), TUNNEL),
        ip_protocol(41, "in IPv4", six(), TUNNEL),
        in_six(41, "in IPv6", six()),
        ip_protocol(47, "IPv4", join(&[0, 0, 8, 0], &four()), TUNNEL),
        in_six(47, "IPv6 in IPv6", join(&[0, 0, 0x86, 0xdd], &six())),
        ip_protocol(51, "in IPv4", authentication, PacketQuirks::IPV6_EXTENSION),
        ip_protocol(97, "IPv4", join(&[0x30, 0], &inner()), TUNNEL),
        ip_protocol(115, "Ethernet", cookie, TUNNEL).alone(),
        ip_protocol(137, "IPv4", join(&[0, 1, 1, 64], &four()), TUNNEL | PacketQuirks::MPLS),
    ]
}

fn gre() -> Vec<Sample> {
    let over = |name, head: &[u8], payload: &[u8], quirks| {
        other(name, 101, ipv4(47, &join(head, payload)), TUNNEL | quirks)
    };
    vec![
        over("GRE with a key", &[0x20, 0, 8, 0, 0, 0, 0, 1], &four(), NONE),
        over(
            "GRE with checksum, key and sequence number",
            &[&[0xb0, 0, 0x65, 0x58][..], &[0; 12]].concat(),
            &inner(),
            NONE,
        ),
        over("WCCP version 1", &[0, 0, 0x88, 0x3e], &four(), NONE),
        over("WCCP version 2", &[0, 0, 0x88, 0x3e, 0, 0, 0, 0], &four(), NONE),
        over("ERSPAN I", &[0, 0, 0x88, 0xbe], &inner(), NONE),
        over(
            "ERSPAN II",
            &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 0],
            &inner(),
            NONE,
        ),
        over(
            "PPP of PPTP",
            &[0x30, 0x01, 0x88, 0x0b, 0, 60, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21],
            &four(),
            NONE,
        ),
        over("NSH in GRE", &[0, 0, 0x89, 0x4f, 0, 2, 2, 1, 0, 0, 0, 255], &four(), TAG),
        over("MPLS in GRE", &[0, 0, 0x88, 0x47, 0, 1, 1, 64], &six(), PacketQuirks::MPLS),
    ]
}

fn udp_ports() -> Vec<Sample> {
    let vxlan = || join(&[8, 0, 0, 0, 0, 0, 1, 0], &inner());
    let l2tp = |head: &[u8]| [head, &[0xff, 3, 0, 0x21], &four()].concat();
    let capwap =
        |payload: &[u8], second: [u8; 3]| [&[0][..], &second, &[0, 0, 0, 0], payload].concat();
    let turned = {
        let mut frame = radio_frame(0x08, 1, &[]);
        frame.swap(0, 1);
        frame
    };
    let in_six = |port: u16, name, payload: Vec<u8>| {
        let octets = ipv6(17, &udp(port, &payload));
        of(Kind::UdpPort, port.into(), name, 101, octets, TUNNEL)
    };
    vec![
        udp_port(1701, "version 2", l2tp(&[0, 2, 0, 1, 0, 2])),
        udp_port(1701, "version 2 with a length", {
            let len = l2tp(&[]).len() as u8 + 8;
            l2tp(&[0x40, 2, 0, len, 0, 1, 0, 2])
        }),
        udp_port(1701, "version 2 with sequence numbers and an offset", {
            l2tp(&[0x0a, 2, 0, 1, 0, 2, 0, 0, 0, 0, 0, 2, 9, 9])
        }),
        udp_port(1701, "version 3", [&[0, 3, 0, 0, 0, 0, 0, 9][..], &inner()].concat()).alone(),
        udp_port(2152, "IPv4", join(&[0x30, 0xff, 0, 44, 0, 0, 0, 1], &four())),
        in_six(2152, "IPv6 in IPv6", join(&[0x30, 0xff, 0, 64, 0, 0, 0, 1], &six())),
        udp_port(3544, "IPv6", six()),
        udp_port(3544, "origin", join(&[0, 0, 0xff, 0xfe, 1, 2, 3, 4], &six())),
        udp_port(4341, "IPv4", join(&[0x80, 0, 0, 1, 0, 0, 0, 1], &four())),
        in_six(4341, "IPv6 in IPv6", join(&[0x80, 0, 0, 1, 0, 0, 0, 1], &six())),
        udp_port(4754, "IPv4", join(&[0, 0, 8, 0], &four())),
        udp_port(4789, "Ethernet", vxlan()),
        in_six(4789, "in IPv6", vxlan()),
        udp_port(4790, "IPv4", join(&[0x0c, 0, 0, 1, 0, 0, 1, 0], &four())),
        udp_port(4790, "Ethernet", join(&[0x0c, 0, 0, 3, 0, 0, 1, 0], &inner())),
        udp_port(5247, "Ethernet", capwap(&inner(), [0x10, 2, 0])),
        udp_port(5247, "IEEE 802.11, control turned round", capwap(&turned, [0x10, 3, 0])),
        udp_port(6081, "Ethernet", join(&[0, 0, 0x65, 0x58, 0, 0, 1, 0], &inner())),
        udp_port(6081, "IPv4 after options", join(&[1, 0, 8, 0, 0, 0, 1, 0, 1, 2, 0, 0], &four())),
        of(
            Kind::UdpPort,
            6635,
            "IPv4",
            101,
            ipv4(17, &udp(6635, &join(&[0, 1, 1, 64], &four()))),
            TUNNEL | PacketQuirks::MPLS,
        ),
        udp_port(8472, "Ethernet", vxlan()),
        udp_port(37008, "Ethernet", join(&[1, 0, 0, 1, 1], &inner())),
        other("VXLAN on a port that is named", 101, ipv4(17, &udp(VXLAN_PORT, &vxlan())), TUNNEL),
    ]
}
