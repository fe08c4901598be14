//! Writes the reference of the token code: `cargo run -p tokenizer --example tokens_doc >
//! docs/tokens.md`.

use std::io::Write;

use tokenizer::field::{Tally, doc};

#[path = "../tests/support/testdata.rs"]
mod testdata;

fn main() -> std::io::Result<()> {
    let costs = Tally::of(&testdata::flows()).map_err(std::io::Error::other)?;
    std::io::stdout().lock().write_all(doc::reference(&costs).as_bytes())
}
