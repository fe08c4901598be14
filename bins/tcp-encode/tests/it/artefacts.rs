//! Traces of a host and of its clock in a capture, which a flow does not hold.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testkit::Scratch;

use crate::encode;

/// One packet of a session: its time, whether the client sends it, numbers, flags, payload length.
type Packet = (u32, bool, u32, u32, u8, usize);

/// A whole session: handshake, a question, an answer, both FINs.
const SESSION: [Packet; 8] = [
    (1000, true, 100, 0, 0x02, 0),
    (2000, false, 500, 101, 0x12, 0),
    (3000, true, 101, 501, 0x10, 0),
    (4000, true, 101, 501, 0x18, 50),
    (5000, false, 501, 151, 0x18, 90),
    (6000, false, 591, 151, 0x11, 0),
    (7000, true, 151, 592, 0x11, 0),
    (8000, false, 592, 152, 0x10, 0),
];

/// Returns the IPv4 packet of a packet of the session.
fn ipv4((_, from_client, seq, ack, flags, payload): Packet) -> Vec<u8> {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to, ports) = if from_client {
        (client, server, [0x9c, 0x40, 0, 80])
    } else {
        (server, client, [0, 80, 0x9c, 0x40])
    };
    let len = (40 + payload as u16).to_be_bytes();
    let mut octets = vec![0x45, 0, len[0], len[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    octets.extend([from, to].concat());
    octets.extend(ports);
    octets.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    octets.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    octets.resize(octets.len() + payload, 0xaa);
    octets
}

/// Returns an ICMP error that quotes `quoted`.
fn icmp(quoted: &[u8]) -> Vec<u8> {
    let len = (28 + quoted.len() as u16).to_be_bytes();
    let head = [0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1];
    [&head[..], &[3, 4, 0, 0, 0, 0, 5, 0], quoted].concat()
}

/// Returns a pcap file of raw IP, with the time of each packet in microseconds after a second.
fn pcap(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let head: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
    let mut out: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (micros, octets) in packets {
        let words = [1_700_000_000, *micros, octets.len() as u32, octets.len() as u32];
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        out.extend(octets);
    }
    out
}

/// Returns time and octets of each packet of the session.
fn session() -> Vec<(u32, Vec<u8>)> {
    SESSION.iter().map(|packet| (packet.0, ipv4(*packet))).collect()
}

/// Encodes a capture; gives exit code, summary and the flow log's lines.
fn encoded(packets: &[(u32, Vec<u8>)], more: &[&str]) -> (i32, Value, Vec<Value>) {
    let scratch = Scratch::new();
    encode(&scratch.write("a.pcap", &pcap(packets)), more)
}

#[test]
fn a_quotation_costs_no_flow() {
    for at in [4, 8] {
        let mut packets = session();
        packets.insert(at, (8500, icmp(&ipv4(SESSION[3]))));
        let (code, summary, lines) = encoded(&packets, &[]);
        assert_eq!(
            (code, &summary["flows_kept"], &summary["packets_kept"]),
            (0, &json!(1), &json!(8))
        );
        assert_eq!(summary["flows_kept_without"], json!({"ICMP quotation": 1}));
        assert_eq!((&lines[0]["packets"], &lines[0]["late_packets"]), (&json!(9), &json!(0)));
        assert_eq!(lines[0]["class"], "graceful");
    }
}

#[test]
fn a_conversation_of_quotations_alone_has_no_packets() {
    let packets = [(1, icmp(&ipv4(SESSION[3]))), (2, icmp(&ipv4(SESSION[4])))];
    let (code, summary, lines) = encoded(&packets, &["--keep", "all"]);
    assert_eq!((code, &summary["flows_kept"]), (1, &json!(0)));
    assert_eq!(lines[0]["reason"], "no packets but those quoted in ICMP errors");
}

#[expect(clippy::print_stderr, reason = "a message to the person who runs the tests")]
#[test]
fn start_and_end_are_the_least_and_the_greatest_time() {
    let scratch = Scratch::new();
    let mut packets = session();
    packets.swap(0, 1);
    let capture = scratch.write("a.pcap", &pcap(&packets));
    let (set, back) = (scratch.path("a.arrow"), scratch.path("b.pcap"));
    assert_eq!(crate::code(&crate::tcp_encode(&[&capture, &set])), 0);
    // tcp-decode stands beside tcp-encode where both are built.
    let decode = assert_cmd::cargo::cargo_bin("tcp-encode").with_file_name("tcp-decode");
    let labels = scratch.path("labels.csv");
    let run = Command::new(&decode).args([&set, &back]).arg("--labels").arg(&labels).output();
    let Ok(run) = run else {
        eprintln!("skipped: tcp-decode is not built");
        return;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = fs::read_to_string(labels).unwrap();
    assert!(lines.contains(",1700000000001000000,7000000,"), "{lines}");
    let octets = fs::read(back).unwrap();
    let micros = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
    let second_record = 24 + 16 + 54;
    assert_eq!((micros(24 + 4), micros(second_record + 4)), (2000, 1000));
}
