//! Option octets that no token holds, and the counter of Accurate ECN.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, SeqNum};
use tokenizer::field::{self, Constraint, Grammar, Limits};
use tokenizer::{DecodeError, FlowIdentity};

use crate::flows::{empty, packet, push};

/// Returns a flow of packets of alternating sides, each with these option octets.
fn flow(options: &[Vec<u8>]) -> Flow {
    let mut flow = empty(false, 80);
    for (i, octets) in options.iter().enumerate() {
        let direction = [Direction::Forward, Direction::Reverse][i % 2];
        push(&mut flow, Packet { direction, ..packet(false) }, octets);
    }
    flow
}

/// Returns the octets of an MD5 signature (RFC 2385) with padding.
fn signature(digest: u8) -> Vec<u8> {
    [&[1, 1, 19, 18][..], &[digest; 16]].concat()
}

fn encode(flow: &Flow) -> (Vec<u16>, FlowIdentity) {
    let mut tokens = Vec::new();
    let identity = field::encode(flow, &mut tokens).unwrap();
    assert_eq!(field::decode(&tokens, &identity).unwrap().options, flow.options);
    (tokens, identity)
}

fn names(tokens: &[u16]) -> Vec<String> {
    tokens.iter().map(|&token| field::vocab::describe(token)).collect()
}

#[test]
fn digests_are_in_the_identity_alone() {
    let (tokens, identity) = encode(&flow(&[1, 2, 3, 4].map(signature)));
    let (others, other) = encode(&flow(&[5, 6, 7, 8].map(signature)));
    assert_eq!(tokens, others);
    assert_eq!(identity.option_digits, Some([1, 2, 3, 4].map(|digest| [digest; 16]).concat()));
    assert_ne!(identity, other);
    let lists = names(&tokens);
    assert_eq!(lists.iter().filter(|name| *name == "opt.list").count(), 1, "{lists:?}");
    assert_eq!(lists.iter().filter(|name| name.starts_with("opt.recent")).count(), 1, "{lists:?}");
}

#[test]
fn a_flow_without_such_options_has_no_digits() {
    let (_, identity) = encode(&flow(&[vec![], vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]]));
    assert_eq!(identity.option_digits, None);
}

#[test]
fn the_form_of_an_option_is_in_the_tokens() {
    // DSS of RFC 8684 with an acknowledgment of 4 octets, with one of 8, and again with one of 4.
    let short = |ack: u8| vec![30, 8, 0x20, 1, ack, 1, 1, 1];
    let long = |ack: u8| vec![30, 12, 0x20, 3, ack, 1, 1, 1, 1, 1, 1, 1];
    let mut subflow = flow(&[short(1), short(2), long(3), short(4), short(5)]);
    subflow.packets.iter_mut().for_each(|p| p.direction = Direction::Forward);
    let (tokens, identity) = encode(&subflow);
    assert_eq!(identity.option_digits.map(|digits| digits.len()), Some(4 + 4 + 8 + 4 + 4));
    let said: Vec<String> =
        names(&tokens).into_iter().filter(|name| name.starts_with("opt")).collect();
    let list = ["opt.list", "opt.raw", "opt.done"];
    assert_eq!(said, [&list[..], &list, &["opt.recent(1)"]].concat());
}

#[test]
fn another_number_of_digits_is_refused() {
    let (tokens, identity) = encode(&flow(&[1, 2].map(signature)));
    for found in [0, 31, 33] {
        let digits = Some(vec![0; found]);
        let wrong = FlowIdentity { option_digits: digits, ..identity.clone() };
        let refused = field::decode(&tokens, &wrong).unwrap_err();
        assert_eq!(refused, DecodeError::OptionDigits { expected: 32, found });
    }
}

#[test]
fn the_bases_draw_digits_that_are_not_there() {
    let (tokens, captured) = encode(&flow(&[1, 2].map(signature)));
    let decode = |seq_base: u32| {
        let mut identity = FlowIdentity { option_digits: None, ..captured.clone() };
        identity.client.seq_base = Some(seq_base);
        field::decode(&tokens, &identity).unwrap().options
    };
    assert_eq!(decode(7), decode(7));
    assert_ne!(decode(7), decode(8));
    let (first, second) = (&decode(7)[4..20].to_vec(), &decode(7)[24..].to_vec());
    assert_ne!(first, second);
    assert!(first.iter().any(|octet| *octet != first[0]), "{first:?}");
}

