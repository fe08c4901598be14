//! The wall around arrow2, parquet2, arrow-format and parquet-format-safe: no file outside this
//! folder names them, and no type of theirs is in the public interface of this crate.
//!
//! Rows of a dataset pass through it on two ways:
//!
//! - writing: [`RecordBatchBuilder`] collects rows into a [`RecordBatch`], [`FileEncoder`] encodes
//!   it as Arrow IPC or Parquet;
//! - handing on: [`ArrowStream`] exports record batches through the Arrow C data interface;
//! - reading: [`IpcReader`] and [`ParquetReader`] decode the [`Columns`] of one record batch,
//!   [`BatchRows`] iterates over their rows.
//!
//! arrow2's own Arrow IPC reader is not used: see [`ipc`]. Parquet pages are checked before
//! parquet2 decodes them, and decoded where it does not: see [`pages`] and [`plain`].

mod arrays;
mod build;
mod encode;
mod extract;
mod ipc;
mod pages;
mod parquet;
mod parquet_footer;
mod parquet_write;
mod plain;
mod schema;
mod stream;
mod tensor;

pub(crate) use build::{RecordBatch, RecordBatchBuilder, host_batch};
pub(crate) use encode::FileEncoder;
pub(crate) use extract::{BatchRows, Columns, host_rows};
pub(crate) use ipc::{CONTINUATION, FILE_MAGIC, IpcReader, is_stream_inside};
pub(crate) use parquet::ParquetReader;
pub(crate) use parquet_footer::MAGIC as PARQUET_MAGIC;
pub use stream::ArrowStream;
