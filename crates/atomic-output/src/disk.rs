//! Creating, removing and syncing paths.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Number of files in a folder from which on the whole file system is synced at once: an `fsync`
/// waits for the disk, so that a folder with a file for each flow would take minutes.
const MANY_FILES: usize = 64;

/// Removes a file, or a folder with its contents. A path that does not exist is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Returns the folder that a path lies in; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates the folders above `target` that do not exist, and puts their names on the disk.
pub(crate) fn make_parent(target: &Path) -> Result<()> {
    let folder = parent(target);
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(folder).map_err(Error::at(folder))?;
    // The outermost first: the name of a folder is an entry of the folder above it.
    for made in missing.iter().rev().filter(|made| !made.as_os_str().is_empty()) {
        sync_dir(parent(made))?;
    }
    Ok(())
}

/// Puts the entries of a folder on the disk, so that a rename in it survives a power cut. Does
/// nothing where a folder cannot be opened or synced as a file: the rename itself has succeeded.
pub(crate) fn sync_dir(folder: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let is_unsupported = |kind| {
        matches!(
            kind,
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::Unsupported
        )
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if !is_unsupported(e.kind()) => Err(Error::at(folder)(e)),
        _ => Ok(()),
    }
}

/// Puts all files and folders below `root`, and `root` itself, on the disk.
pub(crate) fn sync_tree(root: &Path) -> io::Result<()> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::<PathBuf>::new());
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    if files.len() >= MANY_FILES && sync_file_system(root).is_ok() {
        return Ok(());
    }
    // The innermost folders first: an entry is put on the disk after the file that it names.
    for path in files.iter().chain(folders.iter().rev()) {
        match File::open(path)?.sync_all() {
            Err(e) if path.is_dir() && e.kind() == io::ErrorKind::InvalidInput => {}
            result => result?,
        }
    }
    Ok(())
}

/// Puts everything written to the file system of `folder` on the disk.
#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Reports that this system cannot sync one file system as a whole.
#[cfg(not(target_os = "linux"))]
fn sync_file_system(_folder: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
