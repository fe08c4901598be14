//! Writing a dataset.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::arrow2::{FileEncoder, RecordBatchBuilder};
use crate::{DatasetMeta, Error, ErrorKind, FlowRow, VectorColumn, WriteOptions};

/// Totals of a written dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Number of flows, one per row.
    pub flows: u64,
    /// Number of tokens in all flows.
    pub tokens: u64,
    /// Size of all files, in octets.
    pub octets: u64,
    /// Number of files or streams.
    pub files: u64,
}

/// Writes a dataset to one file or stream.
///
/// Memory is bounded by one record batch of `batch_tokens` tokens. The same rows and options give
/// the same octets. Rows reach the output only when their batch is full or the writer is
/// [`finish`](DatasetWriter::finish)ed.
///
/// ```
/// # use arrowio::{DatasetMeta, DatasetWriter, FlowRow, Tokens, WriteOptions};
/// # let meta = DatasetMeta { token_code: "field".into(), token_version: 1, vocab_size: 1024,
/// #     tool: String::new(), options: Default::default() };
/// # let tokens = Tokens::U16(vec![1]);
/// # let row = FlowRow { tokens, identity: Default::default(), summary: None };
/// let mut writer = DatasetWriter::new("memory", Vec::new(), &meta, &WriteOptions::default())?;
/// writer.write(&row)?;
/// let (written, octets) = writer.finish()?;
/// assert_eq!(written.octets, octets.len() as u64);
/// # Ok::<(), arrowio::Error>(())
/// ```
pub struct DatasetWriter<W: Write> {
    name: String,
    batch: RecordBatchBuilder,
    batch_tokens: usize,
    encoder: FileEncoder<W>,
    written: Written,
}

impl<W: Write> DatasetWriter<W> {
    /// Writes the start of a file or stream. `name` is the path in errors.
    ///
    /// The output receives small pieces between large ones: it should be buffered.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub fn new(
        name: &str,
        to: W,
        meta: &DatasetMeta,
        options: &WriteOptions,
    ) -> Result<DatasetWriter<W>, Error> {
        DatasetWriter::with_vectors(name, to, meta, options, &[])
    }

    /// Like [`new`](DatasetWriter::new), with columns of vectors behind those of a dataset.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub fn with_vectors(
        name: &str,
        to: W,
        meta: &DatasetMeta,
        options: &WriteOptions,
        vectors: &[VectorColumn],
    ) -> Result<DatasetWriter<W>, Error> {
        Ok(DatasetWriter {
            name: name.to_owned(),
            batch: RecordBatchBuilder::new(&meta.token_code, vectors),
            batch_tokens: options.batch_tokens,
            encoder: FileEncoder::new(to, meta, options, vectors).map_err(|e| e.at(name))?,
            written: Written { files: 1, ..Written::default() },
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the row's tokens are not of the dataset's type, or a full batch cannot be written.
    pub fn write(&mut self, row: &FlowRow) -> Result<(), Error> {
        self.write_with_vectors(row, &[])
    }

    /// Adds a row with a vector for each column of vectors.
    ///
    /// # Errors
    /// As [`write`](DatasetWriter::write), or if the vectors are not those of the columns.
    pub fn write_with_vectors(&mut self, row: &FlowRow, vectors: &[&[f32]]) -> Result<(), Error> {
        self.batch.push(row, vectors).map_err(|e| e.at(&self.name))?;
        self.written.flows += 1;
        self.written.tokens += row.tokens.len() as u64;
        if self.batch.is_full(self.batch_tokens) {
            self.flush_batch()?;
        }
        Ok(())
    }

    /// Writes the rows so far as a record batch, and flushes the output: they reach the reader of a
    /// stream before later ones are there.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.batch.rows() > 0 {
            self.flush_batch()?;
        }
        self.encoder.flush().map_err(|e| e.at(&self.name))
    }

    /// Writes the last batch and the end of the file, flushes the output, and returns it with the
    /// totals. A dataset without rows has one batch without rows.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(mut self) -> Result<(Written, W), Error> {
        if self.batch.rows() > 0 || self.written.flows == 0 {
            self.flush_batch()?;
        }
        let (octets, to) = self.encoder.finish().map_err(|e| e.at(&self.name))?;
        Ok((Written { octets, ..self.written }, to))
    }

    fn flush_batch(&mut self) -> Result<(), Error> {
        let batch = self.batch.finish().and_then(|batch| self.encoder.write(batch));
        batch.map_err(|e| e.at(&self.name))
    }
}

