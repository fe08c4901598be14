//! The arrays of a record batch into rows.

use std::borrow::Cow;
use std::ops::Range;

use arrow2::array::{Array, ListArray, PrimitiveArray};
use arrow2::bitmap::Bitmap;
use arrow2::buffer::Buffer;
use arrow2::datatypes::{DataType, TimeUnit};
use arrow2::offset::{Offset, OffsetsBuffer};

use super::arrays::{Integers, Mismatch, TextArray};
use super::schema::{is_wide, type_name};
use super::tensor::lists_of;
use crate::column::{COLUMNS, ColumnType, Value, is_tokens};
use crate::{ErrorKind, FlowRow, HOST_COLUMNS, HostRow, Tokens};

/// Names and arrays of the columns of one record batch.
pub(crate) type Columns = Vec<(String, Box<dyn Array>)>;

/// Iterator over the rows of a record batch.
pub(crate) struct BatchRows {
    tokens: TokenLists,
    /// Index in [`COLUMNS`] and reader of each other column.
    columns: Vec<(usize, ColumnReader)>,
    next: usize,
}

/// Column of token lists, one list per row.
struct TokenLists {
    /// Start of each row's tokens, and the end of the last one.
    offsets: Vec<usize>,
    /// Bit of each row: set unless its list is null. Absent if no list is null.
    validity: Option<Bitmap>,
    values: TokenValues,
}

/// Tokens of all rows of a batch.
enum TokenValues {
    U16(Buffer<u16>),
    I32(Buffer<i32>),
    /// Integers of another width than the code's, or with nulls: converted one by one.
    Other {
        integers: Integers,
        is_wide: bool,
    },
}

/// Values of a column other than the tokens.
enum ColumnReader {
    /// Integers, each multiplied by `factor`: nanoseconds per unit of a time, else 1.
    Int {
        array: Integers,
        factor: i64,
    },
    Text(TextArray),
    Lists {
        /// Start of each row's values, and the end of the last one.
        offsets: Vec<usize>,
        validity: Option<Bitmap>,
        items: Box<ColumnReader>,
    },
}

/// Returns the rows of a batch of a hosts table; columns of unknown names are ignored.
///
/// # Errors
/// If a column that is not nullable is missing, a column has the wrong type, lengths differ, or a
/// cell is none of its column.
pub(crate) fn host_rows(arrays: &Columns) -> Result<Vec<HostRow>, ErrorKind> {
    let rows = arrays.first().map_or(0, |(_, array)| array.len());
    let mut hosts = vec![HostRow::default(); rows];
    for column in HOST_COLUMNS {
        let place = || format!("column {}", column.name);
        let Some((_, array)) = arrays.iter().find(|(name, _)| name == column.name) else {
            if column.nullable {
                continue;
            }
            return Err(ErrorKind::format("columns", format!("one named {}", column.name), "none"));
        };
        let values = ColumnReader::new(&**array, column.kind).map_err(|e| e.within(&place()))?;
        let Some(values) = values else { continue };
        if values.len() != rows {
            return Err(ErrorKind::format(
                place(),
                format!("{rows} rows"),
                values.len().to_string(),
            ));
        }
        for (row, host) in hosts.iter_mut().enumerate() {
            let set = values.get(row).and_then(|value| {
                (column.set)(host, &value).map_err(|expected| (expected, value.shown()))
            });
            set.map_err(|(expected, found)| {
                ErrorKind::format(format!("{}, row {row}", place()), expected, found)
            })?;
        }
    }
    Ok(hosts)
}

impl BatchRows {
    /// Collects the columns of a dataset from a batch; columns of unknown names are ignored.
    ///
    /// # Errors
    /// If the tokens are missing, a column has the wrong type, or lengths differ.
    pub(crate) fn new(arrays: Columns, token_code: &str) -> Result<BatchRows, ErrorKind> {
        let mut tokens = None;
        let mut columns = Vec::new();
        // A column `flows` beside the tokens is another program's.
        let has_tokens = arrays.iter().any(|(name, _)| name == COLUMNS[0].name);
        for (name, array) in arrays {
            if is_tokens(&name) && has_tokens && name != COLUMNS[0].name {
                continue;
            } else if is_tokens(&name) {
                tokens = Some(
                    TokenLists::new(&*array, token_code)
                        .map_err(|e| e.within(&format!("column {name}")))?,
                );
            } else if let Some(index) = COLUMNS.iter().position(|c| c.name == name) {
                let values = ColumnReader::new(&*array, COLUMNS[index].kind)
                    .map_err(|e| e.within(&format!("column {name}")))?;
                columns.extend(values.map(|v| (index, v)));
            }
        }
        let tokens = tokens
            .ok_or_else(|| ErrorKind::format("columns", "one named tokens or flows", "none"))?;
        let rows = tokens.offsets.len() - 1;
        if let Some((index, values)) = columns.iter().find(|(_, v)| v.len() != rows) {
            let place = format!("column {}", COLUMNS[*index].name);
            let (expected, found) = (format!("{rows} rows"), values.len().to_string());
            return Err(ErrorKind::format(place, expected, found));
        }
        Ok(BatchRows { tokens, columns, next: 0 })
    }
}

