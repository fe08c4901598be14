//! The inputs that fuzzing began with, and those that it found: the files of `fuzz/seeds/tokens`.

use tokenizer::field::{self, Constraint, Grammar, Limits};
use tokenizer::{EncodeError, FlowIdentity, word16};

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
        let Ok(flow) = field::decode(&ids, &FlowIdentity::default()) else { continue };
        decoded += 1;
        let mut again = Vec::new();
        match field::encode(&flow, &mut again) {
            Err(EncodeError::OutOfRange { what: "time", .. }) => continue,
            said => drop(said.unwrap()),
        }
        let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
        for &token in &again {
            assert!(grammar.allowed_next().contains(token));
            grammar.push(token).unwrap();
        }
    }
    assert!(decoded > 20, "{decoded}");
}
