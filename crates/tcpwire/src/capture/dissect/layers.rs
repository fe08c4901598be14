//! Headers before IP: link layers, tags, labels and tunnels.

use super::{Context, Layer, PacketQuirks, SkipReason, Span, ieee80211};
use crate::LinkType;

/// Next header and the octets from there on.
type Next<'a> = Result<(Layer, Span<'a>), SkipReason>;

/// Returns the first header of a frame, by its link type.
pub(super) fn begin(link: LinkType, span: Span<'_>) -> Next<'_> {
    match link {
        LinkType::ETHERNET => Ok((Layer::Ethernet, span)),
        LinkType::RAW
        | LinkType::RAW_BSD
        | LinkType::RAW_OPENBSD
        | LinkType::IPV4
        | LinkType::IPV6 => Ok((Layer::Ip, span)),
        LinkType::NULL | LinkType::LOOP => address_family(span),
        LinkType::LINUX_SLL => linux_cooked(span),
        LinkType::LINUX_SLL2 => after(span, 20, Layer::EtherType(u16_at(span, 0)?)),
        LinkType::PPP | LinkType::PPP_HDLC => ppp_framed(span),
        LinkType::PPP_WITH_DIRECTION => ppp_framed(skip(span, 1)?),
        LinkType::PPPOE => pppoe(span),
        LinkType::CHDLC => cisco_hdlc(span),
        LinkType::FDDI => after(span, 13, Layer::Llc),
        LinkType::IPOIB => after(span, 44, Layer::EtherType(u16_at(span, 40)?)),
        LinkType::IPOIB_SNOOP => after(span, 4, Layer::EtherType(u16_at(span, 0)?)),
        LinkType::ARCNET => arcnet(span, 3, 2),
        LinkType::ARCNET_LINUX => arcnet(span, 5, 4),
        LinkType::IEEE80211 => ieee80211::data_frame(span),
        LinkType::RADIOTAP => ieee80211::radiotap(span),
        _ => Err(SkipReason::LinkType),
    }
}

/// Reads a header other than IP's and TCP's, and returns the next one.
pub(super) fn step<'a>(layer: Layer, span: Span<'a>, context: &mut Context) -> Next<'a> {
    match layer {
        Layer::Ethernet => ethernet(span),
        Layer::EtherType(number) => ether_type(number, span, context),
        Layer::Llc => llc(span),
        Layer::Ppp => ppp(span),
        Layer::Mpls => mpls(span, context),
        Layer::IpProtocol(number) => ip_protocol(number, span, context),
        Layer::Ip => Ok((layer, span)),
    }
}

