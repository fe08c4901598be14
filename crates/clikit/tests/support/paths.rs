//! Any sequence of outputs, under any names, in a folder that holds anything: what is committed
//! stands there whole, what is not leaves everything as it was, and nothing unfinished stays. The
//! fuzz target `paths` and our own tests include this file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clikit::{AtomicFile, AtomicFolder, Existing, is_temporary, keep_apart};

/// A path below `root` alone: what would lead out of it is left away.
fn below(root: &Path, name: &[u8]) -> PathBuf {
    let parts = name.split(|octet| *octet == b'/' || *octet == 0);
    let inside = parts.filter(|part| !matches!(*part, b"" | b"." | b".."));
    inside.take(4).fold(root.to_owned(), |path, part| path.join(OsStr::from_bytes(part)))
}

/// All that is below a folder, links not followed: what stands in files, nothing for folders and
/// links.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            all.extend(contents(&path));
        }
        let text = kind.is_file().then(|| std::fs::read(&path).unwrap());
        all.insert(path, text);
    }
    all
}

/// The files: folders above an output are made, and stay.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    contents(folder).into_iter().filter(|(_, text)| text.is_some()).collect()
}

/// Takes octets for a sequence of outputs.
pub(crate) fn take(octets: &[u8]) {
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let root = root.path();
    let mut rest = octets;
    for _ in 0..12 {
        let [what, len, tail @ ..] = rest else { break };
        let (name, tail) = tail.split_at(usize::from(*len % 40).min(tail.len()));
        let (other, tail) = tail.split_at(usize::from(what >> 4).min(tail.len()));
        rest = tail;
        let (path, text) = (below(root, name), other);
        match what % 8 {
            // What stood there before is anything, but no unfinished output.
            0 if !is_temporary(&path) => drop(std::fs::write(&path, text)),
            1 if !is_temporary(&path) => drop(std::fs::create_dir_all(&path)),
            2 if !is_temporary(&path) => {
                drop(std::os::unix::fs::symlink(below(root, other), &path))
            }
            3 | 4 => file(root, &path, text, what % 8 == 3),
            5 => folder(root, &path, text, Existing::Refuse),
            6 => folder(root, &path, text, Existing::Replace(&["made", "*.x"])),
            7 => {
                let outputs = [("OUTPUT", path.as_path())];
                let input = below(root, other);
                if keep_apart(&[("INPUT", &input)], &outputs).is_ok() && input.exists() {
                    assert!(!input.canonicalize().unwrap().starts_with(&path));
                }
            }
            _ => {}
        }
        let unfinished: Vec<_> =
            contents(root).into_keys().filter(|path| is_temporary(path)).collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
    }
}

fn file(root: &Path, path: &Path, text: &[u8], is_committed: bool) {
    let before = files(root);
    let done = AtomicFile::create(path).and_then(|mut file| {
        file.write_all(text)?;
        if is_committed { file.commit() } else { Err(anyhow::anyhow!("given up")) }
    });
    match done {
        Ok(()) => assert_eq!(std::fs::read(path).unwrap(), text),
        Err(_) => assert_eq!(files(root), before),
    }
}

fn folder(root: &Path, path: &Path, text: &[u8], existing: Existing) {
    let before = files(root);
    let done = AtomicFolder::create(path, existing).and_then(|folder| {
        std::fs::write(folder.path().join("made"), text)?;
        folder.commit()
    });
    match done {
        Ok(()) => {
            assert_eq!(std::fs::read(path.join("made")).unwrap(), text);
            assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
        }
        Err(_) => assert_eq!(files(root), before),
    }
}
