//! Integration tests of the tokenizer.

mod flows;
mod grammar;
mod roundtrip;
