//! `--filter`: the frames of tcpdump's filters.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::merge::{flows, rows};
use crate::{Scratch, code, skipped, stderr, tcp_encode, testdata};

/// Returns whether libpcap is here, as tcp-encode finds it.
fn has_libpcap() -> bool {
    let scratch = Scratch::new();
    let filter = [Path::new("--filter"), Path::new("tcp")];
    let output = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set"), filter[0], filter[1]]);
    let is_there = code(&output) == 0;
    if !is_there {
        assert!(stderr(&output).contains("--filter: expected libpcap"), "{}", stderr(&output));
        skipped("libpcap is not installed");
    }
    is_there
}

/// Checks that a filter takes the frames that tcpdump takes.
fn check(capture: &Path, expression: &str) {
    let scratch = Scratch::new();
    let (taken, set, expected) =
        (scratch.path("taken.pcap"), scratch.path("set"), scratch.path("expected"));
    let tcpdump = Command::new("tcpdump")
        .args(["-r", capture.to_str().unwrap(), "-w", taken.to_str().unwrap(), expression])
        .stderr(Stdio::null())
        .status();
    if !tcpdump.is_ok_and(|status| status.success()) {
        return skipped("tcpdump is not installed");
    }
    let words = ["--keep", "all", "--json", "--filter", expression].map(Path::new);
    let output = tcp_encode(&[&[capture, set.as_path()][..], &words].concat());
    assert_eq!(code(&output), 0, "{expression}: {}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let output = tcp_encode(&[&[taken.as_path(), expected.as_path()][..], &words[..3]].concat());
    assert_eq!(code(&output), 0, "{expression}: {}", stderr(&output));
    let wanted: Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = |summary: &Value, key| summary[key].as_u64().unwrap();
    assert_eq!(
        frames(&found, "frames") - frames(&found, "frames_filtered"),
        frames(&wanted, "frames"),
        "{expression}"
    );
    assert!(flows(&rows(&set)) == flows(&rows(&expected)), "{expression}");
}

#[test]
fn the_frames_are_those_of_tcpdump() {
    if !has_libpcap() {
        return;
    }
    for expression in [
        "tcp port 53",
        "src net 10.1.0.0/24 and not port 22",
        "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0",
        "ip6 or portrange 50-60",
        "greater 100 or udp",
        "ether host 02:00:00:00:00:01",
        "",
    ] {
        for name in ["quick.pcap", "office.pcapng", "http-lan.pcap"] {
            check(&testdata(name), expression);
        }
    }
}

#[test]
fn each_link_type_has_the_filter_of_its_own() {
    if !has_libpcap() {
        return;
    }
    let scratch = Scratch::new();
    let raw = scratch.path("raw.pcap");
    let quick = testdata("quick.pcap");
    let editcap = Command::new("editcap")
        .args(["-F", "pcap", "-C", "14", "-T", "rawip"])
        .args([&quick, &raw])
        .status();
    if !editcap.is_ok_and(|status| status.success()) {
        return skipped("editcap is not installed");
    }
    check(&raw, "tcp port 53");
    let filter = ["--filter", "ether host 02:00:00:00:00:01"].map(Path::new);
    let output = tcp_encode(&[&raw, &scratch.path("set"), filter[0], filter[1]]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("no frame of link type"), "{}", stderr(&output));
}

#[test]
fn a_filter_that_is_wrong_is_refused_with_the_place() {
    if !has_libpcap() {
        return;
    }
    let scratch = Scratch::new();
    let filter = ["--filter", "tcp and and port 80"].map(Path::new);
    let output = tcp_encode(&[&testdata("quick.pcap"), &scratch.path("set"), filter[0], filter[1]]);
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("wrong from character 9 on, at 'and'"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(fs::read_dir(scratch.folder()).unwrap().count(), 0);
}
