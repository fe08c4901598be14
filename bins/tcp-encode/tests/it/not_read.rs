//! Frames and files that are not read: each is named.

use std::fs;
use std::path::Path;

use serde_json::json;
use testkit::{Scratch, testdata};

use crate::{code, encode, stderr, tcp_encode};

/// Octets of a frame that is read and holds no TCP: UDP to the port of DNS.
const UDP: [u8; 42] = [
    2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0,
    1, 10, 0, 0, 2, 0x99, 0x99, 0, 53, 0, 8, 0, 0,
];

/// Returns a pcap file with the records of one frame each.
fn pcap(link: u32, frames: &[&[u8]]) -> Vec<u8> {
    let head = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link];
    let mut out: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (n, frame) in frames.iter().enumerate() {
        let words = [n as u32, 0, frame.len() as u32, frame.len() as u32];
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        out.extend(*frame);
    }
    out
}

/// Returns an Ethernet frame of 60 octets with this EtherType.
fn frame(ether_type: u16) -> Vec<u8> {
    let mut octets = vec![2; 60];
    octets[12..14].copy_from_slice(&ether_type.to_be_bytes());
    octets
}

#[test]
fn a_capture_of_which_nothing_is_read_is_named() {
    let scratch = Scratch::new();
    let path = scratch.write("a.pcap", &pcap(147, &[&[0; 60], &[0; 60]]));
    let output = tcp_encode(&[&path, &scratch.path("set")]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(said.contains("a.pcap: expected TCP packets, found frames: 2 link type 147 not read"));
    let (code, summary, _) = encode(&path, &[]);
    assert_eq!(code, 1);
    assert_eq!(summary["frames_lost"], json!({"a.pcap": {"link type 147 not read": 2}}));
    assert_eq!(summary["frames_not_read"], json!({"link type 147 not read": 2}));
}

#[test]
fn a_capture_without_tcp_is_all_done() {
    let scratch = Scratch::new();
    let arp = frame(0x0806);
    let path = scratch.write("a.pcap", &pcap(1, &[&UDP, &arp]));
    let (code, summary, _) = encode(&path, &[]);
    assert_eq!(code, 0);
    assert_eq!(summary["frames_lost"], json!({}));
    assert_eq!(summary["frames_not_read"], json!({"IP without TCP": 1, "not IP": 1}));
}

#[test]
fn lost_frames_among_tcp_are_named_in_their_capture() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    let mut octets = fs::read(testdata("quick.pcap")).unwrap();
    let is_nanos = octets[0] == 0x4d;
    assert!(is_nanos || octets[0] == 0xd4, "the records below are little-endian");
    octets.extend(&pcap(1, &[&frame(0x8999), &frame(0x8999), &frame(0x0806)])[24..]);
    scratch.write("in/some.pcap", &octets);
    fs::copy(testdata("quick.pcap"), scratch.path("in/whole.pcap")).unwrap();
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set")]);
    assert_eq!(code(&output), 0);
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("some.pcap: frames that may hold TCP: 2 EtherType 0x8999 not read"));
    let (_, summary, _) = encode(&scratch.path("in"), &[]);
    assert_eq!(summary["frames_lost"], json!({"some.pcap": {"EtherType 0x8999 not read": 2}}));
}

#[test]
fn files_that_look_like_captures_are_named_in_a_folder() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(testdata("quick.pcap"), scratch.path("in/quick.pcap")).unwrap();
    scratch.write("in/a.bin", b"GMBU and more");
    scratch.write("in/b.zip", b"PK\x03\x04 and more");
    scratch.write("in/c.pcap.7z", b"no archive at all");
    scratch.write("in/d.erf", &[0; 40]);
    scratch.write("in/e.cap", b"short");
    scratch.write("in/notes.txt", b"PC");
    scratch.write("in/empty.txt", b"");
    let output = tcp_encode(&[&scratch.path("in"), &scratch.path("set")]);
    let said = stderr(&output);
    assert_eq!(code(&output), 1);
    assert_eq!(said.lines().count(), 5, "{said}");
    assert!(said.contains("a.bin: not a capture: expected a pcap, pcapng or snoop header, found"));
    assert!(said.contains("found 474d4255 (a capture of Microsoft Network Monitor 2)"), "{said}");
    assert!(said.contains("b.zip") && said.contains("found 504b0304 (a zip archive)"), "{said}");
    assert!(said.contains("c.pcap.7z") && said.contains("d.erf") && said.contains("e.cap"));
}

