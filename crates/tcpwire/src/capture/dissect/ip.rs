//! IPv4 and IPv6, with options, extension headers and fragmentation.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::fragments::{DatagramKey, Fragment};
use super::layer::Context;
use super::{PacketQuirks, SkipReason, Span};
use crate::{IpRepr, Ipv4Repr, Ipv6Repr};

/// Payload of an IP header.
pub(super) enum Payload<'a> {
    /// Payload of a protocol, by its number.
    Whole(u8, Span<'a>),
    /// A fragment that was captured whole.
    Fragment(Fragment<'a>),
}

/// Length of an IPv4 header without options, in octets.
pub(super) const V4_HEADER: usize = 20;
/// Length of an IPv6 header without extensions, in octets.
pub(super) const V6_HEADER: usize = 40;
/// More-fragments flag (MF) among IPv4 flags and offset.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Don't-fragment flag (DF) among IPv4 flags and offset.
pub(super) const DONT_FRAGMENT: u16 = 0x4000;
/// Reserved flag, zero by RFC 791, section 3.1.
const RESERVED: u16 = 0x8000;
/// Fragment offset, in units of eight octets.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Reads an IP header of the version in its first octet.
pub(super) fn read<'a>(
    span: Span<'a>,
    context: &mut Context<'_>,
) -> Result<Payload<'a>, SkipReason> {
    match span.u8_at(0).ok_or(SkipReason::CutBeforeTcp)? >> 4 {
        4 => read_v4(span, context),
        6 => read_v6(span, context),
        _ => Err(SkipReason::BadIp),
    }
}

/// Makes `ip` the innermost header. An IP header before it becomes that of a tunnel.
fn enter(context: &mut Context<'_>, ip: IpRepr) {
    if context.ip.is_some() {
        // Quirks of the outer header belong to the tunnel, not to the segment.
        let outer_only = PacketQuirks::IP_OPTIONS
            | PacketQuirks::IPV6_EXTENSION
            | PacketQuirks::IPV4_RESERVED
            | PacketQuirks::NO_IP_LENGTH
            | PacketQuirks::NO_IPV6_LENGTH
            | PacketQuirks::JUMBO_PAYLOAD;
        context.quirks = context.quirks.difference(outer_only) | PacketQuirks::TUNNEL;
    }
    context.ip = Some(ip);
}

/// Returns the fields of an IPv4 header.
#[inline]
pub(super) fn v4_repr(header: &[u8; V4_HEADER]) -> Ipv4Repr {
    Ipv4Repr {
        src: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
        dst: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
        traffic_class: header[1],
        id: u16::from_be_bytes([header[4], header[5]]),
        dont_fragment: u16::from_be_bytes([header[6], header[7]]) & DONT_FRAGMENT != 0,
        ttl: header[8],
    }
}

/// Reads an IPv4 header (RFC 791, section 3.1).
fn read_v4<'a>(span: Span<'a>, context: &mut Context<'_>) -> Result<Payload<'a>, SkipReason> {
    let header: &[u8; V4_HEADER] = span.data.first_chunk().ok_or(SkipReason::CutBeforeTcp)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = u16::from_be_bytes([header[2], header[3]]);
    if header_len < V4_HEADER || (total_len != 0 && usize::from(total_len) < header_len) {
        return Err(SkipReason::BadIp);
    }
    enter(context, IpRepr::V4(v4_repr(header)));
    let mut datagram = span;
    // A total length of 0 is written by network cards that split segments later (TSO).
    if total_len == 0 {
        context.quirks |= PacketQuirks::NO_IP_LENGTH;
    } else {
        datagram.cap(u32::from(total_len));
    }
    if header_len > V4_HEADER {
        context.quirks |= PacketQuirks::IP_OPTIONS;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & RESERVED != 0 {
        context.quirks |= PacketQuirks::IPV4_RESERVED;
    }
    let payload = datagram.skip(header_len).ok_or(SkipReason::CutBeforeTcp)?;
    let protocol = header[9];
    if fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) == 0 {
        context.partial = false;
        return Ok(Payload::Whole(protocol, payload));
    }
    let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let offset = u32::from(fragment & FRAGMENT_OFFSET) * 8;
    fragment_of(payload, context, protocol, id, offset, fragment & MORE_FRAGMENTS != 0)
}

/// Returns a fragment, which is reassembled if it was captured whole. Of fragments captured in
/// part, the first is read as far as it goes.
fn fragment_of<'a>(
    payload: Span<'a>,
    context: &mut Context<'_>,
    protocol: u8,
    id: u32,
    offset: u32,
    more: bool,
) -> Result<Payload<'a>, SkipReason> {
    let ip = context.ip.ok_or(SkipReason::BadIp)?;
    context.quirks |= PacketQuirks::FRAGMENTED;
    if payload.is_whole() {
        let key = DatagramKey { src: ip.src(), dst: ip.dst(), id, protocol };
        return Ok(Payload::Fragment(Fragment { key, offset, more, octets: payload.data }));
    }
    if offset != 0 {
        return Err(SkipReason::LostFragment(protocol));
    }
    context.partial = more;
    Ok(Payload::Whole(protocol, payload))
}

