//! The reference document is the table, and what the table costs on our own captures.

use std::path::Path;

use tokenizer::field::{Tally, doc};

use crate::testdata;

#[test]
fn the_reference_is_fresh() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&manifest).join("../../docs/tokens.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let costs = Tally::of(&testdata::flows()).unwrap();
    assert!(written == doc::reference(&costs), "docs/tokens.md is stale: just docs-tokens");
}
