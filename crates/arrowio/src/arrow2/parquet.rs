//! Parquet files into arrays, one row group at a time.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::datatypes::Field;
use arrow2::io::parquet::read as pq;
use parquet2::compression::Compression;

use super::extract::Columns;
use super::pages::{CheckedPages, PageBudget, PageReader};
use super::parquet_footer::{Footer, catch_panic, read_footer};
use super::tensor::{TENSOR_DATA, is_tensor};
use crate::ErrorKind;

type Result<T> = std::result::Result<T, ErrorKind>;

/// Maximum number of rows in one batch of arrays.
const BATCH_ROWS: usize = 1 << 14;
/// Approximate maximum number of values of a batch in its fullest column.
const BATCH_VALUES: usize = 1 << 21;
/// Minimum number of rows in one batch: arrow2 splits each page into all its batches at once, each
/// with buffers of its own.
const MIN_BATCH_ROWS: usize = 64;

/// Reader of the row groups of a file.
pub(crate) struct ParquetReader<R> {
    input: Arc<Mutex<R>>,
    /// Size of the file, in octets.
    size: u64,
    /// Columns that are read, with their types.
    fields: Vec<Field>,
    /// Names of all columns.
    names: Vec<String>,
    /// Key-value metadata of the file.
    pub(crate) metadata: Vec<(String, String)>,
    groups: std::iter::Enumerate<std::vec::IntoIter<pq::RowGroupMetaData>>,
    open: Option<RowGroup>,
}

/// A row group being read.
struct RowGroup {
    index: usize,
    rows_left: usize,
    columns: Vec<ColumnArrays>,
}

/// Arrays of one column chunk, batch by batch.
struct ColumnArrays {
    name: String,
    arrays: pq::ArrayIter<'static>,
    budget: Arc<PageBudget>,
}

impl<R: Read + Seek + Send + 'static> ParquetReader<R> {
    /// Reads the file's metadata. Columns are read only if `wanted` accepts their names.
    pub(crate) fn new(mut input: R, wanted: fn(&str) -> bool) -> Result<ParquetReader<R>> {
        let size = input.seek(SeekFrom::End(0))?;
        let Footer { metadata, names, fields } = read_footer(&mut input, size, wanted)?;
        check_compression(&metadata, &fields)?;
        let pairs = metadata.key_value_metadata.into_iter().flatten();
        Ok(ParquetReader {
            input: Arc::new(Mutex::new(input)),
            size,
            fields,
            names,
            metadata: pairs.filter_map(|pair| Some((pair.key, pair.value?))).collect(),
            groups: metadata.row_groups.into_iter().enumerate(),
            open: None,
        })
    }

    /// Returns the names of all columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Reads the wanted columns of the next rows; `None` at the end of the file.
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
            self.open = Some(self.open_group(index, &metadata).map_err(|e| e.within(&place))?);
        }
    }

    fn open_group(&self, index: usize, metadata: &pq::RowGroupMetaData) -> Result<RowGroup> {
        let rows = metadata.num_rows();
        let mut chunks = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let mut of_field: Vec<_> = pq::get_field_columns(metadata.columns(), &field.name);
            if is_tensor(field) {
                of_field.retain(|chunk| is_tensor_data(chunk));
            }
            let [chunk] = of_field[..] else {
                let place = format!("column {}, type", field.name);
                let found = format!("a struct of {} columns", of_field.len());
                let expected = "a column of its own for each: numbers, text, times or one list";
                return Err(ErrorKind::format(place, expected, found));
            };
            chunks.push((field, chunk));
        }
        let max_values = chunks
            .iter()
            .map(|(_, chunk)| usize::try_from(chunk.num_values()).unwrap_or(0))
            .max()
            .unwrap_or(0);
        let batch_rows = BATCH_VALUES / (max_values / rows.max(1)).max(1);
        let batch_rows = batch_rows.clamp(MIN_BATCH_ROWS, BATCH_ROWS).min(rows.max(1));
        let columns = chunks.into_iter().map(|(field, chunk)| {
            self.open_column(chunk, field, rows, batch_rows)
                .map_err(|e| e.within(&format!("column {}", field.name)))
        });
        Ok(RowGroup { index, rows_left: rows, columns: columns.collect::<Result<_>>()? })
    }

    fn open_column(
        &self,
        metadata: &pq::ColumnChunkMetaData,
        field: &Field,
        rows: usize,
        batch_rows: usize,
    ) -> Result<ColumnArrays> {
        let budget = Arc::new(PageBudget::default());
        let (start, length) = catch_panic("chunk", || Ok(metadata.byte_range()))?;
        if start.checked_add(length).is_none_or(|end| end > self.size) {
            let expected = format!("octets within a file of {}", self.size);
            return Err(ErrorKind::format("chunk", expected, format!("{length} at {start}")));
        }
        let chunk = ColumnChunkReader { input: self.input.clone(), at: start, left: length };
        let chunk = BufReader::with_capacity(1 << 16, chunk);
        let pages = PageReader::new(chunk, metadata, budget.clone());
        let arrays = catch_panic("chunk", || {
            let pages = pq::BasicDecompressor::new(pages, Vec::new());
            let pages = CheckedPages::new(pages, budget.clone());
            let types = vec![&metadata.descriptor().descriptor.primitive_type];
            pq::column_iter_to_arrays(vec![pages], types, field.clone(), Some(batch_rows), rows)
        })?;
        Ok(ColumnArrays { name: field.name.clone(), arrays, budget })
    }
}

