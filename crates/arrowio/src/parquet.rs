//! Parquet files into arrays, one row group at a time.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::datatypes::{DataType, Field};
use arrow2::io::parquet::read as pq;

use crate::ErrorKind;
use crate::batch::Columns;
use crate::pages::{Checked, Pages, Purse};

type Result<T> = std::result::Result<T, ErrorKind>;

/// What a Parquet file begins and ends with.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Rows of one batch of arrays, and about how many values of its fullest column.
const BATCH_ROWS: usize = 1 << 14;
const BATCH_VALUES: usize = 1 << 21;
/// But no fewer than this: arrow2 makes of a page all batches that are in it, each with memory of
/// its own.
const LEAST_ROWS: usize = 64;

/// Reads the row groups of a file.
pub(crate) struct ParquetReader<R> {
    input: Arc<Mutex<R>>,
    size: u64,
    fields: Vec<Field>,
    /// The file's metadata.
    pub(crate) metadata: Vec<(String, String)>,
    groups: std::iter::Enumerate<std::vec::IntoIter<pq::RowGroupMetaData>>,
    open: Option<Group>,
}

struct Group {
    index: usize,
    rows_left: usize,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    arrays: pq::ArrayIter<'static>,
    purse: Arc<Purse>,
}

impl<R: Read + Seek + Send + 'static> ParquetReader<R> {
    /// Reads the file's metadata. Columns whose name `wanted` refuses are not read.
    pub(crate) fn new(mut input: R, wanted: fn(&str) -> bool) -> Result<ParquetReader<R>> {
        let size = input.seek(SeekFrom::End(0))?;
        input.rewind()?;
        let (metadata, schema) = fenced("footer", || {
            let metadata = pq::read_metadata(&mut input)?;
            let schema = pq::infer_schema(&metadata)?;
            Ok((metadata, schema))
        })?;
        let pairs = metadata.key_value_metadata.into_iter().flatten();
        let fields = schema.fields.into_iter().filter(|f| wanted(&f.name)).map(spelled_out);
        Ok(ParquetReader {
            input: Arc::new(Mutex::new(input)),
            size,
            fields: fields.collect(),
            metadata: pairs.filter_map(|pair| Some((pair.key, pair.value?))).collect(),
            groups: metadata.row_groups.into_iter().enumerate(),
            open: None,
        })
    }

    /// Names of the wanted columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }

    /// The wanted columns of the next rows; `None` at the end of the file.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Columns>> {
        loop {
            if let Some(group) = &mut self.open {
                let place = format!("row group {}", group.index);
                if group.rows_left > 0 {
                    return group.next_batch().map(Some).map_err(|e| e.within(&place));
                }
                self.open = None;
            }
            let Some((index, metadata)) = self.groups.next() else { return Ok(None) };
            let place = format!("row group {index}");
            self.open = Some(self.group(index, &metadata).map_err(|e| e.within(&place))?);
        }
    }

    fn group(&mut self, index: usize, metadata: &pq::RowGroupMetaData) -> Result<Group> {
        let rows = metadata.num_rows();
        let mut chunks = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let of_field: Vec<_> = pq::get_field_columns(metadata.columns(), &field.name);
            let [chunk] = of_field[..] else {
                let place = format!("column {}", field.name);
                return Err(ErrorKind::format(place, "one chunk", of_field.len().to_string()));
            };
            chunks.push((field, chunk));
        }
        let most = chunks
            .iter()
            .map(|(_, chunk)| usize::try_from(chunk.num_values()).unwrap_or(0))
            .max()
            .unwrap_or(0);
        let batch_rows = BATCH_VALUES / (most / rows.max(1)).max(1);
        let batch_rows = batch_rows.clamp(LEAST_ROWS, BATCH_ROWS).min(rows.max(1));
        let columns = chunks.into_iter().map(|(field, chunk)| {
            self.column(chunk, field, rows, batch_rows)
                .map_err(|e| e.within(&format!("column {}", field.name)))
        });
        Ok(Group { index, rows_left: rows, columns: columns.collect::<Result<_>>()? })
    }

    fn column(
        &self,
        metadata: &pq::ColumnChunkMetaData,
        field: &Field,
        rows: usize,
        batch_rows: usize,
    ) -> Result<Column> {
        let purse = Arc::new(Purse::default());
        let (start, length) = fenced("chunk", || Ok(metadata.byte_range()))?;
        if start.checked_add(length).is_none_or(|end| end > self.size) {
            let expected = format!("octets within a file of {}", self.size);
            return Err(ErrorKind::format("chunk", expected, format!("{length} at {start}")));
        }
        let stretch = Stretch { input: self.input.clone(), at: start, left: length };
        let pages = Pages::new(BufReader::with_capacity(1 << 16, stretch), metadata, purse.clone());
        let arrays = fenced("chunk", || {
            let pages = Checked {
                pages: pq::BasicDecompressor::new(pages, Vec::new()),
                purse: purse.clone(),
            };
            let types = vec![&metadata.descriptor().descriptor.primitive_type];
            pq::column_iter_to_arrays(vec![pages], types, field.clone(), Some(batch_rows), rows)
        })?;
        Ok(Column { name: field.name.clone(), arrays, purse })
    }
}

