//! Integration tests of the tokenizer.

mod doc;
mod flows;
mod grammar;
mod roundtrip;
mod tally;
mod word16;
