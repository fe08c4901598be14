//! Rows into the arrays of a record batch.

use arrow2::array::{Array, FixedSizeListArray, ListArray, PrimitiveArray, Utf8Array};
use arrow2::bitmap::{Bitmap, MutableBitmap};
use arrow2::chunk::Chunk;
use arrow2::datatypes::DataType;
use arrow2::offset::OffsetsBuffer;
use arrow2::types::NativeType;

use super::schema::{data_type, is_wide, vector_type};
use crate::address::write_addr;
use crate::column::{COLUMNS, ColumnType, Value};
use crate::{ErrorKind, FlowRow, HOST_COLUMNS, HostRow, Tokens, VectorColumn};

/// Number of rows at which a record batch is full, however few tokens they have.
const BATCH_ROWS: usize = 1 << 16;

/// Arrays of all columns, in the order of [`COLUMNS`], then those of vectors.
pub(crate) struct RecordBatch(pub(super) Chunk<Box<dyn Array>>);

/// Rows of the next record batch or Parquet row group, column by column.
pub(crate) struct RecordBatchBuilder {
    token_code: String,
    rows: usize,
    /// Start of each row's tokens, and the end of the last one.
    offsets: Vec<i32>,
    tokens: Tokens,
    columns: Vec<ColumnBuilder>,
    /// Columns of vectors, with the values of all rows.
    vectors: Vec<(VectorColumn, Vec<f32>)>,
}

/// Values of one column and their validity bits.
struct ColumnBuilder {
    values: ColumnValues,
    rows: usize,
    /// Bit of each row: set unless its value is null. Absent as long as no value is.
    validity: Option<MutableBitmap>,
}

/// Values of one column. Every integer takes 64 bits here and is narrowed to the column's type
/// when the batch is finished: one table of columns then serves all types, at the price of a
/// second copy.
enum ColumnValues {
    Int(Vec<i64>),
    Text { octets: Vec<u8>, ends: Vec<i32> },
    Lists { items: Box<ColumnBuilder>, item: ColumnType, ends: Vec<i32> },
}

/// Returns the rows of a hosts table as a record batch.
///
/// # Errors
/// If an offset exceeds 31 bits.
pub(crate) fn host_batch(rows: &[HostRow]) -> Result<RecordBatch, ErrorKind> {
    let arrays = HOST_COLUMNS.iter().map(|column| {
        let mut builder = ColumnBuilder::new(column.kind);
        rows.iter().try_for_each(|row| builder.push(&(column.get)(row)))?;
        builder.into_array(column.kind).map_err(|e| array_error(column.name, &e))
    });
    let arrays: Result<Vec<_>, _> = arrays.collect();
    Chunk::try_new(arrays?).map(RecordBatch).map_err(|e| array_error(HOST_COLUMNS[0].name, &e))
}

impl RecordBatchBuilder {
    /// Creates a builder without rows.
    pub(crate) fn new(token_code: &str, vectors: &[VectorColumn]) -> RecordBatchBuilder {
        let columns = COLUMNS[1..].iter().map(|c| ColumnBuilder::new(c.kind));
        let is_wide = is_wide(token_code);
        RecordBatchBuilder {
            token_code: token_code.to_owned(),
            rows: 0,
            offsets: vec![0],
            tokens: if is_wide { Tokens::I32(Vec::new()) } else { Tokens::U16(Vec::new()) },
            columns: columns.collect(),
            vectors: vectors.iter().map(|column| (column.clone(), Vec::new())).collect(),
        }
    }

    /// Returns the number of rows since the last batch.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns whether the rows are a whole batch: they have `batch_tokens` tokens, or are many.
    pub(crate) fn is_full(&self, batch_tokens: usize) -> bool {
        self.tokens.len() >= batch_tokens || self.rows >= BATCH_ROWS
    }

