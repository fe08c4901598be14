//! Link-layer headers: the first header of a frame, by its link type.

use super::ether::{cisco_hdlc, pppoe};
use super::layer::{Context, HeaderRow, Layer, Next, after, skip, typed, u8_at, u16_at, u32_le_at};
use super::{SkipReason, Span, ieee80211};
use crate::LinkType;

/// Link types that are read, in order of numbers.
pub(super) const LINK_TYPES: &[HeaderRow] = &[
    HeaderRow::new(0, "NULL: BSD loopback", |span, _| address_family(span)),
    HeaderRow::new(1, "ETHERNET", |span, _| Ok((Layer::Ethernet, span))),
    HeaderRow::new(6, "IEEE802_5: token ring", |span, _| token_ring(span)),
    HeaderRow::new(7, "ARCNET_BSD", |span, _| arcnet(span, 3, 2)),
    HeaderRow::new(9, "PPP", |span, _| Ok((Layer::PppFramed, span))),
    HeaderRow::new(10, "FDDI", |span, _| after(span, 13, Layer::Llc)),
    HeaderRow::new(11, "ATM_RFC1483 of most BSDs", |span, _| Ok((Layer::Llc, span))),
    HeaderRow::new(12, "RAW of most BSDs", raw),
    HeaderRow::new(14, "RAW of OpenBSD", raw),
    HeaderRow::new(16, "classical IP over ATM, of old Linux", raw),
    HeaderRow::new(18, "classical IP over ATM, of old Linux", raw),
    HeaderRow::new(19, "classical IP over ATM, of Linux", raw),
    HeaderRow::new(50, "PPP_HDLC", |span, _| Ok((Layer::PppFramed, span))),
    HeaderRow::new(51, "PPP_ETHER", |span, _| pppoe(span)),
    HeaderRow::new(99, "SYMANTEC_FIREWALL", |span, _| {
        typed(span, if u16_at(span, 6)? == 0 { 20 } else { 6 }, 44)
    }),
    HeaderRow::new(100, "ATM_RFC1483", |span, _| Ok((Layer::Llc, span))),
    HeaderRow::new(101, "RAW", raw),
    HeaderRow::new(104, "C_HDLC", |span, _| cisco_hdlc(span)),
    HeaderRow::new(105, "IEEE802_11", |span, _| ieee80211::data_frame(span)),
    HeaderRow::new(106, "ATM_CLIP", raw),
    HeaderRow::new(107, "FRELAY", |span, _| Ok((Layer::FrameRelay, span))),
    HeaderRow::new(108, "LOOP: OpenBSD loopback", |span, _| address_family(span)),
    HeaderRow::new(109, "ENC: OpenBSD IPsec", |span, _| after(span, 12, Layer::Ip)),
    HeaderRow::new(112, "C_HDLC of NetBSD", |span, _| cisco_hdlc(span)),
    HeaderRow::new(113, "LINUX_SLL", |span, _| linux_cooked(span, &COOKED)),
    HeaderRow::new(117, "PFLOG", |span, _| pf_log(span)),
    HeaderRow::new(119, "IEEE802_11_PRISM", |span, _| ieee80211::prism(span)),
    HeaderRow::new(122, "IP_OVER_FC", |span, _| after(span, 16, Layer::Llc)),
    HeaderRow::new(123, "SUNATM", |span, _| sun_atm(span)),
    HeaderRow::new(127, "IEEE802_11_RADIOTAP", |span, _| ieee80211::radiotap(span)),
    HeaderRow::new(128, "TZSP", |span, _| tzsp(span)),
    HeaderRow::new(129, "ARCNET_LINUX", |span, _| arcnet(span, 5, 4)),
    HeaderRow::new(138, "APPLE_IP_OVER_IEEE1394", |span, _| typed(span, 16, 18)),
    HeaderRow::new(143, "DOCSIS", |span, _| docsis(span)),
    HeaderRow::new(149, "USER2: PKTAP of Apple's own number", |span, _| packet_tap(span)),
    HeaderRow::new(163, "IEEE802_11_AVS", |span, _| ieee80211::avs(span)),
    HeaderRow::new(166, "PPP_PPPD", |span, _| after(span, 2, Layer::Ppp)),
    HeaderRow::new(178, "JUNIPER_ETHER", |span, _| juniper(span, 0, Layer::Ethernet)),
    HeaderRow::new(179, "JUNIPER_PPP", |span, _| juniper(span, 2, Layer::Ppp)),
    HeaderRow::new(180, "JUNIPER_FRELAY", |span, _| juniper(span, 0, Layer::FrameRelay)),
    HeaderRow::new(181, "JUNIPER_CHDLC", |span, _| juniper(span, 0, Layer::Link(LinkType::CHDLC))),
    HeaderRow::new(192, "PPI", |span, _| per_packet_information(span)),
    HeaderRow::new(197, "ERF", |span, _| extensible_record(span)),
    HeaderRow::new(204, "PPP_WITH_DIR", |span, _| after(span, 1, Layer::PppFramed)),
    HeaderRow::new(205, "C_HDLC_WITH_DIR", |span, _| cisco_hdlc(skip(span, 1)?)),
    HeaderRow::new(206, "FRELAY_WITH_DIR", |span, _| after(span, 1, Layer::FrameRelay)),
    HeaderRow::new(219, "MPLS", |span, _| Ok((Layer::Mpls, span))),
    HeaderRow::new(226, "IPNET", |span, _| after(span, 24, Layer::Ip)),
    HeaderRow::new(228, "IPV4", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(229, "IPV6", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(239, "NFLOG", |span, _| netfilter_log(span)),
    HeaderRow::new(240, "NETANALYZER", |span, _| after(span, 4, Layer::Ethernet)),
    HeaderRow::new(241, "NETANALYZER_TRANSPARENT", |span, _| after(span, 12, Layer::Ethernet)),
    HeaderRow::new(242, "IPOIB", |span, _| typed(span, 40, 44)),
    HeaderRow::new(258, "PKTAP", |span, _| packet_tap(span)),
    HeaderRow::new(259, "EPON", |span, _| after(span, 8, Layer::Ethernet)),
    HeaderRow::new(274, "ETHERNET_MPACKET", |span, _| after(span, 8, Layer::Ethernet)),
    HeaderRow::new(276, "LINUX_SLL2", |span, _| linux_cooked(span, &COOKED_2)),
    HeaderRow::new(281, "DSA_TAG_BRCM", |span, _| typed(span, 16, 18)),
    HeaderRow::new(282, "DSA_TAG_BRCM_PREPEND", |span, _| after(span, 4, Layer::Ethernet)),
    HeaderRow::new(284, "DSA_TAG_DSA", |span, _| typed(span, 16, 18)),
    HeaderRow::new(285, "DSA_TAG_EDSA", |span, _| typed(span, 20, 22)),
    HeaderRow::new(LinkType::IPOIB_SNOOP.0, "IP over InfiniBand in snoop files", |span, _| {
        typed(span, 0, 4)
    }),
];

/// Returns the next header after the link layer's.
pub(super) fn begin<'a>(link: LinkType, span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    match link {
        LinkType::ETHERNET => Ok((Layer::Ethernet, span)),
        LinkType::NO_PACKET => Err(SkipReason::NotIp),
        _ => match HeaderRow::find(LINK_TYPES, link.0) {
            Some(read) => read(span, context),
            None => Err(SkipReason::LinkType(link)),
        },
    }
}

