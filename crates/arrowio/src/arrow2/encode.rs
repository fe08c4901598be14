//! Record batches into the octets of an Arrow IPC or Parquet file.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::datatypes::Schema;
use arrow2::io::ipc::write as ipc;
use arrow2::io::parquet::write as parquet;

use super::build::RecordBatch;
use super::schema::schema;
use crate::{Compression, DatasetFormat, DatasetMeta, ErrorKind, WriteOptions};

/// Encoder of one file or stream in any of the formats.
pub(crate) struct FileEncoder<W: Write> {
    schema: Schema,
    state: Arc<WriteState>,
    encoder: FormatEncoder<W>,
}

/// arrow2's writer of one format.
enum FormatEncoder<W: Write> {
    File(Box<ipc::FileWriter<TrackedWriter<W>>>),
    Stream(ipc::StreamWriter<TrackedWriter<W>>),
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
    ) -> Result<FileEncoder<W>, ErrorKind> {
        let schema = schema(meta);
        let state = Arc::new(WriteState::default());
        let to = TrackedWriter { to, state: state.clone() };
        let encoder =
            FormatEncoder::new(to, &schema, options).map_err(|error| state.take_error(error))?;
        Ok(FileEncoder { schema, state, encoder })
    }

    /// Writes a record batch.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn write(&mut self, RecordBatch(batch): RecordBatch) -> Result<(), ErrorKind> {
        match &mut self.encoder {
            FormatEncoder::File(file) => file.write(&batch, None),
            FormatEncoder::Stream(stream) => stream.write(&batch, None),
            FormatEncoder::Parquet(file, _) => {
                let encodings =
                    self.schema.fields.iter().map(|_| vec![parquet::Encoding::Plain]).collect();
                let types = file.parquet_schema().fields().to_vec();
                let options = file.options();
                file.write(parquet::row_group_iter(batch, encodings, types, options))
            }
        }
        .map_err(|error| self.state.take_error(error))
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
            FormatEncoder::File(mut file) => file.finish().map(|()| file.into_inner()),
            FormatEncoder::Stream(mut stream) => stream.finish().map(|()| stream.into_inner()),
            FormatEncoder::Parquet(mut file, pairs) => {
                file.end(Some(pairs)).map(|_| file.into_inner())
            }
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
        let ipc_options = ipc::WriteOptions {
            compression: match options.compression {
                Compression::None => None,
                Compression::Lz4 => Some(ipc::Compression::LZ4),
                Compression::Zstd => Some(ipc::Compression::ZSTD),
            },
        };
        Ok(match options.format {
            DatasetFormat::Arrow => {
                let file = ipc::FileWriter::try_new(to, schema.clone(), None, ipc_options)?;
                FormatEncoder::File(Box::new(file))
            }
            DatasetFormat::Stream => {
                let mut stream = ipc::StreamWriter::new(to, ipc_options);
                stream.start(schema, None)?;
                FormatEncoder::Stream(stream)
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
}

impl<W: Write> Write for TrackedWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.state.octets.fetch_add(octets.len() as u64, Ordering::Relaxed);
        self.to.write_all(octets).map_err(|error| self.state.keep_error(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(|error| self.state.keep_error(error))
    }
}

impl WriteState {
    /// Stores an error and returns one of the same kind.
    fn keep_error(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        kind.into()
    }

    /// Returns the error of the output that an error of arrow2 came from, or else that error
    /// itself. The latter would be a defect; it is reported like any other.
    fn take_error(&self, error: arrow2::error::Error) -> ErrorKind {
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => error.into(),
            None => ErrorKind::format("encoder", "no error", error.to_string()),
        }
    }
}
