//! Writing a dataset.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow2::array::Array;
use arrow2::chunk::Chunk;
use arrow2::datatypes::Schema;
use arrow2::io::ipc::write as ipc;
use arrow2::io::parquet::write as parquet;

use crate::batch::{self, Gather};
use crate::{DatasetMeta, Error, ErrorKind, FlowRow};

/// How a dataset is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Arrow IPC file (`.arrow`).
    Arrow,
    /// Parquet file (`.parquet`).
    Parquet,
    /// Arrow IPC stream: for pipes.
    #[default]
    Stream,
}

impl Format {
    /// The extension of its files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
            Format::Stream => "arrows",
        }
    }
}

/// How its columns are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4 frames: fast. Parquet is written with zstd instead, since readers disagree about LZ4 there.
    Lz4,
    /// Zstandard: small.
    #[default]
    Zstd,
}

/// How to write a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// The format.
    pub format: Format,
    /// The compression.
    pub compression: Compression,
    /// A folder's next shard is begun where the current one has reached so many octets.
    pub shard_octets: u64,
    /// A record batch (in Parquet a row group) is written when it holds so many tokens.
    pub batch_tokens: usize,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            format: Format::default(),
            compression: Compression::default(),
            shard_octets: 256 << 20,
            batch_tokens: 1 << 20,
        }
    }
}

/// A record batch is written when it holds so many rows, however short they are.
const BATCH_ROWS: usize = 1 << 16;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Rows.
    pub flows: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Octets of all files.
    pub octets: u64,
    /// Files.
    pub files: u64,
}

/// Writes a dataset, a record batch at a time: memory is bounded by `batch_tokens`. The same rows and options give the
/// same octets. Rows may be lost that were written but not [`finish`](DatasetWriter::finish)ed.
pub struct DatasetWriter<'a> {
    schema: Schema,
    options: WriteOptions,
    gather: Gather,
    target: Target<'a>,
    written: Written,
}

enum Target<'a> {
    Folder { folder: PathBuf, shard: Option<Shard> },
    One { name: String, to: Box<dyn Write + Send + 'a>, encoder: Encoder, octets: u64 },
}

/// A shard being written, under a temporary name.
struct Shard {
    temporary: PathBuf,
    path: PathBuf,
    file: File,
    encoder: Encoder,
    octets: u64,
}

