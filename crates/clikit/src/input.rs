//! Inputs of a run: files, folders searched in depth, patterns, or `-`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
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
    /// Path relative to the deepest folder that holds all inputs, with `/` between its parts: the
    /// file name alone if the input is one file.
    pub name: String,
    /// Size in octets when the input was searched.
    pub size: u64,
}

/// Input of a run, as found on disk.
#[derive(Debug)]
pub enum Inputs {
    /// Standard input, given as `-`.
    Stdin,
    /// Files, and the accepted files of folders.
    Files {
        /// Files in the order of the inputs; those of a folder in the order of their paths,
        /// compared part by part. Each is there once.
        files: Vec<InputFile>,
        /// Inputs and links that could not be found or followed, each as a line with its reason.
        unreadable: Vec<String>,
    },
}

impl Inputs {
    /// Finds the input files at `path`, as [`find_all`](Self::find_all) does.
    ///
    /// # Errors
    /// If `path` itself does not exist or cannot be read.
    pub fn find(path: &Path, accept: impl FnMut(&Path) -> bool) -> anyhow::Result<Inputs> {
        Inputs::find_all(&[path.to_owned()], accept)
    }

    /// Finds the input files at several paths. A file is an input whatever its name is. In a
    /// folder, files that `accept` returns true for are inputs, except temporaries of unfinished
    /// runs. Links are followed. A path where nothing is and that has `*`, `?` or `[` is a pattern.
    ///
    /// # Errors
    /// If no path exists or can be read, or `-` is one of several.
    pub fn find_all(
        paths: &[PathBuf],
        mut accept: impl FnMut(&Path) -> bool,
    ) -> anyhow::Result<Inputs> {
        if let [path] = paths
            && is_dash(path)
        {
            return Ok(Inputs::Stdin);
        }
        let mut search = Search { root: None, files: Vec::new(), unreadable: Vec::new() };
        let mut refused = None;
        for path in paths {
            if is_dash(path) {
                bail!("-: expected stdin as the only input, found {} inputs", paths.len());
            }
            let found = expand(path).and_then(|matches| match matches {
                Some(matches) => matches.iter().try_for_each(|p| search.add(p, &mut accept)),
                None => search.add(path, &mut accept),
            });
            if let Err(error) = found {
                search.unreadable.push(format!("{error:#}"));
                refused.get_or_insert(error);
            }
        }
        match refused {
            Some(error) if search.root.is_none() => Err(error),
            _ => Ok(search.into_inputs()),
        }
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

/// Search for input files.
struct Search {
    /// Deepest folder that holds all inputs so far.
    root: Option<PathBuf>,
    /// Files with their absolute paths and sizes.
    files: Vec<(PathBuf, PathBuf, u64)>,
    unreadable: Vec<String>,
}

impl Search {
    /// Adds the file or the files of the folder at `path`.
    fn add(&mut self, path: &Path, accept: &mut dyn FnMut(&Path) -> bool) -> anyhow::Result<()> {
        let shown = || path.display().to_string();
        let metadata = std::fs::metadata(path).with_context(shown)?;
        let absolute = std::path::absolute(path).with_context(shown)?;
        if !metadata.is_dir() {
            self.add_root(absolute.parent().unwrap_or(&absolute));
            self.files.push((path.to_owned(), absolute, metadata.len()));
            return Ok(());
        }
        std::fs::read_dir(path).with_context(shown)?;
        self.add_root(&absolute);
        let walk = WalkDir::new(path).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_temporary(e.path())) {
            match entry.and_then(|e| e.metadata().map(|m| (e, m))) {
                Ok((entry, metadata)) if metadata.is_file() && accept(entry.path()) => {
                    let below = entry.path().strip_prefix(path).unwrap_or(entry.path());
                    let absolute = absolute.join(below);
                    self.files.push((entry.into_path(), absolute, metadata.len()));
                }
                Ok(_) => {}
                Err(error) => self.unreadable.push(explain(&error)),
            }
        }
        Ok(())
    }

    fn add_root(&mut self, folder: &Path) {
        let root = match &self.root {
            Some(root) => {
                let parts = root.components().zip(folder.components());
                parts.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
            None => folder.to_owned(),
        };
        self.root = Some(root);
    }

    fn into_inputs(self) -> Inputs {
        let root = self.root.unwrap_or_default();
        let mut seen = HashSet::new();
        let mut files = self.files;
        files.retain(|(_, absolute, _)| seen.insert(absolute.clone()));
        let named = |(path, absolute, size): (PathBuf, PathBuf, u64)| {
            let name = relative_name(&absolute, &root);
            InputFile { path, name, size }
        };
        let files = files.into_iter().map(named).collect();
        Inputs::Files { files, unreadable: self.unreadable }
    }
}

/// Returns the paths that match a pattern, sorted; `None` if something is at the path itself, or it
/// is no pattern.
///
/// # Errors
/// If the pattern is not valid, or nothing matches.
fn expand(path: &Path) -> anyhow::Result<Option<Vec<PathBuf>>> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '['])) else {
        return Ok(None);
    };
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let matches = glob::glob(pattern).with_context(|| pattern.to_owned())?;
    let matches: Vec<PathBuf> = matches.filter_map(Result::ok).collect();
    if matches.is_empty() {
        bail!("{pattern}: expected files that match, found none");
    }
    Ok(Some(matches))
}

