//! Token datasets on disk and on pipes: Arrow IPC and Parquet.
//!
//! A dataset is a folder of shards, one file, or an Arrow IPC stream; `docs/dataset.md` is its
//! reference. Knows nothing of TCP or tensors. No type of arrow2 or parquet2 stands in a public
//! signature.
//!
//! ```
//! use arrowio::{DatasetMeta, DatasetReader, DatasetWriter, FlowRow, CodecId, Tokens, WriteOptions};
//!
//! let code = CodecId { name: "field", version: 1 };
//! let meta = DatasetMeta {
//!     token_code: code.name.into(),
//!     token_version: code.version,
//!     vocab_size: 1024,
//!     tool: "an example".into(),
//!     options: Default::default(),
//! };
//! let row = FlowRow { tokens: Tokens::U16(vec![1, 2, 3]), identity: Default::default(), summary: None };
//!
//! let mut octets = Vec::new();
//! let mut writer = DatasetWriter::to("memory", &mut octets, &meta, &WriteOptions::default())?;
//! writer.write(&row)?;
//! assert_eq!(writer.finish()?.flows, 1);
//!
//! let reader = DatasetReader::stream("memory", std::io::Cursor::new(octets), &[code])?;
//! assert_eq!(reader.collect::<Result<Vec<_>, _>>()?, [row]);
//! # Ok::<(), arrowio::Error>(())
//! ```

mod batch;
mod column;
mod error;
mod ipc;
mod pages;
mod parquet;
mod read;
mod row;
mod write;

pub use column::{COLUMNS, Column, ColumnType};
pub use error::{Error, ErrorKind, Recovery};
pub use read::{CodecId, DatasetReader, is_dataset_name};
pub use row::{DatasetMeta, FlowRow, FlowSummary, Tokens};
pub use write::{Compression, DatasetFormat, DatasetWriter, SHARDS, WriteOptions, Written};
