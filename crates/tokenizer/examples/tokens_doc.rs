//! Writes the reference of the token code: `cargo run -p tokenizer --example tokens_doc >
//! docs/tokens.md`.

use std::io::Write;

use testkit::captures::all_complete_flows;
use tokenizer::field::{TokenStats, doc};

fn main() -> std::io::Result<()> {
    let stats = TokenStats::from_flows(&all_complete_flows()).map_err(std::io::Error::other)?;
    std::io::stdout().lock().write_all(doc::reference(&stats).as_bytes())
}
