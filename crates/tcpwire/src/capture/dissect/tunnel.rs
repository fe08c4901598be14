//! Headers between an outer IP header and an inner one: protocols, GRE, and tunnels in UDP.

use super::layer::{Context, HeaderRow, Layer, Next, after, skip, typed, u8_at, u16_at, u24_at};
use super::{PacketQuirks, SkipReason, Span, ether, ieee80211, link_header, tcp};

/// Number of L2TP among the IP protocols.
const L2TP: u8 = 115;

/// IP protocols that may have another IP header after them, and TCP's own.
pub(super) const IP_PROTOCOLS: &[HeaderRow] = &[
    HeaderRow::new(0, "hop-by-hop options", extension),
    // Wireshark reads eight octets of the quotation in a source quench (4) or redirect (5), which
    // is no TCP header.
    HeaderRow::new(1, "ICMP errors", |span, context| icmp_error(span, context, &[3, 11, 12])),
    HeaderRow::new(4, "IPv4 in IP", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(6, "TCP", |span, _| Ok((Layer::IpProtocol(tcp::PROTOCOL), span))),
    HeaderRow::new(17, "UDP", udp),
    HeaderRow::new(41, "IPv6 in IP", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(43, "routing header", extension),
    HeaderRow::new(47, "GRE", gre),
    HeaderRow::new(50, "ESP, counted as encrypted", |_, _| Err(SkipReason::Encrypted)),
    // Authentication Header (RFC 4302, section 2): the length is in 32-bit words, minus 2.
    HeaderRow::new(51, "AH", |span, context| {
        let len = (usize::from(u8_at(span, 1)?) + 2) * 4;
        context.quirks |= PacketQuirks::IPV6_EXTENSION;
        after(span, len, Layer::IpProtocol(u8_at(span, 0)?))
    }),
    HeaderRow::new(58, "ICMPv6 errors", |span, context| icmp_error(span, context, &[1, 2, 3, 4])),
    HeaderRow::new(60, "destination options", extension),
    HeaderRow::new(97, "EtherIP", |span, _| after(span, 2, Layer::Ethernet)),
    HeaderRow::new(115, "L2TPv3", |span, _| l2tp_session(span)),
    HeaderRow::new(137, "MPLS", |span, _| Ok((Layer::Mpls, span))),
];

/// Reads the header of an IP protocol other than TCP.
pub(super) fn ip_protocol<'a>(number: u8, span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    match number {
        17 => udp(span, context),
        _ => match HeaderRow::find(IP_PROTOCOLS, u32::from(number)) {
            Some(read) => read(span, context),
            None => Err(SkipReason::NotTcp),
        },
    }
}

/// Reads an extension header of a reassembled datagram.
fn extension<'a>(span: Span<'a>, _: &mut Context<'_>) -> Next<'a> {
    let len = (usize::from(u8_at(span, 1)?) + 1) * 8;
    after(span, len, Layer::IpProtocol(u8_at(span, 0)?))
}

/// Reads an ICMP error, which quotes the datagram that caused it.
fn icmp_error<'a>(span: Span<'a>, context: &mut Context<'_>, errors: &[u8]) -> Next<'a> {
    context.quirks |= PacketQuirks::QUOTED;
    if !errors.contains(&u8_at(span, 0)?) {
        return Err(SkipReason::NotTcp);
    }
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
/// GRE protocol type of NVGRE (RFC 7637, section 3.2): the key has the number of the network.
const NVGRE: u16 = 0x6558;
/// GRE protocol type of WCCP.
const WCCP: u16 = 0x883e;
/// GRE protocol type of MikroTik's Ethernet over IP.
const EOIP: u16 = 0x6400;
/// GRE protocol type of ERSPAN, types I and II.
const ERSPAN_2: u16 = 0x88be;
/// GRE protocol type of ERSPAN, type III.
const ERSPAN_3: u16 = 0x22eb;

/// Reads GRE (RFC 2784, RFC 2890), PPTP's version of it (RFC 2637) and ERSPAN.
fn gre<'a>(span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
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
    if kind == NVGRE && flags & GRE_KEY != 0 {
        let key_at = if flags & GRE_CHECKSUM != 0 { 8 } else { 4 };
        context.tags.push_vni(u24_at(span, key_at)?);
    }
    match kind {
        ERSPAN_2 if flags & GRE_SEQUENCE != 0 => after(rest, 8, Layer::Ethernet),
        ERSPAN_2 => Ok((Layer::Ethernet, rest)),
        ERSPAN_3 => {
            let platform = if u16_at(rest, 10)? & 1 == 1 { 8 } else { 0 };
            after(rest, 12 + platform, Layer::Ethernet)
        }
        0x880b => Ok((Layer::PppFramed, rest)),
        EOIP => Ok((Layer::Ethernet, rest)),
        // WCCP version 2 puts a redirect header of four octets before the packet, whose first bits
        // are never those of IPv4.
        WCCP => after(rest, if u8_at(rest, 0)? >> 4 == 4 { 0 } else { 4 }, Layer::Ip),
        _ => Ok((Layer::EtherType(kind), rest)),
    }
}

