//! Whole sessions: FIN, RST and ACK count where their receiver can accept them, and packets of
//! another session are named.

use std::net::Ipv6Addr;

use flowtrack::{Class, ClientEvidence, Close, Direction, TagKinds, Tracker, TrackerOptions};
use proptest::prelude::*;
use tcpwire::{Flags, IpRepr, Ipv6Repr, Segment, Tags};

use crate::capture::*;
use crate::hostile::segment;

/// A handshake, 50 octets of the client and their acknowledgment with a window of 65,000.
fn open() -> Talk {
    Talk::new().handshake().say(Client, A, 101, 501, 50).say(Server, A, 501, 151, 0)
}

#[test]
fn a_rst_counts_up_to_the_last_octet_of_the_window() {
    for (seq, verdict) in [
        (151, "reset"),
        (151 + 64_999, "reset"),
        (151 + 65_000, "started: no FIN from the client; no FIN from the server"),
        (150, "started: no FIN from the client; no FIN from the server"),
    ] {
        assert_eq!(open().say(Client, R, seq, 0, 0).tracked().verdicts(), [verdict], "{seq}");
    }
}

#[test]
fn after_a_rst_out_of_the_window_the_session_ends_as_it_does() {
    let t = open().say(Client, R, 1 << 29, 0, 0).close(151, 501).tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.packets(), [9]);
}

