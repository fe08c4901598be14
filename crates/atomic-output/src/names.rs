//! Names of temporaries: `.NAME.PID-N.part`, next to their target NAME.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Suffix of the names of unfinished outputs: `.NAME.PID-N.part`, in the folder of NAME. Only a
/// process that was killed outright leaves one; the next process that writes NAME removes it.
pub const TEMPORARY_SUFFIX: &str = ".part";

/// Suffix of the name of a folder that is being replaced, between the two renames of systems that
/// cannot exchange two folders in one step.
pub(crate) const BACKUP_SUFFIX: &str = ".old.part";

/// Returns whether a path has the name of an unfinished output.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && name.ends_with(TEMPORARY_SUFFIX.as_bytes())
    })
}

/// Returns a temporary's path for `target` that this process has not returned before.
pub(crate) fn next_temporary(target: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().ok_or_else(|| Error::NoFileName(target.to_owned()))?;
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{n}{TEMPORARY_SUFFIX}", std::process::id()));
    Ok(target.with_file_name(temporary))
}

/// Returns the backup's path that belongs to a temporary: `.NAME.PID-N.old.part`.
pub(crate) fn backup_of(temporary: &Path) -> PathBuf {
    temporary.with_extension(BACKUP_SUFFIX.trim_start_matches('.'))
}

/// Returns whether a path is that of a backup.
pub(crate) fn is_backup(path: &Path) -> bool {
    path.to_string_lossy().ends_with(BACKUP_SUFFIX)
}

/// Returns whether `name` is that of a temporary or backup of the target called `target`, whichever
/// process created it.
pub(crate) fn belongs_to(name: &str, target: &str) -> bool {
    let middle = name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(target))
        .and_then(|rest| rest.strip_prefix('.'));
    middle.is_some_and(|middle| {
        let numbers =
            middle.strip_suffix(BACKUP_SUFFIX).or_else(|| middle.strip_suffix(TEMPORARY_SUFFIX));
        numbers.is_some_and(is_number_pair)
    })
}

/// Returns whether a text is of the form `PID-N`.
fn is_number_pair(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.split_once('-').is_some_and(|(pid, n)| is_number(pid) && is_number(n))
}
