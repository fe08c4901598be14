//! Input of a run: a file, a folder searched in depth, or `-`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use atomic_output::is_temporary;
use walkdir::WalkDir;

/// Returns whether a path argument is `-`, which means stdin or stdout.
#[must_use]
pub fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Input file with the name that results are reported under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputFile {
    /// Path to open the file by.
    pub path: PathBuf,
    /// Path relative to the input folder, with `/` between its parts; the file name alone if the
    /// input is a file.
    pub name: String,
    /// Size in octets when the input was searched.
    pub size: u64,
}

/// Input of a run, as found on disk.
#[derive(Debug)]
pub enum Inputs {
    /// Standard input, given as `-`.
    Stdin,
    /// One file, or the accepted files of a folder.
    Files {
        /// Files in the order of their paths, compared part by part.
        files: Vec<InputFile>,
        /// Folders and links that could not be followed, each as a line with path and reason.
        unreadable: Vec<String>,
    },
}

impl Inputs {
    /// Finds the input files at `path`. A file is an input whatever its name is. In a folder, files
    /// that `accept` returns true for are inputs, except temporaries of unfinished runs. Links are
    /// followed.
    ///
    /// # Errors
    /// If `path` itself does not exist or cannot be read.
    pub fn find(path: &Path, mut accept: impl FnMut(&Path) -> bool) -> anyhow::Result<Inputs> {
        if is_dash(path) {
            return Ok(Inputs::Stdin);
        }
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        if !metadata.is_dir() {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let file = InputFile { path: path.to_owned(), name, size: metadata.len() };
            return Ok(Inputs::Files { files: vec![file], unreadable: Vec::new() });
        }
        std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        let walk = WalkDir::new(path).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_temporary(e.path())) {
            match entry.and_then(|e| e.metadata().map(|m| (e, m))) {
                Ok((entry, metadata)) if metadata.is_file() && accept(entry.path()) => {
                    files.push(InputFile {
                        name: relative_name(entry.path(), path),
                        path: entry.into_path(),
                        size: metadata.len(),
                    });
                }
                Ok(_) => {}
                Err(error) => unreadable.push(explain(&error)),
            }
        }
        Ok(Inputs::Files { files, unreadable })
    }

    /// Returns the size of all files together, in octets; `None` for stdin.
    #[must_use]
    pub fn total_size(&self) -> Option<u64> {
        match self {
            Inputs::Stdin => None,
            Inputs::Files { files, .. } => Some(files.iter().map(|f| f.size).sum()),
        }
    }
}

/// Returns `path` relative to `root`, with `/` between its parts.
fn relative_name(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    relative.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Formats an error of the folder search, with its path.
fn explain(error: &walkdir::Error) -> String {
    let path = error.path().map(|p| p.display().to_string()).unwrap_or_default();
    match (error.loop_ancestor(), error.io_error().map(io::Error::kind)) {
        (Some(above), _) => format!("{path}: a link back to {}", above.display()),
        (None, Some(io::ErrorKind::NotFound)) => format!("{path}: a link to what is not there"),
        (None, Some(kind)) => format!("{path}: {kind}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: Inputs) -> (Vec<String>, usize) {
        match inputs {
            Inputs::Stdin => panic!("stdin"),
            Inputs::Files { files, unreadable } => {
                (files.into_iter().map(|f| f.name).collect(), unreadable.len())
            }
        }
    }

    #[test]
    fn a_folder_is_searched_in_depth_in_sorted_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for name in ["z.pcap", "b/c/2.pcap", "b/1.pcap", "a.pcap", "notes.txt", ".a.pcap.7.part"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let found =
            Inputs::find(dir.path(), |p| p.extension().is_some_and(|e| e != "txt")).unwrap();
        assert_eq!(found.total_size(), Some(6 + 10 + 8 + 6));
        assert_eq!(
            names(found),
            (["a.pcap", "b/1.pcap", "b/c/2.pcap", "z.pcap"].map(String::from).to_vec(), 0)
        );
    }

    #[test]
    fn a_named_file_is_taken_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd.name");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(names(Inputs::find(&path, |_| false).unwrap()), (vec!["odd.name".into()], 0));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_is_named_and_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        assert_eq!(names(Inputs::find(dir.path(), |_| true).unwrap()), (vec!["a".into()], 1));
    }

    #[test]
    fn a_missing_input_is_named() {
        let error = Inputs::find(Path::new("/no/such/file"), |_| true).unwrap_err();
        assert!(format!("{error:#}").starts_with("/no/such/file: "));
    }

    #[test]
    fn dash_is_stdin() {
        assert!(matches!(Inputs::find(Path::new("-"), |_| true), Ok(Inputs::Stdin)));
    }
}