/// Returns the fields of an IPv6 header.
#[inline]
pub(super) fn v6_repr(header: &[u8; V6_HEADER]) -> Ipv6Repr {
    let word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    // An address as a number is two registers; as an array it would be copied in memory.
    let addr = |octets: Option<&[u8; 16]>| {
        Ipv6Addr::from_bits(octets.map_or(0, |o| u128::from_be_bytes(*o)))
    };
    Ipv6Repr {
        src: addr(header[8..].first_chunk()),
        dst: addr(header.last_chunk()),
        traffic_class: (word >> 20) as u8,
        flow_label: word & 0xf_ffff,
        hop_limit: header[7],
    }
}

/// Reads an IPv6 header (RFC 8200, section 3).
fn read_v6<'a>(span: Span<'a>, context: &mut Context<'_>) -> Result<Payload<'a>, SkipReason> {
    let header: &[u8; V6_HEADER] = span.data.first_chunk().ok_or(SkipReason::CutBeforeTcp)?;
    enter(context, IpRepr::V6(v6_repr(header)));
    context.partial = false;
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    let payload = span.skip(V6_HEADER).ok_or(SkipReason::CutBeforeTcp)?;
    if payload_len == 0 {
        return without_length(header[6], payload, context);
    }
    let mut datagram = payload;
    datagram.cap(u32::from(payload_len));
    extensions(header[6], datagram, context)
}

/// Reads what follows an IPv6 header with the payload length 0: a jumbo payload (RFC 2675), or a
/// segment that a network card splits later (TSO), whose length is that of the frame.
#[cold]
fn without_length<'a>(
    next: u8,
    mut payload: Span<'a>,
    context: &mut Context<'_>,
) -> Result<Payload<'a>, SkipReason> {
    let jumbo = if next == HOP_BY_HOP { jumbo_len(payload) } else { None };
    let Some(len) = jumbo else {
        context.quirks |= PacketQuirks::NO_IPV6_LENGTH;
        return extensions(next, payload, context);
    };
    payload.cap(len);
    // Linux puts a hop-by-hop header with nothing else into segments of more than 64 KiB (BIG TCP),
    // and its devices take it out again.
    if let [next, 0, JUMBO_PAYLOAD, ..] = *payload.data {
        context.quirks |= PacketQuirks::JUMBO_PAYLOAD;
        return extensions(next, payload.skip(8).ok_or(SkipReason::CutBeforeTcp)?, context);
    }
    extensions(next, payload, context)
}

/// Hop-by-hop options (RFC 8200, section 4.3).
const HOP_BY_HOP: u8 = 0;
/// Routing header (RFC 8200, section 4.4).
const ROUTING: u8 = 43;
/// Fragment header (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;
/// Destination options (RFC 8200, section 4.6).
const DESTINATION: u8 = 60;
/// Mobility header (RFC 6275, section 6.1).
const MOBILITY: u8 = 135;
/// Host Identity Protocol (RFC 7401).
const HIP: u8 = 139;
/// Shim6 protocol (RFC 5533).
const SHIM6: u8 = 140;
/// Largest number of extension headers of one datagram.
const MAX_EXTENSIONS: usize = 16;

/// Reads extension headers up to another protocol, or a fragment (RFC 8200, section 4).
fn extensions<'a>(
    mut next: u8,
    mut payload: Span<'a>,
    context: &mut Context<'_>,
) -> Result<Payload<'a>, SkipReason> {
    for _ in 0..MAX_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => {
                let len = (usize::from(payload.u8_at(1).ok_or(SkipReason::CutBeforeTcp)?) + 1) * 8;
                next = payload.u8_at(0).ok_or(SkipReason::CutBeforeTcp)?;
                payload = payload.skip(len).ok_or(SkipReason::CutBeforeTcp)?;
                context.quirks |= PacketQuirks::IPV6_EXTENSION;
            }
            FRAGMENT => {
                let header: &[u8; 8] =
                    payload.data.first_chunk().ok_or(SkipReason::CutBeforeTcp)?;
                let offset = u16::from_be_bytes([header[2], header[3]]);
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                next = header[0];
                payload = payload.skip(8).ok_or(SkipReason::CutBeforeTcp)?;
                context.quirks |= PacketQuirks::IPV6_EXTENSION;
                // RFC 6946: a fragment header with offset 0 and without the M flag is an atomic
                // fragment, a datagram that is whole.
                if offset & 0xfff9 != 0 {
                    return fragment_of(
                        payload,
                        context,
                        next,
                        id,
                        u32::from(offset & 0xfff8),
                        offset & 1 != 0,
                    );
                }
            }
            protocol => return Ok(Payload::Whole(protocol, payload)),
        }
    }
    Err(SkipReason::TooDeep)
}

/// Type of the jumbo payload option (RFC 2675, section 2).
const JUMBO_PAYLOAD: u8 = 0xc2;

/// Returns the length in the jumbo payload option of a hop-by-hop header (RFC 2675, section 2).
fn jumbo_len(payload: Span<'_>) -> Option<u32> {
    let len = (usize::from(payload.u8_at(1)?) + 1) * 8;
    let mut options = payload.data.get(2..len)?;
    loop {
        match *options {
            // Pad1 is the only option without a length octet.
            [0, ..] => options = &options[1..],
            [JUMBO_PAYLOAD, 4, a, b, c, d, ..] => return Some(u32::from_be_bytes([a, b, c, d])),
            [_, len, ..] => options = options.get(2 + usize::from(len)..)?,
            _ => return None,
        }
    }
}
