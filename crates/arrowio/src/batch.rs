//! Rows to columns and columns to rows.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use arrow2::array::{Array, DictionaryArray, DictionaryKey, ListArray, PrimitiveArray, Utf8Array};
use arrow2::bitmap::{Bitmap, MutableBitmap};
use arrow2::buffer::Buffer;
use arrow2::chunk::Chunk;
use arrow2::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow2::offset::{Offset, OffsetsBuffer};
use arrow2::types::NativeType;

use crate::column::{COLUMNS, ColumnType, Value};
use crate::{DatasetMeta, ErrorKind, FlowRow, Tokens};

/// The code whose tokens are the original's 16-bit words and class ids, and which takes 32 bits for
/// them.
pub(crate) const WORD16: &str = "word16";

/// The Arrow type of a column in a dataset of `token_code`.
fn data_type(kind: ColumnType, token_code: &str) -> DataType {
    match kind {
        ColumnType::Tokens => {
            let item = if token_code == WORD16 { DataType::Int32 } else { DataType::UInt16 };
            DataType::List(Box::new(Field::new("item", item, false)))
        }
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ColumnType::Int64 => DataType::Int64,
        ColumnType::UInt8 => DataType::UInt8,
        ColumnType::UInt16 => DataType::UInt16,
        ColumnType::UInt32 => DataType::UInt32,
        ColumnType::UInt64 => DataType::UInt64,
        ColumnType::Utf8 => DataType::Utf8,
    }
}

/// Schema and metadata of a dataset.
pub(crate) fn schema(meta: &DatasetMeta) -> Schema {
    let fields =
        COLUMNS.iter().map(|c| Field::new(c.name, data_type(c.kind, &meta.token_code), c.nullable));
    Schema { fields: fields.collect(), metadata: metadata(meta) }
}

