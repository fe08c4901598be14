//! The inputs that fuzzing began with, and those that it found: the files of `fuzz/seeds/tokens`.

use tokenizer::field::{self, Constraint, Grammar, Limits};
use tokenizer::{EncodeError, FlowIdentity, skeleton, word16};

#[test]
fn tokens() {
    let mut decoded = 0;
    for seed in testkit::fuzz_seeds("tokens") {
        let octets = std::fs::read(seed).unwrap();
        let ids: Vec<u16> =
            octets.chunks_exact(2).map(|o| u16::from_le_bytes([o[0], o[1]]) % 1100).collect();
        let words: Vec<i32> =
            octets.chunks_exact(4).map(|o| i32::from_le_bytes([o[0], o[1], o[2], 0])).collect();
        let _ = word16::decode(&words, &FlowIdentity::default());
        // The inputs that fuzzing began with are flows of version 1.
        let mut old = ids.clone();
        field::from_version_1(&mut old);
        decoded += [ids, old].iter().filter(|ids| there_and_back(ids)).count();
    }
    assert!(decoded > 20, "{decoded}");
}

#[test]
fn skeletons() {
    let mut whole = 0;
    for seed in testkit::fuzz_seeds("skeleton") {
        let octets = std::fs::read(seed).unwrap();
        let ids: Vec<u16> =
            octets.chunks_exact(2).map(|o| u16::from_le_bytes([o[0], o[1]]) % 900).collect();
        let mut parser = skeleton::Parser::new(3);
        let taken = ids.iter().all(|id| {
            let allowed = parser.allowed_next().contains(*id);
            assert_eq!(parser.push(*id).is_ok(), allowed);
            allowed
        });
        whole += usize::from(taken && parser.is_done());
    }
    assert!(whole > 0);
}

/// Returns whether `ids` decode. What decodes encodes again, into tokens that the syntax allows.
fn there_and_back(ids: &[u16]) -> bool {
    let Ok(flow) = field::decode(ids, &FlowIdentity::default()) else { return false };
    let mut again = Vec::new();
    match field::encode(&flow, &mut again) {
        Err(EncodeError::OutOfRange { what: "time", .. }) => return true,
        said => drop(said.unwrap()),
    }
    let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
    for &token in &again {
        assert!(grammar.allowed_next().contains(token));
        grammar.push(token).unwrap();
    }
    true
}
