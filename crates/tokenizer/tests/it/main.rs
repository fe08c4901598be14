//! Integration tests of the tokenizer: one binary for all.

mod doc;
mod fits;
mod flows;
mod grammar;
mod option_digits;
mod privacy;
mod roundtrip;
mod seeds;
mod session_rules;
mod skeleton;
mod stats;
mod watcher;
mod word16;
