//! Options of writing a dataset.

use std::path::Path;

/// File format of a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DatasetFormat {
    /// Arrow IPC file (`.arrow`).
    Arrow,
    /// Apache Parquet file (`.parquet`).
    Parquet,
    /// Arrow IPC stream, the format for pipes (`.arrows`).
    #[default]
    Stream,
}

impl DatasetFormat {
    /// Hint for users who named a folder where they may have wanted a file.
    pub const FILES: &str = "names of files end in .arrow, .arrows or .parquet";

    /// Returns the extension of the format's files, without a dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            DatasetFormat::Arrow => "arrow",
            DatasetFormat::Parquet => "parquet",
            DatasetFormat::Stream => "arrows",
        }
    }

    /// Returns the format that a path's extension names: `.arrow` or `.feather`, `.arrows`,
    /// `.parquet`.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<DatasetFormat> {
        match path.extension()?.to_str()? {
            "arrow" | "feather" => Some(DatasetFormat::Arrow),
            "arrows" => Some(DatasetFormat::Stream),
            "parquet" => Some(DatasetFormat::Parquet),
            _ => None,
        }
    }
}

/// Patterns of the file names in a dataset's folder; `*` is a number.
pub const SHARDS: &[&str] = &["flows-*.arrow", "flows-*.parquet"];

/// Compression of the columns of a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Columns are stored uncompressed.
    None,
    /// LZ4 frames: fast. Parquet is written with zstd instead, since readers disagree about LZ4
    /// there.
    Lz4,
    /// Zstandard: smaller files than LZ4.
    #[default]
    Zstd,
}

/// Column of vectors behind the columns of a dataset: `fixed_size_list<float>`. Readers of datasets
/// skip it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VectorColumn {
    /// Name of the column in the schema.
    pub name: String,
    /// Number of values of each vector.
    pub len: usize,
}

/// Options of writing a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// Format of all files.
    pub format: DatasetFormat,
    /// Compression of all columns.
    pub compression: Compression,
    /// Size in octets at which a [`FolderWriter`](crate::FolderWriter) ends a shard and starts the
    /// next one.
    pub shard_octets: u64,
    /// Number of tokens at which a record batch (in Parquet a row group) is written.
    pub batch_tokens: usize,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            format: DatasetFormat::default(),
            compression: Compression::default(),
            shard_octets: 256 << 20,
            batch_tokens: 1 << 20,
        }
    }
}
