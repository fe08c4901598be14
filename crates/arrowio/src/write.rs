//! Writing a dataset.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::array::Array;
use arrow2::chunk::Chunk;
use arrow2::datatypes::Schema;
use arrow2::io::ipc::write as ipc;
use arrow2::io::parquet::write as parquet;

use crate::batch::{self, Gather};
use crate::{DatasetMeta, Error, ErrorKind, FlowRow};

/// How a dataset is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DatasetFormat {
    /// Arrow IPC file (`.arrow`).
    Arrow,
    /// Parquet file (`.parquet`).
    Parquet,
    /// Arrow IPC stream: for pipes.
    #[default]
    Stream,
}

impl DatasetFormat {
    /// What to say to those who wanted a file and did not name one.
    pub const FILES: &str = "names of files end in .arrow, .arrows or .parquet";

    /// The extension of its files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            DatasetFormat::Arrow => "arrow",
            DatasetFormat::Parquet => "parquet",
            DatasetFormat::Stream => "arrows",
        }
    }

    /// The format that a file's name asks for: `.arrow` or `.feather`, `.arrows`, `.parquet`.
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

/// Names of the files of a dataset's folder, `*` being a number.
pub const SHARDS: &[&str] = &["flows-*.arrow", "flows-*.parquet"];

/// How its columns are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4 frames: fast. Parquet is written with zstd instead, since readers disagree about LZ4
    /// there.
    Lz4,
    /// Zstandard: small.
    #[default]
    Zstd,
}

/// How to write a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// The format.
    pub format: DatasetFormat,
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
            format: DatasetFormat::default(),
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

/// Writes a dataset, a record batch at a time: memory is bounded by `batch_tokens`. The same rows
/// and options give the same octets. Rows may be lost that were written but not
/// [`finish`](DatasetWriter::finish)ed.
pub struct DatasetWriter<'a> {
    schema: Schema,
    options: WriteOptions,
    gather: Gather,
    target: Target<'a>,
    written: Written,
}

enum Target<'a> {
    Folder { folder: PathBuf, shard: Option<Shard> },
    One { name: String, encoder: Encoder<'a> },
}

/// A shard being written, under a temporary name.
struct Shard {
    place: Place,
    encoder: Encoder<'static>,
}

/// Where a shard is while it is written, and where it will be.
struct Place {
    temporary: PathBuf,
    path: PathBuf,
}