#[test]
fn a_rst_of_someone_else_does_not_end_what_goes_on() {
    let t = open()
        .say(Client, R, 200, 0, 0)
        .say(Client, A, 151, 501, 100)
        .say(Server, A, 501, 251, 0)
        .close(251, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn a_rst_with_the_number_of_its_fin_counts() {
    let t = open()
        .say(Client, FA, 151, 501, 0)
        .say(Server, A, 501, 152, 0)
        .say(Client, R, 151, 0, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["reset"]);
}

#[test]
fn a_refusal_counts_if_it_acknowledges_the_syn() {
    for (flags, ack, close) in [(RA, 101, Close::Rst), (RA, 90, Close::Open), (R, 0, Close::Open)] {
        let t = Talk::new().say(Client, S, 100, 0, 0).say(Server, flags, 0, ack, 0).tracked();
        assert_eq!(t.ended[0].verdict.close, close, "{flags:?} {ack}");
    }
}

#[test]
fn a_half_open_connection_before_does_not_close_the_session() {
    for (seq, ack) in [(3_000_000, 70), (3_000_000, 150), (u32::MAX, 4_000_000_000)] {
        let t = Talk::new()
            .say(Client, S, 100, 0, 0)
            .say(Server, A, seq, ack, 0)
            .say(Client, R, ack, 0, 0)
            .say(Client, S, 100, 0, 0)
            .say(Server, SA, 500, 101, 0)
            .say(Client, A, 101, 501, 0)
            .say(Client, A, 101, 501, 10)
            .pause(1000)
            .say(Server, A, 501, 111, 20)
            .close(111, 521)
            .tracked();
        assert_eq!(t.verdicts(), ["graceful"], "{seq} {ack}");
        assert_eq!(t.ended[0].flow.as_ref().map(|f| f.packets.len()), Some(11));
    }
}

#[test]
fn octets_and_a_fin_before_the_stream_are_of_another_one() {
    let far = 501u32.wrapping_sub(500_000_000);
    let t = open()
        .say(Server, A, far, 151, 1000)
        .say(Client, A, 151, far.wrapping_add(1000), 0)
        .say(Server, FA, far.wrapping_add(1000), 151, 0)
        .say(Client, FA, 151, far.wrapping_add(1001), 0)
        .tracked();
    assert_eq!(t.ended[0].verdict.class, Class::Partial);
    assert_eq!(t.ended[0].verdict.close, Close::Open);
    assert!(t.verdicts()[0].ends_with("octets outside of the stream of the server"));
}

#[test]
fn a_fin_beyond_the_window_counts_once_it_is_acknowledged() {
    let far = 151 + 70_000;
    let ahead = open().say(Client, FA, far, 501, 0);
    let t = ahead.tracked();
    assert_eq!(t.verdicts(), ["started: no FIN from the client; no FIN from the server"]);
    let t = open().say(Client, FA, far, 501, 0).say(Server, FA, 501, far + 1, 0).tracked();
    assert_eq!(t.ended[0].verdict.close, Close::Fin);
    assert_eq!(t.ended[0].verdict.missing_octets, [70_000, 0]);
}

#[test]
fn octets_after_the_fin_are_of_another_stream() {
    let t = open().close(151, 501).say(Client, A, 152, 502, 30).tracked();
    assert_eq!(t.verdicts(), ["partial: octets outside of the stream of the client"]);
}

#[test]
fn an_acknowledgment_that_overtakes_its_fin_changes_nothing() {
    let t = open()
        .say(Client, FA, 151, 501, 0)
        .say(Server, A, 502, 152, 0)
        .say(Server, FA, 501, 152, 0)
        .say(Client, A, 152, 502, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn a_session_played_again_is_a_second_handshake() {
    for pause in [5, 3600] {
        let mut talk = Talk::new();
        for _ in 0..3 {
            talk = talk.handshake().say(Client, A, 101, 501, 50).close(151, 501).pause(pause);
        }
        let t = talk.tracked();
        assert_eq!(t.verdicts(), ["partial: a second handshake"]);
        assert_eq!(t.records[0].packets_after_export, 0, "none is late");
    }
}

#[test]
fn played_again_before_its_end() {
    let t = open().handshake().say(Client, A, 101, 501, 50).close(151, 501).tracked();
    assert_eq!(t.verdicts(), ["partial: a second handshake"]);
}

#[test]
fn a_server_that_answers_again_with_another_number() {
    let t = open()
        .close(151, 501)
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 9000, 101, 0)
        .say(Client, A, 101, 9001, 0)
        .tracked();
    assert!(t.verdicts()[0].contains("a second handshake"), "{:?}", t.verdicts());
    assert_eq!(t.ended[0].verdict.class, Class::Partial);
}

#[test]
fn a_syn_ack_sent_again_after_a_rst_opens_nothing() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Client, R, 101, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Client, R, 101, 0, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["started: handshake not acknowledged"]);
}

/// Two sessions at once on the same 4-tuple, with VLAN tags of their own.
fn two_vlans() -> Vec<u8> {
    let both = |talk: Talk, from, flags, [seq, ack]: [u32; 2], len| {
        let later = |n: u32| if n == 0 { 0 } else { n + 5_000_000 };
        talk.on_vlan(10).say(from, flags, seq, ack, len).on_vlan(20).say(
            from,
            flags,
            later(seq),
            later(ack),
            len,
        )
    };
    [
        (Client, S, [100, 0], 0),
        (Server, SA, [500, 101], 0),
        (Client, A, [101, 501], 0),
        (Client, A, [101, 501], 50),
        (Server, A, [501, 151], 1000),
        (Client, FA, [151, 1501], 0),
        (Server, FA, [1501, 152], 0),
        (Client, A, [152, 1502], 0),
    ]
    .into_iter()
    .fold(Talk::new(), |talk, (from, flags, numbers, len)| both(talk, from, flags, numbers, len))
    .octets()
}

#[test]
fn two_vlans_at_once_are_whole_once_separated() {
    let t = track(&two_vlans(), TrackerOptions::default());
    assert_eq!(t.packets(), [1, 15], "as Wireshark splits them");
    assert!(t.ended.iter().all(|e| !e.verdict.class.is_complete()));
    assert!(t.verdicts()[1].ends_with("packets of several VLANs at once"));
    let separate = TrackerOptions { separate: TagKinds::VLAN, ..TrackerOptions::default() };
    let t = track(&two_vlans(), separate);
    assert_eq!((t.verdicts(), t.packets()), (vec!["graceful".into(); 2], vec![8, 8]));
    let other = TrackerOptions { separate: TagKinds::VNI, ..TrackerOptions::default() };
    assert_eq!(track(&two_vlans(), other).packets(), [1, 15]);
}

/// Returns the packets of the conversations of a session whose packets have these tags in turn, and
/// the kinds of tags that cross.
fn tagged(tags: impl Fn(usize, bool) -> Tags, separate: TagKinds) -> (Vec<u64>, Option<TagKinds>) {
    let mut tracker = Tracker::new(TrackerOptions { separate, ..TrackerOptions::default() });
    for n in 0..12 {
        let from_client = n % 2 == 0;
        let step = (0, u8::from(!from_client), n as u32, n as u32, A.bits(), Some(1), 0);
        let segment = Segment { tags: tags(n, from_client), ..segment(&step) };
        tracker.push(n as i64 * 10_000_000, n as u64 + 1, &segment);
    }
    tracker.finish();
    let crossing = tracker.drain_finished().find_map(|e| {
        e.verdict.surplus.iter().find_map(|surplus| match surplus {
            flowtrack::Surplus::Crossing(kinds) => Some(*kinds),
            _ => None,
        })
    });
    (tracker.summaries().map(|s| s.packets).collect(), crossing)
}

#[test]
fn tags_that_change_once_or_by_direction_cross_nothing() {
    let none = TagKinds::empty();
    let vlan = |vlan| Tags { vlan, ..Tags::default() };
    assert_eq!(tagged(|_, client| vlan(10 + u32::from(client)), none), (vec![12], None));
    assert_eq!(tagged(|n, _| vlan(10 + u32::from(n > 5)), none), (vec![12], None));
    assert_eq!(tagged(|n, client| vlan(u32::from(client && n > 5)), none), (vec![12], None));
    let crossing = tagged(|n, _| vlan(10 + n as u32 / 2 % 2), none);
    assert_eq!(crossing, (vec![12], Some(TagKinds::VLAN)));
}

#[test]
fn each_kind_of_tag_separates_if_asked() {
    let turn = |n: usize| (n / 2 % 3) as u32;
    let interface = |n, _| Tags { interface: turn(n), ..Tags::default() };
    let vni = |n, _| Tags { vni: turn(n), ..Tags::default() };
    assert_eq!(tagged(interface, TagKinds::empty()), (vec![12], Some(TagKinds::INTERFACE)));
    assert_eq!(tagged(interface, TagKinds::INTERFACE), (vec![4, 4, 4], None));
    assert_eq!(tagged(vni, TagKinds::empty()), (vec![12], Some(TagKinds::VNI)));
    assert_eq!(tagged(vni, TagKinds::all()), (vec![4, 4, 4], None));
    assert_eq!(tagged(vni, TagKinds::VLAN), (vec![12], Some(TagKinds::VNI)));
}

#[test]
fn copies_are_counted_and_dropped_if_asked() {
    let twice = |microseconds| {
        let mut talk = Talk::new();
        for (from, flags, seq, ack, len) in [
            (Client, S, 100, 0, 0),
            (Server, SA, 500, 101, 0),
            (Client, A, 101, 501, 0),
            (Client, A, 101, 501, 50),
            (Server, A, 501, 151, 1000),
            (Client, A, 151, 1501, 0),
        ] {
            talk = talk.say(from, flags, seq, ack, len).routed(microseconds).pause(1);
        }
        talk.close(151, 1501).octets()
    };
    let drop = TrackerOptions { drop_copies: true, ..TrackerOptions::default() };
    let counted = |octets: &[u8], options| {
        let mut reader = flowtrack::FlowReader::new(octets, options).unwrap();
        let packets = reader.by_ref().filter_map(|e| Some(e.unwrap().flow?.packets.len())).sum();
        (reader.counts().copies, packets)
    };
    assert_eq!(counted(&twice(300), TrackerOptions::default()), (6, 15));
    assert_eq!(counted(&twice(300), drop), (6, 9));
    assert_eq!(counted(&twice(2000), drop), (0, 15), "a retransmission comes later");
    let wide = TrackerOptions { copy_window_ns: 2_000_000, ..drop };
    assert_eq!(counted(&twice(2000), wide), (6, 9));
}

/// Returns a segment like [`segment`], over IPv6 if asked, without an IP identification.
fn numbered(
    is_v6: bool,
    client: bool,
    flags: Flags,
    [seq, ack, len]: [u32; 3],
) -> Segment<'static> {
    let plain = segment(&(0, u8::from(!client), seq, ack, flags.bits(), Some(len), 0));
    let host = |n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
    let (src, dst) = if client { (host(1), host(2)) } else { (host(2), host(1)) };
    let v6 = Ipv6Repr { src, dst, traffic_class: 0, flow_label: 0xabcde, hop_limit: 64 };
    Segment { ip: if is_v6 { IpRepr::V6(v6) } else { plain.ip }, ..plain }
}