fn metadata(meta: &DatasetMeta) -> std::collections::BTreeMap<String, String> {
    let options =
        meta.options.iter().map(|(name, value)| (format!("{OPTION_PREFIX}{name}"), value.clone()));
    let own = [
        ("token_code", meta.token_code.clone()),
        ("token_version", meta.token_version.to_string()),
        ("vocab_size", meta.vocab_size.to_string()),
        ("tool", meta.tool.clone()),
    ];
    options.chain(own.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}

const OPTION_PREFIX: &str = "option.";

/// What the metadata of a file says.
pub(crate) fn meta(entries: &[(String, String)]) -> Result<DatasetMeta, ErrorKind> {
    let find = |key: &str| entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let number = |key: &str| {
        let found = find(key);
        found.and_then(|v| v.parse().ok()).ok_or_else(|| {
            ErrorKind::format(format!("metadata {key}"), "a number", found.unwrap_or("no such key"))
        })
    };
    let token_code = find("token_code").ok_or_else(|| {
        ErrorKind::format("metadata token_code", "the name of a token code", "no such key")
    })?;
    let options = entries
        .iter()
        .filter_map(|(k, v)| Some((k.strip_prefix(OPTION_PREFIX)?.to_owned(), v.clone())));
    Ok(DatasetMeta {
        token_code: token_code.to_owned(),
        token_version: number("token_version")?,
        vocab_size: number("vocab_size")?,
        tool: find("tool").unwrap_or_default().to_owned(),
        options: options.collect(),
    })
}

/// Rows gathered for the next record batch or row group.
pub(crate) struct Gather {
    token_code: String,
    rows: usize,
    offsets: Vec<i32>,
    words: Tokens,
    columns: Vec<Builder>,
}

/// The values of a column, and which of them are there.
struct Builder {
    values: Values64,
    rows: usize,
    /// From the first missing value on.
    validity: Option<MutableBitmap>,
}

enum Values64 {
    Int(Vec<i64>),
    Text { octets: Vec<u8>, ends: Vec<i32> },
}

impl Gather {
    pub(crate) fn new(token_code: &str) -> Gather {
        let columns = COLUMNS[1..].iter().map(|c| Builder::new(c.kind));
        Gather {
            token_code: token_code.to_owned(),
            rows: 0,
            offsets: vec![0],
            words: if token_code == WORD16 {
                Tokens::I32(Vec::new())
            } else {
                Tokens::U16(Vec::new())
            },
            columns: columns.collect(),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn tokens(&self) -> usize {
        self.words.len()
    }

    /// Takes a row.
    pub(crate) fn push(&mut self, row: &FlowRow) -> Result<(), ErrorKind> {
        match (&mut self.words, &row.tokens) {
            (Tokens::U16(all), Tokens::U16(tokens)) => all.extend_from_slice(tokens),
            (Tokens::I32(all), Tokens::I32(tokens)) => all.extend_from_slice(tokens),
            (wanted, found) => {
                return Err(ErrorKind::format(
                    "column tokens",
                    wanted.type_name(),
                    found.type_name(),
                ));
            }
        }
        let end = i32::try_from(self.words.len()).map_err(|_| {
            ErrorKind::format(
                "column tokens",
                "at most 2147483647 tokens in a batch",
                self.words.len().to_string(),
            )
        })?;
        self.offsets.push(end);
        self.rows += 1;
        for (builder, column) in self.columns.iter_mut().zip(&COLUMNS[1..]) {
            builder.push(&(column.get)(row))?;
        }
        Ok(())
    }

    /// The gathered rows as arrays, and an empty gathering in their place.
    pub(crate) fn take(&mut self) -> Result<Chunk<Box<dyn Array>>, ErrorKind> {
        let empty = Gather::new(&self.token_code);
        let full = std::mem::replace(self, empty);
        // The next batch will be about as large.
        self.offsets.reserve(full.offsets.len());
        match &mut self.words {
            Tokens::U16(words) => words.reserve(full.words.len()),
            Tokens::I32(words) => words.reserve(full.words.len()),
        }
        let values: Box<dyn Array> = match full.words {
            Tokens::U16(words) => PrimitiveArray::from_vec(words).boxed(),
            Tokens::I32(words) => PrimitiveArray::from_vec(words).boxed(),
        };
        let offsets = OffsetsBuffer::try_from(full.offsets).map_err(|e| invalid("tokens", &e))?;
        let tokens_type = data_type(ColumnType::Tokens, &full.token_code);
        let tokens = ListArray::try_new(tokens_type, offsets, values, None)
            .map_err(|e| invalid("tokens", &e))?;
        let rest = full.columns.into_iter().zip(&COLUMNS[1..]);
        let rest = rest.map(|(builder, column)| {
            builder.array(column.kind).map_err(|e| invalid(column.name, &e))
        });
        let arrays: Result<Vec<_>, _> = std::iter::once(Ok(tokens.boxed())).chain(rest).collect();
        Chunk::try_new(arrays?).map_err(|e| invalid("tokens", &e))
    }
}

fn invalid(column: &str, error: &arrow2::error::Error) -> ErrorKind {
    ErrorKind::format(format!("column {column}"), "a valid array", error.to_string())
}

impl Builder {
    fn new(kind: ColumnType) -> Builder {
        let values = match kind {
            ColumnType::Utf8 => Values64::Text { octets: Vec::new(), ends: vec![0] },
            _ => Values64::Int(Vec::new()),
        };
        Builder { values, rows: 0, validity: None }
    }

    fn push(&mut self, value: &Value<'_>) -> Result<(), ErrorKind> {
        let is_there = !matches!(value, Value::Null);
        if let Some(validity) = &mut self.validity {
            validity.push(is_there);
        } else if !is_there {
            let mut validity = MutableBitmap::from_len_set(self.rows);
            validity.push(false);
            self.validity = Some(validity);
        }
        self.rows += 1;
        match &mut self.values {
            Values64::Int(all) => all.push(if let Value::Int(v) = value { *v } else { 0 }),
            Values64::Text { octets, ends } => {
                match value {
                    Value::Text(text) => octets.extend_from_slice(text.as_bytes()),
                    Value::Addr(addr) => write_addr(*addr, octets),
                    Value::Int(_) | Value::Null => {}
                }
                let end = i32::try_from(octets.len()).map_err(|_| {
                    let found = octets.len().to_string();
                    ErrorKind::format("text", "at most 2147483647 octets of it in a batch", found)
                })?;
                ends.push(end);
            }
        }
        Ok(())
    }

    /// The values are of the width of `kind` already: they come from `Column::get`.
    fn array(self, kind: ColumnType) -> arrow2::error::Result<Box<dyn Array>> {
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
            Values64::Int(all) => all,
            Values64::Text { octets, ends } => {
                let text =
                    Utf8Array::try_new(DataType::Utf8, ends.try_into()?, octets.into(), validity)?;
                return Ok(text.boxed());
            }
        };
        Ok(match kind {
            ColumnType::UInt8 => narrow(&all, validity, |v| v as u8)?.boxed(),
            ColumnType::UInt16 => narrow(&all, validity, |v| v as u16)?.boxed(),
            ColumnType::UInt32 => narrow(&all, validity, |v| v as u32)?.boxed(),
            ColumnType::UInt64 => narrow(&all, validity, |v| v as u64)?.boxed(),
            ColumnType::Timestamp => narrow(&all, validity, |v| v)?.to(data_type(kind, "")).boxed(),
            ColumnType::Int64 | ColumnType::Tokens | ColumnType::Utf8 => {
                narrow(&all, validity, |v| v)?.boxed()
            }
        })
    }
}

/// As `Display` does, in a shorter way: there are two addresses in each row.
fn write_addr(addr: IpAddr, to: &mut Vec<u8>) {
    match addr {
        IpAddr::V6(addr) if addr.segments()[0] != 0 => write_groups(addr.segments(), to),
        IpAddr::V6(addr) => {
            // A vector takes whatever is written to it.
            let _ = write!(to, "{addr}");
        }
        IpAddr::V4(addr) => {
            for (i, octet) in addr.octets().into_iter().enumerate() {
                if i > 0 {
                    to.push(b'.');
                }
                if octet >= 100 {
                    to.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    to.push(b'0' + octet / 10 % 10);
                }
                to.push(b'0' + octet % 10);
            }
        }
    }
}

/// RFC 5952: the first of the longest runs of two zeros or more is left out.
fn write_groups(groups: [u16; 8], to: &mut Vec<u8>) {
    let run = |from: usize| groups[from..].iter().take_while(|group| **group == 0).count();
    let longest = (0..8).rev().max_by_key(|from| run(*from)).filter(|from| run(*from) > 1);
    let gap = longest.map_or(8..8, |from| from..from + run(from));
    for (i, group) in groups.into_iter().enumerate() {
        if gap.contains(&i) {
            if i == gap.start {
                to.extend_from_slice(b"::");
            }
            continue;
        }
        if i > 0 && i != gap.end {
            to.push(b':');
        }
        for shift in [12, 8, 4, 0] {
            if shift == 0 || group >> shift != 0 {
                to.push(b"0123456789abcdef"[usize::from(group >> shift & 15)]);
            }
        }
    }
}

impl Tokens {
    fn type_name(&self) -> &'static str {
        match self {
            Tokens::U16(_) => "list<uint16>",
            Tokens::I32(_) => "list<int32>",
        }
    }
}

/// Names and arrays.
pub(crate) type Columns = Vec<(String, Box<dyn Array>)>;

/// A record batch on its way to rows.
pub(crate) struct Rows {
    tokens: TokenLists,
    columns: Vec<(usize, Values)>,
    next: usize,
}

struct TokenLists {
    bounds: Vec<usize>,
    /// Rows without a list.
    nulls: Option<Bitmap>,
    words: Words,
}

/// The tokens of all rows of a batch.
enum Words {
    U16(Buffer<u16>),
    I32(Buffer<i32>),
    /// In another width than the code's, or with nulls among them: looked at one by one.
    Other {
        of: Integers,
        wide: bool,
    },
}

enum Values {
    Int { array: Integers, factor: i64 },
    Text(TextArray),
}

/// The column of a file that holds the tokens: `tokens`, or `flows` as the original called it.
pub(crate) fn is_tokens(name: &str) -> bool {
    name == COLUMNS[0].name || name == "flows"
}

/// Whether a dataset has a use for a column of this name.
pub(crate) fn is_known(name: &str) -> bool {
    is_tokens(name) || COLUMNS.iter().any(|c| c.name == name)
}

impl Rows {
    /// Takes the columns it knows out of a batch.
    pub(crate) fn new(arrays: Columns, token_code: &str) -> Result<Rows, ErrorKind> {
        let mut tokens = None;
        let mut columns = Vec::new();
        for (name, array) in arrays {
            if is_tokens(&name) {
                tokens = Some(
                    TokenLists::new(&*array, token_code)
                        .map_err(|e| e.within(&format!("column {name}")))?,
                );
            } else if let Some(index) = COLUMNS.iter().position(|c| c.name == name) {
                let values = Values::new(&*array, COLUMNS[index].kind)
                    .map_err(|e| e.within(&format!("column {name}")))?;
                columns.extend(values.map(|v| (index, v)));
            }
        }
        let tokens = tokens
            .ok_or_else(|| ErrorKind::format("columns", "one named tokens or flows", "none"))?;
        let rows = tokens.bounds.len() - 1;
        if let Some((index, values)) = columns.iter().find(|(_, v)| v.len() != rows) {
            let place = format!("column {}", COLUMNS[*index].name);
            return Err(ErrorKind::format(
                place,
                format!("{rows} rows"),
                format!("{}", values.len()),
            ));
        }
        Ok(Rows { tokens, columns, next: 0 })
    }
}

impl Iterator for Rows {
    type Item = Result<FlowRow, ErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next;
        let tokens = self.tokens.get(row)?;
        self.next += 1;
        let at = |column: &str, expected: &str, found: String| {
            Some(Err(ErrorKind::format(
                format!("column {column}, row {row} of its batch"),
                expected,
                found,
            )))
        };
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err((expected, found)) => return at(COLUMNS[0].name, expected, found),
        };
        let mut flow = FlowRow { tokens, identity: Default::default(), summary: None };
        for (index, values) in &self.columns {
            let column = &COLUMNS[*index];
            let set = values.get(row).and_then(|value| {
                (column.set)(&mut flow, &value).map_err(|expected| (expected, value.shown()))
            });
            if let Err((expected, found)) = set {
                return at(column.name, expected, found);
            }
        }
        Some(Ok(flow))
    }
}

