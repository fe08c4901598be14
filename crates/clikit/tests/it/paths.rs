//! Outputs under any names, as the fuzz target `paths` makes them.

use proptest::prelude::*;

/// Steps that sometimes name one another's files: a kind of step and two names of a few letters.
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
        testkit::outputs::run_steps(&octets);
    }
}

#[test]
fn seeds() {
    let seeds = testkit::fuzz_seeds("paths");
    for seed in &seeds {
        testkit::outputs::run_steps(&std::fs::read(seed).unwrap());
    }
    assert!(seeds.len() >= 4, "{}", seeds.len());
}
