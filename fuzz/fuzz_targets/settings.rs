//! Any text as settings, a model's configuration, a checkpoint's place, or a list of likelihoods: a
//! value, or a message.

#![no_main]
#![allow(dead_code, reason = "parts of the programs, as they stand")]

#[path = "../../bins/tcp-train/src/any_text.rs"]
mod any_text;
#[path = "../../bins/tcp-train/src/args.rs"]
mod args;
#[path = "../../bins/tcp-train/src/config.rs"]
mod config;
#[path = "../../bins/tcp-train/src/fields.rs"]
mod fields;
#[path = "../../bins/tcp-train/src/place.rs"]
mod place;
#[path = "../../bins/tcp-train/src/ports.rs"]
mod ports;
#[path = "../../bins/tcp-train/src/schedule.rs"]
mod schedule;
#[path = "../../bins/tcp-train/src/settings.rs"]
mod settings;

use libfuzzer_sys::fuzz_target;
use tcp_eval::likelihood::{self, LikelihoodSet};

fuzz_target!(|octets: &[u8]| {
    let Some((&kind, rest)) = octets.split_first() else { return };
    if kind & 4 == 4 {
        if let Ok(all) = likelihood::from_lines(
            rest,
            [LikelihoodSet::Training, LikelihoodSet::HeldOut, LikelihoodSet::All][usize::from(kind % 3)],
        ) {
            assert!(!all.is_empty() && all.iter().all(|bits| bits.is_finite()));
        }
    } else if let Ok(text) = std::str::from_utf8(rest) {
        any_text::take(kind, text);
    }
});
