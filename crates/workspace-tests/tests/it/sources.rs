//! Rules that every source file of the repository keeps.

use std::path::{Component, Path, PathBuf};

use crate::tree;

/// Collects the Rust files of each package below `folder`, with the package's folder. Build outputs
/// and hidden folders are left out.
fn sources(folder: &Path, package: &Path, out: &mut Vec<(PathBuf, PathBuf)>) {
    let package = if folder.join("Cargo.toml").exists() { folder } else { package };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, package, out);
        } else if name.ends_with(".rs") {
            out.push((package.to_owned(), path));
        }
    }
}

/// Resolves `.` and `..` in the text of a path, without asking the file system.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

/// Returns the paths of all `#[path = "..."]` attributes of a source file.
fn included_paths(text: &str) -> impl Iterator<Item = &str> {
    let attributes = text.lines().map(str::trim_start).filter(|line| line.starts_with("#[path"));
    attributes.filter_map(|line| line.split('"').nth(1))
}

#[test]
fn no_package_includes_the_source_of_another() {
    let root = tree::root();
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    assert!(files.len() > 150, "{} files found", files.len());
    for (package, file) in files {
        let text = tree::text(&file);
        for path in included_paths(&text) {
            let included = normalized(&file.parent().unwrap().join(path));
            let message = "is outside of the package: depend on the package that owns it";
            assert!(included.starts_with(&package), "{}: {path} {message}", file.display());
        }
    }
}
