//! Arrow IPC streams and files into arrays, one record batch at a time.
//!
//! Writing is in [`write`]. arrow2 has a reader too. It panics on empty compressed buffers (which
//! pyarrow writes) and allocates by the counts and lengths that a file declares. This reader checks
//! every length against the octets that are present, and its memory grows only as octets arrive.
//! The layout is that of the Arrow columnar format, version 1.3, section "Serialization and
//! interprocess communication".

mod cursor;
mod error;
mod file;
mod message;
mod reader;
mod schema;
mod views;
mod write;

pub(crate) use file::{FILE_MAGIC, is_stream_inside};
pub(crate) use message::CONTINUATION;
pub(crate) use reader::IpcReader;
pub(super) use schema::{FieldType, read_schema};
pub(super) use write::IpcWriter;
