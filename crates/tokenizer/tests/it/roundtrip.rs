//! A flow that is encoded and decoded has every header value of the original.

use flowtrack::Flow;
use proptest::prelude::*;
use tokenizer::field::{self, Field};
use tokenizer::{DecodeError, EncodeError, TokenCode};

use crate::flows::{any_flow, empty, packet, push};

fn check(flow: &Flow) {
    let mut tokens = Vec::new();
    let identity = field::encode(flow, &mut tokens).unwrap();
    assert!(tokens.iter().all(|&t| usize::from(t) < field::VOCAB_SIZE));
    let again = field::decode(&tokens, &identity).unwrap();
    assert_eq!((again.client, again.server), (flow.client, flow.server));
    assert_eq!(again.packets.len(), flow.packets.len());
    for (i, (a, b)) in flow.packets.iter().zip(&again.packets).enumerate() {
        assert_eq!(flow.options_of(a), again.options_of(b), "options of packet {i}");
        let b = flowtrack::Packet { options: a.options, ..*b };
        assert_eq!(*a, b, "packet {i}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_flow_comes_back(flow in any_flow()) {
        check(&flow);
    }

    #[test]
    fn any_tokens_decode_or_are_refused(tokens in prop::collection::vec(0u16..1100, 0..200)) {
        let _ = field::decode(&tokens, &tokenizer::FlowIdentity::default());
    }

    #[test]
    fn mutated_tokens_decode_or_are_refused(
        flow in any_flow(),
        at in any::<prop::sample::Index>(),
        token in 0u16..1024,
    ) {
        let mut tokens = Vec::new();
        let identity = field::encode(&flow, &mut tokens).unwrap();
        let at = at.index(tokens.len());
        tokens[at] = token;
        let decoded = field::decode(&tokens, &identity);
        if let Err(DecodeError::Misplaced { index, .. } | DecodeError::Truncated { index, .. }) =
            decoded
        {
            prop_assert!(index >= at, "refused before the change");
        }
    }

    #[test]
    fn the_head_says_what_the_flow_is(flow in any_flow()) {
        let mut tokens = Vec::new();
        field::encode(&flow, &mut tokens).unwrap();
        let head = field::header(&tokens).unwrap();
        prop_assert_eq!(head.server_port, flow.server.port);
        prop_assert_eq!(head.ip_version == 6, flow.client.addr.is_ipv6());
        prop_assert_eq!(u32::from(head.length_class), flow.packets.len().ilog2());
    }
}

proptest! {
    #[test]
    fn nothing_of_a_flow_is_left_for_the_next(
        flows in prop::collection::vec(any_flow(), 2..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut code = Field::default();
        let mut decoded = flows[0].clone();
        for flow in flows.iter().chain(&flows) {
            let (mut alone, mut after) = (Vec::new(), Vec::new());
            let identity = field::encode(flow, &mut alone).unwrap();
            prop_assert_eq!(&code.encode(flow, &mut after).unwrap(), &identity);
            prop_assert_eq!(&alone, &after);
            code.decode(&after, &identity, &mut decoded).unwrap();
            prop_assert_eq!(&field::decode(&alone, &identity).unwrap(), &decoded);
            // Nor is anything left of a flow that is refused.
            let _ = code.decode(&after[..cut.index(after.len())], &identity, &mut decoded);
        }
    }
}

#[test]
fn a_flow_without_packets_is_refused() {
    let mut tokens = Vec::new();
    assert_eq!(field::encode(&empty(false, 80), &mut tokens), Err(EncodeError::Empty));
    assert!(tokens.is_empty());
}

#[test]
fn identity_is_not_in_the_tokens() {
    let mut plain = empty(false, 80);
    push(&mut plain, packet(false), &[]);
    let mut other = plain.clone();
    other.client.port = 1234;
    other.client.addr = std::net::Ipv4Addr::new(10, 9, 8, 7).into();
    for p in &mut other.packets {
        p.seq = p.seq.add(0x1234_5678);
        p.ack = p.ack.add(0x0fed_cba9);
        p.ip_id = 0;
        p.time_ns += 86_400_000_000_000;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    field::encode(&plain, &mut a).unwrap();
    field::encode(&other, &mut b).unwrap();
    assert_eq!(a, b);
}

#[test]
fn what_no_header_holds_is_refused() {
    let mut flow = empty(false, 80);
    push(&mut flow, flowtrack::Packet { flow_label: 1, ..packet(false) }, &[]);
    let refused = field::encode(&flow, &mut Vec::new()).unwrap_err();
    assert_eq!(refused, EncodeError::OutOfRange { index: 0, what: "flow label", value: 1 });
}

#[test]
fn a_truncated_flow_is_refused_at_its_end() {
    let mut flow = empty(false, 80);
    push(&mut flow, packet(false), &[]);
    let mut tokens = Vec::new();
    let identity = field::encode(&flow, &mut tokens).unwrap();
    for n in 0..tokens.len() {
        let refused = field::decode(&tokens[..n], &identity).unwrap_err();
        assert!(matches!(refused, DecodeError::Truncated { index, .. } if index == n), "{refused}");
    }
}

/// 2^31 is as far ahead as behind, and must not be taken for a small step.
#[test]
fn a_timestamp_half_way_around_comes_back() {
    let mut flow = empty(false, 80);
    for value in [5u32, 5 + (1 << 31), 4 + (1 << 31), 6] {
        push(
            &mut flow,
            packet(false),
            &[&[1, 1, 8, 10][..], &value.to_be_bytes(), &[0; 4]].concat(),
        );
    }
    check(&flow);
}
