//! Token datasets on disk and on pipes: Arrow IPC and Parquet.
//!
//! A dataset is a folder of shards, one file, or an Arrow IPC stream; `docs/dataset.md` is its
//! reference. Each row is a flow: [`FlowRow`]. [`DatasetReader`] reads all three forms,
//! [`DatasetWriter`] writes a file or stream, [`FolderWriter`] a folder.
//!
//! ```
//! use arrowio::{CodecId, DatasetMeta, DatasetReader, DatasetWriter};
//! use arrowio::{FlowRow, Tokens, WriteOptions};
//!
//! let code = CodecId { name: "field", version: 2 };
//! let meta = DatasetMeta {
//!     token_code: code.name.into(),
//!     token_version: code.version,
//!     vocab_size: 1024,
//!     tool: "an example".into(),
//!     options: Default::default(),
//! };
//! let tokens = Tokens::U16(vec![1, 2, 3]);
//! let row = FlowRow { tokens, identity: Default::default(), summary: None };
//!
//! let mut writer = DatasetWriter::new("memory", Vec::new(), &meta, &WriteOptions::default())?;
//! writer.write(&row)?;
//! let (written, octets) = writer.finish()?;
//! assert_eq!(written.flows, 1);
//!
//! let reader = DatasetReader::stream("memory", std::io::Cursor::new(octets), &[code])?;
//! assert_eq!(reader.collect::<Result<Vec<_>, _>>()?, [row]);
//! # Ok::<(), arrowio::Error>(())
//! ```
//!
//! A second table beside a dataset names the hosts of its flows: [`HostRow`], [`write_hosts`],
//! [`read_hosts`].
//!
//! # Malformed files
//!
//! A reader accepts any octets and returns rows or an [`Error`] with the place in the file; its
//! memory is bounded by the octets that are present, not by the sizes they declare.
//!
//! arrow2 panics on some malformed Parquet files. The reader catches these panics and returns an
//! error, but the process's panic hook prints a message first. **A program that reads files of
//! unknown origin calls [`silence_panics`] once, before it reads**: it installs a hook that hides
//! the messages of the caught panics and no others.
//!
//! # Boundaries
//!
//! The list of columns has fields of the TCP header (`completeness`, TSval and flow label bases);
//! the code that reads and writes columns knows nothing of TCP. All code that names arrow2,
//! parquet2, arrow-format or parquet-format-safe is in the folder `arrow2/`, and no type of theirs
//! is in a public signature.

mod address;
mod arrow2;
mod batches;
mod column;
mod error;
mod host;
mod hosts_table;
mod metadata;
mod options;
mod panics;
mod read;
mod row;
mod token_code;
mod write;

pub use crate::arrow2::ArrowStream;
pub use batches::{BatchWriter, Batches};
pub use column::{COLUMNS, Column, ColumnType};
pub use error::{Error, ErrorKind, Recovery};
pub use host::{HOST_COLUMNS, HostRow};
pub use hosts_table::{is_hosts, read_hosts, write_hosts};
pub use options::{Compression, DatasetFormat, SHARDS, VectorColumn, WriteOptions};
pub use panics::silence_panics;
pub use read::{DatasetReader, ReadOptions, is_dataset, is_dataset_name};
pub use row::{DatasetMeta, FlowRow, FlowSummary, Tokens};
pub use token_code::{CodecId, FIELD_1};
pub use write::{DatasetWriter, FolderWriter, Written};