/// Returns the number of copies among packets, each after as many microseconds.
fn copies(is_v6: bool, packets: &[(i64, bool, Flags, [u32; 3])]) -> u64 {
    let mut tracker = Tracker::new(TrackerOptions::default());
    let mut now_ns = 0;
    for (n, &(after, client, flags, numbers)) in packets.iter().enumerate() {
        now_ns += after * 1000;
        tracker.push(now_ns, n as u64 + 1, &numbered(is_v6, client, flags, numbers));
    }
    tracker.copies()
}

#[test]
fn what_a_host_sends_again_and_again_is_no_copy() {
    for is_v6 in [false, true] {
        let mut packets = vec![
            (0, true, S, [100, 0, 0]),
            (900, false, SA, [500, 101, 0]),
            (900, true, A, [101, 501, 0]),
            (900, true, A, [101, 501, 50]),
        ];
        // The first segment is lost; each one behind it is acknowledged alike, if without SACK.
        for n in 1..6 {
            packets.push((20, false, A, [501 + n * 1000, 151, 1000]));
            packets.push((20, true, A, [151, 501, 0]));
        }
        assert_eq!(copies(is_v6, &packets), 0, "acknowledgments, {is_v6}");
        packets.extend([(20, true, R, [151, 0, 0]); 5]);
        assert_eq!(copies(is_v6, &packets), 0, "with RSTs, {is_v6}");
    }
}

