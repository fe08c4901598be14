//! Datasets in memory: record batches that other libraries of the process take without a copy.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::arrow2::{ArrowStream, RecordBatch, RecordBatchBuilder};
use crate::{DatasetMeta, DatasetReader, Error, ErrorKind, FlowRow, WriteOptions, Written};

/// Writer of a dataset into memory, one record batch after another.
///
/// ```
/// # use arrowio::{ArrowStream, BatchWriter, DatasetMeta, FlowRow, Tokens};
/// # let meta = DatasetMeta { token_code: "field".into(), token_version: 2, vocab_size: 1024,
/// #     tool: String::new(), options: Default::default() };
/// # let tokens = Tokens::U16(vec![1]);
/// # let row = FlowRow { tokens, identity: Default::default(), summary: None };
/// let (mut writer, batches) = BatchWriter::new(&meta);
/// writer.write(&row)?;
/// assert_eq!(writer.finish()?.flows, 1);
/// let stream: ArrowStream = batches.into_stream();
/// # Ok::<(), arrowio::Error>(())
/// ```
pub struct BatchWriter {
    batch: RecordBatchBuilder,
    batch_tokens: usize,
    to: Sender<RecordBatch>,
    written: Written,
}

/// Record batches of a [`BatchWriter`], in order.
pub struct Batches {
    meta: DatasetMeta,
    from: Receiver<RecordBatch>,
}

/// Name of a dataset in memory, in errors.
const NAME: &str = "memory";

impl BatchWriter {
    /// Creates a writer of rows in the code of `meta`, and the batches that it writes.
    #[must_use]
    pub fn new(meta: &DatasetMeta) -> (BatchWriter, Batches) {
        let (to, from) = channel();
        let writer = BatchWriter {
            batch: RecordBatchBuilder::new(&meta.token_code, &[]),
            batch_tokens: WriteOptions::default().batch_tokens,
            to,
            written: Written::default(),
        };
        (writer, Batches { meta: meta.clone(), from })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the row's tokens are not of the dataset's type.
    pub fn write(&mut self, row: &FlowRow) -> Result<(), Error> {
        self.batch.push(row, &[]).map_err(|e| e.at(NAME))?;
        self.written.flows += 1;
        self.written.tokens += row.tokens.len() as u64;
        if self.batch.is_full(self.batch_tokens) { self.flush_batch() } else { Ok(()) }
    }

    /// Hands over the last batch and returns the totals, in which files and octets are 0.
    ///
    /// # Errors
    /// If a batch is no valid table.
    pub fn finish(mut self) -> Result<Written, Error> {
        self.flush_batch()?;
        Ok(self.written)
    }

    fn flush_batch(&mut self) -> Result<(), Error> {
        let batch = self.batch.finish().map_err(|e| e.at(NAME))?;
        // Batches that nobody receives any more are dropped.
        let _ = self.to.send(batch);
        Ok(())
    }
}

impl Batches {
    /// Returns the batches for another library. The stream ends when the writer is finished or
    /// dropped.
    #[must_use]
    pub fn into_stream(self) -> ArrowStream {
        let Batches { meta, from } = self;
        ArrowStream::new(&meta, from.into_iter().map(Ok::<_, Error>))
    }
}

impl DatasetReader {
    /// Returns the rows for another library, in the columns and types of `docs/dataset.md`,
    /// whatever the files have. The first error ends the stream.
    #[must_use]
    pub fn into_stream(self) -> ArrowStream {
        let meta = self.meta().clone();
        let batch = RecordBatchBuilder::new(&meta.token_code, &[]);
        let batch_tokens = WriteOptions::default().batch_tokens;
        ArrowStream::new(&meta, Rebatched { rows: Some(self), batch, batch_tokens })
    }
}

/// Rows of a reader, collected into record batches.
struct Rebatched {
    /// Reader, `None` after its end or its first error.
    rows: Option<DatasetReader>,
    batch: RecordBatchBuilder,
    batch_tokens: usize,
}

impl Iterator for Rebatched {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = |e: ErrorKind| e.at(NAME);
        let rows = self.rows.as_mut()?;
        for row in rows {
            if let Err(error) = row.and_then(|row| self.batch.push(&row, &[]).map_err(at)) {
                self.rows = None;
                return Some(Err(error));
            }
            if self.batch.is_full(self.batch_tokens) {
                return Some(self.batch.finish().map_err(at));
            }
        }
        self.rows = None;
        (self.batch.rows() > 0).then(|| self.batch.finish().map_err(at))
    }
}