impl BatchRows {
    /// Returns the first token of each of the first rows that have one, at most 100.
    ///
    /// # Errors
    /// If the tokens are missing or not lists of numbers.
    pub(crate) fn first_tokens(arrays: &[(String, Box<dyn Array>)]) -> Result<Vec<i64>, ErrorKind> {
        let name = |wanted: &str| arrays.iter().find(|(name, _)| name == wanted);
        let (name, array) = name("tokens")
            .or_else(|| name("flows"))
            .ok_or_else(|| ErrorKind::format("columns", "one named tokens or flows", "none"))?;
        let within = |e: ErrorKind| e.within(&format!("column {name}"));
        let (offsets, values) = lists(&**array).map_err(within)?;
        let values = integers(values).map_err(within)?;
        let starts = offsets.windows(2).filter(|row| row[1] > row[0]).map(|row| row[0]);
        Ok(starts.take(100).filter_map(|at| values.get(at).ok().flatten()).collect())
    }
}

impl Iterator for BatchRows {
    type Item = Result<FlowRow, ErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next;
        let tokens = self.tokens.get(row)?;
        self.next += 1;
        let at = |column: &str, (expected, found): Mismatch| {
            let place = format!("column {column}, row {row} of its batch");
            Some(Err(ErrorKind::format(place, expected, found)))
        };
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err(mismatch) => return at(COLUMNS[0].name, mismatch),
        };
        let mut flow = FlowRow { tokens, identity: Default::default(), summary: None };
        for (index, values) in &self.columns {
            let column = &COLUMNS[*index];
            let set = values.get(row).and_then(|value| {
                (column.set)(&mut flow, &value).map_err(|expected| (expected, value.shown()))
            });
            if let Err(mismatch) = set {
                return at(column.name, mismatch);
            }
        }
        Some(Ok(flow))
    }
}

impl TokenLists {
    fn new(array: &dyn Array, token_code: &str) -> Result<TokenLists, ErrorKind> {
        let (offsets, values) = lists(array)?;
        let inner = lists_of(array).and_then(|lists| lists.validity());
        let validity = combine_validities(array.validity(), inner).filter(|v| v.unset_bits() > 0);
        let values = TokenValues::new(values, is_wide(token_code))?;
        Ok(TokenLists { offsets, validity, values })
    }

    /// Returns the tokens of a row; `None` after the last row.
    fn get(&self, row: usize) -> Option<Result<Tokens, Mismatch>> {
        let offsets = self.offsets.get(row..row + 2)?;
        if self.validity.as_ref().is_some_and(|bits| !bits.get_bit(row)) {
            return Some(Err(("a list", "null".into())));
        }
        let range = offsets[0]..offsets[1];
        Some(match &self.values {
            TokenValues::U16(tokens) => Ok(Tokens::U16(tokens[range].to_vec())),
            TokenValues::I32(tokens) => Ok(Tokens::I32(tokens[range].to_vec())),
            TokenValues::Other { integers, is_wide: false } => {
                convert(integers, range, "tokens of 16 bits").map(Tokens::U16)
            }
            TokenValues::Other { integers, is_wide: true } => {
                convert(integers, range, "tokens of 32 bits").map(Tokens::I32)
            }
        })
    }
}

impl TokenValues {
    fn new(array: &dyn Array, is_wide: bool) -> Result<TokenValues, ErrorKind> {
        let any = array.as_any();
        if array.null_count() == 0 {
            if let Some(own) = any.downcast_ref::<PrimitiveArray<u16>>().filter(|_| !is_wide) {
                return Ok(TokenValues::U16(own.values().clone()));
            }
            if let Some(own) = any.downcast_ref::<PrimitiveArray<i32>>().filter(|_| is_wide) {
                return Ok(TokenValues::I32(own.values().clone()));
            }
        }
        Ok(TokenValues::Other { integers: integers(array)?, is_wide })
    }
}

