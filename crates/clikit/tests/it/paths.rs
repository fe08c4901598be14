//! Outputs under any names, as the fuzz target `paths` makes them.

use std::path::Path;

use proptest::prelude::*;

#[path = "../support/paths.rs"]
mod support;

/// Steps that name one another's files now and then: what to do, and two names of a few letters.
fn steps() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::collection::vec(prop::sample::select(&b"ab/."[..]), 0..6);
    let step = (0u8..8, name.clone(), name).prop_map(|(what, name, other)| {
        let sizes = [what | (other.len() as u8) << 4, name.len() as u8];
        [&sizes[..], &name, &other].concat()
    });
    prop::collection::vec(step, 0..12).prop_map(|steps| steps.concat())
}

proptest! {
    #[test]
    fn outputs_are_whole_or_as_before(octets in steps()) {
        support::take(&octets);
    }
}

/// What fuzzing began with and what it has found, once more.
#[test]
fn seeds() {
    let folder =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../fuzz/seeds/paths");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        support::take(&std::fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}