#[test]
fn what_a_mirror_shows_twice_is_a_copy_without_identification_too() {
    for is_v6 in [false, true] {
        let once = [
            (900, true, S, [100, 0, 0]),
            (900, false, SA, [500, 101, 0]),
            (900, true, A, [101, 501, 0]),
            (900, true, A, [101, 501, 50]),
            (900, false, A, [501, 151, 1000]),
            (900, true, A, [151, 1501, 0]),
            (900, false, R, [1501, 0, 0]),
        ];
        let twice: Vec<_> =
            once.into_iter().flat_map(|one| [one, (3, one.1, one.2, one.3)]).collect();
        assert_eq!(copies(is_v6, &twice), 7, "{is_v6}");
        // A network that doubles a packet says nothing about others.
        let mut doubled = once[..5].to_vec();
        doubled.push((3, false, A, [501, 151, 1000]));
        doubled.extend([(20, true, A, [151, 1501, 0]); 5]);
        assert_eq!(copies(is_v6, &doubled), 1, "{is_v6}");
    }
}

#[test]
fn stacked_vlan_tags_and_ipv6_separate_and_cross_like_others() {
    let stacked = |inner: u32| Tags { vlan: 11 << 16 | (inner + 1), ..Tags::default() };
    let count = |is_v6: bool, separate| {
        let mut tracker = Tracker::new(TrackerOptions { separate, ..TrackerOptions::default() });
        for n in 0..12_u32 {
            // Each inner tag has every other exchange, with octets of its own.
            let (client, inner) = (n % 2 == 0, n / 2 % 2);
            let one = numbered(is_v6, client, A, [n * 10, n * 10, 10]);
            let one = Segment { tags: stacked(inner), ..one };
            tracker.push(i64::from(n) * 10_000_000, n.into(), &one);
        }
        tracker.finish();
        let crossing = tracker
            .drain_finished()
            .any(|one| one.verdict.surplus.contains(&flowtrack::Surplus::Crossing(TagKinds::VLAN)));
        (tracker.summaries().map(|s| s.packets).collect::<Vec<_>>(), crossing)
    };
    for is_v6 in [false, true] {
        assert_eq!(count(is_v6, TagKinds::empty()), (vec![12], true), "{is_v6}");
        assert_eq!(count(is_v6, TagKinds::INTERFACE), (vec![12], true), "{is_v6}");
        assert_eq!(count(is_v6, TagKinds::VLAN), (vec![6, 6], false), "{is_v6}");
    }
}

