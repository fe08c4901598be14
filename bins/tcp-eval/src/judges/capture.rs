//! Flows as a capture for other programs to read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Context;
use flowtrack::{Flow, FramePayload, Framer};
use tcpwire::{CaptureFormat, CaptureWriter, EthernetRepr, TimestampUnit};

/// Flows and packets at most that are shown to a program.
const FLOWS: usize = 2_000;
const PACKETS: usize = 120_000;
/// Octets of payload at most where a program takes no omitted payload: of all flows, of a flow, of
/// a packet.
const ALL_OCTETS: u64 = 64 << 20;
const FLOW_OCTETS: u64 = 1 << 20;
const PACKET_OCTETS: u32 = 65_000;
/// The first flow begins here, and each one so long after the one before has ended.
const START_NS: i64 = 1_700_000_000_000_000_000;
const APART_NS: i64 = 2_000_000_000;

/// Whether payload is written, as zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filling {
    /// Headers alone, with the length of the whole.
    Omitted,
    /// Zeros.
    Zeros,
}

/// Flows spread evenly over all of them, until there are enough packets.
pub(super) fn sample(flows: &[Flow], seed: u64) -> Vec<&Flow> {
    let wanted = flows.len().min(FLOWS);
    let start = seed as usize % flows.len().max(1);
    let each = (0..wanted).map(|i| &flows[(start + i * flows.len() / wanted) % flows.len()]);
    let mut packets = 0;
    each.take_while(|flow| {
        packets += flow.packets.len();
        packets <= PACKETS
    })
    .collect()
}

/// Those of them that a program is shown which takes no omitted payload.
pub(super) fn filled<'a>(flows: &[&'a Flow]) -> Vec<&'a Flow> {
    let octets = |flow: &Flow| flow.packets.iter().map(|p| u64::from(p.payload_len)).sum::<u64>();
    let is_small = |flow: &&Flow| {
        flow.packets.iter().all(|p| p.payload_len <= PACKET_OCTETS) && octets(flow) <= FLOW_OCTETS
    };
    let mut all = 0;
    let small = flows.iter().copied().filter(is_small);
    small
        .take_while(|flow| {
            all += octets(flow);
            all <= ALL_OCTETS
        })
        .collect()
}

/// The address that a flow's client has: its number, counted from 0.
fn client(flow: &Flow, number: u32) -> IpAddr {
    match flow.client.addr {
        IpAddr::V4(_) => Ipv4Addr::from(0x0a00_0000 + number).into(),
        IpAddr::V6(_) => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number)).into(),
    }
}

/// The number of the flow that an address belongs to.
pub(super) fn number(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_sub(0x0a00_0000).filter(|n| *n < 1 << 24),
        IpAddr::V6(a) => {
            let a = u128::from(a);
            (a >> 96 == 0x2001_0db8 && a >> 32 & 0xffff_ffff_ffff_ffff == 0).then_some(a as u32)
        }
    }
}

/// Writes flows one after another.
pub(super) fn write(path: &Path, flows: &[&Flow], filling: Filling) -> anyhow::Result<()> {
    let named = || path.display().to_string();
    let file = BufWriter::new(File::create(path).with_context(named)?);
    let mut writer =
        CaptureWriter::new(file, CaptureFormat::Pcap(TimestampUnit::Nanos)).with_context(named)?;
    let ethernet = EthernetRepr { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2], vlan: None };
    let mut framer = Framer::new([ethernet; 2]);
    let payload = match filling {
        Filling::Omitted => FramePayload::Omitted,
        Filling::Zeros => FramePayload::Zeros,
    };
    let mut begin = START_NS;
    for (number, flow) in flows.iter().enumerate() {
        let mut flow = Flow::clone(flow);
        flow.client.addr = client(&flow, number as u32);
        // No address of a client is this one.
        flow.server.addr = match flow.client.addr {
            IpAddr::V4(_) => Ipv4Addr::new(198, 18, 0, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into(),
        };
        let first = flow.packets.first().map_or(0, |p| p.time_ns);
        let mut end = begin;
        for packet in &flow.packets {
            let time = begin + (packet.time_ns - first);
            end = end.max(time);
            let (octets, wire_len) = framer.frame(&flow, packet, payload);
            writer.write(time.max(0), wire_len, octets).with_context(named)?;
        }
        begin = end + APART_NS;
    }
    writer.into_inner().flush().with_context(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_address() {
        for addr in ["192.0.2.1", "2001:db8:1::7"] {
            let flow = Flow::new(addr.parse().unwrap(), addr.parse().unwrap());
            for n in [0, 7, 1_999] {
                assert_eq!(number(client(&flow, n)), Some(n));
            }
        }
        assert_eq!(number("198.18.0.1".parse().unwrap()), None);
        assert_eq!(number("2001:db8:ffff::1".parse().unwrap()), None);
    }
}