/// Returns the offsets and the values of an array of lists, or of ragged tensors.
fn lists(array: &dyn Array) -> Result<(Vec<usize>, &dyn Array), ErrorKind> {
    let array = lists_of(array).unwrap_or(array);
    let any = array.as_any();
    if let Some(list) = any.downcast_ref::<ListArray<i32>>() {
        Ok((to_usize(list.offsets()), &**list.values()))
    } else if let Some(list) = any.downcast_ref::<ListArray<i64>>() {
        Ok((to_usize(list.offsets()), &**list.values()))
    } else {
        let found = type_name(array.data_type());
        Err(ErrorKind::format("type", "a list", found))
    }
}

/// Shares the values of an array of integers.
fn integers(array: &dyn Array) -> Result<Integers, ErrorKind> {
    Integers::new(array)
        .ok_or_else(|| ErrorKind::format("type", "integers", type_name(array.data_type())))
}

/// Returns the bits that are set in both; an absent bitmap has all set.
fn combine_validities(a: Option<&Bitmap>, b: Option<&Bitmap>) -> Option<Bitmap> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (a, b) => a.or(b).cloned(),
    }
}

fn to_usize<O: Offset>(offsets: &OffsetsBuffer<O>) -> Vec<usize> {
    offsets.iter().map(|offset| offset.to_usize()).collect()
}

/// Converts a range of integers to tokens.
fn convert<T: TryFrom<i64>>(
    integers: &Integers,
    range: Range<usize>,
    expected: &'static str,
) -> Result<Vec<T>, Mismatch> {
    let token = |row| match integers.get(row)? {
        Some(v) => T::try_from(v).map_err(|_| (expected, v.to_string())),
        None => Err((expected, "null".into())),
    };
    range.map(token).collect()
}

impl ColumnReader {
    /// Creates the reader of a dataset's column; `None` if the array has Arrow's type `null`.
    fn new(array: &dyn Array, kind: ColumnType) -> Result<Option<ColumnReader>, ErrorKind> {
        if *array.data_type() == DataType::Null {
            return Ok(None);
        }
        let wrong = || ErrorKind::format("type", kind.arrow_name(), type_name(array.data_type()));
        if kind == ColumnType::Utf8 {
            let text = TextArray::new(array).ok_or_else(wrong)?;
            return Ok(Some(ColumnReader::Text(text)));
        }
        if let Some(item) = kind.item() {
            let (offsets, values) = lists(array)?;
            let validity = array.validity().filter(|v| v.unset_bits() > 0).cloned();
            let items = ColumnReader::new(values, item)?.ok_or_else(wrong)?;
            return Ok(Some(ColumnReader::Lists { offsets, validity, items: Box::new(items) }));
        }
        let factor = match (kind, array.data_type()) {
            (ColumnType::Timestamp, DataType::Timestamp(unit, _)) => ns_per(*unit),
            (ColumnType::Int64, DataType::Duration(unit)) => ns_per(*unit),
            _ => 1,
        };
        let array = Integers::new(array).ok_or_else(wrong)?;
        Ok(Some(ColumnReader::Int { array, factor }))
    }

    fn len(&self) -> usize {
        match self {
            ColumnReader::Int { array, .. } => array.len(),
            ColumnReader::Text(text) => text.len(),
            ColumnReader::Lists { offsets, .. } => offsets.len() - 1,
        }
    }

    fn get(&self, row: usize) -> Result<Value<'_>, Mismatch> {
        let (array, factor) = match self {
            ColumnReader::Int { array, factor } => (array, *factor),
            ColumnReader::Text(text) => {
                let text = text.get(row)?;
                return Ok(text.map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text))));
            }
            ColumnReader::Lists { offsets, validity, items } => {
                if validity.as_ref().is_some_and(|bits| !bits.get_bit(row)) {
                    return Ok(Value::Null);
                }
                let values = (offsets[row]..offsets[row + 1]).map(|at| items.get(at));
                return Ok(Value::List(values.collect::<Result<_, _>>()?));
            }
        };
        match array.get(row)? {
            None => Ok(Value::Null),
            Some(v) => match v.checked_mul(factor) {
                Some(v) => Ok(Value::Int(v)),
                None => Err(("nanoseconds in 64 bits", format!("{v} times {factor}"))),
            },
        }
    }
}

fn ns_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}
