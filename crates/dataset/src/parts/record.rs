//! Records of a run in parts: its plan, a line for each part, and the manifest of the whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_output::{AtomicFile, has_name_like};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::run_part::RunPart;

/// Name of the plan in a folder of parts.
pub(crate) const PLAN: &str = "_plan.json";
/// Name of the record in the folder of one part.
pub(crate) const RECORD: &str = "_part.json";
/// Name of the manifest in the folder of a joined dataset.
pub(crate) const MANIFEST: &str = "_manifest.json";
/// Name of the checksums in the folder of a joined dataset, as `sha256sum --check` reads them.
pub(crate) const SUMS: &str = "_SHA256SUMS";

/// Settings that all parts of a run have in common: what shapes the rows, and the inputs.
pub type RunSettings = BTreeMap<String, String>;

/// Reasons why a part or a join is refused, or cannot be written.
#[derive(thiserror::Error, Debug)]
pub enum PartsError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file or folder is not what the run expects.
    #[error("{}: {what}", path.display())]
    Refused {
        /// Path of the file or folder.
        path: PathBuf,
        /// Line about what was expected and what was found.
        what: String,
    },
    /// A file or folder cannot appear under its name.
    #[error(transparent)]
    Output(#[from] atomic_output::Error),
}

impl PartsError {
    /// Returns a function that adds `path` to an error of the operating system.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> PartsError {
        move |source| PartsError::Io { path: path.to_owned(), source }
    }

    /// Refuses a path for a reason.
    pub(crate) fn refuse(path: &Path, what: impl Into<String>) -> PartsError {
        PartsError::Refused { path: path.to_owned(), what: what.into() }
    }
}

/// Plan of a run, written by the part that begins first.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Plan<L> {
    /// Part that has written the plan.
    pub(crate) part: String,
    /// Settings of the run.
    pub(crate) settings: RunSettings,
    /// List of the work that the parts share out.
    pub(crate) list: L,
}

impl<L: DeserializeOwned> Plan<L> {
    /// Reads a plan, and returns it with its fingerprint; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<(Plan<L>, String)>, PartsError> {
        let Some(octets) = read_octets(path)? else { return Ok(None) };
        Ok(Some((parse(path, &octets)?, fingerprint([&octets]))))
    }
}

/// Record of a part that is complete.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct PartRecord {
    /// Number of the part as `I/N`.
    pub(crate) part: String,
    /// Settings of the run.
    pub(crate) settings: RunSettings,
    /// Fingerprint of the plan whose list the part had.
    pub(crate) list: String,
    /// Number of items that the part has left out and named.
    pub(crate) left_out: u64,
    /// Shards of the part, in order.
    pub(crate) shards: Vec<ShardRecord>,
    /// Summary of the part, as its program prints it.
    pub summary: Map<String, Value>,
}

/// Record of a shard of a part.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct ShardRecord {
    pub(crate) name: String,
    pub(crate) octets: u64,
    pub(crate) sha256: String,
}

/// Record of a joined dataset: `_manifest.json`.
#[derive(Serialize, Deserialize, Debug)]
pub struct Manifest {
    /// Settings of the run.
    pub(crate) settings: RunSettings,
    /// Summaries of all parts, added up.
    pub summary: Map<String, Value>,
    /// Parts in their order.
    pub(crate) parts: Vec<PartOfManifest>,
}

impl Manifest {
    /// Returns a line for each part that has left out items.
    pub fn left_out(&self) -> impl Iterator<Item = String> {
        self.parts.iter().filter_map(|part| left_out(&part.part, part.left_out))
    }
}

/// Returns a line about the items that a part has left out, if there are any.
fn left_out(part: &str, items: u64) -> Option<String> {
    (items > 0).then(|| format!("part {part}: {items} items, which its run has named"))
}

/// Part of a dataset that was joined.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct PartOfManifest {
    /// Number of the part as `I/N`.
    pub(crate) part: String,
    /// Number of items that the part has left out and named.
    pub(crate) left_out: u64,
    /// Names of its shards, in order.
    pub(crate) shards: Vec<String>,
    /// Summary of the part, as its program prints it.
    pub(crate) summary: Map<String, Value>,
}

impl PartOfManifest {
    /// Returns the names of the part's shards, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &str> {
        self.shards.iter().map(String::as_str)
    }
}

