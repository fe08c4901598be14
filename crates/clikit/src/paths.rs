//! Checks of the paths on a command line, before a run starts.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::bail;
use atomic_output::FileKind;

use crate::is_dash;

/// Fails if two outputs are the same file, if an output is also an input, or if an output folder
/// contains an input. Each path comes with its name on the command line. `-` and devices are never
/// the same as another path.
///
/// The first output is the run's main one. Outputs after it (logs, tables) must not overwrite a
/// capture or dataset inside an input folder.
///
/// # Errors
/// As above; the error names both paths by their names on the command line.
pub fn ensure_distinct_paths(
    inputs: &[(&str, &Path)],
    outputs: &[(&str, &Path)],
) -> anyhow::Result<()> {
    let real = |paths: &[(&str, &Path)]| -> Vec<(String, PathBuf)> {
        let files = paths.iter().filter(|(_, path)| !is_dash(path) && !is_device(path));
        files.map(|&(name, path)| (name.to_owned(), resolved(path))).collect()
    };
    let (inputs, outputs) = (real(inputs), real(outputs));
    for (i, (name, output)) in outputs.iter().enumerate() {
        if let Some((other, _)) =
            inputs.iter().find(|(_, input)| i > 0 && output.starts_with(input))
            && output.is_file()
            && is_data(output)
        {
            bail!("{}: expected {name} apart from {other}, found a file in it", output.display());
        }
        if let Some((other, input)) = inputs.iter().find(|(_, input)| input.starts_with(output)) {
            let found = if input == output { "the same" } else { "a folder around it" };
            bail!("{}: expected {name} apart from {other}, found {found}", output.display());
        }
        if let Some((other, _)) = outputs[..i].iter().find(|(_, other)| other == output) {
            bail!("{}: expected {name} apart from {other}, found the same", output.display());
        }
    }
    Ok(())
}

/// Splits the paths of a command line into inputs and the output, which is the last one, as `cp`
/// does. `listed` are further inputs.
///
/// # Errors
/// If there is no input, or no output.
pub fn split_paths(
    paths: &[PathBuf],
    listed: Vec<PathBuf>,
) -> anyhow::Result<(Vec<PathBuf>, PathBuf)> {
    let Some((output, inputs)) = paths.split_last() else { bail!("expected INPUT and OUTPUT") };
    let inputs: Vec<PathBuf> = inputs.iter().cloned().chain(listed).collect();
    if inputs.is_empty() {
        bail!("{}: expected INPUT before OUTPUT, found one path", output.display());
    }
    Ok((inputs, output.clone()))
}

/// Fails if a file is at the path of an output, before any work: unless `force` is set and the file
/// is of the output's kind. `-` and devices are written whatever they hold.
///
/// # Errors
/// As above, in one line that names what `--force` replaces.
pub fn ensure_free(path: &Path, kind: FileKind, force: bool) -> anyhow::Result<()> {
    if is_dash(path) {
        return Ok(());
    }
    with_hint(atomic_output::check_file(path, kind.on_existing(force)), kind)
}

/// Like [`ensure_free`], for an output that is a folder: it may exist if it is empty, or with
/// `force` if it holds nothing but files of the kind.
///
/// # Errors
/// As above.
pub fn ensure_folder_free(path: &Path, kind: FileKind, force: bool) -> anyhow::Result<()> {
    with_hint(atomic_output::check_folder(path, kind.on_existing(force)), kind)
}

/// Adds to the error of an output that exists what `--force` replaces.
fn with_hint(checked: atomic_output::Result<()>, kind: FileKind) -> anyhow::Result<()> {
    use atomic_output::Error::{Exists, NotEmpty};
    match checked {
        Err(error @ (Exists(_) | NotEmpty(_))) => {
            // The context repeats the error: one line shows it once, and a caller finds its kind.
            let hint = format!("{error} (--force replaces {})", kind.name);
            Err(anyhow::Error::new(error).context(hint))
        }
        checked => Ok(checked?),
    }
}

/// Returns the first line of a file of text, without its end; `None` if the file has none of at
/// most 64 KiB.
#[must_use]
pub fn first_line(path: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?.take(1 << 16)).read_line(&mut line).ok()?;
    line.strip_suffix('\n').map(|line| line.trim_end_matches('\r').to_owned())
}

/// Warns when an output folder is to be created at a path with a file's extension. `hint` says what
/// to write for a file.
pub fn warn_if_named_like_a_file(path: &Path, hint: &str) {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !path.exists() && extension.starts_with(|first: char| first.is_ascii_alphabetic()) {
        tracing::warn!("{}: a folder is made; {hint}", path.display());
    }
}

/// Returns whether a path has the file extension of a capture or dataset.
fn is_data(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    let all =
        ["pcap", "pcapng", "cap", "snoop", "gz", "zst", "arrow", "arrows", "feather", "parquet"];
    extension.is_some_and(|extension| all.contains(&extension))
}

/// Returns whether a path is a device or pipe, which may be read and written by the same run.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Returns the path with links and dots resolved, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => resolved(parent),
        Some(_) => resolved(Path::new(".")),
        None => return path.to_owned(),
    };
    path.file_name().map_or(parent.clone(), |name| parent.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, outputs: &[&str], refused: bool) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("in/a.pcap"), "").unwrap();
        let at = |name: &str| folder.path().join(name);
        let outputs: Vec<PathBuf> =
            outputs.iter().map(|o| if *o == "-" { "-".into() } else { at(o) }).collect();
        let named: Vec<(&str, &Path)> = outputs.iter().map(|o| ("OUTPUT", o.as_path())).collect();
        assert_eq!(
            ensure_distinct_paths(&[("INPUT", &at(input))], &named).is_err(),
            refused,
            "{input} {outputs:?}"
        );
    }

    #[test]
    fn an_output_that_exists_is_named_with_what_force_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let text = FileKind {
            name: "a list",
            is_at: |path| first_line(path).is_some_and(|l| l == "list"),
        };
        let path = folder.path().join("out.txt");
        let check = |force, expected: &str| {
            let found = ensure_free(&path, text, force).map_err(|e| e.to_string());
            assert_eq!(found.err().unwrap_or_default().replace(&shown(&path), "PATH"), expected);
        };
        check(false, "");
        std::fs::write(&path, "list\r\n1\n").unwrap();
        check(true, "");
        check(false, "PATH: expected no file there, found one (--force replaces a list)");
        std::fs::write(&path, "list").unwrap();
        check(true, "PATH: expected a list to replace, found another file");
        let refused = ensure_folder_free(folder.path(), text, false).unwrap_err().to_string();
        assert!(refused.ends_with("not empty (--force replaces a list)"), "{refused}");
        ensure_free(Path::new("-"), text, false).unwrap();
        ensure_free(Path::new("/dev/null"), text, false).unwrap();
    }

    fn shown(path: &Path) -> String {
        path.display().to_string()
    }

    #[test]
    fn inputs_and_outputs_are_different_files() {
        check("in/a.pcap", &["in/a.pcap"], true);
        check("in/a.pcap", &["in/../in/a.pcap"], true);
        check("in", &["in"], true);
        check("in/a.pcap", &["in"], true);
        check("in/a.pcap", &["new.arrow", "new.arrow"], true);
        check("in/a.pcap", &["new.arrow", "new.jsonl"], false);
        check("in", &["in/out.arrow"], false);
        check("in", &["out", "in/a.pcap"], true);
        check("in", &["out", "in/b.pcap"], false);
        check("in/a.pcap", &["-", "-"], false);
        check("in", &["out", "out/labels.csv"], false);
    }
}