#[test]
fn octets_after_a_compressed_capture_are_told() {
    let scratch = Scratch::new();
    let packed = fs::read(testdata("parallel.pcap.gz")).unwrap();
    let said = |after: &[u8]| {
        let path = scratch.write("a.pcap.gz", &[&packed[..], after].concat());
        let output = tcp_encode(&[&path, &scratch.path("set"), Path::new("--force")]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stderr(&output)
    };
    assert_eq!(said(&[]), "");
    assert_eq!(said(&[0; 512]), "");
    assert!(said(b"text").contains("a.pcap.gz: octets after the compressed data are passed over"));
}

#[test]
fn fragments_are_lost_where_the_others_are_missing() {
    let scratch = Scratch::new();
    // Two halves of a segment with 20 octets of payload, in two IPv4 fragments.
    let segment = {
        let mut octets =
            vec![0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
        octets.extend([0xaa; 20]);
        octets
    };
    let fragment = |id: u8, offset: u8, more: bool, payload: &[u8]| {
        let len = 20 + payload.len() as u8;
        let flags = if more { 0x20 } else { 0 };
        let mut octets = UDP[..14].to_vec();
        octets.extend([0x45, 0, 0, len, 0, id, flags, offset, 64, 6, 0, 0]);
        octets.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        octets.extend(payload);
        octets
    };
    let whole = [fragment(1, 0, true, &segment[..24]), fragment(1, 3, false, &segment[24..])];
    let alone = [fragment(2, 0, true, &segment[..24]), fragment(3, 3, false, &segment[24..])];
    let frames = [&whole[0][..], &whole[1], &alone[0], &alone[1]];
    let (_, summary, _) = encode(&scratch.write("a.pcap", &pcap(1, &frames)), &[]);
    assert_eq!(summary["tcp_packets"], 1);
    let expected =
        json!({"fragment, read with the last one": 1, "TCP fragment without the others": 2});
    assert_eq!(summary["frames_not_read"], expected);
    assert_eq!(summary["frames_lost"], json!({"a.pcap": {"TCP fragment without the others": 2}}));
}

#[test]
fn a_named_port_is_read_as_vxlan() {
    let scratch = Scratch::new();
    let syn = {
        let mut octets = UDP[..14].to_vec();
        octets.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 3, 10, 0, 0, 4]);
        octets.extend([0, 1, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
        octets
    };
    let mut octets = UDP.to_vec();
    octets[16..18].copy_from_slice(&(28 + 8 + syn.len() as u16).to_be_bytes());
    octets[36..38].copy_from_slice(&14_789u16.to_be_bytes());
    octets[38..40].copy_from_slice(&(8 + 8 + syn.len() as u16).to_be_bytes());
    octets.extend([8, 0, 0, 0, 0, 0, 1, 0]);
    octets.extend(syn);
    let path = scratch.write("a.pcap", &pcap(1, &[&octets]));
    assert_eq!(encode(&path, &[]).1["tcp_packets"], 0);
    let ports = ["--vxlan-port", "9", "--vxlan-port", "14789", "--keep", "all"];
    let (_, summary, lines) = encode(&path, &ports);
    assert_eq!(summary["tcp_packets"], 1);
    assert_eq!(summary["flows_kept_without"], json!({"tunnel header": 1}));
    assert_eq!((&lines[0]["src"], &lines[0]["dst"]), (&json!("10.0.0.3"), &json!("10.0.0.4")));
}
