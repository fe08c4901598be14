//! Forgotten conversations: no other result depends on them, and memory stays bounded.

use std::collections::HashMap;

use flowtrack::{
    ClientEvidence, ConversationSummary, EndReason, FinishedConversation, Tracker, TrackerOptions,
};
use proptest::prelude::*;
use tcpwire::{Flags, IpRepr, Segment};

use crate::hostile::{Step, segment};

const SECOND: i64 = 1_000_000_000;
const TIMEOUT: i64 = 10 * SECOND;

/// Generates segments on two to eight 4-tuples. Their clock advances, and now and then goes back by
/// less than the time-out.
fn steps() -> impl Strategy<Value = Vec<(i64, u8, Step)>> {
    let number = prop_oneof![0u32..50, Just(u32::MAX)];
    let on = prop_oneof![3 => 0..2 * SECOND, 1 => 0..4 * TIMEOUT];
    let back = prop_oneof![3 => Just(0), 1 => 0..TIMEOUT];
    let step = (
        Just(0u16),
        any::<u8>(),
        number.clone(),
        number,
        0u16..0x40,
        (0u32..40).prop_map(Some),
        Just(0u16),
    );
    let timed = (on, back, 0u8..4, step);
    prop::collection::vec(timed, 0..120).prop_map(|steps| {
        let mut highest_ns = 0;
        let at = |(on, back, host, step)| {
            highest_ns += on;
            (highest_ns - back, host, step)
        };
        steps.into_iter().map(at).collect()
    })
}

/// Returns the segment of a step, on a 4-tuple that `host` and `epoch` choose.
fn between(host: u8, epoch: u16, step: &Step) -> Segment<'static> {
    let mut segment = segment(step);
    if let IpRepr::V4(ip) = &mut segment.ip {
        let place = |addr: std::net::Ipv4Addr| {
            let [_, _, _, end] = addr.octets();
            [10 + host, (epoch >> 8) as u8, epoch as u8, end].into()
        };
        (ip.src, ip.dst) = (place(ip.src), place(ip.dst));
    }
    segment
}

/// Removes what depends on who the client is. Without a SYN the conversation before tells it, which
/// the reference does not have.
fn turn_by_ports(one: &mut FinishedConversation) {
    if one.endpoints[0].port > one.endpoints[1].port {
        one.endpoints.reverse();
        one.numbers.reverse();
    }
    let verdict = &mut one.verdict;
    verdict.client_evidence = ClientEvidence::Unknown;
    verdict.missing.clear();
    verdict.surplus.clear();
    verdict.missing_octets.sort_unstable();
    verdict.repeated_octets.sort_unstable();
    if let Some(flow) = &mut one.flow {
        let is_turned = flow.client.port > flow.server.port;
        if is_turned {
            std::mem::swap(&mut flow.client, &mut flow.server);
            flow.packets.iter_mut().for_each(|p| p.direction = p.direction.reversed());
        }
    }
}

/// Returns all results of a tracker in order of first packets, without addresses and end reasons.
fn all(
    mut tracker: Tracker,
    ids: Vec<u64>,
) -> (Vec<u64>, Vec<FinishedConversation>, Vec<ConversationSummary>) {
    tracker.finish();
    let mut ended: Vec<FinishedConversation> = tracker.drain_finished().collect();
    ended.sort_by_key(|one| one.id);
    let mut records: Vec<ConversationSummary> = tracker.drain_forgotten().collect();
    records.extend(tracker.summaries());
    records.sort_by_key(|record| record.id);
    let mut guessed = Vec::new();
    let nowhere = std::net::IpAddr::from([0; 4]);
    for one in &mut ended {
        one.end_reason = EndReason::EndOfCapture;
        one.endpoints.iter_mut().for_each(|end| end.addr = nowhere);
        if !matches!(one.verdict.client_evidence, ClientEvidence::Syn | ClientEvidence::SynAck) {
            guessed.push(one.id);
            turn_by_ports(one);
        }
        if let Some(flow) = &mut one.flow {
            (flow.client.addr, flow.server.addr) = (nowhere, nowhere);
        }
    }
    for record in &mut records {
        if guessed.contains(&record.id) {
            record.endpoints.sort_unstable_by_key(|end| end.port);
        }
        record.endpoints.iter_mut().for_each(|end| end.addr = nowhere);
    }
    (ids, ended, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1000 }))]

    /// Compares with a tracker that never forgets and has no time-out: after a longer pause its
    /// packets come from another 4-tuple.
    #[test]
    fn with_a_time_out_nothing_depends_on_what_is_forgotten(
        steps in steps(),
        linger in 0..TIMEOUT,
    ) {
        let options = TrackerOptions {
            linger_ns: linger,
            linger_octets: 0,
            ..TrackerOptions::default()
        };
        let bounded = TrackerOptions { idle_timeout_ns: Some(TIMEOUT), ..options };
        let mut forgetful = Tracker::new(bounded);
        let mut reference = Tracker::new(options);
        let mut last: HashMap<_, (i64, u16)> = HashMap::new();
        let (mut ids, mut expected) = (Vec::new(), Vec::new());
        for (n, (time_ns, host, step)) in steps.iter().enumerate() {
            let ends = (host, step.1 & 2);
            let (last_ns, epoch) = last.entry(ends).or_insert((*time_ns, 0));
            *epoch += u16::from(time_ns - *last_ns > TIMEOUT);
            *last_ns = *time_ns;
            ids.push(forgetful.push(*time_ns, n as u64, &between(*host, 0, step)));
            expected.push(reference.push(*time_ns, n as u64, &between(*host, *epoch, step)));
        }
        prop_assert_eq!(all(forgetful, ids), all(reference, expected));
    }
}