impl Value<'_> {
    fn shown(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Int(v) => v.to_string(),
            Value::Addr(addr) => addr.to_string(),
            Value::Text(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
        }
    }
}

impl TokenLists {
    fn new(array: &dyn Array, token_code: &str) -> Result<TokenLists, ErrorKind> {
        let any = array.as_any();
        let (bounds, values) = if let Some(list) = any.downcast_ref::<ListArray<i32>>() {
            (bounds(list.offsets()), list.values())
        } else if let Some(list) = any.downcast_ref::<ListArray<i64>>() {
            (bounds(list.offsets()), list.values())
        } else {
            return Err(ErrorKind::format(
                "type",
                "a list of integers",
                type_name(array.data_type()),
            ));
        };
        let nulls = array.validity().filter(|v| v.unset_bits() > 0).cloned();
        Ok(TokenLists { bounds, nulls, words: Words::new(&**values, token_code == WORD16)? })
    }

    /// The tokens of a row, or what they should have been and are; `None` behind the last row.
    fn get(&self, row: usize) -> Option<Result<Tokens, (&'static str, String)>> {
        let bounds = self.bounds.get(row..row + 2)?;
        if self.nulls.as_ref().is_some_and(|bits| !bits.get_bit(row)) {
            return Some(Err(("a list", "null".into())));
        }
        let range = bounds[0]..bounds[1];
        Some(match &self.words {
            Words::U16(words) => Ok(Tokens::U16(words[range].to_vec())),
            Words::I32(words) => Ok(Tokens::I32(words[range].to_vec())),
            Words::Other { of, wide: false } => {
                of.words(range, "tokens of 16 bits").map(Tokens::U16)
            }
            Words::Other { of, wide: true } => {
                of.words(range, "tokens of 32 bits").map(Tokens::I32)
            }
        })
    }
}

