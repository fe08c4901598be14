//! Advisory locks (`flock`). The kernel releases a lock when its process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::{Error, Result};

/// Locks a new temporary. Returns `None` on file systems without locks.
///
/// # Errors
/// `NotFound` if another process took the temporary for a stale one before it was locked: the
/// caller creates another.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => Ok(Some(file)),
        // Another process has locked the temporary, or has removed it between `open` and `lock`.
        Ok(()) | Err(TryLockError::WouldBlock) => Err(io::ErrorKind::NotFound.into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Returns whether an open file is the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let key = |m: &fs::Metadata| (m.dev(), m.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(a), Ok(b)) if key(&a) == key(&b))
}

/// Returns whether an open file is the one at `path`, as far as this system tells.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Lock on a folder, held until dropped or until the process ends. See [`lock_folder`].
#[derive(Debug)]
#[must_use = "the folder is unlocked when this is dropped"]
pub struct FolderLock {
    /// Open folder with an exclusive `flock`; `None` on file systems without locks.
    _handle: Option<File>,
}

/// Locks an existing folder, so that no other process that locks it writes to it meanwhile. On
/// file systems without locks nothing is locked.
///
/// # Errors
/// [`Error::Locked`] if another process holds the lock; an error of the system if the folder cannot
/// be opened.
pub fn lock_folder(folder: &Path) -> Result<FolderLock> {
    let handle = File::open(folder).map_err(Error::at(folder))?;
    match handle.try_lock() {
        Ok(()) => Ok(FolderLock { _handle: Some(handle) }),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(folder.to_owned())),
        Err(TryLockError::Error(_)) => Ok(FolderLock { _handle: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_folder(dir.path()).unwrap();
        let refused = lock_folder(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("found one that another run writes to"), "{refused}");
        drop(held);
        drop(lock_folder(dir.path()).unwrap());
    }
}
