//! Flows as a capture for external tools.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Context;
use flowtrack::{Flow, FramePayload, Framer};
use tcpwire::{CaptureFormat, CaptureWriter, EthernetRepr, TimestampUnit};

/// Maximum number of flows in a capture.
const MAX_FLOWS: usize = 2_000;
/// Maximum number of packets in a capture.
const MAX_PACKETS: usize = 120_000;
/// Maximum payload of all flows, in octets, in a capture with payload.
const MAX_CAPTURE_PAYLOAD: u64 = 64 << 20;
/// Maximum payload of a flow, in octets, in a capture with payload.
const MAX_FLOW_PAYLOAD: u64 = 1 << 20;
/// Maximum payload of a packet, in octets, in a capture with payload.
const MAX_PACKET_PAYLOAD: u32 = 65_000;
/// Start of the first flow, in nanoseconds since 1970.
const START_NS: i64 = 1_700_000_000_000_000_000;
/// Time between the end of a flow and the start of the next one.
const PAUSE_NS: i64 = 2_000_000_000;

/// Treatment of payload, which flows do not hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadFill {
    /// Headers alone, with the true length of the packet.
    Omitted,
    /// Zeros in place of the payload.
    Zeros,
}

/// Selects flows at equal distances, up to [`MAX_FLOWS`] and [`MAX_PACKETS`]. The first one depends
/// on `seed`.
pub(super) fn sample(flows: &[Flow], seed: u64) -> Vec<&Flow> {
    let wanted = flows.len().min(MAX_FLOWS);
    let start = seed as usize % flows.len().max(1);
    let each = (0..wanted).map(|i| &flows[(start + i * flows.len() / wanted) % flows.len()]);
    let mut packets = 0;
    each.take_while(|flow| {
        packets += flow.packets.len();
        packets <= MAX_PACKETS
    })
    .collect()
}

/// Selects the flows that fit into a capture with payload.
pub(super) fn small_enough<'a>(flows: &[&'a Flow]) -> Vec<&'a Flow> {
    let octets = |flow: &Flow| flow.packets.iter().map(|p| u64::from(p.payload_len)).sum::<u64>();
    let is_small = |flow: &&Flow| {
        flow.packets.iter().all(|p| p.payload_len <= MAX_PACKET_PAYLOAD)
            && octets(flow) <= MAX_FLOW_PAYLOAD
    };
    let mut all = 0;
    let small = flows.iter().copied().filter(is_small);
    small
        .take_while(|flow| {
            all += octets(flow);
            all <= MAX_CAPTURE_PAYLOAD
        })
        .collect()
}

/// Returns the address of a flow's client, which encodes the number of the flow, from 0.
fn client_address(flow: &Flow, number: u32) -> IpAddr {
    match flow.client.addr {
        IpAddr::V4(_) => Ipv4Addr::from(0x0a00_0000 + number).into(),
        IpAddr::V6(_) => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number)).into(),
    }
}

/// Returns the number of the flow whose client has the address, `None` for a server's address.
pub(super) fn flow_number(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(a) => u32::from(a).checked_sub(0x0a00_0000).filter(|n| *n < 1 << 24),
        IpAddr::V6(a) => {
            let a = u128::from(a);
            (a >> 96 == 0x2001_0db8 && a >> 32 & 0xffff_ffff_ffff_ffff == 0).then_some(a as u32)
        }
    }
}

/// Writes a capture of the flows, one after another.
pub(super) fn write(path: &Path, flows: &[&Flow], fill: PayloadFill) -> anyhow::Result<()> {
    let shown = || path.display().to_string();
    let file = BufWriter::new(File::create(path).with_context(shown)?);
    let mut writer =
        CaptureWriter::new(file, CaptureFormat::Pcap(TimestampUnit::Nanos)).with_context(shown)?;
    let ethernet = EthernetRepr { src: [2, 0, 0, 0, 0, 1], dst: [2, 0, 0, 0, 0, 2], vlan: None };
    let mut framer = Framer::new([ethernet; 2]);
    let payload = match fill {
        PayloadFill::Omitted => FramePayload::Omitted,
        PayloadFill::Zeros => FramePayload::Repeated(0),
    };
    let mut begin = START_NS;
    for (number, flow) in flows.iter().enumerate() {
        let mut flow = Flow::clone(flow);
        flow.client.addr = client_address(&flow, number as u32);
        // No client has this address, so that `flow_number` tells both ends apart.
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
            writer.write(time.max(0), wire_len, octets).with_context(shown)?;
        }
        begin = end + PAUSE_NS;
    }
    writer.into_inner().flush().with_context(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_address() {
        for addr in ["192.0.2.1", "2001:db8:1::7"] {
            let flow = Flow::new(addr.parse().unwrap(), addr.parse().unwrap());
            for n in [0, 7, 1_999] {
                assert_eq!(flow_number(client_address(&flow, n)), Some(n));
            }
        }
        assert_eq!(flow_number("198.18.0.1".parse().unwrap()), None);
        assert_eq!(flow_number("2001:db8:ffff::1".parse().unwrap()), None);
    }
}
