//! Any ids as a host: flows, or a refusal that says where. What the mask allows is what is taken, and
//! what decodes can be encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenizer::skeleton::{self, Parser, Step};

fuzz_target!(|octets: &[u8]| {
    let ids: Vec<u16> =
        octets.chunks_exact(2).map(|o| u16::from_le_bytes([o[0], o[1]]) % 900).collect();
    let mut parser = Parser::new(3);
    let mut flows = 0;
    for &id in &ids {
        let allowed = parser.allowed_next();
        match parser.push(id) {
            Ok(step) => {
                assert!(allowed.contains(id));
                flows += usize::from(matches!(step, Step::Flow(_)));
            }
            Err(_) => assert!(!allowed.contains(id)),
        }
    }
    // Starts in order, with each flow over at once.
    if let Ok(host) = skeleton::decode(&ids, 3, &vec![0; flows]) {
        let _ = skeleton::encode(&host, 3, &mut Vec::new());
    }
});
