//! The documents name tests that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..")
}

/// All Rust files below a folder, but for what was built.
fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, out);
        } else if name.ends_with(".rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of functions that are tests: Rust's, inside and outside of `proptest!`, and those of scripts/test-faults.
fn tests() -> BTreeSet<String> {
    let mut text = String::new();
    for folder in ["crates", "bins", "kernels"] {
        sources(&root().join(folder), &mut text);
    }
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let rust = lines.iter().enumerate().filter_map(|(at, line)| {
        let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
        let above =
            lines[at.saturating_sub(4)..at].iter().rev().take_while(|l| l.starts_with('#') || l.starts_with("//"));
        above.into_iter().any(|l| l.starts_with("#[test]")).then(|| name.to_owned())
    });
    let faults = std::fs::read_to_string(root().join("scripts/test-faults")).unwrap();
    let list = faults.split("\nTESTS = [").nth(1).and_then(|rest| rest.split(']').next()).expect("a list of tests");
    rust.chain(list.split(',').map(|name| name.trim().to_owned())).collect()
}

/// What stands between back quotes and looks like a test's name, with or without a module.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.contains('_') && word.bytes().all(|c| c.is_ascii_lowercase() || b"_:0123456789".contains(&c))
    };
    let module = |word: &str| word.rsplit("::").next().unwrap_or(word).to_owned();
    quoted.filter(|word| is_name(word) || word.contains("::") && !word.contains('(')).map(module).collect()
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
];

#[test]
fn promises_name_tests_that_exist() {
    let tests = tests();
    for (page, least) in [("reliability.md", 40), ("privacy.md", 5), ("dependencies.md", 5)] {
        let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
        let named: Vec<String> = named(&text).into_iter().filter(|name| !OTHERS.contains(&name.as_str())).collect();
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains(*name)).collect();
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
