//! Bounds in time and space of a tracker.

use flowtrack::{EndReason, TrackerOptions};

use crate::capture::*;

fn end_reasons(t: &Tracked) -> Vec<EndReason> {
    t.ended.iter().map(|e| e.end_reason).collect()
}

#[test]
fn closed_and_quiet_is_exported_and_late_packets_are_still_its_own() {
    let octets = Talk::new()
        .handshake()
        .close(101, 501)
        .pause(241)
        .say(Client, A, 102, 502, 0)
        .say(Client, A, 102, 502, 0)
        .octets();
    // The first packet after the pause still belongs to the conversation, which is exported after
    // that packet.
    let t = track(
        &octets,
        TrackerOptions {
            linger_ns: 100_000_000_000,
            linger_octets: 0,
            ..TrackerOptions::default()
        },
    );
    assert_eq!(t.packets(), [8]);
    let other = Talk::new().handshake().close(101, 501).pause(241).octets();
    assert_eq!(end_reasons(&track(&other, TrackerOptions::default())), [EndReason::EndOfCapture]);
}

#[test]
fn a_pause_splits_nothing_unless_asked_to() {
    let octets = Talk::new().handshake().pause(86_400).say(Client, A, 101, 501, 10).octets();
    assert_eq!(track(&octets, TrackerOptions::default()).packets(), [4]);
    let options =
        TrackerOptions { idle_timeout_ns: Some(60_000_000_000), ..TrackerOptions::default() };
    let t = track(&octets, options);
    assert_eq!(t.packets(), [3, 1]);
    assert_eq!(end_reasons(&t), [EndReason::IdleTimeout, EndReason::EndOfCapture]);
}

#[test]
fn little_space_ends_what_is_idle_longest_and_still_counts() {
    let mut talk = Talk::new().handshake();
    for n in 0..100 {
        talk = talk.say(Client, A, 101 + n * 10, 501, 10);
    }
    let octets = talk.close(1101, 501).octets();
    let t = track(&octets, TrackerOptions { max_octets: Some(1000), ..TrackerOptions::default() });
    assert_eq!(end_reasons(&t), [EndReason::LackOfResources]);
    assert_eq!(t.packets(), [106]);
    assert!(t.records[0].packets_after_export > 80);
}

#[test]
fn without_a_syn_only_counters_are_kept_where_a_syn_is_wanted() {
    let mut talk = Talk::new();
    for n in 0..20 {
        talk = talk.say(Client, A, 101 + n * 10, 501, 10);
    }
    let octets = talk.close(301, 501).octets();
    let t = track(&octets, TrackerOptions { only_opened: true, ..TrackerOptions::default() });
    assert_eq!(t.packets(), [23]);
    assert!(t.ended[0].flow.is_none());
    assert_eq!(t.ended[0].verdict.class.name(), "ended");
    assert!(track(&octets, TrackerOptions::default()).ended[0].flow.is_some());
}

#[test]
fn a_packet_takes_at_most_64_octets() {
    assert!(size_of::<flowtrack::Packet>() <= 64);
}
