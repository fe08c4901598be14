//! Segments in any order with any numbers: nothing panics, nothing is lost or counted twice.

use flowtrack::{TagKinds, Tracker, TrackerOptions};
use proptest::prelude::*;
use tcpwire::{Flags, IpRepr, Ipv4Repr, PacketQuirks, Segment, SeqNum, Tags, TcpView};

/// A segment as numbers: milliseconds since the last one, sender and port, sequence number,
/// acknowledgment number, flags, payload length, quirks.
pub(crate) type Step = (u16, u8, u32, u32, u16, Option<u32>, u16);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = prop_oneof![0u32..50, Just(u32::MAX), Just(1 << 31), any::<u32>()];
    let quirks = prop_oneof![9 => Just(0u16), 1 => any::<u16>()];
    let payload = prop_oneof![
        9 => (0u32..40).prop_map(Some),
        1 => any::<u32>().prop_map(Some),
        1 => Just(None),
    ];
    let step = (any::<u16>(), any::<u8>(), number.clone(), number, 0u16..0x40, payload, quirks);
    prop::collection::vec(step, 0..60)
}

pub(crate) fn segment(&(_, who, seq, ack, flags, payload_len, quirks): &Step) -> Segment<'static> {
    let host = |n: u8| [10, 0, 0, n].into();
    let (src, dst) = if who & 1 == 0 { (host(1), host(2)) } else { (host(2), host(1)) };
    let (src_port, dst_port) = if who & 1 == 0 { (1000, 80) } else { (80, 1000) };
    let src_port = src_port + u16::from(who & 2 != 0 && who & 1 == 0) * 7;
    let dst_port = dst_port + u16::from(who & 2 != 0 && who & 1 == 1) * 7;
    Segment {
        ip: IpRepr::V4(Ipv4Repr {
            src,
            dst,
            traffic_class: 0,
            id: 0,
            dont_fragment: false,
            ttl: 64,
        }),
        tcp: TcpView {
            src_port,
            dst_port,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            header_len: 20,
            flags: Flags::from_bits_retain(flags),
            window: 0,
            checksum: 0,
            urgent: 0,
            options: &[],
        },
        payload_len,
        quirks: PacketQuirks::from_bits_retain(quirks & 0x1fff),
        tags: Tags::default(),
    }
}

fn is_quoted(step: &Step) -> bool {
    segment(step).quirks.intersects(PacketQuirks::QUOTED)
}

fn check(steps: &[Step], options: TrackerOptions) -> Result<(), TestCaseError> {
    let mut tracker = Tracker::new(options);
    let mut now_ns = 0;
    let mut ids = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        now_ns += i64::from(step.0) * 1_000_000;
        ids.push(tracker.push(now_ns, n as u64 + 1, &segment(step)));
        let mark = 200;
        prop_assert!(options.max_octets.is_none_or(|max| tracker.heap_octets() <= max.max(mark)));
    }
    tracker.finish();
    let mut seen = vec![false; tracker.conversation_count() as usize];
    for one in tracker.drain_finished() {
        prop_assert!(!std::mem::replace(&mut seen[one.id as usize], true), "exported once");
        let Some(flow) = one.flow else { continue };
        // Quotations are counted, and are no packets of the flow.
        let own = steps
            .iter()
            .zip(&ids)
            .filter(|(step, id)| **id == one.id && !is_quoted(step))
            .map(|(step, _)| step);
        for (packet, step) in flow.packets.iter().zip(own) {
            prop_assert_eq!(
                (packet.seq.0, packet.ack.0, packet.flags.bits()),
                (step.2, step.3, step.4)
            );
        }
    }
    prop_assert!(seen.iter().all(|s| *s), "all exported");
    let mut records: Vec<_> = tracker.drain_forgotten().collect();
    records.extend(tracker.summaries());
    records.sort_by_key(|record| record.id);
    let mut packets = 0;
    for (id, record) in (0..).zip(&records) {
        prop_assert_eq!(record.id, id, "known of each once");
        prop_assert_eq!(ids[record.first_frame as usize - 1], id);
        prop_assert_eq!(record.packets, ids.iter().filter(|i| **i == id).count() as u64);
        packets += record.packets;
    }
    prop_assert_eq!(records.len() as u64, tracker.conversation_count());
    prop_assert_eq!(packets, steps.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 5000 }))]

    #[test]
    fn every_packet_is_counted_once(steps in steps()) {
        check(&steps, TrackerOptions::default())?;
    }

    #[test]
    fn also_where_space_and_time_are_short(
        steps in steps(),
        octets in 0usize..4000,
        seconds in 0i64..20,
    ) {
        let options = TrackerOptions {
            only_opened: true,
            idle_timeout_ns: Some(seconds * 1_000_000_000),
            max_octets: Some(octets),
            linger_ns: seconds * 500_000_000,
            linger_octets: octets / 8,
            separate: TagKinds::all(),
            drop_copies: false,
            ..TrackerOptions::default()
        };
        check(&steps, options)?;
    }
}
