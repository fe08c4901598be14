//! Rules for a file or folder that is already at the target of a run.

use std::path::Path;

/// Kind of files that a run writes, and that it may replace.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// Name of the kind with its article, as messages have it: `a capture`.
    pub name: &'static str,
    /// Returns whether the file at a path is of the kind, by its content. A run that owns a whole
    /// folder may ask for the name too.
    pub is_at: fn(&Path) -> bool,
}

impl FileKind {
    /// Returns what happens to a file of the kind: it is replaced if `force` is set.
    #[must_use]
    pub fn on_existing(self, force: bool) -> OnExisting {
        if force { OnExisting::Replace(self) } else { OnExisting::Fail }
    }
}

/// Action if the target of an output exists.
#[derive(Clone, Copy, Debug)]
pub enum OnExisting {
    /// Fails with [`Error::Exists`](crate::Error::Exists) if a file is there, or with
    /// [`Error::NotEmpty`](crate::Error::NotEmpty) if a folder with files in it is, and leaves it
    /// as it is.
    Fail,
    /// Replaces a file if it is of this kind or empty, and a folder with its contents if each entry
    /// is a file of this kind, once the new one is complete. Fails with
    /// [`Error::OtherKind`](crate::Error::OtherKind) or
    /// [`Error::ForeignFile`](crate::Error::ForeignFile) otherwise.
    Replace(FileKind),
}

/// Returns whether the name of a file matches a pattern with at most one `*`, which stands for any
/// text.
#[must_use]
pub fn has_name_like(path: &Path, pattern: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    pattern.split_once('*').map_or(pattern == name, |(prefix, suffix)| {
        let is_long_enough = name.len() >= prefix.len() + suffix.len();
        is_long_enough && name.starts_with(prefix) && name.ends_with(suffix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_at_most_one_star() {
        let check = |pattern, name: &str| has_name_like(&Path::new("folder").join(name), pattern);
        assert!(check("flow-*.pcap", "flow-7.pcap"));
        assert!(check("flow-*.pcap", "flow-.pcap"));
        assert!(!check("flow-*-pcap", "flow-pcap"));
        assert!(check("metrics.json", "metrics.json"));
        assert!(!check("metrics.json", "metrics.jsonl"));
    }
}
