//! Any sequence of outputs, under any names, in a folder that holds anything.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| testkit::outputs::run_steps(octets));
