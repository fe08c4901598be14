//! Files that appear under their name once complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::disk::{make_parent, parent, sync_dir};
use crate::temporary::Temporary;
use crate::{Error, OnExisting, Result};

/// Size in octets of the buffer in front of the file.
const BUFFER: usize = 1 << 16;

/// File that appears under its name only when [`commit`](AtomicFile::commit) is called. Dropped
/// before that, it leaves nothing. A file that is there is replaced as [`OnExisting`] says. A
/// target that is no regular file (a device, a named pipe) is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    to: BufWriter<File>,
    target: PathBuf,
    on_existing: Option<OnExisting>,
    /// Temporary that `to` writes to; `None` for a target that is written directly.
    temporary: Option<Temporary>,
}

impl AtomicFile {
    /// Creates the file's temporary, and the folders above it that do not exist.
    ///
    /// # Errors
    /// If it cannot be created, the target is a folder, or `on_existing` does not allow to replace
    /// it.
    pub fn create(target: &Path, on_existing: OnExisting) -> Result<AtomicFile> {
        check_file(target, on_existing)?;
        // Behind a link the file itself is replaced, not the link.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        AtomicFile::new(target, Some(on_existing), make_parent)
    }

    /// Like [`create`](AtomicFile::create), for a file of a folder that the caller owns: replaces
    /// any file, fails if the folder does not exist, and replaces a link itself instead of the file
    /// behind it.
    ///
    /// # Errors
    /// If it cannot be created, or the target is a folder.
    pub fn create_in_existing_folder(target: &Path) -> Result<AtomicFile> {
        AtomicFile::new(target.to_owned(), None, |_| Ok(()))
    }

    fn new(
        target: PathBuf,
        on_existing: Option<OnExisting>,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<AtomicFile> {
        let (temporary, file) = match fs::symlink_metadata(&target) {
            Ok(m) if m.is_dir() => return Err(Error::IsFolder(target)),
            Ok(m) if !m.is_file() && !m.is_symlink() => {
                let file = File::options().write(true).open(&target);
                (None, file.map_err(Error::at(&target))?)
            }
            _ => {
                prepare(&target)?;
                let (temporary, file) = Temporary::create(&target, |path| {
                    File::options().write(true).read(true).create_new(true).open(path)
                })?;
                (Some(temporary), file)
            }
        };
        let to = BufWriter::with_capacity(BUFFER, file);
        Ok(AtomicFile { to, target, on_existing, temporary })
    }

    /// Returns the path that the file has after a commit.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the path of the file before a commit, for writers that open a path themselves.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.as_ref().map_or(&self.target, |temporary| &temporary.path)
    }

    /// Writes out the buffer and puts the data on the disk, still under the temporary's name. A run
    /// with several outputs calls this for each before it commits the first: a full disk is then
    /// found while none of them has appeared.
    ///
    /// # Errors
    /// If writing fails.
    pub fn flush_and_sync(&mut self) -> Result<()> {
        self.to.flush().map_err(Error::at(&self.target))?;
        match &self.temporary {
            Some(_) => self.to.get_ref().sync_all().map_err(Error::at(&self.target)),
            None => Ok(()),
        }
    }

    /// Puts the data on the disk, renames the file to its target, and puts that name on the disk.
    ///
    /// # Errors
    /// If writing or renaming fails, or another process has created a file at the target that may
    /// not be replaced: the target is then as it was before. If syncing the folder of the target
    /// fails: the file has appeared, but a power cut may undo that.
    pub fn commit(mut self) -> Result<()> {
        self.flush_and_sync()?;
        let target = self.target;
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let renamed = match self.on_existing {
            Some(OnExisting::Fail) => match temporary.rename_to_free(&target) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Exists(target));
                }
                renamed => renamed,
            },
            Some(replace) => {
                check_file(&target, replace)?;
                temporary.rename_to(&target)
            }
            None => temporary.rename_to(&target),
        };
        renamed.map_err(Error::at(&target))?;
        sync_dir(parent(&target))
    }
}

/// Checks whether a run may put a file at `target`: before any work, as
/// [`create`](AtomicFile::create) does it again.
///
/// # Errors
/// If the target is a folder, or a file that `on_existing` does not allow to replace.
pub fn check_file(target: &Path, on_existing: OnExisting) -> Result<()> {
    let is_there = |_| fs::symlink_metadata(target).map(drop);
    match fs::metadata(target) {
        Ok(m) if m.is_dir() => Err(Error::IsFolder(target.to_owned())),
        // A device or a pipe is written, not replaced.
        Ok(m) if !m.is_file() => Ok(()),
        Ok(m) => match on_existing {
            OnExisting::Fail => Err(Error::Exists(target.to_owned())),
            OnExisting::Replace(kind) if m.len() == 0 || (kind.is_at)(target) => Ok(()),
            OnExisting::Replace(kind) => {
                Err(Error::OtherKind { path: target.to_owned(), expected: kind.name })
            }
        },
        // A link that leads nowhere is an entry too.
        Err(_) if matches!(on_existing, OnExisting::Fail) && is_there(()).is_ok() => {
            Err(Error::Exists(target.to_owned()))
        }
        Err(_) => Ok(()),
    }
}

