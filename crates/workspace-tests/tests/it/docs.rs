//! The documents name tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tree::{self, root};

/// Adds the Rust files below a folder: the modules that each file's path names, and its text.
fn sources(folder: &Path, out: &mut Vec<(Vec<String>, String)>) {
    let mut files = Vec::new();
    tree::rust_files(folder, &mut files);
    for path in files {
        let parts = path.with_extension("");
        let modules = parts
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        out.push((modules, tree::text(&path)));
    }
}

/// Collects the names of all tests and the modules of each: tests of Rust files, inside and outside
/// of `proptest!`, and those of scripts/check/faults.
fn tests() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut files = Vec::new();
    for folder in ["crates", "bins", "kernels"] {
        sources(&root().join(folder), &mut files);
    }
    let mut found: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for (modules, text) in files {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) =
                line.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next())
            else {
                continue;
            };
            let mut above = lines[at.saturating_sub(4)..at]
                .iter()
                .rev()
                .take_while(|l| l.starts_with('#') || l.starts_with("//"));
            if above.any(|l| l.starts_with("#[test]")) {
                found.entry(name.to_owned()).or_default().push(modules.clone());
            }
        }
    }
    let faults = std::fs::read_to_string(root().join("scripts/check/faults/__main__.py")).unwrap();
    let list = faults
        .split("\nTESTS = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("a list of tests");
    list.split(',')
        .for_each(|name| found.entry(name.trim().to_owned()).or_default().push(Vec::new()));
    found
}

/// Whether there is such a test: of `file::tests::name` one in a file or folder of that name.
fn is_there(name: &str, tests: &BTreeMap<String, Vec<Vec<String>>>) -> bool {
    let mut parts = name.rsplit("::").filter(|part| *part != "tests");
    let places = parts.next().and_then(|name| tests.get(name));
    let modules: Vec<&str> = parts.collect();
    places.is_some_and(|places| {
        places.iter().any(|place| modules.iter().all(|m| place.iter().any(|p| p == m)))
    })
}

/// Returns the words in back quotes that look like a test, with or without a module.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.contains('_')
            && word.bytes().all(|c| c.is_ascii_lowercase() || b"_:0123456789".contains(&c))
    };
    quoted
        .filter(|word| is_name(word) || word.contains("::") && !word.contains('('))
        .map(str::to_owned)
        .collect()
}

/// Names in back quotes that are something else: lints, columns, functions.
const OTHERS: &[&str] = &[
    "unsafe_code",
    "undocumented_unsafe_blocks",
    "client_addr",
    "server_addr",
    "client_port",
    "first_frame",
    "server_flow_label_base",
    "option_digits",
    "tensor_memory",
];

#[test]
fn promises_name_tests_that_exist() {
    let tests = tests();
    for (page, least) in [("reliability.md", 40), ("privacy.md", 5), ("dependencies.md", 5)] {
        let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
        let named: Vec<String> =
            named(&text).into_iter().filter(|name| !OTHERS.contains(&name.as_str())).collect();
        let missing: Vec<_> = named.iter().filter(|name| !is_there(name, &tests)).collect();
        assert!(missing.is_empty(), "docs/{page}: {missing:?}: no such test");
        assert!(named.len() >= least, "docs/{page}: {} tests named", named.len());
    }
}

#[test]
fn every_row_of_faults_names_its_test() {
    let text = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let table = text.split("## Faults").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(last.contains('`'), "{row}");
    }
}

/// Each promise of the architecture ends with the test that guards it.
#[test]
fn every_invariant_names_its_test() {
    let tests = tests();
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let section = text.split("## What stays true").nth(1).unwrap();
    let invariants: Vec<&str> = section.split("\n- ").skip(1).collect();
    assert!(invariants.len() >= 15, "{} invariants found", invariants.len());
    for invariant in invariants {
        let invariant = invariant.split("\n\n").next().unwrap();
        let named: Vec<String> =
            named(invariant).into_iter().filter(|name| !OTHERS.contains(&name.as_str())).collect();
        assert!(!named.is_empty(), "no test is named: {invariant}");
        let missing: Vec<_> = named.iter().filter(|name| !is_there(name, &tests)).collect();
        assert!(missing.is_empty(), "{missing:?}: no such test: {invariant}");
    }
}
