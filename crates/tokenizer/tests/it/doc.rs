//! The reference document is the one that the table of ids and the captures of testdata make.

use testkit::captures::all_complete_flows;
use tokenizer::field::{TokenStats, doc};

#[test]
fn the_reference_is_fresh() {
    let path = testkit::repository_root().join("docs/tokens.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let stats = TokenStats::from_flows(&all_complete_flows()).unwrap();
    assert!(written == doc::reference(&stats), "docs/tokens.md is stale: just docs-tokens");
}
