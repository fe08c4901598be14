//! What runs that were killed outright have left beside an output, and how it is told from what a
//! run is writing now.
//!
//! A run holds a lock (flock) on each of its temporaries. The kernel lets go of it when the run
//! ends, however it ends: a temporary that can be locked is nobody's. Where a file system has no
//! locks, nothing is locked and nothing removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::output::{TEMPORARY_SUFFIX, remove};

/// What the name of a folder ends in that is being replaced, for the moment in which it is in
/// neither place.
pub(crate) const ASIDE_SUFFIX: &str = ".old.part";

/// Locks a new temporary.
///
/// # Errors
/// `NotFound` where another run has taken it for a leftover in the moment before: the caller makes
/// another.
pub(crate) fn hold(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) if same(&file, path) => Ok(Some(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(io::ErrorKind::NotFound.into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether the file that is open is the one under this name.
#[cfg(unix)]
fn same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let key = |m: &fs::Metadata| (m.dev(), m.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(a), Ok(b)) if key(&a) == key(&b))
}

#[cfg(not(unix))]
fn same(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Removes what killed runs have left of `target`, and puts a folder back that one had moved aside.
pub(crate) fn clear(target: &Path) {
    for path in of(target) {
        let unheld = File::open(&path).ok().filter(|file| file.try_lock().is_ok());
        let Some(lock) = unheld else { continue };
        let is_aside = path.to_string_lossy().ends_with(ASIDE_SUFFIX);
        let cleared =
            if is_aside && !target.exists() { fs::rename(&path, target) } else { remove(&path) };
        match cleared {
            Ok(()) => {
                tracing::info!("{}: left by a run that was killed, cleared away", path.display())
            }
            Err(error) => {
                tracing::warn!("{}: left by a run that was killed: {error}", path.display())
            }
        }
        drop(lock);
    }
}

/// The temporaries of `target`, `.NAME.PID-N.part`.
fn of(target: &Path) -> Vec<PathBuf> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = target.file_name().map(|name| name.to_string_lossy()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let other = entry.file_name();
            let other = other.to_string_lossy();
            let middle = other
                .strip_prefix('.')
                .and_then(|o| o.strip_prefix(&*name))
                .and_then(|o| o.strip_prefix('.'));
            middle.is_some_and(|m| {
                is_number_pair(m.strip_suffix(ASIDE_SUFFIX).or(m.strip_suffix(TEMPORARY_SUFFIX)))
            })
        })
        .map(|entry| entry.path())
        .collect();
    // One that was moved aside comes first: where it can go back, it does.
    found.sort_by_key(|path| (!path.to_string_lossy().ends_with(ASIDE_SUFFIX), path.clone()));
    found
}

/// `PID-N`.
fn is_number_pair(text: Option<&str>) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.and_then(|text| text.split_once('-')).is_some_and(|(a, b)| number(a) && number(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_is_nobodys_and_of_this_target_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let kept =
            [".other.1-0.part", ".set.1-0", ".set.a-0.part", ".set.b.1-0.part", "set.1-0.part"];
        for name in kept.iter().chain(&[".set.12-3.part", ".set.held-0.part", ".set.77-0.part"]) {
            fs::write(at(name), "x").unwrap();
        }
        fs::create_dir(at(".set.13-0.part")).unwrap();
        fs::write(at(".set.13-0.part/flows-00000.arrow"), "x").unwrap();
        let held = hold(&at(".set.77-0.part")).unwrap();
        clear(&at("set"));
        let mut expected: Vec<&str> =
            kept.into_iter().chain([".set.77-0.part", ".set.held-0.part"]).collect();
        expected.sort_unstable();
        assert_eq!(names(dir.path()), expected);
        drop(held);
        clear(&at("set"));
        assert!(!at(".set.77-0.part").exists());
    }

    #[test]
    fn a_folder_that_was_moved_aside_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let set_up = || {
            for name in [".set.5-0.part", ".set.5-0.old.part"] {
                fs::create_dir(at(name)).unwrap();
                fs::write(at(name).join("which"), name).unwrap();
            }
        };
        set_up();
        clear(&at("set"));
        assert_eq!(names(dir.path()), ["set"]);
        assert_eq!(fs::read_to_string(at("set/which")).unwrap(), ".set.5-0.old.part");
        set_up();
        clear(&at("set"));
        assert_eq!(names(dir.path()), ["set"]);
    }
}
