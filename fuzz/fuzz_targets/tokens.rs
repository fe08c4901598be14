//! Any ids as a flow: packets, or a refusal that says where. What decodes can be encoded again, and
//! then means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenizer::field::{self, Grammar, Limits, Constraint};
use tokenizer::{EncodeError, FlowIdentity, word16};

fuzz_target!(|octets: &[u8]| {
    let ids: Vec<u16> =
        octets.chunks_exact(2).map(|o| u16::from_le_bytes([o[0], o[1]]) % 1100).collect();
    let words: Vec<i32> =
        octets.chunks_exact(4).map(|o| i32::from_le_bytes([o[0], o[1], o[2], 0])).collect();
    let _ = word16::decode(&words, &FlowIdentity::default());
    // The first octet chooses the version.
    let mut ids = ids;
    if octets.first().is_some_and(|octet| octet & 1 == 1) {
        field::from_version_1(&mut ids);
    }
    // Whatever is pushed, a mask follows.
    let mut session = Grammar::new(Constraint::Session, Limits { max_packets: 40 });
    for &id in &ids {
        let _ = session.allowed_next();
        let _ = session.push(id);
    }
    let Ok(flow) = field::decode(&ids, &FlowIdentity::default()) else { return };
    let mut again = Vec::new();
    match field::encode(&flow, &mut again) {
        // Gaps of centuries add up to more than 64 bits of nanoseconds.
        Err(EncodeError::OutOfRange { what: "time", .. }) => return,
        Err(other) => panic!("{other}"),
        Ok(identity) => {
            assert_eq!(field::decode(&again, &identity).unwrap().packets.len(), flow.packets.len())
        }
    }
    let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
    for &token in &again {
        assert!(grammar.allowed_next().contains(token));
        grammar.push(token).unwrap();
    }
});
