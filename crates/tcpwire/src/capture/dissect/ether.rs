//! Headers between the link layer and IP: Ethernet, tags, LLC, PPP, MPLS, frame relay.

use super::layer::{Context, HeaderRow, Layer, Next, after, skip, typed, u8_at, u16_at, u24_at};
use super::{PacketQuirks, SkipReason, Span};

/// EtherTypes of headers that may have IP after them, and of IP.
pub(super) const ETHER_TYPES: &[HeaderRow] = &[
    HeaderRow::new(0x0800, "IPv4", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(0x22f3, "TRILL", |span, context| tag(context, trill(span))),
    HeaderRow::new(0x6558, "transparent Ethernet bridging", |span, _| Ok((Layer::Ethernet, span))),
    HeaderRow::new(0x8100, "IEEE 802.1Q", vlan),
    HeaderRow::new(0x86dd, "IPv6", |span, _| Ok((Layer::Ip, span))),
    HeaderRow::new(0x880b, "PPP", |span, _| Ok((Layer::Ppp, span))),
    HeaderRow::new(0x8847, "MPLS", |span, _| Ok((Layer::Mpls, span))),
    HeaderRow::new(0x8848, "MPLS, upstream label", |span, _| Ok((Layer::Mpls, span))),
    HeaderRow::new(0x8864, "PPPoE session", |span, context| {
        context.quirks |= PacketQuirks::PPPOE;
        pppoe(span)
    }),
    HeaderRow::new(0x8870, "jumbo frame with LLC", |span, _| Ok((Layer::Llc, span))),
    HeaderRow::new(0x88a8, "IEEE 802.1ad", vlan),
    HeaderRow::new(0x88e5, "MACsec without encryption", |span, context| tag(context, macsec(span))),
    // IEEE 802.1ah: a service tag, then the customer's addresses and type.
    HeaderRow::new(0x88e7, "IEEE 802.1ah", |span, context| {
        context.quirks |= PacketQuirks::VLAN;
        context.tags.push_vlan(u24_at(span, 1)?);
        type_or_length(u16_at(span, 16)?, skip(span, 18)?)
    }),
    HeaderRow::new(0x8903, "FabricPath", |span, context| {
        tag(context, after(span, 2, Layer::Ethernet))
    }),
    HeaderRow::new(0x8909, "Cisco metadata (security group tag)", |span, context| {
        tag(context, cisco_metadata(span))
    }),
    HeaderRow::new(0x8926, "VN-Tag", |span, context| tag(context, tagged(span, 4))),
    // HSR (IEC 62439-3): path and size, then a sequence number.
    HeaderRow::new(0x892f, "HSR", |span, context| tag(context, tagged(span, 4))),
    HeaderRow::new(0x893f, "IEEE 802.1BR", |span, context| tag(context, tagged(span, 6))),
    HeaderRow::new(0x894f, "NSH", |span, context| tag(context, nsh(span))),
    HeaderRow::new(0x9100, "IEEE 802.1Q, before 802.1ad", vlan),
    HeaderRow::new(0x9200, "IEEE 802.1Q, before 802.1ad", vlan),
    HeaderRow::new(0xf1c1, "IEEE 802.1CB redundancy tag", |span, context| {
        tag(context, tagged(span, 4))
    }),
];

/// EtherTypes of protocols that carry no IP: PUP, ARP, wake on LAN, CDP and other protocols of
/// Cisco, LAN tests, AVTP, DECnet, RARP, AppleTalk, IPX, pause frames, slow protocols, PPPoE
/// discovery, industrial buses, ATA over Ethernet, EAPOL, storage, LLDP and other protocols of
/// bridges, clocks, and loopback tests.
const WITHOUT_IP: &[u16] = &[
    0x0600, 0x0806, 0x0842, 0x0a00, 0x2000, 0x2003, 0x2004, 0x22ea, 0x22f0, 0x22f4, 0x6001, 0x6002,
    0x6003, 0x6004, 0x6005, 0x6007, 0x8035, 0x809b, 0x80f3, 0x8137, 0x8138, 0x8204, 0x86db, 0x8808,
    0x8809, 0x8819, 0x8863, 0x886d, 0x886f, 0x8874, 0x8887, 0x888e, 0x8892, 0x8899, 0x889a, 0x88a2,
    0x88a4, 0x88ab, 0x88b8, 0x88b9, 0x88ba, 0x88bf, 0x88c7, 0x88ca, 0x88cc, 0x88cd, 0x88d9, 0x88dc,
    0x88e1, 0x88e3, 0x88ee, 0x88f5, 0x88f6, 0x88f7, 0x88f8, 0x88fb, 0x8902, 0x8906, 0x890d, 0x8914,
    0x8915, 0x891d, 0x8929, 0x8940, 0x8945, 0x9000, 0xcafe, 0xfffa,
];

/// Reads the header of an EtherType.
pub(super) fn ether_type<'a>(number: u16, span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    match number {
        0x0800 | 0x86dd => Ok((Layer::Ip, span)),
        0x8100 => vlan(span, context),
        _ => match HeaderRow::find(ETHER_TYPES, u32::from(number)) {
            Some(read) => read(span, context),
            None if number < MIN_TYPE || WITHOUT_IP.binary_search(&number).is_ok() => {
                Err(SkipReason::NotIp)
            }
            None => Err(SkipReason::EtherType(number)),
        },
    }
}

