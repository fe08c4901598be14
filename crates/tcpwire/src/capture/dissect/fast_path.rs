//! The common case in one step: Ethernet or a Linux cooked header, IP without options or
//! extensions, and a TCP header that was captured whole.

use super::{PacketQuirks, Segment, Tags, TcpView, ip, link_header, tcp};
use crate::{Flags, Frame, IpRepr, LinkType, SeqNum, TimestampResolution};

/// Length of a TCP header without options, in octets.
const TCP_HEADER: usize = 20;

/// Calls `f` with the segment of a frame, the same segment as header by header. Returns `None` if
/// anything about the frame is rare. Each IP version calls `f` itself: a common call would copy the
/// segment in memory.
#[inline]
pub(super) fn read<'a, T>(frame: &Frame<'a>, f: impl FnOnce(&Segment<'a>) -> T) -> Option<T> {
    if frame.resolution == TimestampResolution::Invalid {
        return None;
    }
    let data = frame.data;
    let (ether_type, ip_at) = match frame.link {
        LinkType::ETHERNET => (data.get(12..14)?, 14),
        link => link_header::cooked_protocol(link, data)?,
    };
    let ip = data.get(ip_at..)?;
    let wire_len = frame.orig_len.max(data.len() as u32) - ip_at as u32;
    let tags = Tags::on(frame);
    match (ether_type, ip.first()?) {
        ([0x08, 0x00], 0x45) => over_v4(ip, wire_len, tags, f),
        ([0x86, 0xdd], first) if first >> 4 == 6 => over_v6(ip, wire_len, tags, f),
        _ => None,
    }
}

/// Reads IPv4 without options and fragmentation.
#[inline]
fn over_v4<'a, T>(
    data: &'a [u8],
    wire_len: u32,
    tags: Tags,
    f: impl FnOnce(&Segment<'a>) -> T,
) -> Option<T> {
    let header: &[u8; ip::V4_HEADER] = data.first_chunk()?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if header[9] != tcp::PROTOCOL || fragment & !ip::DONT_FRAGMENT != 0 {
        return None;
    }
    let ip_end = u32::from(u16::from_be_bytes([header[2], header[3]]));
    let (tcp, payload_len) = segment(data, ip::V4_HEADER, ip_end, wire_len)?;
    let ip = IpRepr::V4(ip::v4_repr(header));
    let quirks = PacketQuirks::default();
    Some(f(&Segment { ip, tcp, payload_len: Some(payload_len), quirks, tags }))
}

/// Reads IPv6 without extension headers.
#[inline]
fn over_v6<'a, T>(
    data: &'a [u8],
    wire_len: u32,
    tags: Tags,
    f: impl FnOnce(&Segment<'a>) -> T,
) -> Option<T> {
    let header: &[u8; ip::V6_HEADER] = data.first_chunk()?;
    if header[6] != tcp::PROTOCOL {
        return None;
    }
    let payload_len = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let ip_end = ip::V6_HEADER as u32 + payload_len;
    let (tcp, payload_len) = segment(data, ip::V6_HEADER, ip_end, wire_len)?;
    let ip = IpRepr::V6(ip::v6_repr(header));
    let quirks = PacketQuirks::default();
    Some(f(&Segment { ip, tcp, payload_len: Some(payload_len), quirks, tags }))
}

