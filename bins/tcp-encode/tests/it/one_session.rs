//! Packets that a capture shows twice, captures in parts, and conversations under several tags.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Scratch, code, encode, stderr, tcp_encode, testdata};

/// Returns the header of a little-endian pcap file and its records.
pub(crate) fn records(octets: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
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

/// Puts two VLAN tags into a record of an Ethernet frame (IEEE 802.1ad).
fn stack_tags(record: &mut Vec<u8>, outer: u16, inner: u16) {
    let mut tags = [0x88, 0xa8, 0, 0, 0x81, 0x00, 0, 0];
    tags[2..4].copy_from_slice(&outer.to_be_bytes());
    tags[6..8].copy_from_slice(&inner.to_be_bytes());
    record.splice(16 + 12..16 + 12, tags);
    for at in [8, 12] {
        let len = u32::from_le_bytes(record[at..at + 4].try_into().unwrap()) + 8;
        record[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Returns a capture of `testdata/` with every frame in two customers' networks.
fn of_two_customers(name: &str) -> Vec<u8> {
    let (mut out, records) = records(&fs::read(testdata(name)).unwrap());
    for record in records {
        for inner in [100, 200] {
            let mut tagged = record.clone();
            stack_tags(&mut tagged, 10, inner);
            out.extend(tagged);
        }
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
fn stacked_tags_separate_sessions_over_ipv4_and_ipv6() {
    let scratch = Scratch::new();
    for name in ["quick.pcap", "resets.pcap"] {
        let path = scratch.write(name, &of_two_customers(name));
        let (_, once, _) = encode(&testdata(name), &[]);
        let (_, apart, lines) = encode(&path, &["--separate", "vlan"]);
        let number = |summary: &Value, key: &str| summary[key].as_u64().unwrap();
        for key in ["conversations", "flows_kept", "packets_kept"] {
            assert_eq!(number(&apart, key), 2 * number(&once, key), "{name}: {key}");
        }
        let has = |mark| lines.iter().any(|l| l["src"].as_str().unwrap().contains(mark));
        assert!(has('.') && has(':'), "both versions of IP: {name}");
        let (_, dropped, _) = encode(&path, &["--dedup"]);
        assert!(number(&dropped, "packets_kept") <= number(&once, "packets_kept"), "{name}");
    }
}

#[test]
fn same_octets_whatever_the_jobs_with_tags_apart_and_copies_dropped() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    for name in ["quick.pcap", "resets.pcap", "reorder.pcap"] {
        scratch.write(&format!("in/twice-{name}"), &twice(name, |_| {}));
        scratch.write(&format!("in/tags-{name}"), &of_two_customers(name));
    }
    let run = |jobs: &str| {
        let (set, log) = (scratch.path(&format!("set{jobs}")), scratch.path(&format!("log{jobs}")));
        let input = scratch.path("in");
        let mut args: Vec<&Path> = vec![&input, &set, Path::new("--flow-log"), &log];
        let more = ["--jobs", jobs, "--separate", "vlan,vni,interface", "--dedup", "--json"];
        args.extend(more.map(Path::new));
        let output = tcp_encode(&args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        (fs::read(set.join("flows-00000.arrow")).unwrap(), fs::read(log).unwrap(), output.stdout)
    };
    assert!(run("1") == run("4"), "one job and four");
}

#[test]
fn a_capture_in_parts_names_the_option_that_joins_them() {
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
    assert!(String::from_utf8_lossy(&output.stdout).contains("--merge reads them as one"));
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
