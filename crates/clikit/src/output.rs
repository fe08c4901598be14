//! Outputs that appear whole or not at all: written beside the target, renamed at the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use crate::leftover::{self, ASIDE_SUFFIX};

/// What the names of unfinished outputs end in: `.NAME.PID-N.part`, beside NAME. Only a run that
/// was killed outright leaves one behind; the next run that writes NAME removes it.
pub const TEMPORARY_SUFFIX: &str = ".part";

/// Whether a path is an unfinished output.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && name.ends_with(TEMPORARY_SUFFIX.as_bytes())
    })
}

/// Says that a folder is made where the name that was given looks like a file's. `hint` says what
/// to write for a file.
pub fn tell_of_folder(path: &Path, hint: &str) {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !path.exists() && ending.starts_with(|first: char| first.is_ascii_alphabetic()) {
        tracing::warn!("{}: a folder is made; {hint}", path.display());
    }
}

/// Temporaries of this process. Held while anything is renamed or removed, so that an interruption
/// cannot come between.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporaries of this process and keeps new ones from appearing: for the moment before
/// it ends.
pub(crate) fn remove_unfinished() {
    let paths = unfinished();
    for path in paths.iter() {
        // A writer may add a file to a folder while it is being removed: try again.
        for _ in 0..10 {
            if remove(path).is_ok() {
                break;
            }
        }
    }
    std::mem::forget(paths);
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// A temporary path that is removed when dropped, unless it was moved to its target.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    /// Says that a run is at work on it.
    _held: Option<File>,
}

impl Temporary {
    /// Makes a name beside `target` and what is to stand there, by `make`.
    fn beside<T>(
        target: &Path,
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> anyhow::Result<(Temporary, T)> {
        leftover::clear(target);
        let mut all = unfinished();
        loop {
            let path = Temporary::name(target)?;
            let made =
                make(&path).with_context(|| format!("{}: cannot create", target.display()))?;
            match leftover::hold(&path) {
                Ok(_held) => {
                    all.insert(path.clone());
                    return Ok((Temporary { path, _held }, made));
                }
                // Another run has just taken it for a leftover.
                Err(e)
                    if e.kind() == io::ErrorKind::NotFound
                        && target.parent().is_none_or(Path::exists) => {}
                Err(e) => {
                    return Err(e).with_context(|| format!("{}: cannot create", target.display()));
                }
            }
        }
    }

    fn name(target: &Path) -> anyhow::Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = target
            .file_name()
            .with_context(|| format!("{}: not a name for an output", target.display()))?;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{n}{TEMPORARY_SUFFIX}", std::process::id()));
        Ok(target.with_file_name(temporary))
    }

    fn rename_to(self, target: &Path) -> io::Result<()> {
        let mut all = unfinished();
        fs::rename(&self.path, target)?;
        all.remove(&self.path);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut all = unfinished();
        if all.remove(&self.path) {
            drop(remove(&self.path));
        }
    }
}

/// A file that appears under its name only when [`commit`](AtomicFile::commit) is called, replacing
/// what was there; dropped before that, it leaves nothing. A target that is no plain file (a
/// device, a named pipe) is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    to: BufWriter<File>,
    target: PathBuf,
    temporary: Option<Temporary>,
}

impl AtomicFile {
    /// Starts the file; folders above it are made.
    ///
    /// # Errors
    /// Where it cannot be created.
    pub fn create(target: &Path) -> anyhow::Result<AtomicFile> {
        // Behind a link the file itself is replaced, not the link.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let (temporary, file) = match fs::metadata(&target) {
            Ok(m) if m.is_dir() => {
                anyhow::bail!("{}: expected a file, found a folder", target.display())
            }
            Ok(m) if !m.is_file() => {
                let file = File::options().write(true).open(&target);
                (None, file.with_context(|| target.display().to_string())?)
            }
            _ => {
                make_parent(&target)?;
                let (temporary, file) = Temporary::beside(&target, |p| {
                    File::options().write(true).read(true).create_new(true).open(p)
                })?;
                (Some(temporary), file)
            }
        };
        Ok(AtomicFile { to: BufWriter::with_capacity(1 << 16, file), target, temporary })
    }

    /// The name the file will have.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts all that was written on the disk, not yet under its name. A run with several outputs
    /// settles them before it commits the first: a full disk is found while none of them stands
    /// there.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        let at = || self.target.display().to_string();
        self.to.flush().with_context(at)?;
        if self.temporary.is_some() {
            self.to.get_ref().sync_all().with_context(at)
        } else {
            Ok(())
        }
    }

    /// Writes out what is buffered and moves the file to its name.
    ///
    /// # Errors
    /// Where writing or renaming fails; then nothing stands under the name but what stood there
    /// before.
    pub fn commit(mut self) -> anyhow::Result<()> {
        self.settle()?;
        let target = self.target;
        if let Some(temporary) = self.temporary.take() {
            temporary.rename_to(&target).with_context(|| target.display().to_string())?;
        }
        Ok(())
    }
}

impl AtomicFile {
    /// The file for a writer that keeps what it is given, and what commits it once that writer is
    /// done.
    #[must_use]
    pub fn lend(self) -> (LentFile, Lender) {
        let file = Arc::new(Mutex::new(Some(self)));
        (LentFile(file.clone()), Lender(file))
    }
}

/// An [`AtomicFile`] that is written by one and committed by another: see [`AtomicFile::lend`].
#[derive(Debug)]
pub struct LentFile(Arc<Mutex<Option<AtomicFile>>>);

/// Commits a [`LentFile`]; dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct Lender(Arc<Mutex<Option<AtomicFile>>>);

