//! A dataset as an output: a stream, a file or a folder, complete or absent.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrowio::{
    BatchWriter, Batches, Compression, DatasetFormat, DatasetMeta, DatasetWriter, FlowRow,
    FolderWriter, VectorColumn, WriteOptions, Written,
};
use atomic_output::{AtomicFile, AtomicFolder, FileKind};

use crate::parts::{PartReport, PartRun, PartsError};
use crate::shard::SHARD;

/// Files that a dataset of one file may replace.
const DATASET_FILE: FileKind = FileKind { name: "a dataset", is_at: arrowio::is_dataset };

/// Place that a dataset is written to, and its format there.
pub enum Destination<'w> {
    /// Arrow stream, written as the rows come.
    Stream {
        /// Name of the stream in error messages.
        name: String,
        /// Open end of the stream. It should be buffered.
        to: Box<dyn Write + Send + 'w>,
    },
    /// One file, which appears when the dataset is complete. A device or named pipe is written
    /// directly.
    File {
        /// Path of the file.
        path: PathBuf,
        /// DatasetFormat of the file.
        format: DatasetFormat,
    },
    /// Folder of files, which appears when the dataset is complete.
    Folder {
        /// Path of the folder.
        path: PathBuf,
        /// DatasetFormat of its files.
        format: DatasetFormat,
    },
}

impl<'w> Destination<'w> {
    /// Returns the destination of an open stream such as standard output.
    ///
    /// # Errors
    /// If Parquet is asked for: readers start at the footer of a Parquet file, so a pipe cannot
    /// carry one.
    pub fn stream(
        name: &str,
        to: impl Write + Send + 'w,
        asked: Option<DatasetFormat>,
    ) -> Result<Destination<'w>, SinkError> {
        if asked == Some(DatasetFormat::Parquet) {
            return Err(SinkError::ParquetStream);
        }
        Ok(Destination::Stream { name: name.to_owned(), to: Box::new(to) })
    }

    /// Chooses the destination at a path, by its extension and the kind of an existing file.
    ///
    /// A name with the extension of a dataset is a file. So is a path that exists and is not a
    /// folder: a device or a pipe, which gets a stream. Every other path is a folder. `asked` has
    /// precedence over the extension, except that Arrow also includes a stream.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use arrowio::DatasetFormat::{Arrow, Parquet, Stream};
    /// use dataset::Destination::{self, File, Folder};
    ///
    /// let at = |name: &str, asked| Destination::at(Path::new(name), asked);
    /// assert!(matches!(at("a.parquet", None), File { format: Parquet, .. }));
    /// assert!(matches!(at("folder", None), Folder { format: Arrow, .. }));
    /// assert!(matches!(at("a.parquet", Some(Arrow)), File { format: Arrow, .. }));
    /// assert!(matches!(at("a.arrows", Some(Arrow)), File { format: Stream, .. }));
    /// ```
    #[must_use]
    pub fn at(path: &Path, asked: Option<DatasetFormat>) -> Destination<'w> {
        let from_name = || {
            DatasetFormat::from_path(path)
                .or_else(|| path.exists().then_some(DatasetFormat::Stream))
        };
        match (path.is_dir(), from_name()) {
            (false, Some(named)) => {
                let format = match asked {
                    Some(DatasetFormat::Arrow) if named == DatasetFormat::Stream => {
                        DatasetFormat::Stream
                    }
                    asked => asked.unwrap_or(named),
                };
                Destination::File { path: path.to_owned(), format }
            }
            _ => {
                let format = match asked {
                    Some(DatasetFormat::Parquet) => DatasetFormat::Parquet,
                    _ => DatasetFormat::Arrow,
                };
                Destination::Folder { path: path.to_owned(), format }
            }
        }
    }

    /// Checks that nothing is at the destination which a dataset would destroy: with `force` a
    /// dataset may be there. [`Sink::create`] does it too; a program does it before any work.
    ///
    /// # Errors
    /// If there is a file, or a folder with files, that may not be replaced.
    pub fn ensure_free(&self, force: bool) -> Result<(), SinkError> {
        use atomic_output::Error::{Exists, NotEmpty};
        let checked = match self {
            Destination::Stream { .. } => Ok(()),
            Destination::File { path, .. } => {
                atomic_output::check_file(path, DATASET_FILE.on_existing(force))
            }
            Destination::Folder { path, .. } => {
                atomic_output::check_folder(path, SHARD.on_existing(force))
            }
        };
        match checked {
            Err(error @ (Exists(_) | NotEmpty(_))) => Err(SinkError::Occupied(error)),
            checked => Ok(checked?),
        }
    }

    /// Reports whether the dataset becomes a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self, Destination::Folder { .. })
    }

    /// Returns the format of the dataset's files.
    #[must_use]
    pub fn format(&self) -> DatasetFormat {
        match self {
            Destination::Stream { .. } => DatasetFormat::Stream,
            Destination::File { format, .. } | Destination::Folder { format, .. } => *format,
        }
    }
}