impl PartRecord {
    /// Returns a line about the items that the part has left out, if there are any.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        left_out(&self.part, self.left_out)
    }

    /// Records a part whose shards lie in a folder.
    ///
    /// # Errors
    /// If a shard cannot be read.
    pub(crate) fn of_folder(
        folder: &Path,
        part: RunPart,
        (settings, list): (&RunSettings, String),
        report: PartReport,
    ) -> Result<PartRecord, PartsError> {
        let shards = names(folder)?;
        let shards = shards.iter().map(|name| ShardRecord::of_file(&folder.join(name), name));
        Ok(PartRecord {
            part: part.to_string(),
            settings: settings.clone(),
            list,
            left_out: report.left_out,
            shards: shards.collect::<Result<_, _>>()?,
            summary: report.summary,
        })
    }
}

impl ShardRecord {
    fn of_file(path: &Path, name: &str) -> Result<ShardRecord, PartsError> {
        let mut hash = HashWriter(Sha256::new());
        let octets = File::open(path)
            .and_then(|mut file| io::copy(&mut file, &mut hash))
            .map_err(PartsError::at(path))?;
        Ok(ShardRecord { name: name.to_owned(), octets, sha256: hex(&hash.0.finalize()) })
    }
}

/// Hash that octets are written to.
struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Report of a part that has written all its rows.
#[derive(Debug)]
pub struct PartReport {
    /// Number of items that were left out and named.
    pub left_out: u64,
    /// Summary as the program prints it with `--json`.
    pub summary: Map<String, Value>,
}

impl PartReport {
    /// Creates the report of a part with this summary, which is a JSON object.
    #[must_use]
    pub fn new(left_out: u64, summary: &impl Serialize) -> PartReport {
        let summary = match serde_json::to_value(summary) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        PartReport { left_out, summary }
    }
}

/// Returns the SHA-256 of several texts in hexadecimal digits; each ends where the next begins.
#[must_use]
pub fn fingerprint<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        let text = text.as_ref();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hex(&hash.finalize())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns the names of the entries of a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, PartsError> {
    let entries = fs::read_dir(folder).map_err(PartsError::at(folder))?;
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries
        .map(|entry| entry.map(name))
        .collect::<io::Result<_>>()
        .map_err(PartsError::at(folder))?;
    names.sort();
    Ok(names)
}

/// Reads a JSON file; `None` if there is none.
///
/// # Errors
/// If it cannot be read, or is not of the type `T`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, PartsError> {
    read_octets(path)?.map(|octets| parse(path, &octets)).transpose()
}

/// Reads a file; `None` if there is none.
fn read_octets(path: &Path) -> Result<Option<Vec<u8>>, PartsError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        octets => octets.map(Some).map_err(PartsError::at(path)),
    }
}

/// Parses the JSON text of a file.
fn parse<T: DeserializeOwned>(path: &Path, octets: &[u8]) -> Result<T, PartsError> {
    serde_json::from_slice(octets).map_err(|error| {
        PartsError::refuse(path, format!("expected a record of a run in parts, found: {error}"))
    })
}

/// Returns whether a file of a dataset's folder is one that a join has written.
pub(crate) fn is_record_of_join(path: &Path) -> bool {
    has_name_like(path, SUMS)
        || has_name_like(path, MANIFEST) && matches!(read::<Manifest>(path), Ok(Some(_)))
}

/// Returns the JSON text of the record at a path, with a line end.
pub(crate) fn to_text(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, PartsError> {
    let mut text = serde_json::to_vec_pretty(record).map_err(|e| PartsError::at(path)(e.into()))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a file of a folder that belongs to the run, whole or not at all.
pub(crate) fn put(path: &Path, octets: &[u8]) -> Result<(), PartsError> {
    let mut file = AtomicFile::create_in_existing_folder(path)?;
    file.write_all(octets).map_err(PartsError::at(path))?;
    Ok(file.commit()?)
}

/// Returns the first difference of settings from those expected: what was expected and what was
/// found. `None` if they are the same.
pub(crate) fn difference(
    (expected, of): (&RunSettings, &str),
    (found, by): (&RunSettings, &str),
) -> Option<String> {
    let mut keys = expected.keys().chain(found.keys());
    let key = keys.find(|key| expected.get(*key) != found.get(*key))?;
    let shown =
        |settings: &RunSettings| settings.get(key).map_or("none", String::as_str).to_owned();
    let (expected, found) = (shown(expected), shown(found));
    Some(format!("expected {key} of {of}: {expected}; found that of {by}: {found}"))
}
