//! Checks of the paths on a command line, before a run starts.

use std::path::{Path, PathBuf};

use anyhow::bail;

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