/// Reasons why a dataset cannot be written.
#[derive(thiserror::Error, Debug)]
pub enum SinkError {
    /// Parquet cannot be written to a stream.
    #[error("-: expected a format for a stream (arrow), found parquet")]
    ParquetStream,
    /// A file or folder is there, and replacing it is not asked for.
    #[error("{0} (--force replaces a dataset)")]
    Occupied(#[source] atomic_output::Error),
    /// The file or folder cannot be created or committed.
    #[error(transparent)]
    Output(#[from] atomic_output::Error),
    /// Rows cannot be written.
    #[error(transparent)]
    Dataset(#[from] arrowio::Error),
    /// A part of a dataset cannot be recorded.
    #[error(transparent)]
    Part(#[from] PartsError),
}

/// Options of [`Sink::create`], for every destination.
#[derive(Clone, Copy, Debug)]
pub struct SinkOptions {
    /// Whether a dataset that is there is replaced. Other files never are.
    pub force: bool,
    /// Number of tokens in a record batch of a stream, unless the default of [`WriteOptions`] is
    /// used. Small batches reach the reader of a slow stream earlier.
    pub stream_batch_tokens: Option<usize>,
    /// Compression of all columns.
    pub compression: Compression,
}

impl SinkOptions {
    /// Returns the options of a file in a format.
    fn write(&self, format: DatasetFormat) -> WriteOptions {
        WriteOptions { format, compression: self.compression, ..WriteOptions::default() }
    }
}

/// Dataset that is being written. A file or folder appears under its name only when
/// [`finish`](Sink::finish) returns; dropped before that, it leaves nothing.
pub struct Sink<'w>(SinkWriter<'w>);

/// Writer of rows, with the output to commit after the last one.
enum SinkWriter<'w> {
    Stream(DatasetWriter<Box<dyn Write + Send + 'w>>),
    File(DatasetWriter<AtomicFile>),
    Folder(FolderWriter, AtomicFolder),
    Memory(BatchWriter),
}

impl<'w> Sink<'w> {
    /// Creates a dataset with its metadata and without rows.
    ///
    /// # Errors
    /// If the output cannot be created, or a file or folder is there that must not be replaced.
    pub fn create(
        destination: Destination<'w>,
        meta: &DatasetMeta,
        options: &SinkOptions,
    ) -> Result<Sink<'w>, SinkError> {
        Sink::create_with_vectors(destination, meta, options, &[])
    }

    /// Like [`create`](Sink::create), with columns of vectors behind those of a dataset.
    ///
    /// # Errors
    /// As [`create`](Sink::create).
    pub fn create_with_vectors(
        destination: Destination<'w>,
        meta: &DatasetMeta,
        options: &SinkOptions,
        vectors: &[VectorColumn],
    ) -> Result<Sink<'w>, SinkError> {
        let write = |format| options.write(format);
        Ok(Sink(match destination {
            Destination::Stream { name, to } => {
                let mut write = write(DatasetFormat::Stream);
                write.batch_tokens = options.stream_batch_tokens.unwrap_or(write.batch_tokens);
                SinkWriter::Stream(DatasetWriter::with_vectors(&name, to, meta, &write, vectors)?)
            }
            Destination::File { path, format } => {
                let file = AtomicFile::create(&path, DATASET_FILE.on_existing(options.force))?;
                let name = path.display().to_string();
                let write = write(format);
                SinkWriter::File(DatasetWriter::with_vectors(&name, file, meta, &write, vectors)?)
            }
            Destination::Folder { path, format } => {
                let folder = AtomicFolder::create(&path, SHARD.on_existing(options.force))?;
                let write = write(format);
                let writer = FolderWriter::with_vectors(folder.path(), meta, &write, vectors);
                SinkWriter::Folder(writer, folder)
            }
        }))
    }

    /// Creates a part of a dataset, to be ended with [`finish_part`](Sink::finish_part).
    ///
    /// # Errors
    /// If the part's folder cannot be created, or the part is there and must not be replaced.
    pub fn create_part(
        run: &PartRun,
        format: DatasetFormat,
        meta: &DatasetMeta,
        options: &SinkOptions,
    ) -> Result<Sink<'w>, SinkError> {
        let folder = AtomicFolder::create(&run.path(), PartRun::on_existing(options.force))?;
        let writer = FolderWriter::new(folder.path(), meta, &options.write(format))
            .with_stem(run.part().shard_stem());
        Ok(Sink(SinkWriter::Folder(writer, folder)))
    }