impl Words {
    fn new(array: &dyn Array, wide: bool) -> Result<Words, ErrorKind> {
        if array.null_count() == 0 {
            if let Some(own) =
                array.as_any().downcast_ref::<PrimitiveArray<u16>>().filter(|_| !wide)
            {
                return Ok(Words::U16(own.values().clone()));
            }
            if let Some(own) = array.as_any().downcast_ref::<PrimitiveArray<i32>>().filter(|_| wide)
            {
                return Ok(Words::I32(own.values().clone()));
            }
        }
        let of = Integers::new(array)
            .ok_or_else(|| ErrorKind::format("type", "integers", type_name(array.data_type())))?;
        Ok(Words::Other { of, wide })
    }
}

fn bounds<O: Offset>(offsets: &OffsetsBuffer<O>) -> Vec<usize> {
    offsets.iter().map(|offset| offset.to_usize()).collect()
}

impl Values {
    /// The values of a column of ours; `None` where it holds nothing at all.
    fn new(array: &dyn Array, kind: ColumnType) -> Result<Option<Values>, ErrorKind> {
        if *array.data_type() == DataType::Null {
            return Ok(None);
        }
        let wrong = || ErrorKind::format("type", kind.arrow_name(), type_name(array.data_type()));
        if kind == ColumnType::Utf8 {
            return TextArray::new(array).map(|text| Some(Values::Text(text))).ok_or_else(wrong);
        }
        let factor = match (kind, array.data_type()) {
            (ColumnType::Timestamp, DataType::Timestamp(unit, _)) => ns_per(*unit),
            (ColumnType::Int64, DataType::Duration(unit)) => ns_per(*unit),
            _ => 1,
        };
        Integers::new(array).map(|array| Some(Values::Int { array, factor })).ok_or_else(wrong)
    }

