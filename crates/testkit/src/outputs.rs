//! Random sequences of atomic outputs, for the fuzz target `paths` and for property tests.
//!
//! Outputs have any names, in a folder that holds anything. A committed output is complete, an
//! output that is given up leaves everything as it was, and no temporary file stays.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use atomic_output::{AtomicFile, AtomicFolder, FileKind, OnExisting, has_name_like, is_temporary};
use clikit::ensure_distinct_paths;

/// Returns a path below `root`: empty parts, `.` and `..` are left out of the name.
fn below(root: &Path, name: &[u8]) -> PathBuf {
    let parts = name.split(|octet| *octet == b'/' || *octet == 0);
    let inside = parts.filter(|part| !matches!(*part, b"" | b"." | b".."));
    inside.take(4).fold(root.to_owned(), |path, part| path.join(OsStr::from_bytes(part)))
}

/// Lists everything below a folder without following links: the octets of files, `None` for folders
/// and links.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            all.extend(contents(&path));
        }
        let octets = kind.is_file().then(|| std::fs::read(&path).unwrap());
        all.insert(path, octets);
    }
    all
}

/// Lists the files below a folder. Folders are left out, since those above an output are created
/// and stay.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    contents(folder).into_iter().filter(|(_, octets)| octets.is_some()).collect()
}

/// Runs octets as a sequence of up to twelve steps. Each step has an octet for its kind, an octet
/// for the length of a name, that name, and a second name or content.
///
/// # Panics
/// If an output is incomplete, a failed one changed a file, or a temporary file is left.
pub fn run_steps(octets: &[u8]) {
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let root = root.path();
    let mut rest = octets;
    for _ in 0..12 {
        let [kind, len, tail @ ..] = rest else { break };
        let (name, tail) = tail.split_at(usize::from(*len % 40).min(tail.len()));
        let (other, tail) = tail.split_at(usize::from(kind >> 4).min(tail.len()));
        rest = tail;
        run_step(root, *kind % 8, &below(root, name), other);
        let unfinished: Vec<_> =
            contents(root).into_keys().filter(|path| is_temporary(path)).collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
    }
}

fn run_step(root: &Path, kind: u8, path: &Path, other: &[u8]) {
    match kind {
        // What is there before a run is anything but a temporary file of another run. A step that
        // the file system refuses is skipped.
        0 if !is_temporary(path) => drop(std::fs::write(path, other)),
        1 if !is_temporary(path) => drop(std::fs::create_dir_all(path)),
        2 if !is_temporary(path) => drop(std::os::unix::fs::symlink(below(root, other), path)),
        3 => check_file(root, path, other, (existing(other), End::Commit)),
        4 => check_file(root, path, other, (existing(other), End::GiveUp)),
        5 => check_folder(root, path, other, OnExisting::Fail),
        6 => check_folder(root, path, other, OnExisting::Replace(MADE)),
        7 => check_inputs_are_kept(path, &below(root, other)),
        _ => {}
    }
}

/// Files that a folder may hold which is replaced.
const MADE: FileKind = FileKind {
    name: "a file made before",
    is_at: |path| has_name_like(path, "made") || has_name_like(path, "*.x"),
};

/// Returns what happens to an existing file: one of each two contents replaces any file.
fn existing(octets: &[u8]) -> OnExisting {
    FileKind { name: "a file", is_at: |_| true }.on_existing(octets.len().is_multiple_of(2))
}

/// End of an output's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    GiveUp,
}

fn check_file(root: &Path, path: &Path, octets: &[u8], (existing, end): (OnExisting, End)) {
    let before = files(root);
    let was_there = std::fs::metadata(path).is_ok_and(|m| m.is_file());
    let is_committed = AtomicFile::create(path, existing).is_ok_and(|mut file| {
        file.write_all(octets).is_ok() && end == End::Commit && file.commit().is_ok()
    });
    if is_committed {
        assert!(!was_there || matches!(existing, OnExisting::Replace(_)));
        assert_eq!(std::fs::read(path).unwrap(), octets);
    } else {
        assert_eq!(files(root), before);
    }
}

fn check_folder(root: &Path, path: &Path, octets: &[u8], existing: OnExisting) {
    let before = files(root);
    let is_committed = AtomicFolder::create(path, existing).is_ok_and(|folder| {
        std::fs::write(folder.path().join("made"), octets).is_ok() && folder.commit().is_ok()
    });
    if is_committed {
        assert_eq!(std::fs::read(path.join("made")).unwrap(), octets);
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
    } else {
        assert_eq!(files(root), before);
    }
}

/// Checks that an output folder which contains an input is refused.
fn check_inputs_are_kept(output: &Path, input: &Path) {
    let is_accepted = ensure_distinct_paths(&[("INPUT", input)], &[("OUTPUT", output)]).is_ok();
    if is_accepted && input.exists() {
        assert!(!input.canonicalize().unwrap().starts_with(output));
    }
}