impl RowGroup {
    fn next_batch(&mut self) -> Result<Columns> {
        let mut batch = Vec::with_capacity(self.columns.len());
        for ColumnArrays { name, arrays, budget } in &mut self.columns {
            let place = format!("column {name}");
            budget.reset();
            let array = catch_panic("pages", || arrays.next().transpose());
            // An error of our own page checks is more precise than the one of arrow2 it leads to.
            let array = budget.take_error().map_or(array, Err).map_err(|e| e.within(&place))?;
            let array = array.ok_or_else(|| {
                ErrorKind::format(place, format!("{} rows more", self.rows_left), "no page more")
            })?;
            batch.push((name.clone(), array));
        }
        let rows = batch.first().map_or(self.rows_left, |(_, array)| array.len());
        if rows == 0 || rows > self.rows_left {
            let expected = format!("1 to {} rows", self.rows_left);
            return Err(ErrorKind::format("batch", expected, rows.to_string()));
        }
        self.rows_left -= rows;
        Ok(batch)
    }
}

/// Reader of one column chunk. The columns of a row group are read in turn from one file, so that
/// each read seeks to its place first.
struct ColumnChunkReader<R> {
    input: Arc<Mutex<R>>,
    /// Offset of the next octet in the file.
    at: u64,
    /// Octets up to the end of the chunk.
    left: u64,
}

impl<R: Read + Seek> Read for ColumnChunkReader<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let limit = to.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.seek(SeekFrom::Start(self.at))?;
        let read = input.read(&mut to[..limit])?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Returns whether a chunk holds the values of a tensor, not its shape.
fn is_tensor_data(chunk: &pq::ColumnChunkMetaData) -> bool {
    chunk.descriptor().path_in_schema.get(1).is_some_and(|name| name == TENSOR_DATA)
}

/// Checks that the columns are compressed in ways that are decompressed here.
fn check_compression(metadata: &pq::FileMetaData, fields: &[Field]) -> Result<()> {
    for field in fields {
        for group in &metadata.row_groups {
            for chunk in pq::get_field_columns(group.columns(), &field.name) {
                let found = match chunk.compression() {
                    Compression::Brotli => "Brotli",
                    Compression::Lzo => "LZO",
                    _ => continue,
                };
                let place = format!("column {}", field.name);
                let expected = "compression by snappy, gzip, LZ4 or zstd, or none";
                return Err(ErrorKind::format(place, expected, found));
            }
        }
    }
    Ok(())
}
