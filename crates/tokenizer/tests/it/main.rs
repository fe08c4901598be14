//! Integration tests of the tokenizer: one binary for all.

mod doc;
mod flows;
mod grammar;
mod observer;
mod privacy;
mod roundtrip;
mod seeds;
mod session_rules;
mod stats;
mod word16;
