//! Any header values as a flow: encoded and decoded again, every one of them comes back.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use flowtrack::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
use libfuzzer_sys::fuzz_target;
use tcpwire::{Flags, SeqNum};
use tokenizer::{EncodeError, field};

/// Octets of one packet, options apart.
const FIXED: usize = 32;

fuzz_target!(|octets: &[u8]| {
    let Some((&first, mut rest)) = octets.split_first() else { return };
    let v6 = first & 1 == 1;
    let addr = |n| if v6 { Ipv6Addr::from(u128::from(n)).into() } else { Ipv4Addr::from(n).into() };
    let mut flow = Flow {
        client: Endpoint { addr: addr(1u32), port: 1 },
        server: Endpoint { addr: addr(2u32), port: u16::from(first) * 257 },
        first_frame: 0,
        packets: Vec::new(),
        options: Vec::new(),
        completeness: Completeness::default(),
    };
    let mut time_ns = 1_700_000_000_000_000_000i64;
    while let Some((p, tail)) = rest.split_first_chunk::<FIXED>() {
        let word = |i: usize| u32::from_le_bytes([p[i], p[i + 1], p[i + 2], p[i + 3]]);
        let half = |i: usize| u16::from_le_bytes([p[i], p[i + 1]]);
        let len = (usize::from(p[30] % 11) * 4).min(tail.len() / 4 * 4);
        let (options, next) = tail.split_at(len);
        time_ns += i64::from(word(0) as i32) >> (p[31] % 24);
        flow.packets.push(Packet {
            time_ns,
            seq: SeqNum(word(4)),
            ack: SeqNum(word(8)),
            payload_len: word(12) >> (p[31] >> 3),
            flow_label: if v6 { word(16) & 0xf_ffff } else { 0 },
            options: OptionsRef { start: flow.options.len() as u32, len: len as u8 },
            flags: Flags::from_bits_retain(half(20) & 0xfff),
            window: half(22),
            urgent: if p[24] & 1 == 1 { half(24) } else { 0 },
            ip_id: if v6 { 0 } else { half(26) },
            ttl: p[28],
            traffic_class: p[29],
            dont_fragment: !v6 && p[24] & 2 == 2,
            direction: if p[24] & 4 == 4 { Direction::Reverse } else { Direction::Forward },
        });
        flow.options.extend_from_slice(options);
        rest = next;
    }
    let mut tokens = Vec::new();
    let identity = match field::encode(&flow, &mut tokens) {
        Err(EncodeError::Empty) if flow.packets.is_empty() => return,
        said => said.unwrap(),
    };
    let again = field::decode(&tokens, &identity).unwrap();
    assert_eq!(again.packets, flow.packets);
    assert_eq!(again.options, flow.options);
});
