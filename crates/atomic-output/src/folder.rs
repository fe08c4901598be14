//! Folders that appear under their name once complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{make_parent, parent, sync_dir, sync_tree};
use crate::names::{backup_of, is_temporary};
use crate::temporary::{Temporary, unfinished};
use crate::{Error, OnExisting, Result};

/// Folder that appears under its name only when [`commit`](AtomicFolder::commit) is called.
/// Dropped before that, it leaves nothing. Its files are created in [`path`](AtomicFolder::path)
/// meanwhile.
#[derive(Debug)]
pub struct AtomicFolder {
    target: PathBuf,
    temporary: Temporary,
    on_existing: OnExisting,
}

impl AtomicFolder {
    /// Creates the folder's temporary, and the folders above it that do not exist.
    ///
    /// # Errors
    /// If it cannot be created, or the target exists and `on_existing` does not allow to replace
    /// it.
    pub fn create(target: &Path, on_existing: OnExisting) -> Result<AtomicFolder> {
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        check_folder(&target, on_existing)?;
        make_parent(&target)?;
        let (temporary, ()) = Temporary::create(&target, |path| fs::create_dir(path))?;
        Ok(AtomicFolder { target, temporary, on_existing })
    }

    /// Returns the path of the folder before a commit.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary.path
    }

    /// Returns the path that the folder has after a commit.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts the files of the folder on the disk, still under the temporary's name. A run with
    /// several outputs calls this before it commits the first, as it calls
    /// [`AtomicFile::flush_and_sync`](crate::AtomicFile::flush_and_sync).
    ///
    /// # Errors
    /// If a file of the folder cannot be read or synced.
    pub fn sync(&self) -> Result<()> {
        sync_tree(&self.temporary.path).map_err(Error::at(&self.target))
    }

    /// Puts the files of the folder on the disk, renames the folder to its target, and puts that
    /// name on the disk.
    ///
    /// # Errors
    /// If syncing or renaming fails, or another process has created a folder at the target that may
    /// not be replaced: the target is then as it was before. If removing a replaced folder or
    /// syncing the parent folder fails: the new folder has appeared.
    pub fn commit(self) -> Result<()> {
        check_replaceable(&self.target, self.on_existing)?;
        self.sync()?;
        let AtomicFolder { target, temporary, on_existing } = self;
        let mut all = unfinished();
        let old = put_in_place(&temporary.path, &target, on_existing)?;
        all.remove(&temporary.path);
        let synced = sync_dir(parent(&target));
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(Error::at(&old))?;
        }
        // Dropping the temporary takes the same mutex.
        drop(all);
        synced
    }
}

/// Puts the files of a folder that is complete on the disk, and renames it to `target` as
/// [`AtomicFolder::commit`] does. Meant for a folder that several processes have filled.
///
/// # Errors
/// As [`AtomicFolder::commit`]; the folder then has its old name.
pub fn move_folder(from: &Path, target: &Path, on_existing: OnExisting) -> Result<()> {
    check_replaceable(target, on_existing)?;
    sync_tree(from).map_err(Error::at(from))?;
    let old = put_in_place(from, target, on_existing)?;
    sync_dir(parent(target))?;
    old.map_or(Ok(()), |old| fs::remove_dir_all(&old).map_err(Error::at(&old)))
}

/// Renames a folder to `target`. Returns the path of the folder that was there, if it had entries.
fn put_in_place(from: &Path, target: &Path, on_existing: OnExisting) -> Result<Option<PathBuf>> {
    // A folder that another process has created since is exchanged only if it may be replaced;
    // `rename` replaces an empty folder alone.
    if matches!(on_existing, OnExisting::Replace(_)) && is_non_empty(target) {
        return exchange(from, target).map(Some).map_err(Error::at(target));
    }
    fs::rename(from, target).map(|()| None).map_err(|error| {
        check_replaceable(target, on_existing).err().unwrap_or_else(|| Error::at(target)(error))
    })
}

/// Returns whether a folder exists and has an entry.
fn is_non_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Checks whether a run may put a folder at `target`: before any work, as
/// [`create`](AtomicFolder::create) does it again.
///
/// # Errors
/// If the target is no folder, or one that `on_existing` does not allow to replace.
pub fn check_folder(target: &Path, on_existing: OnExisting) -> Result<()> {
    match fs::read_dir(target) {
        Ok(_) => check_replaceable(target, on_existing),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::at(target)(e)),
    }
}

/// Fails if `folder` is not empty and `on_existing` does not allow to replace it.
fn check_replaceable(folder: &Path, on_existing: OnExisting) -> Result<()> {
    let OnExisting::Replace(kind) = on_existing else {
        if is_non_empty(folder) {
            return Err(Error::NotEmpty(folder.to_owned()));
        }
        return Ok(());
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        let path = entry.path();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        is_file && (is_temporary(&path) || (kind.is_at)(&path))
    };
    match entries.into_iter().find(|entry| !is_ours(entry)) {
        Some(foreign) => Err(Error::ForeignFile {
            folder: folder.to_owned(),
            name: foreign.file_name().display().to_string(),
        }),
        None => Ok(()),
    }
}