impl<'a> DatasetWriter<'a> {
    /// Writes shards `flows-00000.arrow` and so on into an existing folder. A shard has its name only once it is whole.
    ///
    /// # Errors
    /// Where the options do not make a folder.
    pub fn folder(folder: &Path, meta: &DatasetMeta, options: &WriteOptions) -> Result<DatasetWriter<'static>, Error> {
        let target = Target::Folder { folder: folder.to_owned(), shard: None };
        Ok(DatasetWriter::new(target, batch::schema(meta), meta, options))
    }

    /// Writes one file or stream. `name` stands in errors.
    ///
    /// # Errors
    /// Where `to` cannot be written.
    pub fn to(
        name: &str,
        to: impl Write + Send + 'a,
        meta: &DatasetMeta,
        options: &WriteOptions,
    ) -> Result<DatasetWriter<'a>, Error> {
        let schema = batch::schema(meta);
        let encoder = Encoder::new(&schema, options).map_err(|e| e.at(name))?;
        let target = Target::One { name: name.to_owned(), to: Box::new(to), encoder, octets: 0 };
        Ok(DatasetWriter::new(target, schema, meta, options))
    }

    fn new<'t>(target: Target<'t>, schema: Schema, meta: &DatasetMeta, options: &WriteOptions) -> DatasetWriter<'t> {
        let gather = Gather::new(&meta.token_code);
        DatasetWriter { schema, options: *options, gather, target, written: Written::default() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Where the row's tokens are not of the dataset's type, or a full batch cannot be written.
    pub fn write(&mut self, row: &FlowRow) -> Result<(), Error> {
        self.gather.push(row).map_err(|e| e.at(&self.name()))?;
        self.written.flows += 1;
        self.written.tokens += row.tokens.len() as u64;
        if self.gather.tokens() >= self.options.batch_tokens || self.gather.rows() >= BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is left and closes the file. A dataset without rows is one file without rows.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn finish(mut self) -> Result<Written, Error> {
        if self.gather.rows() > 0 || self.written.flows == 0 {
            self.flush()?;
        }
        match self.target {
            Target::Folder { shard, .. } => {
                if let Some(shard) = shard {
                    shard.finish(&mut self.written)?;
                }
            }
            Target::One { name, mut to, mut encoder, mut octets } => {
                let mut close = || -> Result<(), ErrorKind> {
                    encoder.finish()?;
                    octets += encoder.drain(&mut to)?;
                    Ok(to.flush()?)
                };
                close().map_err(|e| e.at(&name))?;
                self.written.octets += octets;
                self.written.files += 1;
            }
        }
        Ok(self.written)
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Folder { folder, .. } => folder.display().to_string(),
            Target::One { name, .. } => name.clone(),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let batch = self.gather.take().map_err(|e| e.at(&self.name()))?;
        match &mut self.target {
            Target::One { name, to, encoder, octets } => {
                let result = encoder.write(batch, &self.schema).and_then(|()| Ok(encoder.drain(to)?));
                *octets += result.map_err(|e| e.at(name))?;
            }
            Target::Folder { folder, shard } => {
                let mut current = match shard.take() {
                    Some(shard) => shard,
                    None => Shard::create(folder, self.written.files, &self.schema, &self.options)?,
                };
                current.write(batch, &self.schema)?;
                if current.octets >= self.options.shard_octets {
                    current.finish(&mut self.written)?;
                } else {
                    *shard = Some(current);
                }
            }
        }
        Ok(())
    }
}

impl Shard {
    fn create(folder: &Path, number: u64, schema: &Schema, options: &WriteOptions) -> Result<Shard, Error> {
        let name = format!("flows-{number:05}.{}", options.format.extension());
        let (path, temporary) = (folder.join(&name), folder.join(format!(".{name}.part")));
        let start = || Ok((File::create(&temporary)?, Encoder::new(schema, options)?));
        let (file, encoder) = start().map_err(|e: ErrorKind| e.at(&path.display().to_string()))?;
        Ok(Shard { temporary, path, file, encoder, octets: 0 })
    }

    fn write(&mut self, batch: Chunk<Box<dyn Array>>, schema: &Schema) -> Result<(), Error> {
        let result = self.encoder.write(batch, schema).and_then(|()| Ok(self.encoder.drain(&mut self.file)?));
        self.octets += result.map_err(|e| e.at(&self.path.display().to_string()))?;
        Ok(())
    }

    fn finish(mut self, written: &mut Written) -> Result<(), Error> {
        let mut close = || -> Result<(), ErrorKind> {
            self.encoder.finish()?;
            self.octets += self.encoder.drain(&mut self.file)?;
            Ok(fs::rename(&self.temporary, &self.path)?)
        };
        close().map_err(|e| e.at(&self.path.display().to_string()))?;
        written.octets += self.octets;
        written.files += 1;
        Ok(())
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // Gone already where the shard was finished.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Rows in, octets out.
struct Encoder {
    octets: Spool,
    form: Form,
}

enum Form {
    File(Box<ipc::FileWriter<Spool>>),
    Stream(ipc::StreamWriter<Spool>),
    Parquet(Box<parquet::FileWriter<Spool>>, Vec<parquet::KeyValue>),
}

/// Octets between an encoder of arrow2 and the file: what writes to files then is here, with its own errors.
#[derive(Clone, Default)]
struct Spool(Arc<Mutex<Vec<u8>>>);

impl Spool {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Spool {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    fn new(schema: &Schema, options: &WriteOptions) -> Result<Encoder, ErrorKind> {
        let octets = Spool::default();
        let ipc_options = ipc::WriteOptions {
            compression: match options.compression {
                Compression::None => None,
                Compression::Lz4 => Some(ipc::Compression::LZ4),
                Compression::Zstd => Some(ipc::Compression::ZSTD),
            },
        };
        let form = match options.format {
            Format::Arrow => {
                let file = ipc::FileWriter::try_new(octets.clone(), schema.clone(), None, ipc_options);
                Form::File(Box::new(file.map_err(encoding)?))
            }
            Format::Stream => {
                let mut stream = ipc::StreamWriter::new(octets.clone(), ipc_options);
                stream.start(schema, None).map_err(encoding)?;
                Form::Stream(stream)
            }
            Format::Parquet => {
                let file =
                    parquet::FileWriter::try_new(octets.clone(), schema.clone(), parquet_options(options.compression));
                let pairs = schema.metadata.iter();
                let pairs = pairs.map(|(k, v)| parquet::KeyValue { key: k.clone(), value: Some(v.clone()) });
                Form::Parquet(Box::new(file.map_err(encoding)?), pairs.collect())
            }
        };
        Ok(Encoder { octets, form })
    }

    fn write(&mut self, batch: Chunk<Box<dyn Array>>, schema: &Schema) -> Result<(), ErrorKind> {
        match &mut self.form {
            Form::File(file) => file.write(&batch, None),
            Form::Stream(stream) => stream.write(&batch, None),
            Form::Parquet(file, _) => {
                let encodings = schema.fields.iter().map(|_| vec![parquet::Encoding::Plain]).collect();
                let types = file.parquet_schema().fields().to_vec();
                let options = file.options();
                file.write(parquet::row_group_iter(batch, encodings, types, options))
            }
        }
        .map_err(encoding)
    }

    fn finish(&mut self) -> Result<(), ErrorKind> {
        match &mut self.form {
            Form::File(file) => file.finish(),
            Form::Stream(stream) => stream.finish(),
            Form::Parquet(file, pairs) => file.end(Some(std::mem::take(pairs))).map(drop),
        }
        .map_err(encoding)
    }

    /// Moves the encoded octets on; says how many there were.
    fn drain(&mut self, to: &mut dyn Write) -> io::Result<u64> {
        let mut octets = self.octets.lock();
        to.write_all(&octets)?;
        let count = octets.len() as u64;
        octets.clear();
        Ok(count)
    }
}

fn parquet_options(compression: Compression) -> parquet::WriteOptions {
    parquet::WriteOptions {
        write_statistics: true,
        version: parquet::Version::V1,
        compression: match compression {
            Compression::None => parquet::CompressionOptions::Uncompressed,
            Compression::Lz4 | Compression::Zstd => parquet::CompressionOptions::Zstd(None),
        },
        data_pagesize_limit: None,
    }
}

/// The encoder writes to memory, so that an error of it is a defect; it is reported like any other all the same.
fn encoding(error: arrow2::error::Error) -> ErrorKind {
    ErrorKind::format("encoder", "no error", error.to_string())
}