/// Reports whether a number is that of an IP address family: AF_INET; AF_INET6 of Linux, NetBSD and
/// OpenBSD, Solaris, FreeBSD, Darwin.
fn is_ip_family(number: u32) -> bool {
    matches!(number, 2 | 10 | 24 | 26 | 28 | 30)
}

/// Reads an IP header, or that of PPP, as captures of dial-up lines have it.
fn raw<'a>(span: Span<'a>, _: &mut Context<'_>) -> Next<'a> {
    match span.data {
        [0xff, 0x03, ..] => Ok((Layer::PppFramed, span)),
        _ => Ok((Layer::Ip, span)),
    }
}

/// Reads a BSD loopback header: the number of an address family, in the byte order of the host.
fn address_family(span: Span<'_>) -> Next<'_> {
    let family: [u8; 4] = *span.data.first_chunk().ok_or(SkipReason::CutBeforeTcp)?;
    let number = u32::from_be_bytes(family);
    let number = if number > 0xffff { number.swap_bytes() } else { number };
    if is_ip_family(number) { after(span, 4, Layer::Ip) } else { Err(SkipReason::NotIp) }
}

/// Reads a token ring header (IEEE 802.5), with a routing information field where the highest bit
/// of the source address says so.
fn token_ring(span: Span<'_>) -> Next<'_> {
    const FRAME_TYPE: u8 = 0xc0;
    const LLC_FRAME: u8 = 0x40;
    if u8_at(span, 1)? & FRAME_TYPE != LLC_FRAME {
        return Err(SkipReason::NotIp);
    }
    let routing = if u8_at(span, 8)? & 0x80 != 0 { u8_at(span, 14)? & 0x1f } else { 0 };
    after(span, 14 + usize::from(routing), Layer::Llc)
}

/// Places in a Linux cooked capture header, as indices of octets.
struct Cooked {
    /// Type of the device's hardware.
    hardware_at: usize,
    protocol_at: usize,
    /// Length of the header.
    len: usize,
}

const COOKED: Cooked = Cooked { hardware_at: 2, protocol_at: 14, len: 16 };
const COOKED_2: Cooked = Cooked { hardware_at: 8, protocol_at: 0, len: 20 };
/// Hardware type of a radio with radiotap headers.
const RADIOTAP: u16 = 803;

/// Reads a Linux cooked capture header.
fn linux_cooked<'a>(span: Span<'a>, places: &Cooked) -> Next<'a> {
    /// Protocol of frames with IEEE 802.2 LLC.
    const LLC: u16 = 4;
    let hardware = u16_at(span, places.hardware_at)?;
    let layer = match (hardware, u16_at(span, places.protocol_at)?) {
        (RADIOTAP, _) => Layer::Link(LinkType::RADIOTAP),
        (_, LLC) => Layer::Llc,
        (_, protocol) => Layer::EtherType(protocol),
    };
    after(span, places.len, layer)
}