    /// Appends a row, with a vector for each column of vectors.
    ///
    /// # Errors
    /// If the tokens are of another width than the dataset's, or an offset exceeds 31 bits, or the
    /// vectors are not those of the columns.
    pub(crate) fn push(&mut self, row: &FlowRow, vectors: &[&[f32]]) -> Result<(), ErrorKind> {
        let lengths = || self.vectors.iter().map(|(column, _)| column.len);
        if !lengths().eq(vectors.iter().map(|vector| vector.len())) {
            let expected = format!("vectors of {:?} numbers", lengths().collect::<Vec<_>>());
            let found = vectors.iter().map(|vector| vector.len());
            return Err(ErrorKind::format("row", expected, format!("{:?}", Vec::from_iter(found))));
        }
        for ((_, all), vector) in self.vectors.iter_mut().zip(vectors) {
            all.extend_from_slice(vector);
        }
        match (&mut self.tokens, &row.tokens) {
            (Tokens::U16(all), Tokens::U16(tokens)) => all.extend_from_slice(tokens),
            (Tokens::I32(all), Tokens::I32(tokens)) => all.extend_from_slice(tokens),
            (expected, found) => {
                let (expected, found) = (expected.type_name(), found.type_name());
                return Err(ErrorKind::format("column tokens", expected, found));
            }
        }
        // A list with 32-bit offsets: they are signed in Arrow.
        let end = i32::try_from(self.tokens.len()).map_err(|_| {
            let found = self.tokens.len().to_string();
            ErrorKind::format("column tokens", "at most 2147483647 tokens in a batch", found)
        })?;
        self.offsets.push(end);
        self.rows += 1;
        for (builder, column) in self.columns.iter_mut().zip(&COLUMNS[1..]) {
            builder.push(&(column.get)(row))?;
        }
        Ok(())
    }

    /// Returns the rows as a record batch and starts an empty one.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ErrorKind> {
        let columns: Vec<VectorColumn> = self.vectors.iter().map(|(c, _)| c.clone()).collect();
        let empty = RecordBatchBuilder::new(&self.token_code, &columns);
        let full = std::mem::replace(self, empty);
        // The next batch will be about as large.
        self.offsets.reserve(full.offsets.len());
        match &mut self.tokens {
            Tokens::U16(tokens) => tokens.reserve(full.tokens.len()),
            Tokens::I32(tokens) => tokens.reserve(full.tokens.len()),
        }
        let values: Box<dyn Array> = match full.tokens {
            Tokens::U16(tokens) => PrimitiveArray::from_vec(tokens).boxed(),
            Tokens::I32(tokens) => PrimitiveArray::from_vec(tokens).boxed(),
        };
        let offsets =
            OffsetsBuffer::try_from(full.offsets).map_err(|e| array_error("tokens", &e))?;
        let tokens_type = data_type(ColumnType::Tokens, &full.token_code);
        let tokens = ListArray::try_new(tokens_type, offsets, values, None)
            .map_err(|e| array_error("tokens", &e))?;
        let rest = full.columns.into_iter().zip(&COLUMNS[1..]);
        let rest = rest.map(|(builder, column)| {
            builder.into_array(column.kind).map_err(|e| array_error(column.name, &e))
        });
        let vectors = full.vectors.into_iter().map(|(column, values)| {
            let values = PrimitiveArray::from_vec(values).boxed();
            let list = FixedSizeListArray::try_new(vector_type(&column), values, None);
            list.map(FixedSizeListArray::boxed).map_err(|e| array_error(&column.name, &e))
        });
        let arrays: Result<Vec<_>, _> =
            std::iter::once(Ok(tokens.boxed())).chain(rest).chain(vectors).collect();
        Chunk::try_new(arrays?).map(RecordBatch).map_err(|e| array_error("tokens", &e))
    }
}

/// Returns the end of a row's values as Arrow's offsets are: signed, of 32 bits.
fn end_of(what: &str, end: usize) -> Result<i32, ErrorKind> {
    let expected = format!("at most 2147483647 {what} in a batch");
    i32::try_from(end).map_err(|_| ErrorKind::format("record batch", expected, end.to_string()))
}

impl ColumnValues {
    fn lists_of(item: ColumnType) -> ColumnValues {
        ColumnValues::Lists { items: Box::new(ColumnBuilder::new(item)), item, ends: vec![0] }
    }
}

