//! The reference document is the table.

use std::path::Path;

#[test]
fn the_reference_is_fresh() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&manifest).join("../../docs/tokens.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == tokenizer::field::doc::reference(),
        "docs/tokens.md is stale: cargo run -p tokenizer --example tokens_doc > docs/tokens.md"
    );
}
