//! Files of the repository that tests read.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the root folder of the repository: the closest parent of the tested package that holds
/// `testdata/`.
///
/// The package's folder is read at run time, since clones of the repository may share a target
/// folder.
///
/// # Panics
/// If the caller is not run by cargo, or the package lies outside of the repository.
#[must_use]
pub fn repository_root() -> PathBuf {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("tests are run by cargo");
    let root = Path::new(&manifest).ancestors().find(|folder| folder.join("testdata").is_dir());
    root.expect("the package lies in the repository").to_owned()
}

/// Returns the path of a file in `testdata/`.
#[must_use]
pub fn testdata(name: &str) -> PathBuf {
    repository_root().join("testdata").join(name)
}

/// Returns the paths of all seeds of a fuzz target, sorted: the inputs that fuzzing started from,
/// and those that it found faults with.
///
/// # Panics
/// If the target has no folder of seeds.
#[must_use]
pub fn fuzz_seeds(target: &str) -> Vec<PathBuf> {
    let folder = repository_root().join("fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