/// Returns a SYN from the address `n`.
fn syn(n: u32) -> Segment<'static> {
    let mut segment = segment(&(0, 0, n, 0, Flags::SYN.bits(), Some(0), 0));
    if let IpRepr::V4(ip) = &mut segment.ip {
        ip.src = std::net::Ipv4Addr::from_bits(n);
    }
    segment
}

/// Returns the largest number of heap octets, and the number of conversations exported and
/// forgotten before the end.
fn flood(options: TrackerOptions, n: u32, at: impl Fn(u32) -> i64) -> (usize, u64, usize) {
    let mut tracker = Tracker::new(options);
    let (mut most, mut exported, mut forgotten) = (0, 0, 0);
    for i in 0..n {
        tracker.push(at(i), u64::from(i), &syn(i));
        most = most.max(tracker.heap_octets());
        exported += tracker.drain_finished().count() as u64;
        forgotten += tracker.drain_forgotten().count();
    }
    (most, exported, forgotten)
}

#[test]
fn with_a_time_out_what_is_held_does_not_grow() {
    let options = TrackerOptions { idle_timeout_ns: Some(TIMEOUT), ..TrackerOptions::default() };
    let (short, ..) = flood(options, 100, |i| i64::from(i) * SECOND);
    let (long, exported, forgotten) = flood(options, 10_000, |i| i64::from(i) * SECOND);
    assert_eq!(short, long);
    assert_eq!(
        (exported, forgotten),
        (10_000 - 22, 10_000 - 22),
        "all but those of the last two time-outs"
    );
}

#[test]
fn with_a_bound_in_space_no_more_is_held() {
    let options = TrackerOptions { max_octets: Some(100_000), ..TrackerOptions::default() };
    let (most, exported, forgotten) = flood(options, 10_000, i64::from);
    assert!(most <= 100_000 && most > 99_000, "{most}");
    assert!(
        exported as usize > forgotten && forgotten > 9_000,
        "{exported} exported, {forgotten} forgotten"
    );
}

/// Checks that results do not depend on whether buffers are recycled.
#[test]
fn with_a_bound_in_space_recycling_changes_nothing() {
    let run = |recycles: bool| {
        let options = TrackerOptions { max_octets: Some(20_000), ..TrackerOptions::default() };
        let (mut tracker, mut came_out) = (Tracker::new(options), Vec::new());
        for i in 0..5_000u32 {
            // Conversations of one to forty packets, a few at a time.
            let mut segment = syn(i / 40 * 4 + i % 4);
            if i % 40 >= 4 + i / 40 % 36 {
                segment = syn(i);
            }
            tracker.push(i64::from(i), i.into(), &segment);
            let ended: Vec<FinishedConversation> = tracker.drain_finished().collect();
            came_out.extend(ended.iter().map(|one| (i, one.id, one.end_reason)));
            let flows = ended.into_iter().filter_map(|one| one.flow).filter(|_| recycles);
            flows.for_each(|flow| tracker.recycle(flow));
        }
        came_out
    };
    let (never, at_once) = (run(false), run(true));
    assert!(never.len() > 1_000, "{}", never.len());
    assert_eq!(never, at_once);
}

#[test]
fn without_bounds_nothing_is_forgotten() {
    let (_, exported, forgotten) =
        flood(TrackerOptions::default(), 1000, |i| i64::from(i) * 1000 * SECOND);
    assert_eq!((exported, forgotten), (0, 0));
}

#[test]
fn one_time_far_ahead_ends_nothing() {
    let options = TrackerOptions { idle_timeout_ns: Some(TIMEOUT), ..TrackerOptions::default() };
    let ahead = |i| if i == 50 { 1_000_000 * SECOND } else { i64::from(i) };
    assert_eq!(flood(options, 100, ahead).1, 0);
}

#[test]
fn a_clock_that_goes_back_by_a_day_keeps_nothing_that_comes_after() {
    let options = TrackerOptions { idle_timeout_ns: Some(TIMEOUT), ..TrackerOptions::default() };
    let back = |i| i64::from(i) * SECOND + if i < 50 { 86_400 * SECOND } else { 0 };
    let (_, exported, forgotten) = flood(options, 1000, back);
    // Conversations from before the clock went back wait until the clock reaches that day again.
    assert_eq!((exported, forgotten), (1000 - 44, 1000 - 44));
}