    /// Creates a dataset in memory, and the record batches that become it.
    #[must_use]
    pub fn in_memory(meta: &DatasetMeta) -> (Sink<'w>, Batches) {
        let (writer, batches) = BatchWriter::new(meta);
        (Sink(SinkWriter::Memory(writer)), batches)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the row is not in the dataset's token code, or a full record batch cannot be written.
    pub fn write(&mut self, row: &FlowRow) -> Result<(), SinkError> {
        self.write_with_vectors(row, &[])
    }

    /// Adds a row with a vector for each column of vectors. A dataset in memory has none.
    ///
    /// # Errors
    /// As [`write`](Sink::write), or if the vectors are not those of the columns.
    pub fn write_with_vectors(
        &mut self,
        row: &FlowRow,
        vectors: &[&[f32]],
    ) -> Result<(), SinkError> {
        match &mut self.0 {
            SinkWriter::Stream(writer) => writer.write_with_vectors(row, vectors)?,
            SinkWriter::File(writer) => writer.write_with_vectors(row, vectors)?,
            SinkWriter::Folder(writer, _) => writer.write_with_vectors(row, vectors)?,
            SinkWriter::Memory(writer) => writer.write(row)?,
        }
        Ok(())
    }

    /// Hands the rows so far to the reader of a stream. Other destinations keep them for a whole
    /// record batch.
    ///
    /// # Errors
    /// If the rows cannot be written.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        match &mut self.0 {
            SinkWriter::Stream(writer) => Ok(writer.flush()?),
            SinkWriter::File(_) | SinkWriter::Folder(..) | SinkWriter::Memory(_) => Ok(()),
        }
    }

    /// Writes the remaining rows, gives the dataset its name, and returns the counts of flows,
    /// tokens, octets and files.
    ///
    /// # Errors
    /// If the rows cannot be written or the output cannot be renamed; then nothing appears under
    /// the name.
    pub fn finish(self) -> Result<Written, SinkError> {
        match self.0 {
            SinkWriter::Stream(writer) => Ok(writer.finish()?.0),
            SinkWriter::File(writer) => {
                let (written, file) = writer.finish()?;
                file.commit()?;
                Ok(written)
            }
            SinkWriter::Memory(writer) => Ok(writer.finish()?),
            SinkWriter::Folder(writer, folder) => {
                let written = writer.finish()?;
                folder.commit()?;
                Ok(written)
            }
        }
    }
    /// Writes the remaining rows and the record of the part, with the report that `report` makes of
    /// the counts, and gives the part's folder its name.
    ///
    /// # Errors
    /// As [`finish`](Sink::finish), and if the sink is not one of
    /// [`create_part`](Sink::create_part).
    pub fn finish_part(
        self,
        run: &PartRun,
        report: impl FnOnce(Written) -> PartReport,
    ) -> Result<(), SinkError> {
        let SinkWriter::Folder(writer, folder) = self.0 else {
            return Err(PartsError::refuse(&run.path(), "expected a folder for a part").into());
        };
        run.put_record(folder.path(), report(writer.finish()?))?;
        Ok(folder.commit()?)
    }
}
