//! Writes the reference of the token code: `cargo run -p tokenizer --example tokens_doc > docs/tokens.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().lock().write_all(tokenizer::field::doc::reference().as_bytes())
}