/// Returns the protocol in a Linux cooked capture header, and the header's length. `None` if the
/// header is another one, or stands before a radio's.
#[inline]
pub(super) fn cooked_protocol(link: LinkType, data: &[u8]) -> Option<(&[u8], usize)> {
    let Cooked { hardware_at, protocol_at, len } = match link {
        LinkType::LINUX_SLL => COOKED,
        LinkType::LINUX_SLL2 => COOKED_2,
        _ => return None,
    };
    let header = data.get(..len)?;
    let is_radio = header[hardware_at..hardware_at + 2] == RADIOTAP.to_be_bytes();
    (!is_radio).then_some((&header[protocol_at..protocol_at + 2], len))
}

/// Reads an ARCNET header. A packet that RFC 1201 splits into several is not supported.
fn arcnet(span: Span<'_>, header_len: usize, protocol_at: usize) -> Next<'_> {
    match u8_at(span, protocol_at)? {
        // RFC 1051.
        240 => after(span, header_len, Layer::Ip),
        // RFC 1201.
        212 => match u8_at(span, header_len)? {
            0 => after(span, header_len + 3, Layer::Ip),
            _ => Err(SkipReason::NotIp),
        },
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads the header of a packet filter's log: its length, which is padded to four octets, and an
/// address family.
fn pf_log(span: Span<'_>) -> Next<'_> {
    let len = usize::from(u8_at(span, 0)?).next_multiple_of(4);
    if is_ip_family(u32::from(u8_at(span, 1)?)) {
        after(span, len, Layer::Ip)
    } else {
        Err(SkipReason::NotIp)
    }
}

/// Reads the header of Sun's ATM cards: a kind of traffic, then VPI and VCI.
fn sun_atm(span: Span<'_>) -> Next<'_> {
    match u8_at(span, 0)? & 0x0f {
        // LAN emulation: a header of two octets before Ethernet.
        1 => after(span, 6, Layer::Ethernet),
        2 => after(span, 4, Layer::Llc),
        // A virtual circuit of IP alone.
        _ if matches!(u8_at(span, 4)? >> 4, 4 | 6) => after(span, 4, Layer::Ip),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads a TZSP header: version, type, and the encapsulated protocol, then tagged fields up to an
/// end tag.
pub(super) fn tzsp(span: Span<'_>) -> Next<'_> {
    /// Largest type of a message with a packet; those above keep a port open.
    const HAS_PACKET: u8 = 1;
    const PADDING: u8 = 0;
    const END: u8 = 1;
    if u8_at(span, 1)? > HAS_PACKET {
        return Err(SkipReason::NotIp);
    }
    let layer = match u16_at(span, 2)? {
        1 => Layer::Ethernet,
        18 => Layer::Link(LinkType::IEEE80211),
        119 => Layer::Link(LinkType::PRISM),
        127 => Layer::Link(LinkType::AVS),
        _ => return Err(SkipReason::LinkType(LinkType::TZSP)),
    };
    let mut at = 4;
    loop {
        match u8_at(span, at)? {
            END => return after(span, at + 1, layer),
            PADDING => at += 1,
            _ => at += 2 + usize::from(u8_at(span, at + 1)?),
        }
    }
}

/// Reads a DOCSIS MAC header before Ethernet.
fn docsis(span: Span<'_>) -> Next<'_> {
    const EXTENDED: u8 = 1;
    let control = u8_at(span, 0)?;
    if control >> 6 != 0 {
        return Err(SkipReason::NotIp);
    }
    let extended = if control & EXTENDED != 0 { usize::from(u8_at(span, 1)?) } else { 0 };
    after(span, 6 + extended, Layer::Ethernet)
}

/// Reads the header that Juniper's routers put before a packet: a magic number, flags, extensions,
/// and `cookie` octets. Without a link-layer header, the number of a protocol follows.
fn juniper(span: Span<'_>, cookie: usize, layer: Layer) -> Next<'_> {
    const MAGIC: [u8; 3] = *b"MGC";
    const EXTENSIONS: u8 = 0x80;
    const NO_LINK_HEADER: u8 = 0x02;
    if span.data.get(..3) != Some(&MAGIC) {
        return Err(SkipReason::NotIp);
    }
    let flags = u8_at(span, 3)?;
    let len = if flags & EXTENSIONS != 0 { 6 + usize::from(u16_at(span, 4)?) } else { 4 };
    if flags & NO_LINK_HEADER == 0 {
        return after(span, len + cookie, layer);
    }
    match u32_le_at(span, len)? {
        2 | 6 => after(span, len + 4, Layer::Ip),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads a per-packet information header (PPI), which names the link type after it.
fn per_packet_information(span: Span<'_>) -> Next<'_> {
    let len = u16_at(span, 2)?.swap_bytes();
    let link = LinkType(u32_le_at(span, 4)?);
    if len < 8 || link == LinkType::PPI {
        return Err(SkipReason::LinkType(LinkType::PPI));
    }
    after(span, usize::from(len), Layer::Link(link))
}

/// Reads a PKTAP header of Darwin: its length, whether a packet follows, and the packet's link
/// type, all in the byte order of the host.
fn packet_tap(span: Span<'_>) -> Next<'_> {
    const MIN_LEN: u32 = 108;
    const IS_PACKET: u32 = 1;
    let word = |at| u32_le_at(span, at);
    let turn = |n: u32| if word(0).is_ok_and(|len| len > 0xffff) { n.swap_bytes() } else { n };
    let (len, kind, link) = (turn(word(0)?), turn(word(4)?), LinkType(turn(word(8)?)));
    let is_nested = link == LinkType::PKTAP || link == LinkType::PKTAP_APPLE;
    if len < MIN_LEN || kind != IS_PACKET || is_nested {
        return Err(SkipReason::LinkType(LinkType::PKTAP));
    }
    after(span, len as usize, Layer::Link(link))
}

/// Reads an ERF record: a header with the length on the wire, extension headers, and the packet.
fn extensible_record(span: Span<'_>) -> Next<'_> {
    const HEADER: usize = 16;
    const MORE: u8 = 0x80;
    let (kind, wire_len) = (u8_at(span, 8)?, u16_at(span, 14)?);
    let (mut rest, mut more) = (skip(span, HEADER)?, kind & MORE != 0);
    while more {
        more = u8_at(rest, 0)? & MORE != 0;
        rest = skip(rest, 8)?;
    }
    match kind & !MORE {
        // POS: HDLC with Cisco's or PPP's header, in color and hashed variants.
        1 | 10 | 15 | 19 => {
            rest.cap(u32::from(wire_len));
            Ok((Layer::PppFramed, rest))
        }
        // Ethernet after an offset and padding. Its check sequence may be there or not: IP's length
        // leaves it out.
        2 | 11 | 16 | 20 => {
            let mut frame = skip(rest, 2)?;
            frame.cap(u32::from(wire_len));
            Ok((Layer::Ethernet, frame))
        }
        22 | 23 => Ok((Layer::Ip, rest)),
        // AAL5 and ATM cells after the cell's header, of which the first holds LLC.
        3 | 4 | 18 => after(rest, 4, Layer::Llc),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads a netfilter log message: a header of four octets, then attributes, of which one is the
/// packet. Lengths and types are in the byte order of the host.
fn netfilter_log(span: Span<'_>) -> Next<'_> {
    const PAYLOAD: u16 = 9;
    /// Bits of an attribute's type that say how it is laid out.
    const TYPE: u16 = 0x3fff;
    let mut at = 4;
    // The first attribute is short: a length over 0x00ff has its octets turned round.
    let big_endian = u16_at(span, at)?.swap_bytes() > 0xff;
    let half = |at| u16_at(span, at).map(|n| if big_endian { n } else { n.swap_bytes() });
    loop {
        let (len, kind) = (usize::from(half(at)?), half(at + 2)?);
        if len < 4 {
            return Err(SkipReason::LinkType(LinkType::NFLOG));
        }
        if kind & TYPE == PAYLOAD {
            let mut packet = skip(span, at + 4)?;
            packet.cap(len as u32 - 4);
            return Ok((Layer::Ip, packet));
        }
        at += len.next_multiple_of(4);
    }
}
