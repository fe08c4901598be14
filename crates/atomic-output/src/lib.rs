//! Output files and folders that appear whole or not at all.
//!
//! An [`AtomicFile`] or [`AtomicFolder`] is written under a temporary name in the target's parent
//! folder, `.NAME.PID-N.part`. Committing it puts the data on the disk, renames the temporary to
//! its target and puts that name on the disk too. Dropping it without a commit removes the
//! temporary and leaves whatever the target held before:
//!
//! ```
//! use std::io::Write;
//!
//! use atomic_output::{AtomicFile, AtomicFolder, OnExisting};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let folder = scratch.path();
//! let target = folder.join("table.csv");
//! let mut file = AtomicFile::create(&target, OnExisting::Fail)?;
//! file.write_all(b"flow,packets\n")?;
//! assert!(!target.exists());
//! file.commit()?;
//! assert_eq!(std::fs::read(&target)?, b"flow,packets\n");
//!
//! let target = folder.join("set");
//! let set = AtomicFolder::create(&target, OnExisting::Fail)?;
//! std::fs::write(set.path().join("flows-00000.arrow"), "rows")?;
//! set.commit()?;
//! assert!(target.join("flows-00000.arrow").is_file());
//! # Ok(())
//! # }
//! ```
//!
//! What remains after a process ends depends on how it ends:
//!
//! - A normal end or an error drops the temporaries, which removes them.
//! - A signal handler calls [`remove_unfinished`] before it exits.
//! - A process that is killed outright leaves its temporaries. It also loses its lock (`flock`) on
//!   each of them, so that the next process that writes the same target removes them.
//!
//! [`lock_folder`] keeps two processes from writing to one folder that is not replaced as a whole.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod existing;
mod file;
mod folder;
mod lock;
mod names;
mod stale;
mod temporary;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use existing::{FileKind, OnExisting, has_name_like};
pub use file::{AtomicFile, check_file};
pub use folder::{AtomicFolder, check_folder, move_folder};
pub use lock::{FolderLock, lock_folder};
pub use names::{TEMPORARY_SUFFIX, is_temporary};
pub use temporary::remove_unfinished;