/// Packets of a session that agrees on Accurate ECN: direction, flags, traffic class, payload,
/// sequence number and acknowledgment.
const SESSION: [(Direction, u16, u8, u32, u32, u32); 12] = {
    const C: Direction = Direction::Forward;
    const S: Direction = Direction::Reverse;
    [
        (C, 0x1c2, 0, 0, 100, 0),
        (S, 0x092, 0, 0, 900, 101),
        // 2: no codepoint on the SYN-ACK.
        (C, 0x090, 0, 0, 101, 901),
        // 5: the first value of the counter.
        (C, 0x158, 2, 50, 101, 901),
        (S, 0x150, 2, 0, 901, 151),
        (S, 0x158, 3, 70, 901, 151),
        (C, 0x190, 0, 0, 151, 971),
        (S, 0x158, 3, 30, 971, 151),
        // Three marks at once, and later another one: 6, 1, 2.
        (C, 0x050, 0, 0, 151, 1001),
        (C, 0x051, 0, 0, 151, 1001),
        (S, 0x151, 0, 0, 1001, 152),
        (C, 0x090, 0, 0, 152, 1002),
    ]
};

fn accurate_ecn_session(options: impl Fn(usize) -> Vec<u8>) -> Flow {
    let mut flow = empty(false, 80);
    for (i, (direction, flags, traffic_class, payload_len, seq, ack)) in
        SESSION.into_iter().enumerate()
    {
        let flags = Flags::from_bits_retain(flags);
        let (seq, ack) = (SeqNum(seq), SeqNum(ack));
        let p = Packet { direction, flags, traffic_class, payload_len, seq, ack, ..packet(false) };
        push(&mut flow, p, &options(i));
    }
    flow
}

#[test]
fn a_counter_that_stays_needs_no_token() {
    let (tokens, _) = encode(&accurate_ecn_session(|_| vec![]));
    let packets = names(&tokens);
    let flags: Vec<&String> = packets.iter().filter(|name| name.starts_with("flags")).collect();
    // The SYN asks, the SYN-ACK grants; then rises by 1, 3 and 1.
    assert_eq!(flags, ["flags(5)", "flags(2)", "flags(1)", "flags(0)", "flags(1)"]);
}

#[test]
fn counters_that_are_not_there_follow_from_the_packets() {
    let counters = |i: usize| match i {
        0 => vec![],
        _ => vec![1, 172, 11, 0, 0, 1, 0, 0, 0, 0, 0, 1],
    };
    let (tokens, captured) = encode(&accurate_ecn_session(counters));
    let identity = FlowIdentity { option_digits: None, ..captured };
    let decoded = field::decode(&tokens, &identity).unwrap();
    let of = |i: usize| decoded.options_of(&decoded.packets[i]).to_vec();
    // The server has received 50 octets with ECT(0), the client 70 with CE.
    assert_eq!(of(4), [1, 172, 11, 0, 0, 51, 0, 0, 0, 0, 0, 1]);
    assert_eq!(of(6), [1, 172, 11, 0, 0, 1, 0, 0, 70, 0, 0, 1]);
}

/// Pushes the tokens of a flow, and returns the name of the first one that a session has not.
fn first_refused(flow: &Flow) -> Option<String> {
    let (tokens, _) = encode(flow);
    let mut grammar = Grammar::new(Constraint::Session, Limits::default());
    tokens.into_iter().find_map(|token| {
        let is_allowed = grammar.allowed_next().contains(token);
        grammar.push(token).unwrap();
        (!is_allowed).then(|| field::vocab::describe(token))
    })
}

#[test]
fn a_session_may_agree_on_accurate_ecn() {
    let mss = vec![2, 4, 5, 180];
    let counters = |i: usize| match i {
        0 => mss.clone(),
        1 => [&mss[..], &[1, 172, 11, 0, 0, 1, 0, 0, 0, 0, 0, 1]].concat(),
        11 => vec![],
        _ => vec![1, 172, 11, 0, 0, 1, 0, 0, 0, 0, 0, 1],
    };
    assert_eq!(first_refused(&accurate_ecn_session(counters)), None);
}

#[test]
fn a_tsval_of_a_rst_is_not_expected_in_an_echo() {
    let stamped = |value: u8, echo: u8| vec![1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, echo];
    // The server's last packet echoes the TSval of the client's last one.
    let last_echo = |flags: Flags| {
        let mut flow = flow(&[stamped(10, 0), stamped(50, 10), stamped(20, 50), stamped(60, 20)]);
        flow.packets.iter_mut().for_each(|p| p.flags = Flags::ACK);
        flow.packets[2].flags |= flags;
        names(&encode(&flow).0).into_iter().rfind(|name| name.starts_with("tsecr"))
    };
    assert_eq!(last_echo(Flags::empty()).as_deref(), Some("tsecr(1)"));
    assert_eq!(last_echo(Flags::RST).as_deref(), Some("tsecr.raw"));
}