impl Write for AtomicFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.to.write(octets)
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.to.write_all(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.to.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::listing;
    use crate::{FileKind, is_temporary};

    const ANY: OnExisting = OnExisting::Replace(FileKind { name: "a file", is_at: |_| true });

    #[test]
    fn a_file_appears_at_commit() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/er/out.bin");
        let mut file = AtomicFile::create(&target, OnExisting::Fail).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(!target.exists());
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(listing(target.parent().unwrap()), ["out.bin"]);
    }

    #[test]
    fn a_file_written_by_its_path_appears_at_commit() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        let file = AtomicFile::create_in_existing_folder(&target).unwrap();
        fs::write(file.path(), "abc").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(listing(dir.path()), ["out.bin"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_the_file_that_is_replaced_but_in_a_folder_of_the_caller() {
        let dir = tempfile::tempdir().unwrap();
        let (behind, link) = (dir.path().join("behind"), dir.path().join("link"));
        fs::write(&behind, "old").unwrap();
        std::os::unix::fs::symlink(&behind, &link).unwrap();
        let put = |mut file: AtomicFile, text: &str| {
            file.write_all(text.as_bytes()).unwrap();
            file.commit().unwrap();
        };
        put(AtomicFile::create(&link, ANY).unwrap(), "first");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&behind).unwrap(), b"first");
        put(AtomicFile::create_in_existing_folder(&link).unwrap(), "second");
        assert!(!link.is_symlink());
        assert_eq!(fs::read(&link).unwrap(), b"second");
        assert_eq!(fs::read(&behind).unwrap(), b"first");
    }

    #[test]
    fn no_folder_is_made_where_one_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("gone/out.bin");
        let refused = AtomicFile::create_in_existing_folder(&target).unwrap_err();
        assert_eq!(refused.io_kind(), Some(io::ErrorKind::NotFound));
        assert!(listing(dir.path()).is_empty());
    }

    #[test]
    fn a_dropped_file_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        fs::write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target, ANY).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(listing(dir.path()).iter().filter(|n| is_temporary(Path::new(n))).count(), 1);
        drop(file);
        assert_eq!(listing(dir.path()), ["out.bin"]);
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn a_device_is_written_directly() {
        let mut file = AtomicFile::create(Path::new("/dev/null"), OnExisting::Fail).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn leftovers_go_with_the_next_run_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        fs::write(dir.path().join(".out.bin.999999-0.part"), "half").unwrap();
        let one = AtomicFile::create(&target, OnExisting::Fail).unwrap();
        let two = AtomicFile::create(&target, OnExisting::Fail).unwrap();
        assert_eq!(listing(dir.path()).len(), 2, "those of the two");
        one.commit().unwrap();
        drop(two);
        assert_eq!(listing(dir.path()), ["out.bin"]);
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        let is_old = |path: &Path| fs::read(path).is_ok_and(|octets| octets == b"old");
        let old = OnExisting::Replace(FileKind { name: "an old file", is_at: is_old });
        let check = |content: &str, on_existing: OnExisting, end: &str| {
            fs::write(&target, content).unwrap();
            let found = check_file(&target, on_existing).map_err(|e| e.to_string()).err();
            assert_eq!(found.is_none(), end.is_empty(), "{found:?}");
            assert!(found.unwrap_or_default().ends_with(end));
            assert_eq!(AtomicFile::create(&target, on_existing).is_ok(), end.is_empty());
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
        };
        check("old", OnExisting::Fail, "out.bin: expected no file there, found one");
        check("", OnExisting::Fail, "out.bin: expected no file there, found one");
        check("old", old, "");
        check("", old, "");
        check("mine", old, "out.bin: expected an old file to replace, found another file");
        fs::remove_file(&target).unwrap();
        std::os::unix::fs::symlink(dir.path().join("gone"), &target).unwrap();
        assert!(matches!(check_file(&target, OnExisting::Fail), Err(Error::Exists(_))));
        assert_eq!(listing(dir.path()), ["out.bin"]);
    }

    #[test]
    fn a_file_that_another_run_has_put_there_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        let is_old = |path: &Path| fs::read(path).is_ok_and(|octets| octets == b"old");
        let old = OnExisting::Replace(FileKind { name: "an old file", is_at: is_old });
        for on_existing in [OnExisting::Fail, old] {
            let mut file = AtomicFile::create(&target, on_existing).unwrap();
            file.write_all(b"new").unwrap();
            fs::write(&target, "another run's").unwrap();
            file.commit().unwrap_err();
            assert_eq!(fs::read_to_string(&target).unwrap(), "another run's");
            assert_eq!(listing(dir.path()), ["out.bin"]);
            fs::remove_file(&target).unwrap();
        }
    }
}
