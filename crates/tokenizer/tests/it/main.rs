//! Integration tests of the tokenizer.

mod doc;
mod flows;
mod grammar;
mod privacy;
mod roundtrip;
mod seeds;
mod stats;
mod watcher;
mod word16;
