//! Flows to test with: of arbitrary header values, or plain ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowtrack::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
use proptest::prelude::*;
use tcpwire::{Flags, SeqNum};

/// Returns a flow without packets, of either IP version.
pub(crate) fn empty(v6: bool, server_port: u16) -> Flow {
    let addr = |last: u8| match v6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        false => Ipv4Addr::new(192, 0, 2, last).into(),
    };
    Flow {
        client: Endpoint { addr: addr(1), port: 40_000 },
        server: Endpoint { addr: addr(2), port: server_port },
        first_frame: 0,
        packets: Vec::new(),
        options: Vec::new(),
        completeness: Completeness::default(),
    }
}

/// Returns a pure ACK with ordinary values.
pub(crate) fn packet(v6: bool) -> Packet {
    Packet {
        time_ns: 1_700_000_000_000_000_000,
        seq: SeqNum(0),
        ack: SeqNum(0),
        payload_len: 0,
        flow_label: 0,
        options: OptionsRef::default(),
        flags: Flags::ACK,
        window: 1000,
        urgent: 0,
        ip_id: 0,
        ttl: 64,
        traffic_class: 0,
        dont_fragment: !v6,
        direction: Direction::Forward,
    }
}

/// Appends a packet with these option octets to `flow`.
pub(crate) fn push(flow: &mut Flow, mut packet: Packet, options: &[u8]) {
    packet.options = OptionsRef { start: flow.options.len() as u32, len: options.len() as u8 };
    flow.options.extend_from_slice(options);
    flow.packets.push(packet);
}

/// Generates option octets: common options, and octets that do not parse.
fn option_octets() -> impl Strategy<Value = Vec<u8>> {
    let element = prop_oneof![
        Just(vec![1u8]),
        Just(vec![1, 1]),
        Just(vec![0]),
        any::<u16>().prop_map(|m| [&[2, 4][..], &m.to_be_bytes()].concat()),
        any::<u8>().prop_map(|s| vec![3, 3, s]),
        Just(vec![4, 2]),
        (timestamp(), timestamp()).prop_map(|(a, b)| [
            &[8, 10][..],
            &a.to_be_bytes(),
            &b.to_be_bytes()
        ]
        .concat()),
        (0u32..4, any::<[u8; 32]>()).prop_map(|(n, o)| [
            &[5, 10 + 8 * n as u8][..],
            &o[..8 + 8 * n as usize]
        ]
        .concat()),
        prop::collection::vec(any::<u8>(), 1..12),
        unlisted_option(),
    ];
    prop::collection::vec(element, 0..6).prop_map(|elements| {
        let mut octets = elements.concat();
        octets.truncate(40);
        while octets.len() % 4 != 0 {
            octets.push(1);
        }
        octets
    })
}

/// Generates an option without tokens of its own: multipath, a signature, a cookie, counters, an
/// experiment or any other.
fn unlisted_option() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![30u8, 19, 34, 172, 174, 254, 77]);
    let octets = prop::collection::vec(0u8..4, 0..12);
    (kind, octets)
        .prop_map(|(kind, octets)| [&[kind, 2 + octets.len() as u8], &octets[..]].concat())
}

/// Generates timestamp values: arbitrary ones, and some 2^31 ticks apart.
fn timestamp() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => any::<u32>(),
        1 => (0u32..3, 0u32..2).prop_map(|(near, half)| near + (half << 31)),
    ]
}

/// Generates sequence numbers: most of them near one another.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..6000, 2 => (0u32..5).prop_map(|k| k * 1460), 1 => any::<u32>()]
}

/// Generates a packet, its option octets, and the gap before it in nanoseconds.
fn any_packet(v6: bool) -> impl Strategy<Value = (Packet, Vec<u8>, i64)> {
    let gap = prop_oneof![
        3 => 0i64..5_000_000,
        1 => -2_000i64..0,
        1 => 0i64..1 << 50,
        1 => (0i64..9000).prop_map(|g| g * 1000),
    ];
    let tcp = (
        number(),
        number(),
        any::<u16>(),
        any::<u16>(),
        0u16..0x1000,
        any::<u16>(),
        option_octets(),
    );
    let common = prop_oneof![
        Just(0x10u16),
        Just(0x18),
        Just(0x11),
        Just(0x02),
        Just(0x12),
        Just(0x04),
        Just(0x14),
        // SYN, SYN-ACK and ACK with counters of Accurate ECN.
        Just(0x1c2),
        Just(0x092),
        Just(0x150)
    ];
    let len = prop_oneof![2 => Just(0u32), 2 => Just(1460), 2 => 1u32..70_000, 1 => any::<u32>()];
    let ip = (any::<u16>(), any::<u8>(), any::<u8>(), any::<bool>(), 0u32..0x10_0000);
    (tcp, common, any::<bool>(), any::<bool>(), len, ip, gap).prop_map(
        move |(tcp, common, odd, reverse, len, ip, gap)| {
            let (seq, ack, window, urgent, flags, _, options) = tcp;
            let p = Packet {
                seq: SeqNum(seq),
                ack: SeqNum(ack),
                payload_len: len,
                flow_label: if v6 { ip.4 & if odd { 0xf_ffff } else { 3 } } else { 0 },
                flags: Flags::from_bits_retain(if odd { flags } else { common }),
                window: window & if odd { 0xffff } else { 3 },
                urgent: if odd { urgent } else { 0 },
                ip_id: if v6 { 0 } else { ip.0 & if odd { 0xffff } else { 3 } },
                ttl: ip.1,
                traffic_class: ip.2 & if odd { 0xff } else { 3 },
                dont_fragment: !v6 && ip.3,
                direction: if reverse { Direction::Reverse } else { Direction::Forward },
                ..packet(v6)
            };
            (p, options, gap)
        },
    )
}

/// Generates flows whose fields are random, or have the values that the state expects.
pub(crate) fn any_flow() -> impl Strategy<Value = Flow> {
    (any::<bool>(), any::<u16>(), 0i64..1 << 60).prop_flat_map(|(v6, port, start)| {
        prop::collection::vec(any_packet(v6), 1..60).prop_map(move |packets| {
            let mut flow = empty(v6, port);
            let mut time = start;
            for (mut p, options, gap) in packets {
                time += gap;
                p.time_ns = time;
                push(&mut flow, p, &options);
            }
            flow
        })
    })
}