/// Returns the span after `octets`.
fn skip(span: Span<'_>, octets: usize) -> Result<Span<'_>, SkipReason> {
    span.skip(octets).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns the 16-bit number at `at`.
fn u16_at(span: Span<'_>, at: usize) -> Result<u16, SkipReason> {
    span.u16_at(at).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns the octet at `at`.
fn u8_at(span: Span<'_>, at: usize) -> Result<u8, SkipReason> {
    span.u8_at(at).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns `layer` as the next header, after `octets`.
fn after(span: Span<'_>, octets: usize, layer: Layer) -> Next<'_> {
    Ok((layer, skip(span, octets)?))
}

/// Reads a BSD loopback header: the number of an address family, in the byte order of the host.
fn address_family(span: Span<'_>) -> Next<'_> {
    let family: [u8; 4] = *span.data.first_chunk().ok_or(SkipReason::CutBeforeTcp)?;
    let number = u32::from_be_bytes(family);
    let number = if number > 0xffff { number.swap_bytes() } else { number };
    match number {
        // AF_INET; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        2 | 10 | 24 | 28 | 30 => after(span, 4, Layer::Ip),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads a Linux cooked capture header, whose protocol 4 is IEEE 802.2 LLC.
fn linux_cooked(span: Span<'_>) -> Next<'_> {
    match u16_at(span, 14)? {
        4 => after(span, 16, Layer::Llc),
        protocol => after(span, 16, Layer::EtherType(protocol)),
    }
}

/// Largest value of an Ethernet type field that is a length (IEEE 802.3, section 3.2.6).
const MAX_LENGTH: u16 = 1500;
/// Smallest value of an Ethernet type field that is a type (IEEE 802.3, section 3.2.6).
const MIN_TYPE: u16 = 0x600;

/// Reads an Ethernet header.
fn ethernet(span: Span<'_>) -> Next<'_> {
    let number = u16_at(span, 12)?;
    let rest = skip(span, 14)?;
    type_or_length(number, rest)
}

/// Reads an Ethernet type field: a type, or the length of an LLC frame.
fn type_or_length(number: u16, mut rest: Span<'_>) -> Next<'_> {
    if number >= MIN_TYPE {
        return Ok((Layer::EtherType(number), rest));
    }
    if number > MAX_LENGTH {
        return Err(SkipReason::NotIp);
    }
    rest.cap(u32::from(number));
    Ok((Layer::Llc, rest))
}

/// Reads the header of an EtherType.
fn ether_type<'a>(number: u16, span: Span<'a>, context: &mut Context) -> Next<'a> {
    match number {
        0x0800 | 0x86dd => Ok((Layer::Ip, span)),
        // IEEE 802.1Q, 802.1ad, and the types used before the latter.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
            context.quirks |= PacketQuirks::VLAN;
            type_or_length(u16_at(span, 2)?, skip(span, 4)?)
        }
        // IEEE 802.1ah: a service tag, then the customer's addresses and type.
        0x88e7 => {
            context.quirks |= PacketQuirks::VLAN;
            type_or_length(u16_at(span, 16)?, skip(span, 18)?)
        }
        0x8847 | 0x8848 => Ok((Layer::Mpls, span)),
        0x8864 => {
            context.quirks |= PacketQuirks::PPPOE;
            pppoe(span)
        }
        0x6558 => Ok((Layer::Ethernet, span)),
        0x880b => Ok((Layer::Ppp, span)),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads IEEE 802.2 LLC, with SNAP or with IP's own service access point.
fn llc(span: Span<'_>) -> Next<'_> {
    match span.data {
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, ..] => {
            after(span, 8, Layer::EtherType(u16_at(span, 6)?))
        }
        [0x06, 0x06, 0x03, ..] => after(span, 3, Layer::Ip),
        [_, _, _, ..] => Err(SkipReason::NotIp),
        _ => Err(SkipReason::CutBeforeTcp),
    }
}

/// Reads a PPPoE session header (RFC 2516, section 4).
fn pppoe(mut span: Span<'_>) -> Next<'_> {
    if u8_at(span, 1)? != 0 {
        return Err(SkipReason::NotIp);
    }
    span.cap(u32::from(u16_at(span, 4)?) + 6);
    after(span, 6, Layer::Ppp)
}

/// Reads PPP in HDLC-like framing (RFC 1662), which may omit address and control, or Cisco's
/// framing.
fn ppp_framed(span: Span<'_>) -> Next<'_> {
    match span.data {
        [0x0f | 0x8f, ..] => cisco_hdlc(span),
        [0xff, 0x03, ..] => after(span, 2, Layer::Ppp),
        _ => Ok((Layer::Ppp, span)),
    }
}

/// Reads Cisco's HDLC framing: address, control, EtherType.
fn cisco_hdlc(span: Span<'_>) -> Next<'_> {
    after(span, 4, Layer::EtherType(u16_at(span, 2)?))
}

/// Reads a PPP protocol field, which is one octet if that is odd (RFC 1661, section 6.5).
fn ppp(span: Span<'_>) -> Next<'_> {
    let first = u8_at(span, 0)?;
    let (protocol, len) =
        if first & 1 == 1 { (u16::from(first), 1) } else { (u16_at(span, 0)?, 2) };
    match protocol {
        0x0021 | 0x0057 => after(span, len, Layer::Ip),
        0x0281 | 0x0283 => after(span, len, Layer::Mpls),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads an MPLS label stack (RFC 3032). The next header follows from its first nibble, as in
/// Wireshark, since labels do not tell.
fn mpls<'a>(mut span: Span<'a>, context: &mut Context) -> Next<'a> {
    context.quirks |= PacketQuirks::MPLS;
    loop {
        let bottom = u8_at(span, 2)? & 1 == 1;
        span = skip(span, 4)?;
        if bottom {
            break;
        }
    }
    match u8_at(span, 0)? >> 4 {
        4 | 6 => Ok((Layer::Ip, span)),
        // A pseudowire control word before Ethernet (RFC 4385).
        0 => after(span, 4, Layer::Ethernet),
        _ => Err(SkipReason::NotIp),
    }
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

/// Reads the header of an IP protocol other than TCP.
fn ip_protocol<'a>(number: u8, span: Span<'a>, context: &mut Context) -> Next<'a> {
    match number {
        4 | 41 => Ok((Layer::Ip, span)),
        47 => gre(span),
        17 => udp(span, context),
        // Wireshark reads eight octets of the quotation in a source quench (4) or redirect (5),
        // which is no TCP header.
        1 => icmp_error(span, context, &[3, 11, 12]),
        58 => icmp_error(span, context, &[1, 2, 3, 4]),
        // Authentication Header (RFC 4302, section 2): the length is in 32-bit words, minus 2.
        51 => {
            let len = (usize::from(u8_at(span, 1)?) + 2) * 4;
            context.quirks |= PacketQuirks::IPV6_EXTENSION;
            after(span, len, Layer::IpProtocol(u8_at(span, 0)?))
        }
        // Extension headers of a reassembled datagram.
        0 | 43 | 60 => {
            let len = (usize::from(u8_at(span, 1)?) + 1) * 8;
            after(span, len, Layer::IpProtocol(u8_at(span, 0)?))
        }
        97 => after(span, 2, Layer::Ethernet),
        137 => Ok((Layer::Mpls, span)),
        _ => Err(SkipReason::NotTcp),
    }
}

/// Reads an ICMP error, which quotes the datagram that caused it.
fn icmp_error<'a>(span: Span<'a>, context: &mut Context, errors: &[u8]) -> Next<'a> {
    if !errors.contains(&u8_at(span, 0)?) {
        return Err(SkipReason::NotTcp);
    }
    context.quirks |= PacketQuirks::QUOTED;
    after(span, 8, Layer::Ip)
}

/// GRE flag: checksum present (RFC 2784, section 2.1).
const GRE_CHECKSUM: u16 = 0x8000;
/// GRE flag: source route present (RFC 1701), which RFC 2784 no longer has.
const GRE_ROUTING: u16 = 0x4000;
/// GRE flag: key present (RFC 2890, section 2).
const GRE_KEY: u16 = 0x2000;
/// GRE flag: sequence number present (RFC 2890, section 2).
const GRE_SEQUENCE: u16 = 0x1000;
/// GRE flag: acknowledgment number present, in version 1 only (RFC 2637, section 4.1).
const GRE_ACKNOWLEDGMENT: u16 = 0x0080;
/// GRE protocol type of MikroTik's Ethernet over IP.
const EOIP: u16 = 0x6400;
/// GRE protocol type of ERSPAN, types I and II.
const ERSPAN_2: u16 = 0x88be;
/// GRE protocol type of ERSPAN, type III.
const ERSPAN_3: u16 = 0x22eb;

/// Reads GRE (RFC 2784, RFC 2890), PPTP's version of it (RFC 2637) and ERSPAN.
fn gre(span: Span<'_>) -> Next<'_> {
    let (flags, kind) = (u16_at(span, 0)?, u16_at(span, 2)?);
    if flags & GRE_ROUTING != 0 {
        return Err(SkipReason::NotTcp);
    }
    let optional = [
        GRE_CHECKSUM,
        GRE_KEY,
        GRE_SEQUENCE,
        GRE_ACKNOWLEDGMENT & if flags & 7 == 1 { 0xffff } else { 0 },
    ];
    let header = 4 + 4 * optional.into_iter().filter(|bit| flags & bit != 0).count();
    let rest = skip(span, header)?;
    match kind {
        ERSPAN_2 if flags & GRE_SEQUENCE != 0 => after(rest, 8, Layer::Ethernet),
        ERSPAN_2 => Ok((Layer::Ethernet, rest)),
        ERSPAN_3 => {
            let platform = if u16_at(rest, 10)? & 1 == 1 { 8 } else { 0 };
            after(rest, 12 + platform, Layer::Ethernet)
        }
        0x880b => ppp_framed(rest),
        EOIP => Ok((Layer::Ethernet, rest)),
        _ => Ok((Layer::EtherType(kind), rest)),
    }
}

/// UDP port of VXLAN (RFC 7348, section 5).
const VXLAN: u16 = 4789;
/// UDP port of Geneve (RFC 8926, section 3.3).
const GENEVE: u16 = 6081;
/// UDP port of GTP-U (3GPP TS 29.281).
const GTP_U: u16 = 2152;
/// UDP port of Teredo servers (RFC 4380).
const TEREDO: u16 = 3544;
/// UDP port of MPLS in UDP (RFC 7510).
const MPLS_IN_UDP: u16 = 6635;

/// Reads a UDP header, and the tunnel header of its well-known port.
fn udp<'a>(mut span: Span<'a>, context: &mut Context) -> Next<'a> {
    if context.partial {
        return Err(SkipReason::Fragment);
    }
    let ports = [u16_at(span, 0)?, u16_at(span, 2)?];
    let len = u16_at(span, 4)?;
    if len >= 8 {
        span.cap(u32::from(len));
    }
    let rest = skip(span, 8)?;
    let is = |port: u16| ports.contains(&port);
    if is(VXLAN) {
        after(rest, 8, Layer::Ethernet)
    } else if is(GENEVE) {
        let options = usize::from(u8_at(rest, 0)? & 0x3f) * 4;
        after(rest, 8 + options, Layer::EtherType(u16_at(rest, 2)?))
    } else if is(GTP_U) {
        gtp(rest)
    } else if is(TEREDO) && u8_at(rest, 0)? >> 4 == 6 {
        Ok((Layer::Ip, rest))
    } else if is(MPLS_IN_UDP) {
        Ok((Layer::Mpls, rest))
    } else {
        Err(SkipReason::NotTcp)
    }
}

/// Reads GTP-U, version 1 (3GPP TS 29.281): a header with extensions before a user's packet.
fn gtp(span: Span<'_>) -> Next<'_> {
    /// Message type of a user's packet (G-PDU).
    const USER_PACKET: u8 = 0xff;
    let flags = u8_at(span, 0)?;
    if flags >> 4 != 3 || u8_at(span, 1)? != USER_PACKET {
        return Err(SkipReason::NotTcp);
    }
    if flags & 7 == 0 {
        return after(span, 8, Layer::Ip);
    }
    let mut next = if flags & 4 != 0 { u8_at(span, 11)? } else { 0 };
    let mut rest = skip(span, 12)?;
    while next != 0 {
        let len = usize::from(u8_at(rest, 0)?) * 4;
        if len == 0 {
            return Err(SkipReason::NotTcp);
        }
        next = u8_at(rest, len - 1)?;
        rest = skip(rest, len)?;
    }
    Ok((Layer::Ip, rest))
}