impl<'a> DatasetWriter<'a> {
    /// Writes shards `flows-00000.arrow` and so on into an existing folder. A shard has its name
    /// only once it is whole.
    ///
    /// # Errors
    /// Where the options do not make a folder.
    pub fn folder(
        folder: &Path,
        meta: &DatasetMeta,
        options: &WriteOptions,
    ) -> Result<DatasetWriter<'static>, Error> {
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
        let encoder = Encoder::new(to, &schema, options).map_err(|e| e.at(name))?;
        let target = Target::One { name: name.to_owned(), encoder };
        Ok(DatasetWriter::new(target, schema, meta, options))
    }

    fn new<'t>(
        target: Target<'t>,
        schema: Schema,
        meta: &DatasetMeta,
        options: &WriteOptions,
    ) -> DatasetWriter<'t> {
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
            Target::One { name, encoder } => {
                self.written.octets += encoder.finish().map_err(|e| e.at(&name))?;
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
            Target::One { name, encoder } => {
                encoder.write(batch, &self.schema).map_err(|e| e.at(name))?
            }
            Target::Folder { folder, shard } => {
                let mut current = match shard.take() {
                    Some(shard) => shard,
                    None => Shard::create(folder, self.written.files, &self.schema, &self.options)?,
                };
                current.write(batch, &self.schema)?;
                if current.encoder.told.octets() >= self.options.shard_octets {
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
    fn create(
        folder: &Path,
        number: u64,
        schema: &Schema,
        options: &WriteOptions,
    ) -> Result<Shard, Error> {
        let name = format!("flows-{number:05}.{}", options.format.extension());
        let (path, temporary) = (folder.join(&name), folder.join(format!(".{name}.part")));
        let start = || Encoder::new(File::create(&temporary)?, schema, options);
        let encoder = start().map_err(|e| e.at(&path.display().to_string()))?;
        Ok(Shard { place: Place { temporary, path }, encoder })
    }

    fn write(&mut self, batch: Chunk<Box<dyn Array>>, schema: &Schema) -> Result<(), Error> {
        self.encoder.write(batch, schema).map_err(|e| self.place.at(e))
    }

    fn finish(self, written: &mut Written) -> Result<(), Error> {
        let Shard { place, encoder } = self;
        let close = || {
            encoder
                .finish()
                .and_then(|octets| Ok(fs::rename(&place.temporary, &place.path).map(|()| octets)?))
        };
        written.octets += close().map_err(|e: ErrorKind| place.at(e))?;
        written.files += 1;
        Ok(())
    }
}

impl Place {
    fn at(&self, kind: ErrorKind) -> Error {
        kind.at(&self.path.display().to_string())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Gone already where the shard was finished.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Where an encoder of arrow2 writes to: what its errors would turn into text is kept here as it
/// was.
struct Out<'a> {
    to: Box<dyn Write + Send + 'a>,
    told: Arc<Told>,
}

/// What becomes of the octets of an encoder.
#[derive(Default)]
struct Told {
    octets: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

impl Write for Out<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        self.told.octets.fetch_add(octets.len() as u64, Ordering::Relaxed);
        self.to.write_all(octets).map_err(|error| self.told.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(|error| self.told.keep(error))
    }
}

impl Told {
    /// Keeps the error and gives one of its kind.
    fn keep(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        kind.into()
    }

    fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// The encoder's error, or the one of the output that it came from. One of the encoder itself
    /// is a defect; it is reported like any other all the same.
    fn cause(&self, error: arrow2::error::Error) -> ErrorKind {
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => error.into(),
            None => ErrorKind::format("encoder", "no error", error.to_string()),
        }
    }
}

/// Rows in, octets out.
struct Encoder<'a> {
    told: Arc<Told>,
    form: Form<'a>,
}

enum Form<'a> {
    File(Box<ipc::FileWriter<Out<'a>>>),
    Stream(ipc::StreamWriter<Out<'a>>),
    Parquet(Box<parquet::FileWriter<Out<'a>>>, Vec<parquet::KeyValue>),
}

impl<'a> Encoder<'a> {
    fn new(
        to: impl Write + Send + 'a,
        schema: &Schema,
        options: &WriteOptions,
    ) -> Result<Encoder<'a>, ErrorKind> {
        let told = Arc::new(Told::default());
        // Small pieces are gathered, and buffers of columns go out as they are.
        let to = BufWriter::with_capacity(1 << 16, to);
        let out = Out { to: Box::new(to), told: told.clone() };
        let form = Form::new(out, schema, options).map_err(|error| told.cause(error))?;
        Ok(Encoder { told, form })
    }

    fn write(&mut self, batch: Chunk<Box<dyn Array>>, schema: &Schema) -> Result<(), ErrorKind> {
        match &mut self.form {
            Form::File(file) => file.write(&batch, None),
            Form::Stream(stream) => stream.write(&batch, None),
            Form::Parquet(file, _) => {
                let encodings =
                    schema.fields.iter().map(|_| vec![parquet::Encoding::Plain]).collect();
                let types = file.parquet_schema().fields().to_vec();
                let options = file.options();
                file.write(parquet::row_group_iter(batch, encodings, types, options))
            }
        }
        .map_err(|error| self.told.cause(error))
    }

    /// Ends the file; answers how many octets it has.
    fn finish(self) -> Result<u64, ErrorKind> {
        let mut out = match self.form {
            Form::File(mut file) => file.finish().map(|()| file.into_inner()),
            Form::Stream(mut stream) => stream.finish().map(|()| stream.into_inner()),
            Form::Parquet(mut file, pairs) => file.end(Some(pairs)).map(|_| file.into_inner()),
        }
        .map_err(|error| self.told.cause(error))?;
        out.to.flush()?;
        Ok(self.told.octets())
    }
}

impl<'a> Form<'a> {
    fn new(
        out: Out<'a>,
        schema: &Schema,
        options: &WriteOptions,
    ) -> arrow2::error::Result<Form<'a>> {
        let ipc_options = ipc::WriteOptions {
            compression: match options.compression {
                Compression::None => None,
                Compression::Lz4 => Some(ipc::Compression::LZ4),
                Compression::Zstd => Some(ipc::Compression::ZSTD),
            },
        };
        Ok(match options.format {
            DatasetFormat::Arrow => Form::File(Box::new(ipc::FileWriter::try_new(
                out,
                schema.clone(),
                None,
                ipc_options,
            )?)),
            DatasetFormat::Stream => {
                let mut stream = ipc::StreamWriter::new(out, ipc_options);
                stream.start(schema, None)?;
                Form::Stream(stream)
            }
            DatasetFormat::Parquet => {
                let file = parquet::FileWriter::try_new(
                    out,
                    schema.clone(),
                    parquet_options(options.compression),
                )?;
                let pairs = schema.metadata.iter();
                let pairs = pairs
                    .map(|(k, v)| parquet::KeyValue { key: k.clone(), value: Some(v.clone()) });
                Form::Parquet(Box::new(file), pairs.collect())
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
            Compression::Lz4 | Compression::Zstd => parquet::CompressionOptions::Zstd(None),
        },
        data_pagesize_limit: None,
    }
}