/// Reads a list of paths, from a file or from stdin if `list` is `-`: one a line, or each with a
/// NUL at its end as `find -print0` writes them.
///
/// # Errors
/// If the list cannot be read, or holds no path.
pub fn read_list(list: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = list.display();
    let mut octets = Vec::new();
    let read = match is_dash(list) {
        true => io::stdin().lock().read_to_end(&mut octets),
        false => File::open(list).and_then(|mut file| file.read_to_end(&mut octets)),
    };
    read.with_context(|| shown.to_string())?;
    let end = if octets.contains(&0) { 0 } else { b'\n' };
    let lines = octets.split(|octet| *octet == end);
    let lines = lines.map(|line| if end == 0 { line } else { line.trim_ascii_end() });
    let paths: Vec<PathBuf> =
        lines.filter(|line| !line.is_empty()).map(path_of).collect::<Result<_, _>>()?;
    if paths.is_empty() {
        bail!("{shown}: expected a path a line, found none");
    }
    Ok(paths)
}

/// Returns octets as a path, which need not be UTF-8 on Unix.
#[cfg(unix)]
fn path_of(octets: &[u8]) -> anyhow::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(octets)))
}

/// Returns octets of UTF-8 as a path.
#[cfg(not(unix))]
fn path_of(octets: &[u8]) -> anyhow::Result<PathBuf> {
    let text = std::str::from_utf8(octets);
    Ok(PathBuf::from(text.context("expected a list of paths in UTF-8")?))
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
    fn several_inputs_are_named_below_the_folder_that_holds_all() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/1.pcap", "a/2.pcap", "b/1.pcap", "b/3.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let check = |paths: &[&str], expected: &[&str], unreadable: usize| {
            let paths: Vec<PathBuf> = paths.iter().map(|p| dir.path().join(p)).collect();
            let found = Inputs::find_all(&paths, |p| p.extension().is_some_and(|e| e == "pcap"));
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(names(found.unwrap()), (expected, unreadable), "{paths:?}");
        };
        check(&["b/1.pcap", "a"], &["b/1.pcap", "a/1.pcap", "a/2.pcap"], 0);
        check(&["a/2.pcap", "a/1.pcap"], &["2.pcap", "1.pcap"], 0);
        check(&["a", "a/1.pcap"], &["1.pcap", "2.pcap"], 0);
        check(&["*/1.pcap"], &["a/1.pcap", "b/1.pcap"], 0);
        check(&["a/[12].pcap", "b/3.txt"], &["a/1.pcap", "a/2.pcap", "b/3.txt"], 0);
        check(&["a/none.pcap", "b/*.none", "b/1.pcap"], &["1.pcap"], 2);
        let error = |path| Inputs::find(&dir.path().join(path), |_| true).unwrap_err().to_string();
        assert!(
            error("x*").ends_with("x*: expected files that match, found none"),
            "{}",
            error("x*")
        );
        assert!(Inputs::find_all(&["-".into(), dir.path().to_owned()], |_| true).is_err());
    }

    #[test]
    fn a_list_has_a_path_a_line_or_ends_them_with_nul() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        let check = |text: &str, expected: &[&str]| {
            std::fs::write(&list, text).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(read_list(&list).unwrap(), expected, "{text:?}");
        };
        check("a.pcap\n/b c.pcap\r\n\n", &["a.pcap", "/b c.pcap"]);
        check("a\nb\0c\0", &["a\nb", "c"]);
        std::fs::write(&list, "\n").unwrap();
        let said = read_list(&list).unwrap_err().to_string();
        assert!(said.ends_with("list: expected a path a line, found none"), "{said}");
    }

    #[test]
    fn dash_is_stdin() {
        assert!(matches!(Inputs::find(Path::new("-"), |_| true), Ok(Inputs::Stdin)));
    }
}
