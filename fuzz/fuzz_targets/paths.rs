//! Any sequence of outputs, under any names, in a folder that holds anything.

#![no_main]

#[path = "../../crates/clikit/tests/support/paths.rs"]
mod paths;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| paths::take(octets));
