//! Third-party crates that one folder alone may name.

use std::path::Path;

use crate::tree;

/// Folder behind the wall.
const FOLDER: &str = "crates/arrowio/src/arrow2";

/// Crates whose development has ended, and those they read their formats with.
const CRATES: [&str; 4] = ["arrow2", "parquet2", "arrow_format", "parquet_format_safe"];

/// Module path before a name of this repository's own: `crate::arrow2` is the folder itself.
const OWN: [&str; 3] = ["crate::", "self::", "super::"];

/// Returns whether a line of code names a crate: as the start of a path, or in a `use` or
/// `extern crate` as a whole.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let is_part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        let is_word = !before.ends_with(is_part_of_word) && !after.starts_with(is_part_of_word);
        let is_own = OWN.iter().any(|own| before.ends_with(own));
        let is_item = before.ends_with("use ") || before.ends_with("extern crate ");
        is_word && !is_own && (after.starts_with("::") || is_item)
    })
}

/// Returns the lines of a source file that name one of the crates, comments left out.
fn findings(path: &Path) -> Vec<String> {
    let text = tree::text(path);
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let found = code.zip(1..).filter(|(line, _)| CRATES.iter().any(|name| names(line, name)));
    found.map(|(line, number)| format!("{}:{number}: {line}", path.display())).collect()
}

#[test]
fn arrow2_and_parquet2_are_named_in_one_folder() {
    let root = tree::root();
    let mut files = Vec::new();
    tree::rust_files(&root, &mut files);
    let (inside, outside): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.starts_with(root.join(FOLDER)));
    assert!(inside.iter().any(|file| !findings(file).is_empty()), "{FOLDER} names none of them");
    let this = root.join("crates/workspace-tests/tests/it/walls.rs");
    let found: Vec<_> =
        outside.iter().filter(|file| **file != this).flat_map(|file| findings(file)).collect();
    assert!(found.is_empty(), "only {FOLDER} may name {CRATES:?}:\n{}", found.join("\n"));
}

#[test]
fn a_name_is_seen_and_an_own_module_is_not() {
    for line in ["use arrow2::array::Array;", "use arrow2;", "x: &arrow2::Chunk", "(arrow2::f())"] {
        assert!(names(line, "arrow2"), "{line}");
    }
    for line in ["use crate::arrow2::Rows;", "mod arrow2;", "my_arrow2::f()", "arrow2x::f()"] {
        assert!(!names(line, "arrow2"), "{line}");
    }
}
