//! Captures of `testdata/`, compared with tshark.

use flowtrack::TrackerOptions;

use crate::capture::{track, wireshark};

/// Compares conversations, packets and completeness of a capture of `testdata/` with tshark's.
fn check(name: &str) {
    let octets = std::fs::read(testkit::testdata(name)).unwrap();
    let tracked = track(&octets, TrackerOptions::default());
    assert!(!tracked.records.is_empty());
    if let Some(theirs) = wireshark(&octets) {
        let ours: Vec<_> = tracked
            .records
            .iter()
            .map(|r| (r.first_frame, r.packets, r.completeness_before_last.bits()))
            .collect();
        assert_eq!(ours, theirs, "ours and Wireshark's (first frame, packets, completeness)");
    }
}

#[test]
fn openings() {
    check("openings.pcap");
}

#[test]
fn endings() {
    check("endings.pcap");
}

#[test]
fn resets() {
    check("resets.pcap");
}

#[test]
fn ports_used_again() {
    check("port-reuse.pcap");
}

#[test]
fn offload() {
    check("offload.pcap");
}

#[test]
fn pcapng() {
    check("office.pcapng");
}
