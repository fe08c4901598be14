//! Copies of packets: what a mirror of both directions, a bridge or a router shows twice.

use tcpwire::{Flags, IpRepr, Segment};

use crate::{Direction, Packet};

/// Evidence that one copy of a [unique](is_unique) packet adds to a conversation. A unique packet
/// that is no copy takes one away, so that evidence is positive where most of them come twice.
pub(crate) const EVIDENCE_OF_ONE: i8 = 2;
/// Least evidence of a conversation.
pub(crate) const MIN_EVIDENCE: i8 = -8;
/// Largest evidence of a conversation.
pub(crate) const MAX_EVIDENCE: i8 = 16;

/// Reports whether a sender sends no other packet like a segment within a short time. Without
/// octets of the stream and without an IP identification, it may: each packet out of order is
/// answered with the same acknowledgment (RFC 5681, section 4.2), and each one to a closed port
/// with the same RST (RFC 9293, section 3.10.7.1).
pub(crate) fn is_unique(segment: &Segment<'_>) -> bool {
    let (ip_id, _) = ip_fields(segment);
    ip_id != 0
        || segment.payload_len.is_some_and(|len| len > 0)
        || segment.tcp.flags.intersects(Flags::SYN | Flags::FIN)
}

/// Number of packets before a copy among which its original is looked for.
const DEPTH: usize = 32;

/// Reports whether one of the last packets within `window_ns` is the same as a segment, but for
/// what a router changes: time to live and traffic class.
pub(crate) fn is_among(
    packets: &[Packet],
    options: &[u8],
    time_ns: i64,
    (segment, direction): (&Segment<'_>, Direction),
    window_ns: i64,
) -> bool {
    let tcp = &segment.tcp;
    let (ip_id, flow_label) = ip_fields(segment);
    let recent = packets.iter().rev().take(DEPTH);
    recent.take_while(|packet| is_within(packet.time_ns, time_ns, window_ns)).any(|packet| {
        let from = packet.options.start as usize;
        packet.direction == direction
            && (packet.seq, packet.ack, packet.flags) == (tcp.seq, tcp.ack, tcp.flags)
            && packet.payload_len == segment.payload_len.unwrap_or(0)
            && (packet.ip_id, packet.flow_label) == (ip_id, flow_label)
            && (packet.window, packet.urgent) == (tcp.window, tcp.urgent)
            && options[from..from + usize::from(packet.options.len)] == *tcp.options
    })
}

/// Reports whether two times are at most `window_ns` apart.
fn is_within(before_ns: i64, time_ns: i64, window_ns: i64) -> bool {
    time_ns.abs_diff(before_ns) <= window_ns.unsigned_abs()
}

/// Returns IPv4's identification and IPv6's flow label; 0 where the version has none.
fn ip_fields(segment: &Segment<'_>) -> (u16, u32) {
    match &segment.ip {
        IpRepr::V4(ip) => (ip.id, 0),
        IpRepr::V6(ip) => (0, ip.flow_label),
    }
}

/// Number of packets that a conversation without buffers remembers.
const RECENT: usize = 8;

/// Times and digests of the last packets of a conversation whose packets are not buffered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecentPackets {
    /// Time and digest, by the number of the packet modulo [`RECENT`].
    packets: [Option<(i64, u64)>; RECENT],
    next: usize,
}

impl RecentPackets {
    /// Adds a packet in place of the oldest one.
    pub(crate) fn push(&mut self, time_ns: i64, segment: &Segment<'_>, direction: Direction) {
        self.packets[self.next % RECENT] = Some((time_ns, digest(segment, direction)));
        self.next += 1;
    }

    /// Reports whether a packet within `window_ns` is the same as a segment, like [`is_among`].
    pub(crate) fn contains(
        &self,
        time_ns: i64,
        segment: &Segment<'_>,
        direction: Direction,
        window_ns: i64,
    ) -> bool {
        let digest = digest(segment, direction);
        self.packets
            .iter()
            .flatten()
            .any(|(at_ns, other)| *other == digest && is_within(*at_ns, time_ns, window_ns))
    }
}

/// Returns a digest of the fields that a copy has as its original.
fn digest(segment: &Segment<'_>, direction: Direction) -> u64 {
    let tcp = &segment.tcp;
    let (ip_id, flow_label) = ip_fields(segment);
    let words = [
        u64::from(tcp.seq.0) << 32 | u64::from(tcp.ack.0),
        u64::from(tcp.flags.bits()) << 32 | u64::from(segment.payload_len.unwrap_or(0)),
        u64::from(ip_id) << 32 | u64::from(flow_label),
        u64::from(tcp.window) << 32 | u64::from(tcp.urgent) << 1 | direction.index() as u64,
    ];
    // FNV-1a over words: no output shows the digest.
    let mix =
        |digest: u64, word: u64| (digest ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let digest = words.into_iter().fold(0xcbf2_9ce4_8422_2325, mix);
    // Options take 32-bit words, unless the header was captured in part.
    let (words, rest) = tcp.options.as_chunks();
    let digest = words.iter().map(|word| u32::from_ne_bytes(*word).into()).fold(digest, mix);
    rest.iter().map(|octet| u64::from(*octet)).fold(digest, mix)
}