#[test]
fn the_client_of_what_begins_in_the_middle_is_told_by_ports() {
    let t = Talk::new().say(Server, A, 501, 101, 10).say(Client, A, 101, 511, 5).tracked();
    assert_eq!(t.records[0].endpoints[0].port, 1000);
    assert_eq!(t.ended[0].verdict.client_evidence, ClientEvidence::Ports);
    let flow = t.ended[0].flow.as_ref().unwrap();
    assert_eq!((flow.server.port, flow.packets[0].direction), (80, Direction::Reverse));
    let (verdict, _) = flow.verdict().unwrap();
    assert_eq!(verdict, t.ended[0].verdict);
}

#[test]
fn the_client_of_what_begins_in_the_middle_is_that_of_before() {
    let octets = Talk::new()
        .say(Server, S, 500, 0, 0)
        .say(Client, SA, 100, 501, 0)
        .pause(90)
        .say(Client, A, 101, 501, 10)
        .octets();
    let options =
        TrackerOptions { idle_timeout_ns: Some(60_000_000_000), ..TrackerOptions::default() };
    let t = track(&octets, options);
    assert_eq!(t.packets(), [2, 1]);
    assert_eq!(t.ended[1].verdict.client_evidence, ClientEvidence::Earlier);
    assert_eq!(t.records[1].endpoints[0].port, 80);
}

/// Plays a session of which every packet is acceptable, with retransmissions, and a RST at the
/// distance `rst` from the right edge of the server's window, as long as there is one.
fn session(
    isns: [u32; 2],
    sent: &[(bool, u16, bool)],
    rst: Option<u32>,
) -> flowtrack::FinishedConversation {
    const WINDOW: u16 = 60_000;
    let mut tracker = Tracker::new(TrackerOptions::default());
    let mut now = 0;
    let mut push = |client: bool, seq: u32, ack: u32, flags: Flags, len: u32| {
        now += 1;
        let step = (0, u8::from(!client), seq, ack, flags.bits(), Some(len), 0);
        let mut one = segment(&step);
        one.tcp.window = WINDOW;
        tracker.push(now as i64 * 5_000_000, now, &one);
    };
    let [mut client, mut server] = isns;
    push(true, client, 0, S, 0);
    client = client.wrapping_add(1);
    push(false, server, client, SA, 0);
    server = server.wrapping_add(1);
    push(true, client, server, A, 0);
    for (from_client, len, again) in sent {
        let len = u32::from(*len);
        for _ in 0..=u8::from(*again) {
            if *from_client {
                push(true, client, server, A, len);
            } else {
                push(false, server, client, A, len);
            }
        }
        let sender = if *from_client { &mut client } else { &mut server };
        *sender = sender.wrapping_add(len);
        push(
            !from_client,
            if *from_client { server } else { client },
            if *from_client { client } else { server },
            A,
            0,
        );
    }
    if let Some(beyond) = rst {
        push(true, client.wrapping_add(u32::from(WINDOW)).wrapping_add(beyond), 0, R, 0);
        push(true, client, server, A, 1);
        client = client.wrapping_add(1);
        push(false, server, client, A, 0);
    }
    push(true, client, server, FA, 0);
    push(false, server, client.wrapping_add(1), FA, 0);
    push(true, client.wrapping_add(1), server.wrapping_add(1), A, 0);
    tracker.finish();
    tracker.drain_finished().next().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 500 }))]

    #[test]
    fn acceptable_packets_are_never_barred(
        isns: [u32; 2],
        sent in prop::collection::vec((any::<bool>(), 0u16..1460, any::<bool>()), 0..40),
    ) {
        let ended = session(isns, &sent, None);
        prop_assert_eq!((ended.verdict.class, ended.verdict.surplus), (Class::Graceful, vec![]));
    }

    #[test]
    fn a_rst_outside_of_the_window_closes_nothing(
        isns: [u32; 2],
        sent in prop::collection::vec((any::<bool>(), 0u16..1460, any::<bool>()), 0..40),
        beyond in prop_oneof![0u32..3, 0u32..u32::MAX - 60_001],
    ) {
        let ended = session(isns, &sent, Some(beyond));
        prop_assert_eq!((ended.verdict.class, ended.verdict.close), (Class::Graceful, Close::Fin));
    }
}