/// Writes a dataset to the shards `flows-00000.arrow` and so on of a folder.
///
/// A shard has its name from the start, whole or not: the folder should be one that appears only
/// when it is complete.
pub struct FolderWriter {
    folder: PathBuf,
    /// Beginning of the names of the shards.
    stem: String,
    meta: DatasetMeta,
    options: WriteOptions,
    vectors: Vec<VectorColumn>,
    shard: Option<Shard>,
    /// Totals of all finished shards.
    written: Written,
}

type Shard = DatasetWriter<BufWriter<File>>;

impl FolderWriter {
    /// Creates a writer of shards in an existing folder.
    #[must_use]
    pub fn new(folder: &Path, meta: &DatasetMeta, options: &WriteOptions) -> FolderWriter {
        FolderWriter::with_vectors(folder, meta, options, &[])
    }

    /// Like [`new`](FolderWriter::new), with columns of vectors behind those of a dataset.
    #[must_use]
    pub fn with_vectors(
        folder: &Path,
        meta: &DatasetMeta,
        options: &WriteOptions,
        vectors: &[VectorColumn],
    ) -> FolderWriter {
        FolderWriter {
            folder: folder.to_owned(),
            stem: "flows".to_owned(),
            meta: meta.clone(),
            options: *options,
            vectors: vectors.to_vec(),
            shard: None,
            written: Written::default(),
        }
    }

    /// Names the shards `STEM-00000.arrow` and so on. The stem should begin with `flows-`, as
    /// [`SHARDS`](crate::SHARDS) expects.
    #[must_use]
    pub fn with_stem(self, stem: String) -> FolderWriter {
        FolderWriter { stem, ..self }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the row's tokens are not of the dataset's type, or a shard cannot be created or written.
    pub fn write(&mut self, row: &FlowRow) -> Result<(), Error> {
        self.write_with_vectors(row, &[])
    }

    /// Adds a row with a vector for each column of vectors.
    ///
    /// # Errors
    /// As [`write`](FolderWriter::write), or if the vectors are not those of the columns.
    pub fn write_with_vectors(&mut self, row: &FlowRow, vectors: &[&[f32]]) -> Result<(), Error> {
        let mut shard = match self.shard.take() {
            Some(shard) => shard,
            None => self.create_shard()?,
        };
        let written = shard.write_with_vectors(row, vectors);
        let shard = self.shard.insert(shard);
        written?;
        // A shard ends with a whole batch.
        if shard.batch.rows() == 0 && shard.encoder.octets() >= self.options.shard_octets {
            self.finish_shard()?;
        }
        Ok(())
    }

    /// Ends the last shard and returns the totals. A dataset without rows is one shard without
    /// rows.
    ///
    /// # Errors
    /// If a shard cannot be created or written.
    pub fn finish(mut self) -> Result<Written, Error> {
        if self.shard.is_none() && self.written.files == 0 {
            self.shard = Some(self.create_shard()?);
        }
        self.finish_shard()?;
        Ok(self.written)
    }

    fn finish_shard(&mut self) -> Result<(), Error> {
        if let Some(shard) = self.shard.take() {
            let (written, _) = shard.finish()?;
            self.written.flows += written.flows;
            self.written.tokens += written.tokens;
            self.written.octets += written.octets;
            self.written.files += written.files;
        }
        Ok(())
    }

    /// Creates the next shard.
    fn create_shard(&self) -> Result<Shard, Error> {
        let extension = self.options.format.extension();
        let name = format!("{}-{:05}.{extension}", self.stem, self.written.files);
        let path = self.folder.join(name);
        let name = path.display().to_string();
        let file = File::create(&path).map_err(|e| ErrorKind::from(e).at(&name))?;
        let to = BufWriter::with_capacity(1 << 16, file);
        DatasetWriter::with_vectors(&name, to, &self.meta, &self.options, &self.vectors)
    }
}
