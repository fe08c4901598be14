//! Record batches into the octets of an Arrow IPC or Parquet file.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow2::datatypes::Schema;
use arrow2::io::parquet::write as parquet;

use super::build::RecordBatch;
use super::ipc::IpcWriter;
use super::parquet_write::{footer_with_orders, row_group};
use super::schema::{hosts_schema, schema};
use crate::{Compression, DatasetFormat, DatasetMeta, ErrorKind, VectorColumn, WriteOptions};

/// Encoder of one file or stream in any of the formats.
pub(crate) struct FileEncoder<W: Write> {
    state: Arc<WriteState>,
    encoder: FormatEncoder<W>,
}

/// Writer of one format.
enum FormatEncoder<W: Write> {
    Ipc(IpcWriter<TrackedWriter<W>>),
    /// Parquet writes the metadata of the file at its end.
    Parquet(Box<parquet::FileWriter<TrackedWriter<W>>>, Vec<parquet::KeyValue>),
}

impl<W: Write> FileEncoder<W> {
    /// Writes the start of a file.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub(crate) fn new(
        to: W,
        meta: &DatasetMeta,
        options: &WriteOptions,
        vectors: &[VectorColumn],
    ) -> Result<FileEncoder<W>, ErrorKind> {
        FileEncoder::with_schema(to, &schema(meta, vectors), options)
    }

    /// Writes the start of a file of a hosts table.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub(crate) fn of_hosts(
        to: W,
        tool: &str,
        options: &WriteOptions,
    ) -> Result<FileEncoder<W>, ErrorKind> {
        FileEncoder::with_schema(to, &hosts_schema(tool), options)
    }

    fn with_schema(
        to: W,
        schema: &Schema,
        options: &WriteOptions,
    ) -> Result<FileEncoder<W>, ErrorKind> {
        let state = Arc::new(WriteState::default());
        let to = TrackedWriter { to, state: state.clone() };
        let encoder =
            FormatEncoder::new(to, schema, options).map_err(|error| state.take_error(error))?;
        Ok(FileEncoder { state, encoder })
    }

    /// Writes a record batch.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn write(&mut self, batch: RecordBatch) -> Result<(), ErrorKind> {
        match &mut self.encoder {
            // `?` would return the error by its kind alone, past `take_error`.
            FormatEncoder::Ipc(ipc) => {
                ipc.write(batch.0.len(), batch.0.arrays()).map_err(Into::into)
            }
            FormatEncoder::Parquet(file, _) => {
                let types = file.parquet_schema().fields().to_vec();
                let options = file.options();
                file.write(row_group(batch, types, options))
            }
        }
        .map_err(|error| self.state.take_error(error))
    }

    /// Flushes the output of an Arrow stream or file. Pages of a Parquet file wait for its end.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn flush(&mut self) -> Result<(), ErrorKind> {
        match &mut self.encoder {
            FormatEncoder::Ipc(ipc) => ipc.flush().map_err(|e| self.state.take_error(e.into())),
            FormatEncoder::Parquet(..) => Ok(()),
        }
    }

    /// Returns the number of octets written so far.
    pub(crate) fn octets(&self) -> u64 {
        self.state.octets.load(Ordering::Relaxed)
    }

    /// Writes the end of the file, flushes the output, and returns it with the file's size in
    /// octets.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn finish(self) -> Result<(u64, W), ErrorKind> {
        let mut tracked = match self.encoder {
            FormatEncoder::Ipc(ipc) => ipc.finish().map_err(Into::into),
            FormatEncoder::Parquet(file, pairs) => finish_parquet(*file, pairs, &self.state),
        }
        .map_err(|error| self.state.take_error(error))?;
        tracked.to.flush()?;
        Ok((self.state.octets.load(Ordering::Relaxed), tracked.to))
    }
}

