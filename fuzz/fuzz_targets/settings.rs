//! Any text as settings, a model's configuration, the training state of a checkpoint, or a
//! list of likelihoods: a value, or a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_eval::likelihood::{self, LikelihoodSet};

fuzz_target!(|octets: &[u8]| {
    let Some((&kind, rest)) = octets.split_first() else { return };
    if kind & 4 == 4 {
        let sets = [LikelihoodSet::Training, LikelihoodSet::HeldOut, LikelihoodSet::All];
        if let Ok(all) = likelihood::from_lines(rest, sets[usize::from(kind % 3)]) {
            assert!(!all.is_empty() && all.iter().all(|bits| bits.is_finite()));
        }
    } else if let Ok(text) = std::str::from_utf8(rest) {
        tcp_train::fuzzing::check_text(kind, text);
    }
});
