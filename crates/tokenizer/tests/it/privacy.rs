//! Values that identify a flow are not in its tokens: the flow between other ends, from other
//! bases, has equal tokens.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowtrack::{Direction, Flow, Packet};
use tcpwire::Flags;
use tokenizer::field;

/// Bases of the client and of the server, to be added to those of a flow.
#[derive(Clone, Copy)]
struct Bases {
    seq: [u32; 2],
    stamp: [u32; 2],
    ip_id: [u16; 2],
    label: [u32; 2],
}

const OTHERS: [Bases; 3] = [
    Bases { seq: [1, 1], stamp: [1, 1], ip_id: [1, 1], label: [1, 1] },
    Bases {
        seq: [0x1234_5678, 0xfedc_ba98],
        stamp: [0x9e37_79b9, 0x0102_0304],
        ip_id: [0x7007, 0x1331],
        label: [0x4_2042, 0x9_0909],
    },
    Bases {
        seq: [0xffff_fff0, 0x8000_0001],
        stamp: [0xffff_fffe, 0x7fff_ffff],
        ip_id: [0xfff1, 0x8005],
        label: [0xf_fff3, 0x8_0001],
    },
];

/// Returns the flow as between other ends at another time, or `None` if a number with a base is 0
/// or would become 0, which means "none" in several fields.
fn elsewhere(flow: &Flow, bases: &Bases) -> Option<Flow> {
    let mut other = flow.clone();
    let v6 = flow.client.addr.is_ipv6();
    other.client.port = flow.client.port ^ 0x2aaa;
    for (end, last) in [(&mut other.client, 77), (&mut other.server, 203)] {
        end.addr = match v6 {
            true => Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, last).into(),
            false => Ipv4Addr::new(172, 16, 99, last as u8).into(),
        };
    }
    let unit = [1_000_000_000, 1_000_000, 1000, 1]
        .into_iter()
        .find(|unit| flow.packets.iter().all(|p| p.time_ns % unit == 0))
        .unwrap_or(1);
    for packet in &mut other.packets {
        packet.time_ns -= 123_456_001 * unit;
        let options = packet.options.start as usize
            ..packet.options.start as usize + usize::from(packet.options.len);
        shift(packet, &mut other.options[options], bases)?;
    }
    Some(other)
}

/// Adds the bases to every number of a packet.
fn shift(packet: &mut Packet, options: &mut [u8], bases: &Bases) -> Option<()> {
    let (own, peer) = if packet.direction == Direction::Forward { (0, 1) } else { (1, 0) };
    let moved = |n: u32, by: u32| Some(n.wrapping_add(by)).filter(|m| n != 0 && *m != 0);
    packet.seq.0 = packet.seq.0.wrapping_add(bases.seq[own]);
    let counts = packet.flags.contains(Flags::ACK);
    if packet.ack.0 != 0 || counts {
        packet.ack.0 = moved(packet.ack.0, bases.seq[peer])?;
    }
    if packet.ip_id != 0 {
        packet.ip_id = Some(packet.ip_id.wrapping_add(bases.ip_id[own])).filter(|id| *id != 0)?;
    }
    if packet.flow_label != 0 {
        packet.flow_label =
            Some((packet.flow_label + bases.label[own]) & 0xf_ffff).filter(|label| *label != 0)?;
    }
    let mut at = 0;
    let number = |octets: &[u8]| u32::from_be_bytes(octets.try_into().expect("four octets"));
    while at < options.len() {
        let len = match options[at] {
            0 => break,
            1 => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        let value = at + 2..at + len;
        if len == 0 || value.end > options.len() {
            return None;
        }
        match (options[at], len) {
            (5, 10 | 18 | 26 | 34) => {
                for edge in options[value].chunks_exact_mut(4) {
                    let there = number(edge).wrapping_add(bases.seq[peer]);
                    edge.copy_from_slice(&there.to_be_bytes());
                }
            }
            (8, 10) => {
                let (val, ecr) = options[value].split_at_mut(4);
                val.copy_from_slice(&moved(number(val), bases.stamp[own])?.to_be_bytes());
                if number(ecr) != 0 || counts {
                    ecr.copy_from_slice(&moved(number(ecr), bases.stamp[peer])?.to_be_bytes());
                }
            }
            _ => {}
        }
        at += len;
    }
    Some(())
}

fn tokens(flow: &Flow) -> Vec<u16> {
    let mut tokens = Vec::new();
    field::encode(flow, &mut tokens).unwrap();
    tokens
}

#[test]
fn real_flows_have_the_same_tokens_wherever_they_began() {
    let flows = testkit::captures::all_complete_flows();
    let (mut held, mut skipped) = (0, 0);
    for flow in &flows {
        for bases in &OTHERS {
            let Some(other) = elsewhere(flow, bases) else {
                skipped += 1;
                continue;
            };
            assert_eq!(
                tokens(flow),
                tokens(&other),
                "frame {} {:?}",
                flow.first_frame,
                flow.client
            );
            held += 1;
        }
    }
    assert!(held > 10 * skipped && held > 5000, "{held} held, {skipped} skipped");
}
