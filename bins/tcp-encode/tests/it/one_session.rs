//! Packets that a capture shows twice, captures in parts, and conversations under several tags.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Scratch, code, encode, stderr, tcp_encode, testdata};

/// Returns the header of a little-endian pcap file and its records.
fn records(octets: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (head, mut rest) = octets.split_at(24);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (record, after) = rest.split_at(16 + len);
        records.push(record.to_vec());
        rest = after;
    }
    (head.to_vec(), records)
}

/// Returns a capture of `testdata/` with every frame twice, and the copy changed.
fn twice(name: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (mut out, records) = records(&fs::read(testdata(name)).unwrap());
    for record in records {
        let mut copy = record.clone();
        change(&mut copy);
        out.extend(record);
        out.extend(copy);
    }
    out
}

/// Returns the lines of a flow log without what the place in the capture tells.
fn without_place(mut lines: Vec<Value>) -> Vec<Value> {
    for line in &mut lines {
        line["first_packet"] = Value::Null;
        line["file"] = Value::Null;
    }
    lines
}

#[test]
fn a_capture_with_everything_twice_says_so_and_drops_it_if_asked() {
    let scratch = Scratch::new();
    let routed = |record: &mut Vec<u8>| {
        let microseconds = u32::from_le_bytes(record[4..8].try_into().unwrap());
        record[4..8].copy_from_slice(&(microseconds + 1).to_le_bytes());
        record[16] ^= 2;
        let is_v6 = record[16 + 12] == 0x86;
        record[16 + 14 + if is_v6 { 7 } else { 8 }] -= 1;
    };
    let doubled = scratch.write("twice.pcap", &twice("quick.pcap", routed));
    let (_, once, lines) = encode(&testdata("quick.pcap"), &[]);
    let (exit, summary, _) = encode(&doubled, &[]);
    assert_eq!(exit, 0);
    let packets = once["tcp_packets"].as_u64().unwrap();
    let copies = summary["packets_twice"].as_u64().unwrap();
    assert!(copies >= packets && copies < packets + packets / 20, "{copies} of {packets}");
    let output = tcp_encode(&[&doubled, &scratch.path("set")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--dedup drops copies"));
    let (_, deduplicated, fewer) = encode(&doubled, &["--dedup"]);
    assert_eq!(deduplicated["packets_kept"], once["packets_kept"]);
    assert_eq!(without_place(fewer), without_place(lines));
}

#[test]
fn copies_are_dropped_as_editcap_does() {
    let scratch = Scratch::new();
    let doubled = scratch.write("twice.pcap", &twice("resets.pcap", |_| {}));
    let rest = scratch.path("rest.pcap");
    let Ok(done) = Command::new("editcap").args(["-w", "0.001"]).args([&doubled, &rest]).output()
    else {
        crate::skipped("editcap is not installed");
        return;
    };
    assert!(done.status.success());
    let (_, ours, lines) = encode(&doubled, &["--dedup"]);
    let (_, theirs, expected) = encode(&rest, &[]);
    assert_eq!(ours["packets_kept"], theirs["packets_kept"]);
    assert_eq!(without_place(lines), without_place(expected));
}

#[test]
fn a_capture_in_parts_names_the_line_that_joins_them() {
    let scratch = Scratch::new();
    let (head, records) = records(&fs::read(testdata("quick.pcap")).unwrap());
    fs::create_dir(scratch.path("parts")).unwrap();
    let (first, second) = records.split_at(records.len() / 2 - 1);
    for (n, part) in [first, second].into_iter().enumerate() {
        scratch.write(&format!("parts/trace.pcap{n}"), &[&head[..], &part.concat()].concat());
    }
    let (_, summary, _) = encode(&scratch.path("parts"), &[]);
    assert!(summary["flows_across_captures"].as_u64().unwrap() > 0, "{summary}");
    let output = tcp_encode(&[&scratch.path("parts"), &scratch.path("set")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("mergecap -w - CAPTURES"));
    let (_, whole, _) = encode(&testdata("quick.pcap"), &[]);
    assert_eq!(whole["flows_across_captures"], 0);
}

#[test]
fn separation_by_tags_that_do_not_differ_changes_nothing() {
    let (_, plain, lines) = encode(&testdata("office.pcapng"), &[]);
    for tags in ["vlan", "vni,interface", "vlan,vni,interface"] {
        let (_, summary, separated) = encode(&testdata("office.pcapng"), &["--separate", tags]);
        assert_eq!((&summary["flows_kept"], &separated), (&plain["flows_kept"], &lines), "{tags}");
    }
    let output = tcp_encode(&[
        &testdata("quick.pcap"),
        Path::new("unused"),
        Path::new("--separate"),
        Path::new("mac"),
    ]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("vlan, vni, interface"), "{}", stderr(&output));
}