/// Returns the next header after a tag, and records the tag.
fn tag<'a>(context: &mut Context<'_>, next: Next<'a>) -> Next<'a> {
    context.quirks |= PacketQuirks::LINK_TAG;
    next
}

/// Reads a tag of `octets` before an Ethernet type field.
fn tagged(span: Span<'_>, octets: usize) -> Next<'_> {
    type_or_length(u16_at(span, octets)?, skip(span, octets + 2)?)
}

/// Reads a VLAN tag: IEEE 802.1Q, 802.1ad, and the types used before the latter.
fn vlan<'a>(span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    context.quirks |= PacketQuirks::VLAN;
    context.tags.push_vlan(u32::from(u16_at(span, 0)? & 0x0fff));
    tagged(span, 2)
}

/// Largest value of an Ethernet type field that is a length (IEEE 802.3, section 3.2.6).
const MAX_LENGTH: u16 = 1500;
/// Smallest value of an Ethernet type field that is a type (IEEE 802.3, section 3.2.6).
const MIN_TYPE: u16 = 0x600;

/// Reads an Ethernet header, or Cisco's ISL header before another one.
pub(super) fn ethernet(span: Span<'_>) -> Next<'_> {
    let number = u16_at(span, 12)?;
    // ISL: a group address of 40 bits; its length counts what follows, without the last four
    // octets of check sequence.
    if let [0x01 | 0x0c, 0x00, 0x0c, 0x00, 0x00, ..] = span.data
        && span.data.get(14..17) == Some(&[0xaa, 0xaa, 0x03])
    {
        return after(span, 26, Layer::Ethernet);
    }
    type_or_length(number, skip(span, 14)?)
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

/// Reads a TRILL header (RFC 6325, section 3) before the inner Ethernet frame.
fn trill(span: Span<'_>) -> Next<'_> {
    let options = usize::from(u16_at(span, 0)? >> 6 & 0x1f) * 4;
    after(span, 6 + options, Layer::Ethernet)
}

/// MACsec flags: the payload is encrypted, or changed.
const MACSEC_ENCRYPTED: u8 = 0x0c;
/// MACsec flag: a secure channel identifier of eight octets is present.
const MACSEC_CHANNEL: u8 = 0x20;
/// Reads a MACsec tag (IEEE 802.1AE, section 9.3) before a payload that is not encrypted. The
/// integrity check value after the payload is outside the IP length.
fn macsec(span: Span<'_>) -> Next<'_> {
    let control = u8_at(span, 0)?;
    if control & MACSEC_ENCRYPTED != 0 {
        return Err(SkipReason::Encrypted);
    }
    tagged(span, if control & MACSEC_CHANNEL != 0 { 14 } else { 6 })
}

/// Reads a Cisco metadata header: version, length in 32-bit words, and options.
fn cisco_metadata(span: Span<'_>) -> Next<'_> {
    let words = usize::from(u8_at(span, 1)?).max(1);
    tagged(span, 2 + words * 4)
}

/// Reads a network service header (RFC 8300, section 2).
fn nsh(span: Span<'_>) -> Next<'_> {
    let len = usize::from(u8_at(span, 1)? & 0x3f) * 4;
    if len < 8 {
        return Err(SkipReason::EtherType(0x894f));
    }
    let layer = match u8_at(span, 3)? {
        1 | 2 => Layer::Ip,
        3 => Layer::Ethernet,
        4 => Layer::EtherType(0x894f),
        5 => Layer::Mpls,
        _ => return Err(SkipReason::NotIp),
    };
    after(span, len, layer)
}

/// Reads IEEE 802.2 LLC: SNAP, IP's own service access point, or OSI's with a network layer
/// protocol identifier.
pub(super) fn llc(span: Span<'_>) -> Next<'_> {
    match span.data {
        // EtherTypes under their own, Cisco's and Apple's organization codes.
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, ..] | [0xaa, 0xaa, 0x03, 0x08, 0, 0x07, ..] => {
            typed(span, 6, 8)
        }
        // RFC 2684, section 5.2: a bridged Ethernet frame, with or without its check sequence.
        [0xaa, 0xaa, 0x03, 0x00, 0x80, 0xc2, 0x00, 0x01 | 0x07, ..] => {
            after(span, 10, Layer::Ethernet)
        }
        [0x06, 0x06, 0x03, ..] => after(span, 3, Layer::Ip),
        [0xfe, 0xfe, 0x03, 0xcc | 0x8e, ..] => after(span, 4, Layer::Ip),
        [_, _, _, ..] => Err(SkipReason::NotIp),
        _ => Err(SkipReason::CutBeforeTcp),
    }
}

/// Reads a frame relay header: an address of two to four octets, then a network layer protocol
/// identifier (RFC 2427) or, as Cisco's routers do, an EtherType.
pub(super) fn frame_relay(span: Span<'_>) -> Next<'_> {
    let mut address = 1;
    while u8_at(span, address - 1)? & 1 == 0 {
        address += 1;
        if address > 4 {
            return Err(SkipReason::NotIp);
        }
    }
    let rest = skip(span, address)?;
    match rest.data {
        [0x03, 0x00, 0xcc | 0x8e, ..] => after(rest, 3, Layer::Ip),
        [0x03, 0xcc | 0x8e, ..] => after(rest, 2, Layer::Ip),
        // RFC 1490: SNAP after an optional octet of padding. Without LLC, organization code and
        // type follow.
        [0x03, 0x00, 0x80, ..] => snap(skip(rest, 3)?),
        [0x03, 0x80, ..] => snap(skip(rest, 2)?),
        [0x03, 0xcf, ..] => after(rest, 2, Layer::Ppp),
        [0x03, ..] => Err(SkipReason::NotIp),
        [_, _, ..] => typed(rest, 0, 2),
        _ => Err(SkipReason::CutBeforeTcp),
    }
}

/// Reads an organization code and a type (RFC 2427, section 4.1).
fn snap(span: Span<'_>) -> Next<'_> {
    match span.data {
        [0, 0, 0, ..] => typed(span, 3, 5),
        // A bridged Ethernet frame, with or without its check sequence.
        [0x00, 0x80, 0xc2, 0x00, 0x01 | 0x07, ..] => after(span, 5, Layer::Ethernet),
        [_, _, _, _, _, ..] => Err(SkipReason::NotIp),
        _ => Err(SkipReason::CutBeforeTcp),
    }
}

/// Reads a PPPoE session header (RFC 2516, section 4).
pub(super) fn pppoe(mut span: Span<'_>) -> Next<'_> {
    if u8_at(span, 1)? != 0 {
        return Err(SkipReason::NotIp);
    }
    span.cap(u32::from(u16_at(span, 4)?) + 6);
    after(span, 6, Layer::Ppp)
}

/// Reads PPP in HDLC-like framing (RFC 1662), which may omit address and control, or Cisco's
/// framing.
pub(super) fn ppp_framed(span: Span<'_>) -> Next<'_> {
    match span.data {
        [0x0f | 0x8f, ..] => cisco_hdlc(span),
        [0xff, 0x03, ..] => after(span, 2, Layer::Ppp),
        _ => Ok((Layer::Ppp, span)),
    }
}

/// Reads Cisco's HDLC framing: address, control, EtherType.
pub(super) fn cisco_hdlc(span: Span<'_>) -> Next<'_> {
    typed(span, 2, 4)
}

/// Reads a PPP protocol field, which is one octet if that is odd (RFC 1661, section 6.5).
pub(super) fn ppp(span: Span<'_>) -> Next<'_> {
    let first = u8_at(span, 0)?;
    let (protocol, len) =
        if first & 1 == 1 { (u16::from(first), 1) } else { (u16_at(span, 0)?, 2) };
    match protocol {
        0x0021 | 0x0057 => after(span, len, Layer::Ip),
        0x0281 | 0x0283 => after(span, len, Layer::Mpls),
        0x0053 | 0x0055 => Err(SkipReason::Encrypted),
        // Headers compressed by Van Jacobson's or IP header compression, multilink, bridged frames,
        // compressed packets.
        0x002d | 0x002f | 0x003d | 0x0031 | 0x0061 | 0x0063 | 0x0065 | 0x0067 | 0x0069 | 0x00fb
        | 0x00fd | 0x2063 | 0x2065 | 0x2067 | 0x2069 => Err(SkipReason::PppProtocol(protocol)),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reads an MPLS label stack (RFC 3032), and finds out what follows, since labels do not tell: IP,
/// or an Ethernet frame with or without a pseudowire's control word (RFC 4448, section 4.6).
pub(super) fn mpls<'a>(mut span: Span<'a>, context: &mut Context<'_>) -> Next<'a> {
    context.quirks |= PacketQuirks::MPLS;
    loop {
        let bottom = u8_at(span, 2)? & 1 == 1;
        span = skip(span, 4)?;
        if bottom {
            break;
        }
    }
    let first = u8_at(span, 0)? >> 4;
    let is_ethernet = holds_known_type(span, 12);
    match first {
        4 | 6 if looks_like_ip(span) || !is_ethernet => Ok((Layer::Ip, span)),
        // The first 16 bits of a control word are zero, and those of an address seldom are.
        0 if !is_ethernet || span.u16_at(0) == Some(0) && holds_known_type(span, 16) => {
            after(span, 4, Layer::Ethernet)
        }
        _ if is_ethernet => Ok((Layer::Ethernet, span)),
        _ => Err(SkipReason::NotIp),
    }
}

/// Reports whether a span begins with an Ethernet header whose type is known.
pub(super) fn begins_with_ethernet(span: Span<'_>) -> bool {
    span.u16_at(12).is_some_and(|number| number >= MIN_TYPE) && holds_known_type(span, 12)
}

/// Reports whether the Ethernet type field at `at` is that of a header that is read, with an IP
/// version after it where it is IP's.
fn holds_known_type(span: Span<'_>, at: usize) -> bool {
    let Some(number) = span.u16_at(at) else { return false };
    let version = span.u8_at(at + 2).map(|octet| octet >> 4);
    match number {
        0x0800 => version == Some(4),
        0x86dd => version == Some(6),
        0x0806 => true,
        // The length of an LLC frame, with padding after it in the shortest frames alone.
        ..=MAX_LENGTH => {
            let rest = span.wire_len as usize - (at + 2).min(span.wire_len as usize);
            usize::from(number) == rest || usize::from(number) < rest && rest <= 50
        }
        _ => HeaderRow::find(ETHER_TYPES, u32::from(number)).is_some(),
    }
}

/// Reports whether the lengths of an IP header fit its span.
fn looks_like_ip(span: Span<'_>) -> bool {
    let fits = |len: u32| len <= span.wire_len;
    match span.data {
        [first @ 0x45..=0x4f, _, high, low, ..] => {
            let total = u16::from_be_bytes([*high, *low]);
            total == 0 || total >= u16::from(first & 0x0f) * 4 && fits(u32::from(total))
        }
        [first, _, _, _, high, low, ..] if first >> 4 == 6 => {
            fits(40 + u32::from(u16::from_be_bytes([*high, *low])))
        }
        _ => false,
    }
}