/// UDP port of VXLAN before RFC 7348, the default of Linux.
const VXLAN_OF_LINUX: u16 = 8472;

/// UDP ports of tunnels.
pub(super) const UDP_PORTS: &[HeaderRow] = &[
    HeaderRow::new(1701, "L2TPv2, L2TPv3", |span, _| l2tp(span)),
    HeaderRow::new(2152, "GTP-U", |span, _| gtp(span)),
    HeaderRow::new(3544, "Teredo", |span, _| teredo(span)),
    HeaderRow::new(4341, "LISP data", |span, _| lisp(span)),
    HeaderRow::new(4754, "GRE", gre),
    HeaderRow::new(4789, "VXLAN", |span, context| {
        context.tags.push_vni(u24_at(span, 4)?);
        after(span, 8, Layer::Ethernet)
    }),
    HeaderRow::new(4790, "VXLAN-GPE", vxlan_gpe),
    HeaderRow::new(5247, "CAPWAP data", |span, _| capwap(span)),
    HeaderRow::new(6081, "Geneve", |span, context| {
        context.tags.push_vni(u24_at(span, 4)?);
        typed(span, 2, 8 + usize::from(u8_at(span, 0)? & 0x3f) * 4)
    }),
    HeaderRow::new(6635, "MPLS", |span, _| Ok((Layer::Mpls, span))),
    HeaderRow::new(VXLAN_OF_LINUX as u32, "VXLAN of Linux", vxlan),
    HeaderRow::new(37008, "TZSP", |span, _| link_header::tzsp(span)),
];

/// Reads a UDP header, and the tunnel header of its port: the destination's, else the source's.
fn udp<'a>(mut span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    let (source, destination) = (u16_at(span, 0)?, u16_at(span, 2)?);
    let reader = |port: u16| match context.vxlan_ports.contains(&port) {
        true => HeaderRow::find(UDP_PORTS, u32::from(VXLAN_OF_LINUX)),
        false => HeaderRow::find(UDP_PORTS, u32::from(port)),
    };
    let (read, port) = match (reader(destination), reader(source)) {
        (Some(read), _) => (read, destination),
        (None, Some(read)) => (read, source),
        (None, None) => return Err(SkipReason::NotTcp),
    };
    context.by_source_port |= port != destination;
    if context.partial {
        return Err(SkipReason::UdpPort(port));
    }
    let len = u16_at(span, 4)?;
    if len >= 8 {
        span.cap(u32::from(len));
    }
    let rest = skip(span, 8)?;
    read(rest, context).map_err(|reason| match reason {
        SkipReason::BadIp => SkipReason::UdpPort(port),
        other => other,
    })
}

/// Reads a VXLAN header (RFC 7348, section 5), which has to say that it names a network: the port
/// is that of other protocols too.
fn vxlan<'a>(span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    const HAS_NETWORK: u8 = 0x08;
    if u8_at(span, 0)? & HAS_NETWORK == 0 {
        return Err(SkipReason::BadIp);
    }
    context.tags.push_vni(u24_at(span, 4)?);
    after(span, 8, Layer::Ethernet)
}

/// Reads a VXLAN header with a next protocol (draft-ietf-nvo3-vxlan-gpe, section 3).
fn vxlan_gpe<'a>(span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    const HAS_PROTOCOL: u8 = 0x04;
    context.tags.push_vni(u24_at(span, 4)?);
    let layer = match u8_at(span, 3)? {
        _ if u8_at(span, 0)? & HAS_PROTOCOL == 0 => Layer::Ethernet,
        1 | 2 => Layer::Ip,
        3 => Layer::Ethernet,
        4 => Layer::EtherType(0x894f),
        5 => Layer::Mpls,
        _ => return Err(SkipReason::BadIp),
    };
    after(span, 8, layer)
}

