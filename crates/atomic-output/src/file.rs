//! Files that appear under their name once complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::disk::{make_parent, parent, sync_dir};
use crate::temporary::Temporary;
use crate::{Error, Result};

/// Size in octets of the buffer in front of the file.
const BUFFER: usize = 1 << 16;

/// File that appears under its name only when [`commit`](AtomicFile::commit) is called, and then
/// replaces a file there. Dropped before that, it leaves nothing. A target that is no regular file
/// (a device, a named pipe) is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    to: BufWriter<File>,
    target: PathBuf,
    /// Temporary that `to` writes to; `None` for a target that is written directly.
    temporary: Option<Temporary>,
}

impl AtomicFile {
    /// Creates the file's temporary, and the folders above it that do not exist.
    ///
    /// # Errors
    /// If it cannot be created, or the target is a folder.
    pub fn create(target: &Path) -> Result<AtomicFile> {
        // Behind a link the file itself is replaced, not the link.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        AtomicFile::new(target, make_parent)
    }

    /// Like [`create`](AtomicFile::create), for a file of a folder that the caller owns: fails if
    /// the folder does not exist, and replaces a link itself instead of the file behind it.
    ///
    /// # Errors
    /// If it cannot be created, or the target is a folder.
    pub fn create_in_existing_folder(target: &Path) -> Result<AtomicFile> {
        AtomicFile::new(target.to_owned(), |_| Ok(()))
    }

    fn new(target: PathBuf, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<AtomicFile> {
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
        Ok(AtomicFile { to: BufWriter::with_capacity(BUFFER, file), target, temporary })
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
    /// If writing or renaming fails: the target is then as it was before. If syncing the folder of
    /// the target fails: the file has appeared, but a power cut may undo that.
    pub fn commit(mut self) -> Result<()> {
        self.flush_and_sync()?;
        let target = self.target;
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        temporary.rename_to(&target).map_err(Error::at(&target))?;
        sync_dir(parent(&target))
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
    use crate::is_temporary;
    use crate::testing::listing;

    #[test]
    fn a_file_appears_at_commit() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/er/out.bin");
        let mut file = AtomicFile::create(&target).unwrap();
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
        put(AtomicFile::create(&link).unwrap(), "first");
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
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(listing(dir.path()).iter().filter(|n| is_temporary(Path::new(n))).count(), 1);
        drop(file);
        assert_eq!(listing(dir.path()), ["out.bin"]);
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn a_device_is_written_directly() {
        let mut file = AtomicFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn leftovers_go_with_the_next_run_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.bin");
        fs::write(dir.path().join(".out.bin.999999-0.part"), "half").unwrap();
        let one = AtomicFile::create(&target).unwrap();
        let two = AtomicFile::create(&target).unwrap();
        assert_eq!(listing(dir.path()).len(), 2, "those of the two");
        one.commit().unwrap();
        two.commit().unwrap();
        assert_eq!(listing(dir.path()), ["out.bin"]);
    }
}
