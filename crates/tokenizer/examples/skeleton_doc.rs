//! Writes the reference of the skeleton code: `cargo run -p tokenizer --example skeleton_doc >
//! docs/skeleton.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().lock().write_all(tokenizer::skeleton::doc::reference().as_bytes())
}