impl<W: Write> FormatEncoder<W> {
    fn new(
        to: TrackedWriter<W>,
        schema: &Schema,
        options: &WriteOptions,
    ) -> arrow2::error::Result<FormatEncoder<W>> {
        Ok(match options.format {
            DatasetFormat::Arrow => {
                FormatEncoder::Ipc(IpcWriter::file(to, schema, options.compression)?)
            }
            DatasetFormat::Stream => {
                FormatEncoder::Ipc(IpcWriter::stream(to, schema, options.compression)?)
            }
            DatasetFormat::Parquet => {
                let options = parquet_options(options.compression);
                let file = parquet::FileWriter::try_new(to, schema.clone(), options)?;
                let pairs = schema.metadata.iter();
                let pairs = pairs
                    .map(|(k, v)| parquet::KeyValue { key: k.clone(), value: Some(v.clone()) });
                FormatEncoder::Parquet(Box::new(file), pairs.collect())
            }
        })
    }
}

/// Writes the end of a Parquet file: the pages' indexes as parquet2 writes them, and its footer
/// with what parquet2 leaves out.
fn finish_parquet<W: Write>(
    mut file: parquet::FileWriter<TrackedWriter<W>>,
    pairs: Vec<parquet::KeyValue>,
    state: &WriteState,
) -> arrow2::error::Result<TrackedWriter<W>> {
    state.hold();
    file.end(Some(pairs))?;
    let (mut tracked, metadata) = file.into_inner_and_metadata();
    let held = state.release();
    let [.., a, b, c, d, _, _, _, _] = held[..] else { return Ok(tracked) };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let indexes = held.len().saturating_sub(length + 8);
    tracked.write_all(&held[..indexes])?;
    tracked.write_all(&footer_with_orders(metadata)?)?;
    Ok(tracked)
}

fn parquet_options(compression: Compression) -> parquet::WriteOptions {
    parquet::WriteOptions {
        write_statistics: true,
        version: parquet::Version::V1,
        compression: match compression {
            Compression::None => parquet::CompressionOptions::Uncompressed,
            // Readers disagree about the framing of LZ4 in Parquet.
            Compression::Lz4 | Compression::Zstd => parquet::CompressionOptions::Zstd(None),
        },
        data_pagesize_limit: None,
    }
}

/// Writer given to arrow2. Keeps the original `io::Error`, since arrow2 would reduce it to a
/// string.
struct TrackedWriter<W> {
    to: W,
    state: Arc<WriteState>,
}

/// Octets written to a [`TrackedWriter`] and its last error. Shared, since arrow2's writers own
/// the [`TrackedWriter`] and give no access to it.
#[derive(Default)]
struct WriteState {
    octets: AtomicU64,
    error: Mutex<Option<io::Error>>,
    is_holding: AtomicBool,
    /// Octets that are not written yet, while `is_holding` is set.
    held: Mutex<Vec<u8>>,
}

impl<W: Write> Write for TrackedWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.state.is_holding.load(Ordering::Relaxed) {
            lock(&self.state.held).extend_from_slice(octets);
            return Ok(());
        }
        self.state.octets.fetch_add(octets.len() as u64, Ordering::Relaxed);
        self.to.write_all(octets).map_err(|error| self.state.keep_error(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(|error| self.state.keep_error(error))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WriteState {
    /// Holds back what is written from now on.
    fn hold(&self) {
        self.is_holding.store(true, Ordering::Relaxed);
    }

    /// Holds nothing back any more; returns what was held back.
    fn release(&self) -> Vec<u8> {
        self.is_holding.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.held))
    }

    /// Stores an error and returns one of the same kind.
    fn keep_error(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *lock(&self.error) = Some(error);
        kind.into()
    }

    /// Returns the error of the output that an error of arrow2 came from, or else that error
    /// itself. The latter would be a defect; it is reported like any other.
    fn take_error(&self, error: arrow2::error::Error) -> ErrorKind {
        match lock(&self.error).take() {
            Some(error) => error.into(),
            None => ErrorKind::format("encoder", "no error", error.to_string()),
        }
    }
}
