//! Parquet files into arrays, one row group at a time.

use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow2::datatypes::{DataType, Field};
use arrow2::io::parquet::read as pq;

use crate::ErrorKind;
use crate::batch::Columns;

type Result<T> = std::result::Result<T, ErrorKind>;

/// What a Parquet file begins and ends with.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Rows of one batch of arrays.
const BATCH_ROWS: usize = 1 << 14;
/// One page may take so many octets once decompressed.
const MAX_PAGE: usize = 256 << 20;
/// One column of a row group may take so many octets in the file.
const MAX_COLUMN: u64 = 1 << 31;

/// Reads the row groups of a file.
pub(crate) struct ParquetReader<R> {
    input: R,
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
    columns: Vec<(String, pq::ArrayIter<'static>)>,
}

impl<R: Read + Seek> ParquetReader<R> {
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
            input,
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
        let mut columns = Vec::with_capacity(self.fields.len());
        for field in self.fields.clone() {
            let place = format!("column {}", field.name);
            let chunks: Vec<_> = pq::get_field_columns(metadata.columns(), &field.name);
            if chunks.len() != 1 {
                return Err(ErrorKind::format(place, "one chunk", chunks.len().to_string()));
            }
            let octets = self.chunk(chunks[0]).map_err(|e| e.within(&place))?;
            let column = fenced(&place, || arrays(chunks[0], octets, field.clone(), rows))?;
            columns.push((field.name.clone(), column));
        }
        Ok(Group { index, rows_left: rows, columns })
    }

    /// The octets of a column, once they are known to lie in the file.
    fn chunk(&mut self, metadata: &pq::ColumnChunkMetaData) -> Result<Vec<u8>> {
        let (start, length) = metadata.byte_range();
        if length > MAX_COLUMN || start.checked_add(length).is_none_or(|end| end > self.size) {
            let expected = format!("at most {MAX_COLUMN} octets within a file of {}", self.size);
            return Err(ErrorKind::format("chunk", expected, format!("{length} at {start}")));
        }
        self.input.seek(SeekFrom::Start(start))?;
        let mut octets = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut octets)?;
        Ok(octets)
    }
}

impl Group {
    fn next_batch(&mut self) -> Result<Columns> {
        let mut batch = Vec::with_capacity(self.columns.len());
        for (name, arrays) in &mut self.columns {
            let place = format!("column {name}");
            let array = fenced(&place, || arrays.next().transpose())?;
            let array = array
                .ok_or_else(|| ErrorKind::format(place, format!("{} rows more", self.rows_left), "no page more"))?;
            batch.push((name.clone(), array));
        }
        let rows = batch.first().map_or(self.rows_left, |(_, array)| array.len());
        if rows == 0 || rows > self.rows_left {
            return Err(ErrorKind::format("batch", format!("1 to {} rows", self.rows_left), rows.to_string()));
        }
        self.rows_left -= rows;
        Ok(batch)
    }
}

/// A field whose text stands by dictionary, with the text itself.
fn spelled_out(mut field: Field) -> Field {
    if let DataType::Dictionary(_, inner, _) = field.data_type {
        field.data_type = *inner;
    }
    field
}

fn arrays(
    metadata: &pq::ColumnChunkMetaData,
    octets: Vec<u8>,
    field: Field,
    rows: usize,
) -> arrow2::error::Result<pq::ArrayIter<'static>> {
    let limit = octets.len() * 2 + 1024;
    let input = std::io::Cursor::new(octets);
    let pages = pq::PageReader::new(input, metadata, Arc::new(|_, _| true), Vec::new(), limit);
    let pages = pages.map(|page| page.and_then(refuse_bombs));
    let pages = pq::BasicDecompressor::new(pages, Vec::new());
    let types = vec![&metadata.descriptor().descriptor.primitive_type];
    pq::column_iter_to_arrays(vec![pages], types, field, Some(BATCH_ROWS.min(rows)), rows)
}

fn refuse_bombs(page: parquet2::page::CompressedPage) -> parquet2::error::Result<parquet2::page::CompressedPage> {
    let size = match &page {
        parquet2::page::CompressedPage::Data(page) => page.uncompressed_size(),
        parquet2::page::CompressedPage::Dict(_) => 0,
    };
    if size > MAX_PAGE {
        let text = format!("a page of {size} octets once decompressed, where at most {MAX_PAGE} are read");
        return Err(parquet2::error::Error::OutOfSpec(text));
    }
    Ok(page)
}

/// Runs arrow2, and takes a panic in it for what it is: a file it cannot read.
fn fenced<T>(place: &str, read: impl FnOnce() -> arrow2::error::Result<T>) -> Result<T> {
    let expected = "a valid Parquet file";
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ErrorKind::format(place, expected, error.to_string())),
        Err(_) => Err(ErrorKind::format(place, expected, "one that its reader gives up on")),
    }
}