impl Lender {
    /// As [`AtomicFile::commit`]; what is written after that fails.
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> anyhow::Result<()> {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        file.map_or(Ok(()), AtomicFile::commit)
    }
}

impl Write for LentFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |f| f.write(octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_mut().map_or(Ok(()), Write::flush)
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

/// What to do where an output folder is there already and not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Replace it with all that is in it, once the new one is whole, where all of that are files
    /// that such a run makes: by their names, of which each may have one `*`.
    Replace(&'static [&'static str]),
}

/// A folder that appears under its name only when [`commit`](AtomicFolder::commit) is called;
/// dropped before that, it leaves nothing. Files are made in [`path`](AtomicFolder::path)
/// meanwhile.
#[derive(Debug)]
pub struct AtomicFolder {
    target: PathBuf,
    temporary: Temporary,
    existing: Existing,
}

impl AtomicFolder {
    /// Starts the folder; folders above it are made.
    ///
    /// # Errors
    /// Where it cannot be created, or is there, not empty, and `existing` says to refuse.
    pub fn create(target: &Path, existing: Existing) -> anyhow::Result<AtomicFolder> {
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        match fs::read_dir(&target) {
            Ok(_) => refuse_full(&target, existing)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| target.display().to_string()),
        }
        make_parent(&target)?;
        let (temporary, ()) = Temporary::beside(&target, |p| fs::create_dir(p))?;
        Ok(AtomicFolder { target, temporary, existing })
    }

    /// Where the folder is while it is being made.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary.path
    }

    /// The name the folder will have.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Moves the folder to its name.
    ///
    /// # Errors
    /// Where renaming fails, or another run has put something there meanwhile that is not to be
    /// replaced; what stood there before then stands there still.
    pub fn commit(self) -> anyhow::Result<()> {
        let AtomicFolder { target, temporary, existing } = self;
        let at = || target.display().to_string();
        refuse_full(&target, existing)?;
        let mut all = unfinished();
        // What another run has put there since is exchanged only where it may be replaced; a full
        // folder is not renamed over.
        let replaces = matches!(existing, Existing::Replace(_)) && is_full(&target);
        let old = if replaces {
            Some(exchange(&temporary.path, &target).with_context(at)?)
        } else {
            None
        };
        if old.is_none()
            && let Err(e) = fs::rename(&temporary.path, &target)
        {
            drop(all);
            refuse_full(&target, existing)?;
            return Err(e).with_context(at);
        }
        all.remove(&temporary.path);
        if let Some(old) = old {
            fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
        }
        // The temporary's own drop takes the lock.
        drop(all);
        Ok(())
    }
}

fn is_full(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn refuse_full(folder: &Path, existing: Existing) -> anyhow::Result<()> {
    let Existing::Replace(ours) = existing else {
        if is_full(folder) {
            anyhow::bail!(
                "{}: expected no folder or an empty one, found one that is not empty",
                folder.display()
            );
        }
        return Ok(());
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let named =
            name.to_str().is_some_and(|name| ours.iter().any(|pattern| fits(pattern, name)));
        entry.file_type().is_ok_and(|kind| kind.is_file()) && (named || is_temporary(&entry.path()))
    };
    if let Some(other) = entries.into_iter().find(|entry| !is_ours(entry)) {
        let (folder, name) = (folder.display(), other.file_name());
        anyhow::bail!(
            "{folder}: expected a folder of an earlier run to replace, found {} in it",
            name.display()
        );
    }
    Ok(())
}

/// Whether a name fits a pattern with at most one `*`.
fn fits(pattern: &str, name: &str) -> bool {
    pattern.split_once('*').map_or(pattern == name, |(begin, end)| {
        name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
    })
}

/// Puts `new` in the place of `target`; says where `target` is then. At one stroke where the system
/// can, so that one of both stands there at any time; else the old one is moved aside first.
fn exchange(new: &Path, target: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE).is_ok() {
            return Ok(new.to_owned());
        }
    }
    let aside = new.with_extension(ASIDE_SUFFIX.trim_start_matches('.'));
    fs::rename(target, &aside)?;
    if let Err(error) = fs::rename(new, target) {
        fs::rename(&aside, target)?;
        return Err(error);
    }
    Ok(aside)
}

fn make_parent(target: &Path) -> anyhow::Result<()> {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_runs_that_end_at_once_one_makes_the_folder() {
        for _ in 0..200 {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("set");
            let ready = std::sync::atomic::AtomicU8::new(0);
            let run = |name: &'static str| {
                let folder = AtomicFolder::create(&target, Existing::Refuse).unwrap();
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
    fn a_folder_appears_at_commit_and_a_full_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let folder = AtomicFolder::create(&target, Existing::Refuse).unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(!target.exists());
        folder.commit().unwrap();
        assert_eq!(listing(&target), ["a"]);
        let refused = AtomicFolder::create(&target, Existing::Refuse).unwrap_err();
        assert!(refused.to_string().contains("not empty"));
        assert_eq!(listing(dir.path()), ["set"]);
    }

    #[test]
    fn a_replaced_folder_holds_the_new_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("old"), "1").unwrap();
        let ours = Existing::Replace(&["old", "new-*.part"]);
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
        let folder = AtomicFolder::create(&dir.path().join("set"), Existing::Refuse).unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        drop(folder);
        assert!(listing(dir.path()).is_empty());
    }

    #[test]
    fn what_another_run_has_put_there_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("set");
        let run = |what| {
            let folder = AtomicFolder::create(&target, Existing::Refuse).unwrap();
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
