//! The code of tcpflowgen: its words in its order, and the values that it does not hold.

use flowtrack::{Flow, Packet};
use proptest::prelude::*;
use tcpwire::Flags;
use tokenizer::{DecodeError, FlowIdentity, field, word16};

use crate::flows::{any_flow, empty, packet, push};

#[test]
fn a_packet_is_the_words_of_the_original() {
    let mut flow = empty(false, 80);
    let p = Packet {
        flags: Flags::from_bits_retain(0x0c2),
        window: 64_240,
        payload_len: 0,
        ..packet(false)
    };
    push(&mut flow, Packet { seq: tcpwire::SeqNum(0x0102_0304), ..p }, &[2, 4, 5, 180]);
    let mut words = Vec::new();
    word16::encode(&flow, &mut words).unwrap();
    let expected = [
        65539, 65540, 65543, 24, 65542, 40000, 80, 0x0102, 0x0304, 0, 0, 6, 0, 2, 64240, 0, 0,
        0x0204, 0x05b4, 65544,
    ];
    assert_eq!(words, expected);
}

#[test]
fn the_class_is_the_strict_one() {
    let mut flow = field::doc::worked_flow();
    assert_eq!(word16::class_of(&flow), word16::START, "closed in three packets");
    let ack = Packet { flags: Flags::ACK, ..flow.packets[8] };
    flow.packets.insert(9, ack);
    assert_eq!(word16::class_of(&flow), word16::COMPLETE);
    flow.packets.remove(0);
    assert_eq!(word16::class_of(&flow), word16::CLOSE);
}

#[test]
fn a_wrong_word_is_named() {
    let mut words = Vec::new();
    word16::encode(&field::doc::worked_flow(), &mut words).unwrap();
    words[2] = 7;
    let refused = word16::decode(&words, &FlowIdentity::default()).unwrap_err();
    assert_eq!(
        refused,
        DecodeError::WrongWord { index: 2, expected: "size mark (65543)", found: 7 }
    );
}

/// Returns the values of a flow that the code holds.
fn kept(flow: &Flow) -> Vec<(Packet, Vec<u8>)> {
    let plain = |p: &Packet| Packet {
        time_ns: 0,
        flow_label: 0,
        ip_id: 0,
        ttl: 0,
        traffic_class: 0,
        dont_fragment: false,
        flags: Flags::from_bits_retain(p.flags.bits() & 0x3f),
        options: flowtrack::OptionsRef::default(),
        ..*p
    };
    flow.packets.iter().map(|p| (plain(p), flow.options_of(p).to_vec())).collect()
}

proptest! {
    #[test]
    fn what_it_keeps_comes_back(flow in any_flow()) {
        let mut words = Vec::new();
        let Ok(identity) = word16::encode(&flow, &mut words) else {
            prop_assert!(flow.packets.iter().any(|p| p.payload_len > 65_535 - 60));
            return Ok(());
        };
        let (again, synthesized) = word16::decode(&words, &identity).unwrap();
        prop_assert_eq!(kept(&flow), kept(&again));
        prop_assert_eq!(synthesized.packets, flow.packets.len() as u64);
        prop_assert_eq!(synthesized.repaired, 0);
    }

    #[test]
    fn any_words_decode_or_are_refused(
        words in prop::collection::vec(prop_oneof![-5i32..70_000, 65_536i32..65_546], 0..100),
    ) {
        let _ = word16::decode(&words, &FlowIdentity::default());
    }
}
