//! Writes a large capture from small ones, for benches: `bench-data OUT.pcap OCTETS PACKETS
//! CAPTURE...`
//!
//! The TCP packets of the captures are written in rounds, until the file has at least `OCTETS`
//! octets and `PACKETS` packets. Each round has addresses, sequence numbers and times of its own,
//! so that its flows are distinct. Payloads are octets computed from the round's number, since
//! captures often have headers alone.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use tcpwire::{
    CaptureFormat, CaptureReader, CaptureWriter, Dissector, EthernetRepr, Flags, IpRepr, Payload,
    TcpRepr, TimestampUnit, emit_packet,
};

type Failure = Box<dyn std::error::Error>;

/// TCP packet of a capture.
struct Packet {
    /// Time since the first packet of all captures, in nanoseconds.
    time_ns: i64,
    ip: IpRepr,
    tcp: TcpRepr,
    payload_len: u32,
}

/// Longest payload that is written, in octets: that of a jumbo frame. Longer ones come from
/// segmentation offload.
const MAX_PAYLOAD: u32 = 8948;

/// Appends the TCP packets of a capture, a second after those before.
fn read(path: &str, packets: &mut Vec<Packet>) -> Result<(), Failure> {
    let mut reader = CaptureReader::new(File::open(path)?)?;
    let mut dissector = Dissector::default();
    let mut begin = None;
    let from = packets.last().map_or(0, |p: &Packet| p.time_ns + 1_000_000_000);
    while let Some(frame) = reader.next_frame()? {
        let Ok(segment) = dissector.dissect(&frame) else { continue };
        let Some(payload_len) = segment.payload_len else { continue };
        let begin = *begin.get_or_insert(frame.time_ns);
        let view = segment.tcp;
        let tcp = TcpRepr {
            src_port: view.src_port,
            dst_port: view.dst_port,
            seq: view.seq.0,
            ack: view.ack.0,
            flags: view.flags,
            window: view.window,
            checksum: 0,
            urgent: view.urgent,
            options: view.options.to_vec(),
        };
        let time_ns = from + (frame.time_ns - begin).max(0);
        packets.push(Packet {
            time_ns,
            ip: segment.ip,
            tcp,
            payload_len: payload_len.min(MAX_PAYLOAD),
        });
    }
    Ok(())
}

/// Returns an address of a round: a bijection of addresses for each round.
fn moved4(addr: Ipv4Addr, round: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr.to_bits() ^ round.wrapping_mul(0x0001_0101) & 0x7fff_ffff)
}

fn moved6(addr: Ipv6Addr, round: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(addr.to_bits() ^ u128::from(round) << 48)
}

fn moved(ip: IpRepr, round: u32) -> IpRepr {
    match ip {
        IpRepr::V4(mut ip) => {
            (ip.src, ip.dst) = (moved4(ip.src, round), moved4(ip.dst, round));
            IpRepr::V4(ip)
        }
        IpRepr::V6(mut ip) => {
            (ip.src, ip.dst) = (moved6(ip.src, round), moved6(ip.dst, round));
            IpRepr::V6(ip)
        }
    }
}

/// Returns a header with the sequence numbers of a round, both directions shifted by the same
/// number.
fn renumbered(tcp: &TcpRepr, round: u32) -> TcpRepr {
    let by = round.wrapping_mul(2_654_435_761);
    let ack = if tcp.flags.contains(Flags::ACK) { tcp.ack.wrapping_add(by) } else { tcp.ack };
    TcpRepr { seq: tcp.seq.wrapping_add(by), ack, ..tcp.clone() }
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, octets, count, captures @ ..] = args.as_slice() else {
        return Err("usage: bench-data OUT.pcap OCTETS PACKETS CAPTURE...".into());
    };
    let (octets, count): (u64, u64) = (octets.parse()?, count.parse()?);
    let mut packets = Vec::new();
    for capture in captures {
        read(capture, &mut packets).map_err(|e| format!("{capture}: {e}"))?;
    }
    packets.sort_by_key(|p| p.time_ns);
    let span_ns = packets.last().ok_or("no TCP packets in the captures")?.time_ns + 1_000_000_000;
    let to = BufWriter::with_capacity(1 << 20, File::create(out)?);
    let mut writer = CaptureWriter::new(to, CaptureFormat::Pcap(TimestampUnit::Micros))?;
    let (mut written, mut round) = (0u64, 0u32);
    let mut frame = Vec::new();
    while writer.octets() < octets || written < count {
        let filling: Vec<u8> = (0..=MAX_PAYLOAD).map(|n| (n ^ round) as u8).collect();
        for packet in &packets {
            frame.clear();
            let ip = moved(packet.ip, round);
            EthernetRepr { src: [2; 6], dst: [4; 6], vlan: None }.emit(&ip, &mut frame);
            let payload = Payload::Octets(&filling[..packet.payload_len as usize]);
            let wire_len =
                14 + emit_packet(&ip, &renumbered(&packet.tcp, round), payload, &mut frame);
            let time_ns = 1_500_000_000_000_000_000 + i64::from(round) * span_ns + packet.time_ns;
            writer.write(time_ns, wire_len, &frame)?;
            written += 1;
        }
        round += 1;
    }
    writer.into_inner().flush()?;
    Ok(())
}