/// Reads the indicators of Teredo before IPv6 (RFC 4380, section 5.1.1): authentication, and
/// origin.
fn teredo(mut span: Span<'_>) -> Next<'_> {
    const AUTHENTICATION: u16 = 1;
    const ORIGIN: u16 = 0;
    if u16_at(span, 0)? == AUTHENTICATION {
        let (id, value) = (u8_at(span, 2)?, u8_at(span, 3)?);
        span = skip(span, 13 + usize::from(id) + usize::from(value))?;
    }
    if u16_at(span, 0)? == ORIGIN {
        span = skip(span, 8)?;
    }
    match u8_at(span, 0)? >> 4 {
        6 => Ok((Layer::Ip, span)),
        _ => Err(SkipReason::NotTcp),
    }
}

/// Reads a LISP data header (RFC 9300, section 5.3) before IP.
fn lisp(span: Span<'_>) -> Next<'_> {
    match u8_at(span, 8)? >> 4 {
        4 | 6 => after(span, 8, Layer::Ip),
        _ => Err(SkipReason::BadIp),
    }
}

/// Reads a CAPWAP header (RFC 5415, section 4.3) before an Ethernet or IEEE 802.11 frame.
fn capwap(span: Span<'_>) -> Next<'_> {
    /// Preamble type of a datagram under DTLS.
    const ENCRYPTED: u8 = 1;
    /// Flags: the payload is a fragment, or a keep-alive.
    const FRAGMENT: u8 = 0x80;
    const KEEP_ALIVE: u8 = 0x08;
    let (preamble, flags) = (u8_at(span, 0)?, u8_at(span, 3)?);
    if preamble & 0x0f == ENCRYPTED {
        return Err(SkipReason::Encrypted);
    }
    if preamble != 0 || flags & FRAGMENT != 0 {
        return Err(SkipReason::BadIp);
    }
    if flags & KEEP_ALIVE != 0 {
        return Err(SkipReason::NotTcp);
    }
    let second = u16_at(span, 1)?;
    let len = usize::from(second >> 11) * 4;
    // The binding says which link layer the payload has, if it is not Ethernet's (flag T unset).
    let is_native = second & 1 == 1;
    if len < 8 {
        return Err(SkipReason::BadIp);
    }
    let rest = skip(span, len)?;
    if is_native { ieee80211::frame_of_either_order(rest) } else { Ok((Layer::Ethernet, rest)) }
}

/// Reads L2TP version 2 (RFC 2661, section 3.1) before PPP, or version 3 over UDP.
fn l2tp(span: Span<'_>) -> Next<'_> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let flags = u16_at(span, 0)?;
    if flags & CONTROL != 0 {
        return Err(SkipReason::NotTcp);
    }
    match flags & 0x0f {
        2 => {}
        3 => return l2tp_session(skip(span, 4)?),
        _ => return Err(SkipReason::BadIp),
    }
    let mut rest = span;
    let mut len = 6;
    if flags & LENGTH != 0 {
        rest.cap(u32::from(u16_at(span, 2)?).max(8));
        len += 2;
    }
    if flags & SEQUENCE != 0 {
        len += 4;
    }
    if flags & OFFSET != 0 {
        len += 2 + usize::from(u16_at(span, len)?);
    }
    after(rest, len, Layer::PppFramed)
}

/// Reads an L2TPv3 session header (RFC 3931, section 4.1.1). A cookie of no, four or eight octets
/// and a sublayer header of no or four octets were agreed on elsewhere: the first place is taken
/// where an Ethernet frame has an IP header of its type.
fn l2tp_session(span: Span<'_>) -> Next<'_> {
    let is_control = span.data.starts_with(&[0; 4]);
    if is_control {
        return Err(SkipReason::NotTcp);
    }
    for octets in [4, 8, 12, 16] {
        let rest = skip(span, octets)?;
        if ether::begins_with_ethernet(rest) {
            return Ok((Layer::Ethernet, rest));
        }
    }
    Err(SkipReason::IpProtocol(L2TP))
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
            return Err(SkipReason::BadIp);
        }
        next = u8_at(rest, len - 1)?;
        rest = skip(rest, len)?;
    }
    Ok((Layer::Ip, rest))
}
