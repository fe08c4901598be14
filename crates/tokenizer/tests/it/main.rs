//! Integration tests of the tokenizer.

mod doc;
mod flows;
mod grammar;
mod privacy;
mod roundtrip;
mod seeds;
mod tally;
#[path = "../support/testdata.rs"]
mod testdata;
mod watcher;
mod word16;
