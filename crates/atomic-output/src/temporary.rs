//! Temporaries of this process, from creation to rename or removal.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::remove;
use crate::lock::lock;
use crate::names::next_temporary;
use crate::stale::remove_stale;
use crate::{Error, Result};

/// Number of times that [`remove_unfinished`] tries to remove one temporary.
const REMOVAL_ATTEMPTS: usize = 10;

/// Temporaries of this process. Locked during every rename and removal, so that a signal handler
/// finds each temporary either under its own name or gone.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Locks the set of this process's temporaries.
pub(crate) fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporaries of this process and blocks every later creation, commit and drop of one.
/// For the end of a signal handler: the caller exits next.
pub fn remove_unfinished() {
    let paths = unfinished();
    for path in paths.iter() {
        // A writer may add a file to a folder while the folder is being removed.
        for _ in 0..REMOVAL_ATTEMPTS {
            if remove(path).is_ok() {
                break;
            }
        }
    }
    std::mem::forget(paths);
}

/// Temporary path that is removed when dropped, unless it was renamed to its target.
#[derive(Debug)]
pub(crate) struct Temporary {
    /// Path of the file or folder, in the folder of its target.
    pub(crate) path: PathBuf,
    /// Lock that marks the temporary as one of a live process; `None` without `flock`.
    _lock: Option<File>,
}

impl Temporary {
    /// Creates a temporary for `target` by `make`, and removes stale ones of the same target.
    /// Returns it with the value of `make`.
    pub(crate) fn create<T>(
        target: &Path,
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<(Temporary, T)> {
        remove_stale(target);
        let failed = |source| Error::Create { path: target.to_owned(), source };
        let mut all = unfinished();
        loop {
            let path = next_temporary(target)?;
            let made = match make(&path) {
                // A process of this number has left it, on another machine or in another container.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(failed)?,
            };
            match lock(&path) {
                Ok(_lock) => {
                    all.insert(path.clone());
                    return Ok((Temporary { path, _lock }, made));
                }
                // Another process has taken the new temporary for a stale one: create the next.
                Err(e)
                    if e.kind() == io::ErrorKind::NotFound
                        && target.parent().is_none_or(Path::exists) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Renames the temporary to `target`, replacing a file there.
    pub(crate) fn rename_to(self, target: &Path) -> io::Result<()> {
        let mut all = unfinished();
        fs::rename(&self.path, target)?;
        all.remove(&self.path);
        Ok(())
    }

    /// Gives the temporary the name `target`, where nothing may be.
    ///
    /// # Errors
    /// `AlreadyExists` if another process has put something there: it stays.
    pub(crate) fn rename_to_free(self, target: &Path) -> io::Result<()> {
        let mut all = unfinished();
        rename_without_replacing(&self.path, target)?;
        all.remove(&self.path);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut all = unfinished();
        if all.remove(&self.path) {
            let _ = remove(&self.path);
        }
    }
}

/// Renames a path to a name that must be free. On Linux that is one step; elsewhere, and on file
/// systems that do not know this step, another process could put something there in between.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            renamed => return Ok(renamed?),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_another_machine_has_taken_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let make = |path: &Path| {
            // A folder of the same name, as a process of the same number elsewhere has made it.
            let is_first = fs::read_dir(dir.path()).unwrap().count() == 0;
            if is_first {
                fs::create_dir(path).unwrap();
            }
            fs::create_dir(path)
        };
        let (temporary, ()) = Temporary::create(&target, make).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        drop(temporary);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