fn array_error(column: &str, error: &arrow2::error::Error) -> ErrorKind {
    ErrorKind::format(format!("column {column}"), "a valid array", error.to_string())
}

impl ColumnBuilder {
    fn new(kind: ColumnType) -> ColumnBuilder {
        let values = match kind {
            ColumnType::Utf8 => ColumnValues::Text { octets: Vec::new(), ends: vec![0] },
            ColumnType::Utf8List => ColumnValues::lists_of(ColumnType::Utf8),
            ColumnType::UInt64List => ColumnValues::lists_of(ColumnType::UInt64),
            _ => ColumnValues::Int(Vec::new()),
        };
        ColumnBuilder { values, rows: 0, validity: None }
    }

    fn push(&mut self, value: &Value<'_>) -> Result<(), ErrorKind> {
        let is_valid = !matches!(value, Value::Null);
        if let Some(validity) = &mut self.validity {
            validity.push(is_valid);
        } else if !is_valid {
            let mut validity = MutableBitmap::from_len_set(self.rows);
            validity.push(false);
            self.validity = Some(validity);
        }
        self.rows += 1;
        match &mut self.values {
            // A null has a value too, which no reader looks at.
            ColumnValues::Int(all) => all.push(if let Value::Int(v) = value { *v } else { 0 }),
            ColumnValues::Text { octets, ends } => {
                match value {
                    Value::Text(text) => octets.extend_from_slice(text.as_bytes()),
                    Value::Addr(addr) => write_addr(*addr, octets),
                    Value::Int(_) | Value::Null | Value::List(_) => {}
                }
                ends.push(end_of("octets of text", octets.len())?);
            }
            ColumnValues::Lists { items, ends, .. } => {
                if let Value::List(values) = value {
                    values.iter().try_for_each(|value| items.push(value))?;
                }
                ends.push(end_of("values of lists", items.rows)?);
            }
        }
        Ok(())
    }

    /// Converts the values to an array of the column's type. No value is cut off by the casts:
    /// each comes from `Column::get`, whose Rust types are those of the columns.
    fn into_array(self, kind: ColumnType) -> arrow2::error::Result<Box<dyn Array>> {
        fn narrow<T: NativeType>(
            all: &[i64],
            validity: Option<Bitmap>,
            to: impl Fn(i64) -> T,
        ) -> arrow2::error::Result<PrimitiveArray<T>> {
            let values: Vec<T> = all.iter().map(|v| to(*v)).collect();
            PrimitiveArray::try_new(T::PRIMITIVE.into(), values.into(), validity)
        }
        let validity = self.validity.map(Bitmap::from);
        let all = match self.values {
            ColumnValues::Int(all) => all,
            ColumnValues::Text { octets, ends } => {
                let text =
                    Utf8Array::try_new(DataType::Utf8, ends.try_into()?, octets.into(), validity)?;
                return Ok(text.boxed());
            }
            ColumnValues::Lists { items, item, ends } => {
                let items = items.into_array(item)?;
                let (of, ends) = (data_type(kind, ""), ends.try_into()?);
                return Ok(ListArray::try_new(of, ends, items, validity)?.boxed());
            }
        };
        Ok(match kind {
            ColumnType::UInt8 => narrow(&all, validity, |v| v as u8)?.boxed(),
            ColumnType::UInt16 => narrow(&all, validity, |v| v as u16)?.boxed(),
            ColumnType::UInt32 => narrow(&all, validity, |v| v as u32)?.boxed(),
            ColumnType::UInt64 => narrow(&all, validity, |v| v as u64)?.boxed(),
            ColumnType::Timestamp => narrow(&all, validity, |v| v)?.to(data_type(kind, "")).boxed(),
            ColumnType::Int64
            | ColumnType::Tokens
            | ColumnType::Utf8
            | ColumnType::Utf8List
            | ColumnType::UInt64List => narrow(&all, validity, |v| v)?.boxed(),
        })
    }
}
