//! Packets split to the MTU of a link, as a network card splits what a host hands it with
//! segmentation offload (`--mtu`).
//!
//! The rules are those of Linux's `tcp_gso_segment` and `inet_gso_segment`: every segment has the
//! header of the packet, with its own sequence number, IP identification and lengths; FIN, PSH and
//! RST are on the last one, CWR is on the first one (RFC 3168, section 6.1.2).

use flowtrack::{Direction, Flow, Packet};
use tcpwire::Flags;

/// MTU of Ethernet, in octets: tools that send captures, such as tcpreplay, send no longer packets.
pub(crate) const ETHERNET_MTU: u32 = 1500;

/// Octets of a TCP header without options.
const TCP_HEADER: u32 = 20;

/// Returns the length of a packet's headers from IP on, in octets.
fn header_len(flow: &Flow, packet: &Packet) -> u32 {
    let ip_header = if flow.client.addr.is_ipv6() { 40 } else { 20 };
    ip_header + TCP_HEADER + u32::from(packet.options.len)
}

/// Counts the packets of a flow that are longer than `mtu` octets, from the IP header on.
pub(crate) fn count_longer(flow: &Flow, mtu: u32) -> u64 {
    let is_longer = |packet: &&Packet| is_longer(flow, packet, mtu);
    flow.packets.iter().filter(is_longer).count() as u64
}

fn is_longer(flow: &Flow, packet: &Packet, mtu: u32) -> bool {
    packet.payload_len > 0 && header_len(flow, packet).saturating_add(packet.payload_len) > mtu
}

/// Splits the packets of a flow that are longer than `mtu` octets; returns how many these were. The
/// segments of a packet have its time.
pub(crate) fn split(flow: &mut Flow, mtu: u32) -> u64 {
    let longer = count_longer(flow, mtu);
    if longer == 0 {
        return 0;
    }
    let keeps_cwr = is_accurate_ecn(flow);
    let ids = [Direction::Forward, Direction::Reverse].map(|direction| IpIds::of(flow, direction));
    let mut packets = Vec::with_capacity(flow.packets.len());
    for packet in &flow.packets {
        if is_longer(flow, packet, mtu) {
            let max_payload = mtu.saturating_sub(header_len(flow, packet)).max(1);
            let ids = ids[packet.direction.index()];
            segments(packet, max_payload, ids, keeps_cwr, &mut packets);
        } else {
            packets.push(*packet);
        }
    }
    flow.packets = packets;
    longer
}

/// IP identifications of the segments of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IpIds {
    /// Each is one more than the one before.
    Incremental,
    /// All are that of the packet: the side has one for all packets that may not be fragmented, 0
    /// in most systems that have (RFC 6864, section 4.1).
    Same,
}

impl IpIds {
    /// Returns the identifications of a side, as its packets show.
    fn of(flow: &Flow, direction: Direction) -> IpIds {
        let mut own = flow.packets.iter().filter(|p| p.direction == direction);
        // IPv6 has no identification.
        let Some(first) = own.next().filter(|_| flow.client.addr.is_ipv4()) else {
            return IpIds::Same;
        };
        let mut more = own.peekable();
        let is_lone = more.peek().is_none();
        let is_same = more.all(|p| p.ip_id == first.ip_id && p.dont_fragment);
        if is_same && first.dont_fragment && (!is_lone || first.ip_id == 0) {
            IpIds::Same
        } else {
            IpIds::Incremental
        }
    }
}

/// Returns whether the flow asks for Accurate ECN, whose counter stands in CWR too (RFC 9768,
/// section 3.1.1): then every segment has it, as the counter says the same in each.
fn is_accurate_ecn(flow: &Flow) -> bool {
    flow.packets.iter().any(|p| p.flags.contains(Flags::SYN | Flags::AE))
}

/// Appends the segments of a packet, each with at most `max_payload` octets of payload.
fn segments(packet: &Packet, max_payload: u32, ids: IpIds, keeps_cwr: bool, to: &mut Vec<Packet>) {
    let mut at = 0;
    let mut number = 0_u16;
    while at < packet.payload_len {
        let payload_len = max_payload.min(packet.payload_len - at);
        let is_first = at == 0;
        let is_last = at + payload_len == packet.payload_len;
        let mut segment = Packet { payload_len, ..*packet };
        if !is_first {
            // A SYN takes the sequence number before the payload (RFC 9293, section 3.4).
            let syn = u32::from(packet.flags.contains(Flags::SYN));
            segment.seq = packet.seq.add(at + syn);
            segment.flags.remove(Flags::SYN);
            if !keeps_cwr {
                segment.flags.remove(Flags::CWR);
            }
        }
        if !is_last {
            segment.flags.remove(Flags::FIN | Flags::PSH | Flags::RST);
        }
        set_urgent(&mut segment, at);
        if ids == IpIds::Incremental {
            segment.ip_id = packet.ip_id.wrapping_add(number);
        }
        to.push(segment);
        number = number.wrapping_add(1);
        at += payload_len;
    }
}

/// Sets the urgent pointer of a segment that begins `at` octets behind its packet: it counts from
/// the segment's sequence number (RFC 9293, section 3.8.5).
fn set_urgent(segment: &mut Packet, at: u32) {
    if !segment.flags.contains(Flags::URG) || at == 0 {
        return;
    }
    match u32::from(segment.urgent).checked_sub(at) {
        Some(rest @ 1..) => segment.urgent = rest as u16,
        _ => {
            segment.urgent = 0;
            segment.flags.remove(Flags::URG);
        }
    }
}

