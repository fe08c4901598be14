//! Random walks as others see them: Suricata and Wireshark take every one for a whole session.

use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::process::Command;

use flowtrack::{Flow, FramePayload, Framer};
use tcpwire::{CaptureFormat, CaptureWriter, EthernetRepr, TimestampUnit};
use tokenizer::field::{Constraint, vocab};

use crate::grammar::walk_that_prefers;

/// Number of walks that are written.
const WALKS: u16 = 600;
/// Tokens by which sessions agree on Accurate ECN and carry its counters, as one walk in four does.
const ACCURATE_ECN: [u16; 4] =
    [vocab::FLAGS.at(5), vocab::FLAGS.at(4), vocab::OPT_RECENT.first, vocab::OPT_LIST.first];

/// Returns a walk between hosts of its own, under IPv4 and IPv6 alike: the packets of IPv6 flows go
/// without a flow label.
fn walk_between_hosts(seed: u16) -> Flow {
    let liked = if seed.is_multiple_of(4) { &ACCURATE_ECN[..] } else { &[] };
    let most = 8 + u64::from(seed) % 64;
    let (_, mut flow) = walk_that_prefers(liked, seed.into(), Constraint::Session, most);
    let [high, low] = seed.to_be_bytes();
    flow.client.addr = Ipv4Addr::new(10, 1, high, low).into();
    flow.server.addr = Ipv4Addr::new(10, 2, high, low).into();
    for packet in &mut flow.packets {
        packet.flow_label = 0;
    }
    flow
}

#[test]
fn walks_are_whole_to_those_who_watch() {
    let check = testkit::repository_root().join("scripts/check/generated");
    let scratch = testkit::Scratch::new();
    let path = scratch.path("walks.pcap");
    let macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
    let forward = EthernetRepr { src: macs[0], dst: macs[1], vlan: None };
    let reverse = EthernetRepr { src: macs[1], dst: macs[0], vlan: None };
    let mut framer = Framer::new([forward, reverse]);
    let file = BufWriter::new(File::create(&path).unwrap());
    let format = CaptureFormat::Pcap(TimestampUnit::Nanos);
    let mut writer = CaptureWriter::new(file, format).unwrap();
    for flow in (0..WALKS).map(walk_between_hosts) {
        for packet in &flow.packets {
            let (frame, len) = framer.frame(&flow, packet, FramePayload::Repeated(0));
            writer.write(packet.time_ns, len, frame).unwrap();
        }
    }
    drop(writer.into_inner().into_inner().unwrap());
    let said = Command::new("python3").arg(check).arg(&path).arg(WALKS.to_string()).output();
    let said = said.expect("python3 runs");
    // The script names a program that is not installed, and passes over it.
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
}