impl Group {
    fn next_batch(&mut self) -> Result<Columns> {
        let mut batch = Vec::with_capacity(self.columns.len());
        for Column { name, arrays, purse } in &mut self.columns {
            let place = format!("column {name}");
            purse.fill();
            let array = fenced("pages", || arrays.next().transpose());
            // What our own look at the pages has found says more.
            let array = purse.complaint().map_or(array, Err).map_err(|e| e.within(&place))?;
            let array = array.ok_or_else(|| {
                ErrorKind::format(place, format!("{} rows more", self.rows_left), "no page more")
            })?;
            batch.push((name.clone(), array));
        }
        let rows = batch.first().map_or(self.rows_left, |(_, array)| array.len());
        if rows == 0 || rows > self.rows_left {
            return Err(ErrorKind::format(
                "batch",
                format!("1 to {} rows", self.rows_left),
                rows.to_string(),
            ));
        }
        self.rows_left -= rows;
        Ok(batch)
    }
}

/// A stretch of a file that several columns are read from in turn.
struct Stretch<R> {
    input: Arc<Mutex<R>>,
    at: u64,
    left: u64,
}

impl<R: Read + Seek> Read for Stretch<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let most = to.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.seek(SeekFrom::Start(self.at))?;
        let read = input.read(&mut to[..most])?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A field whose text stands by dictionary, with the text itself.
fn spelled_out(mut field: Field) -> Field {
    if let DataType::Dictionary(_, inner, _) = field.data_type {
        field.data_type = *inner;
    }
    field
}

/// Runs arrow2, and takes a panic in it for what it is: a file it cannot read. Nothing of it is
/// shown.
fn fenced<T>(place: &str, read: impl FnOnce() -> arrow2::error::Result<T>) -> Result<T> {
    let found = match quiet::quietly(|| catch_unwind(AssertUnwindSafe(read))) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => plain(&error.to_string()),
        Err(_) => "octets that mean nothing".to_owned(),
    };
    Err(ErrorKind::format(place, "what the Parquet format has there", found))
}

/// The end of a chain of causes, without the names that libraries give their errors.
fn plain(error: &str) -> String {
    let known = ["External format error: ", "File out of specification: ", "Invalid thrift: "];
    let mut text = error;
    while let Some(rest) = known.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.chars().take(200).collect()
}

/// Panics that are caught leave no message.
mod quiet {
    use std::cell::Cell;
    use std::panic::{set_hook, take_hook};
    use std::sync::Once;

    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `work` without messages of panics in it; others are shown as before.
    pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let shown = take_hook();
            set_hook(Box::new(move |panic| {
                if !QUIET.get() {
                    shown(panic);
                }
            }));
        });
        let before = QUIET.replace(true);
        let done = work();
        QUIET.set(before);
        done
    }
}