/// Renames `new` to `target` and returns the path that the old `target` has afterwards. On Linux
/// the two are exchanged in one step, so that `target` exists at any moment; elsewhere the old one
/// becomes a backup first.
fn exchange(new: &Path, target: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE).is_ok() {
            return Ok(new.to_owned());
        }
    }
    let backup = backup_of(new);
    fs::rename(target, &backup)?;
    if let Err(error) = fs::rename(new, target) {
        fs::rename(&backup, target)?;
        return Err(error);
    }
    Ok(backup)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::FileKind;
    use crate::testing::listing;

    #[test]
    fn of_runs_that_end_at_once_one_makes_the_folder() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("set");
            let ready = AtomicU8::new(0);
            let run = |name: &'static str| {
                let folder = AtomicFolder::create(&target, OnExisting::Fail).unwrap();
                fs::write(folder.path().join(name), name).unwrap();
                // A thread that sleeps here would wake too late to meet the other one.
                ready.fetch_add(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                folder.commit().map(|()| name)
            };
            let ends = std::thread::scope(|scope| {
                [scope.spawn(|| run("one")), scope.spawn(|| run("two"))]
                    .map(|thread| thread.join().unwrap())
            });
            let won: Vec<_> = ends.iter().flatten().copied().collect();
            assert_eq!(listing(&target), won);
            let lost = ends.into_iter().find_map(Result::err).unwrap().to_string();
            assert!(lost.ends_with("found one that is not empty"), "{lost}");
        }
    }

    #[test]
    fn a_folder_appears_at_commit_and_a_full_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let folder = AtomicFolder::create(&target, OnExisting::Fail).unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(!target.exists());
        folder.commit().unwrap();
        assert_eq!(listing(&target), ["a"]);
        let refused = AtomicFolder::create(&target, OnExisting::Fail).unwrap_err();
        assert!(refused.to_string().contains("not empty"));
        assert_eq!(listing(dir.path()), ["set"]);
    }

    #[test]
    fn a_replaced_folder_holds_the_new_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("old"), "1").unwrap();
        let is_old = |path: &Path| path.file_name().is_some_and(|name| name == "old");
        let ours = OnExisting::Replace(FileKind { name: "an old file", is_at: is_old });
        let folder = AtomicFolder::create(&target, ours).unwrap();
        fs::write(folder.path().join("new"), "2").unwrap();
        assert_eq!(listing(&target), ["old"]);
        folder.commit().unwrap();
        assert_eq!(listing(&target), ["new"]);
        let refused = AtomicFolder::create(&target, ours).unwrap_err().to_string();
        assert!(
            refused.ends_with("expected a folder of an earlier run to replace, found new in it"),
            "{refused}"
        );
        assert_eq!(listing(&target), ["new"]);
        assert_eq!(listing(dir.path()), ["set"]);
    }

    #[test]
    fn a_dropped_folder_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = AtomicFolder::create(&dir.path().join("set"), OnExisting::Fail).unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        drop(folder);
        assert!(listing(dir.path()).is_empty());
    }

    #[test]
    fn what_another_run_has_put_there_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let run = |what| {
            let folder = AtomicFolder::create(&target, OnExisting::Fail).unwrap();
            fs::write(folder.path().join(what), what).unwrap();
            folder
        };
        let (first, second) = (run("first"), run("second"));
        first.commit().unwrap();
        let refused = second.commit().unwrap_err();
        assert!(refused.to_string().contains("not empty"), "{refused}");
        assert_eq!(listing(&target), ["first"]);
        assert_eq!(listing(dir.path()), ["set"]);
    }

    #[test]
    fn a_folder_is_moved_to_a_name_that_is_free_or_its_own_kind() {
        let dir = tempfile::tempdir().unwrap();
        let (from, target) = (dir.path().join("set.parts"), dir.path().join("set"));
        let fill = |folder: &Path, name: &str| {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), name).unwrap();
        };
        let is_old = |path: &Path| path.file_name().is_some_and(|name| name == "old");
        let old = OnExisting::Replace(FileKind { name: "an old file", is_at: is_old });
        fill(&from, "old");
        fs::create_dir(&target).unwrap();
        move_folder(&from, &target, OnExisting::Fail).unwrap();
        assert_eq!(
            (listing(dir.path()), listing(&target)),
            (vec!["set".into()], vec!["old".into()])
        );
        fill(&from, "new");
        let refused = move_folder(&from, &target, OnExisting::Fail).unwrap_err().to_string();
        assert!(refused.ends_with("not empty"), "{refused}");
        assert_eq!(listing(&from), ["new"]);
        move_folder(&from, &target, old).unwrap();
        assert_eq!(
            (listing(dir.path()), listing(&target)),
            (vec!["set".into()], vec!["new".into()])
        );
        fill(&from, "newer");
        move_folder(&from, &target, old).unwrap_err();
        assert_eq!((listing(&from), listing(&target)), (vec!["newer".into()], vec!["new".into()]));
    }

    #[test]
    fn a_folder_of_many_files_and_folders_appears_with_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let folder = AtomicFolder::create(&target, OnExisting::Fail).unwrap();
        fs::create_dir_all(folder.path().join("deep/er")).unwrap();
        let names: Vec<String> = (0..100).map(|i| format!("flow-{i:03}.pcap")).collect();
        for name in &names {
            fs::write(folder.path().join("deep/er").join(name), name).unwrap();
        }
        folder.commit().unwrap();
        assert_eq!(listing(&target.join("deep/er")), names);
    }
}
