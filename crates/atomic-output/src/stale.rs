//! Temporaries left by killed processes. A live process holds a lock on each of its temporaries,
//! and the kernel releases it with the process, so that a temporary without a lock is stale. On
//! file systems without locks nothing is locked and nothing removed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::disk::{parent, remove};
use crate::names::{belongs_to, is_backup};

/// Removes the stale temporaries of `target`. A stale backup of a folder is renamed back to
/// `target` if nothing exists there.
pub(crate) fn remove_stale(target: &Path) {
    for path in stale_paths(target) {
        let unlocked = File::open(&path).ok().filter(|file| file.try_lock().is_ok());
        let Some(lock) = unlocked else { continue };
        let removed = if is_backup(&path) && !target.exists() {
            fs::rename(&path, target)
        } else {
            remove(&path)
        };
        match removed {
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

/// Returns the temporaries and backups of `target`, locked or not, backups first.
fn stale_paths(target: &Path) -> Vec<PathBuf> {
    let Some(name) = target.file_name().map(|name| name.to_string_lossy()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(parent(target)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| belongs_to(&entry.file_name().to_string_lossy(), &name))
        .map(|entry| entry.path())
        .collect();
    // A backup goes back to the target before any other path is removed.
    found.sort_by_key(|path| (!is_backup(path), path.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::lock;
    use crate::testing::listing;

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
        let held = lock(&at(".set.77-0.part")).unwrap();
        remove_stale(&at("set"));
        let mut expected: Vec<&str> =
            kept.into_iter().chain([".set.77-0.part", ".set.held-0.part"]).collect();
        expected.sort_unstable();
        assert_eq!(listing(dir.path()), expected);
        drop(held);
        remove_stale(&at("set"));
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
        remove_stale(&at("set"));
        assert_eq!(listing(dir.path()), ["set"]);
        assert_eq!(fs::read_to_string(at("set/which")).unwrap(), ".set.5-0.old.part");
        set_up();
        remove_stale(&at("set"));
        assert_eq!(listing(dir.path()), ["set"]);
    }
}