/// Returns the TCP header at `from`, and the number of octets between its end and `ip_end`. `None`
/// if the header was not captured whole, or the frame is shorter than the IP length.
#[inline]
fn segment(data: &[u8], from: usize, ip_end: u32, wire_len: u32) -> Option<(TcpView<'_>, u32)> {
    let header: &[u8; TCP_HEADER] = data.get(from..)?.first_chunk()?;
    let header_len = header[12] >> 4 << 2;
    let end = from + usize::from(header_len);
    let payload_len = ip_end.checked_sub(end as u32)?;
    let options = data.get(from + TCP_HEADER..end)?;
    if ip_end > wire_len {
        return None;
    }
    #[rustfmt::skip] // a 32-bit word of the header a line, as RFC 9293, section 3.1, shows it
    let &[
        from_high, from_low, to_high, to_low,
        seq3, seq2, seq1, seq0,
        ack3, ack2, ack1, ack0,
        flags_high, flags_low, window_high, window_low,
        sum_high, sum_low, urgent_high, urgent_low,
    ] = header;
    let view = TcpView {
        src_port: u16::from_be_bytes([from_high, from_low]),
        dst_port: u16::from_be_bytes([to_high, to_low]),
        seq: SeqNum(u32::from_be_bytes([seq3, seq2, seq1, seq0])),
        ack: SeqNum(u32::from_be_bytes([ack3, ack2, ack1, ack0])),
        header_len,
        flags: Flags::from_bits_retain(u16::from_be_bytes([flags_high & 0x0f, flags_low])),
        window: u16::from_be_bytes([window_high, window_low]),
        checksum: u16::from_be_bytes([sum_high, sum_low]),
        urgent: u16::from_be_bytes([urgent_high, urgent_low]),
        options,
    };
    Some((view, payload_len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{Dissector, Frame, LinkType, Segment, TimestampResolution};

    const V4: [u8; 40] = [
        0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x10, 0xff, 0xff, 0, 3, 0, 4, // TCP
    ];

    /// Link types of the short way, the place of the EtherType in each, and the header's length.
    const LINKS: [(LinkType, usize, usize); 3] = [
        (LinkType::ETHERNET, 12, 14),
        (LinkType::LINUX_SLL, 14, 16),
        (LinkType::LINUX_SLL2, 0, 20),
    ];

    /// Returns a packet after a link-layer header, and the length of that.
    fn packet(link: usize, is_v6: bool) -> (LinkType, Vec<u8>, usize) {
        let (link, type_at, len) = LINKS[link];
        let mut octets = vec![2; len];
        octets[type_at..type_at + 2]
            .copy_from_slice(&[[0x08, 0x00], [0x86, 0xdd]][usize::from(is_v6)]);
        if is_v6 {
            octets.extend([0x60, 0x12, 0x34, 0x56, 0, 20, 6, 64]);
            octets.extend([1; 32]);
            octets.extend(&V4[20..]);
        } else {
            octets.extend(V4);
        }
        (link, octets, len)
    }

    fn frame(link: LinkType, data: &[u8], orig_len: u32) -> Frame<'_> {
        let (number, time_ns, interface) = (1, 0, 0);
        let resolution = TimestampResolution::Micros;
        Frame { number, time_ns, resolution, orig_len, link, interface, data }
    }

    #[test]
    fn plain_frames_go_the_short_way() {
        for link in 0..LINKS.len() {
            for is_v6 in [false, true] {
                let (link, data, _) = packet(link, is_v6);
                let frame = frame(link, &data, data.len() as u32);
                assert!(super::read(&frame, |s| s.quirks).is_some(), "{link:?} {is_v6}");
                let untimed = Frame { resolution: TimestampResolution::Invalid, ..frame };
                assert!(super::read(&untimed, |s| s.quirks).is_none());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 5000 }))]

        #[test]
        fn the_short_way_leads_where_the_long_one_does(
            link in 0..LINKS.len(),
            is_v6: bool,
            changes in prop::collection::vec((0usize..80, any::<u8>()), 0..4),
            is_radio: bool,
            ip_len in prop::option::of(0u16..120),
            data_offset in 0u8..16,
            more in 0usize..80,
            longer in 0u32..60,
        ) {
            let (link, mut data, len) = packet(link, is_v6);
            let (len_at, offset_at) = if is_v6 { (len + 4, len + 52) } else { (len + 2, len + 32) };
            data[offset_at] = data_offset << 4;
            if let Some(len) = ip_len {
                data[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
            }
            if is_radio {
                let at = if link == LinkType::LINUX_SLL { 2 } else { 8 };
                data[at..at + 2].copy_from_slice(&803u16.to_be_bytes());
            }
            data.extend((0..more).map(|n| n as u8));
            for (at, octet) in changes {
                if let Some(slot) = data.get_mut(at) {
                    *slot = octet;
                }
            }
            let orig_len = (data.len() as u32 + longer).saturating_sub(20);
            let frame = frame(link, &data, orig_len);
            if let Some(short) = super::read(&frame, Segment::clone) {
                let mut long = Dissector::default();
                prop_assert_eq!(long.dissect_any(&frame), Ok(short));
            }
        }
    }
}