#[cfg(test)]
mod tests {
    use flowtrack::OptionsRef;
    use tcpwire::SeqNum;

    use super::*;

    fn packet(payload_len: u32, flags: Flags, ip_id: u16) -> Packet {
        Packet {
            time_ns: 7,
            seq: SeqNum(u32::MAX - 999),
            ack: SeqNum(5),
            payload_len,
            flow_label: 0,
            options: OptionsRef { start: 0, len: 12 },
            flags,
            window: 9,
            urgent: 0,
            ip_id,
            ttl: 64,
            traffic_class: 0,
            dont_fragment: true,
            direction: Direction::Forward,
        }
    }

    fn flow(packets: Vec<Packet>, addr: &str) -> Flow {
        let addr = addr.parse().unwrap();
        Flow { packets, options: vec![1; 12], ..Flow::new(addr, addr) }
    }

    /// Splits a flow; compares sequence numbers relative to the first, payload lengths, flags and
    /// IP identifications.
    fn check(mut flow: Flow, mtu: u32, expected: &[(u32, u32, Flags, u16)]) {
        let first = flow.packets[0].seq;
        let octets: u32 = flow.packets.iter().map(|p| p.payload_len).sum();
        split(&mut flow, mtu);
        let found: Vec<_> = flow
            .packets
            .iter()
            .map(|p| (p.seq.distance(first).unsigned_abs(), p.payload_len, p.flags, p.ip_id))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(flow.packets.iter().map(|p| p.payload_len).sum::<u32>(), octets);
        assert_eq!(count_longer(&flow, mtu), 0);
        assert!(flow.packets.iter().all(|p| (p.time_ns, p.options.len) == (7, 12)));
    }

    const ACK: Flags = Flags::ACK;

    #[test]
    fn a_long_packet_becomes_segments_of_the_mtu() {
        let flags = Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR;
        let expected = [
            (0, 1448, Flags::ACK | Flags::CWR, 10),
            (1448, 1448, ACK, 11),
            (2896, 4, Flags::ACK | Flags::PSH | Flags::FIN, 12),
        ];
        check(flow(vec![packet(2900, flags, 10)], "192.0.2.1"), 1500, &expected);
    }

    #[test]
    fn a_packet_of_the_mtu_stays() {
        let whole = |payload| flow(vec![packet(payload, ACK, 3)], "192.0.2.1");
        check(whole(1448), 1500, &[(0, 1448, ACK, 3)]);
        check(whole(1449), 1500, &[(0, 1448, ACK, 3), (1448, 1, ACK, 4)]);
        assert_eq!(split(&mut whole(1448), 1500), 0);
        assert_eq!(split(&mut whole(1449), 1500), 1);
    }

    #[test]
    fn ipv6_has_a_longer_header_and_no_identification() {
        let mut packet = packet(1430, ACK, 0);
        packet.dont_fragment = false;
        let expected = [(0, 1428, ACK, 0), (1428, 2, ACK, 0)];
        check(flow(vec![packet], "2001:db8::1"), 1500, &expected);
    }

    #[test]
    fn an_identification_that_is_always_the_same_stays() {
        let zero = flow(vec![packet(1450, ACK, 0)], "192.0.2.1");
        check(zero, 1500, &[(0, 1448, ACK, 0), (1448, 2, ACK, 0)]);
        let same = flow(vec![packet(1450, ACK, 9), packet(1, ACK, 9)], "192.0.2.1");
        check(same, 1500, &[(0, 1448, ACK, 9), (1448, 2, ACK, 9), (0, 1, ACK, 9)]);
        let last = flow(vec![packet(1450, ACK, u16::MAX), packet(1, ACK, 1)], "192.0.2.1");
        check(last, 1500, &[(0, 1448, ACK, u16::MAX), (1448, 2, ACK, 0), (0, 1, ACK, 1)]);
    }

    #[test]
    fn syn_and_urgent_pointer_keep_their_octets() {
        let syn = flow(vec![packet(1450, Flags::SYN, 1)], "192.0.2.1");
        check(syn, 1500, &[(0, 1448, Flags::SYN, 1), (1449, 2, Flags::empty(), 2)]);
        let mut urgent = packet(4000, Flags::ACK | Flags::URG, 1);
        urgent.urgent = 1500;
        let mut split_flow = flow(vec![urgent], "192.0.2.1");
        split(&mut split_flow, 1500);
        let found: Vec<_> =
            split_flow.packets.iter().map(|p| (p.urgent, p.flags.contains(Flags::URG))).collect();
        assert_eq!(found, [(1500, true), (52, true), (0, false)]);
    }

    #[test]
    fn accurate_ecn_keeps_its_counter_in_each_segment() {
        let flags = Flags::ACK | Flags::CWR;
        let opening = packet(0, Flags::SYN | Flags::AE | Flags::CWR | Flags::ECE, 1);
        let mut flow = flow(vec![opening, packet(1450, flags, 2)], "192.0.2.1");
        split(&mut flow, 1500);
        assert!(flow.packets[1..].iter().all(|p| p.flags == flags));
        assert_eq!(flow.packets.len(), 3);
    }
}