    fn len(&self) -> usize {
        match self {
            Values::Int { array, .. } => array.len(),
            Values::Text(text) => text.len(),
        }
    }

    /// The value, or what it should have been and is.
    fn get(&self, row: usize) -> Result<Value<'_>, (&'static str, String)> {
        let (array, factor) = match self {
            Values::Int { array, factor } => (array, *factor),
            Values::Text(text) => {
                return Ok(text.get(row).map_or(Value::Null, |t| Value::Text(Cow::Borrowed(t))));
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

fn type_name(data_type: &DataType) -> String {
    format!("{data_type:?}").chars().take(80).collect()
}

/// An array of integers of any width; times count as such.
pub(crate) enum Integers {
    I8(PrimitiveArray<i8>),
    I16(PrimitiveArray<i16>),
    I32(PrimitiveArray<i32>),
    I64(PrimitiveArray<i64>),
    U8(PrimitiveArray<u8>),
    U16(PrimitiveArray<u16>),
    U32(PrimitiveArray<u32>),
    U64(PrimitiveArray<u64>),
}

/// Runs `$body` with `$array` the array of whatever width.
macro_rules! with_integers {
    ($integers:expr, $array:ident => $body:expr) => {
        match $integers {
            Integers::I8($array) => $body,
            Integers::I16($array) => $body,
            Integers::I32($array) => $body,
            Integers::I64($array) => $body,
            Integers::U8($array) => $body,
            Integers::U16($array) => $body,
            Integers::U32($array) => $body,
            Integers::U64($array) => $body,
        }
    };
}

impl Integers {
    /// `None` where the array is of another type. The values are shared, not copied.
    pub(crate) fn new(array: &dyn Array) -> Option<Integers> {
        fn of<T: NativeType>(
            array: &dyn Array,
            make: fn(PrimitiveArray<T>) -> Integers,
        ) -> Option<Integers> {
            array.as_any().downcast_ref::<PrimitiveArray<T>>().map(|array| make(array.clone()))
        }
        use DataType as D;
        match array.data_type() {
            D::Int8 => of(array, Integers::I8),
            D::Int16 => of(array, Integers::I16),
            D::Int32 => of(array, Integers::I32),
            D::Int64 | D::Timestamp(..) | D::Duration(_) => of(array, Integers::I64),
            D::UInt8 => of(array, Integers::U8),
            D::UInt16 => of(array, Integers::U16),
            D::UInt32 => of(array, Integers::U32),
            D::UInt64 => of(array, Integers::U64),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        with_integers!(self, array => array.len())
    }

    /// A range of them as tokens, or what these should have been and are.
    fn words<W: TryFrom<i64>>(
        &self,
        range: std::ops::Range<usize>,
        expected: &'static str,
    ) -> Result<Vec<W>, (&'static str, String)> {
        let word = |row| match self.get(row)? {
            Some(v) => W::try_from(v).map_err(|_| (expected, v.to_string())),
            None => Err((expected, "null".into())),
        };
        range.map(word).collect()
    }

    /// The number, `None` where it is null, or what it should have been and is.
    pub(crate) fn get(&self, row: usize) -> Result<Option<i64>, (&'static str, String)> {
        fn number<T: TryInto<i64> + ToString + Copy>(
            v: Option<T>,
        ) -> Result<Option<i64>, (&'static str, String)> {
            v.map(|v| v.try_into().map_err(|_| ("a number in 63 bits", v.to_string()))).transpose()
        }
        with_integers!(self, array => number(array.get(row)))
    }
}

/// An array of text, plain or by dictionary.
enum TextArray {
    Small(Utf8Array<i32>),
    Large(Utf8Array<i64>),
    Dictionary { keys: Vec<Option<usize>>, texts: Box<TextArray> },
}

impl TextArray {
    fn new(array: &dyn Array) -> Option<TextArray> {
        let any = array.as_any();
        if let Some(text) = any.downcast_ref::<Utf8Array<i32>>() {
            return Some(TextArray::Small(text.clone()));
        }
        if let Some(text) = any.downcast_ref::<Utf8Array<i64>>() {
            return Some(TextArray::Large(text.clone()));
        }
        fn dictionary<K: DictionaryKey>(array: &dyn Array) -> Option<TextArray> {
            let array = array.as_any().downcast_ref::<DictionaryArray<K>>()?;
            let texts = Box::new(TextArray::new(&**array.values())?);
            Some(TextArray::Dictionary { keys: array.keys_iter().collect(), texts })
        }
        dictionary::<i8>(array)
            .or_else(|| dictionary::<i16>(array))
            .or_else(|| dictionary::<i32>(array))
            .or_else(|| dictionary::<i64>(array))
            .or_else(|| dictionary::<u8>(array))
            .or_else(|| dictionary::<u16>(array))
            .or_else(|| dictionary::<u32>(array))
            .or_else(|| dictionary::<u64>(array))
    }

    fn len(&self) -> usize {
        match self {
            TextArray::Small(text) => text.len(),
            TextArray::Large(text) => text.len(),
            TextArray::Dictionary { keys, .. } => keys.len(),
        }
    }

    fn get(&self, row: usize) -> Option<&str> {
        match self {
            TextArray::Small(text) => text.get(row),
            TextArray::Large(text) => text.get(row),
            TextArray::Dictionary { keys, texts } => texts.get(keys[row]?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn check(addr: IpAddr) {
        let mut written = Vec::new();
        write_addr(addr, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), addr.to_string());
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_they_are_shown(v4 in any::<u32>(), v6 in any::<u128>(), zeros in any::<[bool; 8]>()) {
            check(Ipv4Addr::from_bits(v4).into());
            let mut groups = Ipv6Addr::from_bits(v6).segments();
            check(groups.into());
            groups.iter_mut().zip(zeros).filter(|(_, zero)| *zero).for_each(|(group, _)| *group = 0);
            check(groups.into());
        }
    }
}
