//! Arrow IPC streams and files into arrays, one record batch at a time.
//!
//! arrow2 has a reader too, but one that panics on empty compressed buffers (which pyarrow writes)
//! and that takes counts and lengths of a hostile file at their word. Here every length is checked
//! against the octets that are there, and memory grows only as octets arrive. The layout is that of
//! the Arrow columnar format, version 1.3, "Serialization and interprocess communication".

use std::collections::HashMap;
use std::io::{self, Read};

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;
use arrow2::array::{Array, ListArray, PrimitiveArray, Utf8Array};
use arrow2::bitmap::Bitmap;
use arrow2::datatypes::{DataType, Field as ArrowField, TimeUnit};
use arrow2::offset::{Offset, OffsetsBuffer};
use arrow2::types::NativeType;

use crate::ErrorKind;
use crate::batch::{Columns, Integers};

/// Keys and values.
type Pairs = Vec<(String, String)>;
type Result<T> = std::result::Result<T, ErrorKind>;

/// What an Arrow file begins and ends with; a stream follows the first one and two octets of
/// padding.
pub(crate) const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Nesting and number of fields that a schema may have; ours have 1 and 25.
const MAX_DEPTH: usize = 16;
const MAX_FIELDS: usize = 10_000;
/// A message's metadata holds a schema or the lengths of its buffers: far less than this.
const MAX_METADATA: usize = 64 << 20;
/// A dictionary may hold so many texts.
const MAX_TEXTS: usize = 1 << 24;
/// One record batch may take so many octets once decompressed.
const MAX_BATCH: usize = 1 << 30;
/// And no more than so many times what it takes in the file, ...
const MAX_RATIO: usize = 1000;
/// ... unless that is less than this: runs of one value shrink to next to nothing.
const SMALL_BATCH: usize = 64 << 20;

/// One column of the schema.
struct Field {
    name: String,
    kind: Kind,
    dictionary: Option<Dictionary>,
}

#[derive(Clone, Copy)]
struct Dictionary {
    id: i64,
    index: Int,
}

#[derive(Clone, Copy)]
struct Int {
    bits: i32,
    signed: bool,
}

enum Kind {
    Null,
    Int(Int),
    Time(DataType),
    Text {
        large: bool,
    },
    List {
        large: bool,
        child: Box<Kind>,
    },
    /// A type that no column of ours has: only how much of a batch it takes.
    Other {
        name: &'static str,
        nodes: usize,
        buffers: usize,
    },
}

/// Reads the record batches of a stream, or of a file from front to back.
pub(crate) struct IpcReader<R> {
    input: R,
    /// Octets read so far.
    offset: u64,
    fields: Vec<Field>,
    /// The schema's metadata.
    pub(crate) metadata: Pairs,
    dictionaries: HashMap<i64, Texts>,
    wanted: fn(&str) -> bool,
    batch: usize,
    done: bool,
}

struct Message {
    metadata: Vec<u8>,
    body: Vec<u8>,
}

impl<R: Read> IpcReader<R> {
    /// Reads the schema. Columns whose name `wanted` refuses are skipped over.
    pub(crate) fn new(input: R, wanted: fn(&str) -> bool) -> Result<IpcReader<R>> {
        let mut reader = IpcReader {
            input,
            offset: 0,
            fields: Vec::new(),
            metadata: Vec::new(),
            dictionaries: HashMap::new(),
            wanted,
            batch: 0,
            done: false,
        };
        let message = reader
            .message()?
            .ok_or_else(|| ErrorKind::format("octet 0", "a schema", "the end of the stream"))?;
        (reader.fields, reader.metadata) =
            schema(&message.metadata).map_err(|e| e.within("schema"))?;
        Ok(reader)
    }

    /// Names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }

    /// The wanted columns of the next record batch; `None` at the end of the stream.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Columns>> {
        while !self.done {
            let start = self.offset;
            let Some(message) = self.message()? else {
                self.done = true;
                break;
            };
            let place = format!("message at octet {start}");
            if let Some(batch) = self.take(&message).map_err(|e| e.within(&place))? {
                self.batch += 1;
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn take(&mut self, message: &Message) -> Result<Option<Columns>> {
        let header = fb::MessageRef::read_as_root(&message.metadata)
            .and_then(|m| m.header())
            .map_err(flat)?;
        match header {
            Some(fb::MessageHeaderRef::RecordBatch(batch)) => {
                self.columns(batch, &message.body).map(Some)
            }
            Some(fb::MessageHeaderRef::DictionaryBatch(batch)) => {
                self.dictionary(batch, &message.body).map(|()| None)
            }
            _ => Err(ErrorKind::format("header", "a record batch or a dictionary", "another one")),
        }
    }

    fn columns(&self, batch: fb::RecordBatchRef<'_>, body: &[u8]) -> Result<Columns> {
        let mut cursor = Cursor::new(batch, body)?;
        let mut columns = Vec::new();
        for field in &self.fields {
            let place = format!("column {}", field.name);
            let column = match &field.dictionary {
                _ if !(self.wanted)(&field.name) => cursor.skip(field),
                None => cursor.array(&field.kind),
                Some(dictionary) => {
                    cursor.by_dictionary(*dictionary, self.dictionaries.get(&dictionary.id))
                }
            };
            columns.extend(
                column.map_err(|e| e.within(&place))?.map(|array| (field.name.clone(), array)),
            );
        }
        Ok(columns)
    }

    fn dictionary(&mut self, batch: fb::DictionaryBatchRef<'_>, body: &[u8]) -> Result<()> {
        let id = batch.id().map_err(flat)?;
        let same = |f: &&Field| f.dictionary.is_some_and(|d| d.id == id) && (self.wanted)(&f.name);
        let Some(field) = self.fields.iter().find(same) else { return Ok(()) };
        let data = batch
            .data()
            .map_err(flat)?
            .ok_or_else(|| ErrorKind::format("dictionary", "data", "none"))?;
        let place = format!("dictionary of column {}", field.name);
        let Kind::Text { large } = field.kind else {
            return Err(ErrorKind::format(place, "text", field.kind.name()));
        };
        let more = Cursor::new(data, body)?.texts(large).map_err(|e| e.within(&place))?;
        let texts = self.dictionaries.entry(id).or_default();
        if !batch.is_delta().map_err(flat)? {
            texts.clear();
        }
        texts.extend(more);
        if texts.len() > MAX_TEXTS {
            return Err(ErrorKind::format(
                place,
                format!("at most {MAX_TEXTS} texts"),
                texts.len().to_string(),
            ));
        }
        Ok(())
    }

    /// The next message; `None` at the end-of-stream marker. An input that ends without one was cut
    /// off.
    fn message(&mut self) -> Result<Option<Message>> {
        let mut word = [0; 4];
        self.exact(&mut word, "the next message or an end-of-stream marker")?;
        if word != CONTINUATION {
            let place = format!("octet {}", self.offset - 4);
            return Err(ErrorKind::format(place, "ff ff ff ff", format!("{word:02x?}")));
        }
        self.exact(&mut word, "the length of a message")?;
        let length = i32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        let place = format!("octet {}", self.offset - 4);
        let length =
            usize::try_from(length).ok().filter(|l| *l <= MAX_METADATA).ok_or_else(|| {
                ErrorKind::format(
                    &place,
                    format!("a length of at most {MAX_METADATA}"),
                    length.to_string(),
                )
            })?;
        let metadata = self.octets(length as u64, "the metadata of a message")?;
        let body_length =
            fb::MessageRef::read_as_root(&metadata).and_then(|m| m.body_length()).map_err(flat)?;
        let body_length = u64::try_from(body_length).map_err(|_| {
            ErrorKind::format(place, "a body of 0 octets or more", body_length.to_string())
        })?;
        let body = self.octets(body_length, "the body of a message")?;
        Ok(Some(Message { metadata, body }))
    }

    fn exact(&mut self, octets: &mut [u8], what: &str) -> Result<()> {
        match self.input.read_exact(octets) {
            Ok(()) => {
                self.offset += octets.len() as u64;
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.cut_off(what)),
            Err(e) => Err(e.into()),
        }
    }

    /// So many octets; memory grows only as they come.
    fn octets(&mut self, count: u64, what: &str) -> Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(count.min(1 << 20) as usize);
        let read = self.input.by_ref().take(count).read_to_end(&mut octets)? as u64;
        self.offset += read;
        if read < count { Err(self.cut_off(what)) } else { Ok(octets) }
    }

    fn cut_off(&self, what: &str) -> ErrorKind {
        ErrorKind::format(
            format!("octet {}", self.offset),
            what,
            "the end of the input: it was cut off",
        )
    }
}

/// The error names types of the library's own, which say nothing to whoever has the file.
fn flat(_: fb::planus::Error) -> ErrorKind {
    ErrorKind::format(
        "metadata",
        "offsets, lengths and kinds that fit together",
        "one that does not",
    )
}

/// A type that came to the format later than all that a dataset has, by its number in the format's
/// `Schema.fbs`.
fn newer(error: fb::planus::Error) -> ErrorKind {
    let name = match error.error_kind {
        fb::planus::errors::ErrorKind::UnknownUnionTag { tag: 22 } => "run-end encoding",
        fb::planus::errors::ErrorKind::UnknownUnionTag { tag: 23 } => {
            "views of octets (BinaryView)"
        }
        fb::planus::errors::ErrorKind::UnknownUnionTag { tag: 24 } => "views of text (Utf8View)",
        fb::planus::errors::ErrorKind::UnknownUnionTag { tag: 25 | 26 } => {
            "views of lists (ListView)"
        }
        fb::planus::errors::ErrorKind::UnknownUnionTag { tag } => {
            return ErrorKind::format(
                "type",
                "one of the Arrow format 1.0",
                format!("number {tag}"),
            );
        }
        _ => return flat(error),
    };
    ErrorKind::format("type", "plain text or lists, as writers give for compatibility", name)
}

fn schema(message: &[u8]) -> Result<(Vec<Field>, Pairs)> {
    let header = fb::MessageRef::read_as_root(message).and_then(|m| m.header()).map_err(flat)?;
    let Some(fb::MessageHeaderRef::Schema(schema)) = header else {
        return Err(ErrorKind::format("first message", "a schema", "another one"));
    };
    if schema.endianness().map_err(flat)? != fb::Endianness::Little {
        return Err(ErrorKind::format("endianness", "little", "big"));
    }
    let mut metadata = Vec::new();
    for pair in schema.custom_metadata().map_err(flat)?.into_iter().flatten() {
        let pair = pair.map_err(flat)?;
        if let (Some(key), Some(value)) = (pair.key().map_err(flat)?, pair.value().map_err(flat)?) {
            metadata.push((key.to_owned(), value.to_owned()));
        }
    }
    let mut seen = 0;
    let fields = schema.fields().map_err(flat)?.into_iter().flatten();
    let fields =
        fields.map(|field| Field::new(field.map_err(flat)?, &mut seen)).collect::<Result<_>>()?;
    Ok((fields, metadata))
}

impl Field {
    fn new(field: fb::FieldRef<'_>, seen: &mut usize) -> Result<Field> {
        let name = field.name().map_err(flat)?.unwrap_or_default().to_owned();
        let dictionary = match field.dictionary().map_err(flat)? {
            None => None,
            Some(encoding) => {
                // Without an index type it is int32, says the format.
                let index = encoding.index_type().map_err(flat)?.map(int).transpose()?;
                let index = index.unwrap_or(Int { bits: 32, signed: true });
                Some(Dictionary { id: encoding.id().map_err(flat)?, index })
            }
        };
        let kind = Kind::new(field, 0, seen).map_err(|e| e.within(&format!("column {name}")))?;
        Ok(Field { name, kind, dictionary })
    }
}

fn int(int: fb::IntRef<'_>) -> Result<Int> {
    let (bits, signed) = (int.bit_width().map_err(flat)?, int.is_signed().map_err(flat)?);
    match bits {
        8 | 16 | 32 | 64 => Ok(Int { bits, signed }),
        _ => Err(ErrorKind::format("integer", "8, 16, 32 or 64 bits", bits.to_string())),
    }
}

fn unit(unit: fb::TimeUnit) -> TimeUnit {
    match unit {
        fb::TimeUnit::Second => TimeUnit::Second,
        fb::TimeUnit::Millisecond => TimeUnit::Millisecond,
        fb::TimeUnit::Microsecond => TimeUnit::Microsecond,
        fb::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

impl Kind {
    fn new(field: fb::FieldRef<'_>, depth: usize, seen: &mut usize) -> Result<Kind> {
        *seen += 1;
        if depth > MAX_DEPTH || *seen > MAX_FIELDS {
            let expected = format!("at most {MAX_FIELDS} fields, nested {MAX_DEPTH} deep");
            return Err(ErrorKind::format("type", expected, "more"));
        }
        let mut children = Vec::new();
        for child in field.children().map_err(flat)?.into_iter().flatten() {
            let child = child.map_err(flat)?;
            // A child by dictionary takes the room of its indices, whatever its type is.
            let kind = Kind::new(child, depth + 1, seen)?;
            let is_dictionary = child.dictionary().map_err(flat)?.is_some();
            children.push(if is_dictionary { Kind::other("a dictionary", 2, &[]) } else { kind });
        }
        let kind = field
            .type_()
            .map_err(newer)?
            .ok_or_else(|| ErrorKind::format("type", "one", "none"))?;
        use fb::TypeRef as T;
        Ok(match kind {
            T::Null(_) => Kind::Null,
            T::Int(i) => Kind::Int(int(i)?),
            T::Timestamp(t) => Kind::Time(DataType::Timestamp(unit(t.unit().map_err(flat)?), None)),
            T::Duration(d) => Kind::Time(DataType::Duration(unit(d.unit().map_err(flat)?))),
            T::Utf8(_) => Kind::Text { large: false },
            T::LargeUtf8(_) => Kind::Text { large: true },
            T::List(_) | T::LargeList(_) => match (children.pop(), children.is_empty()) {
                (Some(child), true) => {
                    Kind::List { large: matches!(kind, T::LargeList(_)), child: Box::new(child) }
                }
                _ => return Err(ErrorKind::format("list", "one child", "another number")),
            },
            T::Binary(_) => Kind::other("binary", 3, &children),
            T::LargeBinary(_) => Kind::other("large binary", 3, &children),
            T::FixedSizeList(_) => Kind::other("fixed-size list", 1, &children),
            T::Struct(_) => Kind::other("struct", 1, &children),
            T::Map(_) => Kind::other("map", 2, &children),
            T::Union(u) => {
                let dense = u.mode().map_err(flat)? == fb::UnionMode::Dense;
                Kind::other("union", 1 + usize::from(dense), &children)
            }
            T::Bool(_) => Kind::other("bool", 2, &children),
            T::FloatingPoint(_) => Kind::other("floating point", 2, &children),
            _ => Kind::other("date, time, decimal or binary", 2, &children),
        })
    }

    fn other(name: &'static str, buffers: usize, children: &[Kind]) -> Kind {
        let (nodes, more) =
            children.iter().fold((1, buffers), |(n, b), c| (n + c.size().0, b + c.size().1));
        Kind::Other { name, nodes, buffers: more }
    }

    /// Nodes and buffers that a column of this type takes in a record batch.
    fn size(&self) -> (usize, usize) {
        match self {
            Kind::Null => (1, 0),
            Kind::Int(_) | Kind::Time(_) => (1, 2),
            Kind::Text { .. } => (1, 3),
            Kind::List { child, .. } => (1 + child.size().0, 2 + child.size().1),
            Kind::Other { nodes, buffers, .. } => (*nodes, *buffers),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Int(_) => "integers",
            Kind::Time(_) => "times",
            Kind::Text { .. } => "text",
            Kind::List { .. } => "lists",
            Kind::Other { name, .. } => name,
        }
    }
}

/// The words of a dictionary.
type Texts = Vec<Option<String>>;

/// Walks the nodes and buffers of one record batch.
struct Cursor<'a> {
    nodes: std::vec::IntoIter<(usize, bool)>,
    buffers: std::vec::IntoIter<(i64, i64)>,
    body: &'a [u8],
    compression: Option<fb::CompressionType>,
    /// Octets that the batch may take once decompressed, and how many of them are left.
    limit: usize,
    budget: usize,
}

impl<'a> Cursor<'a> {
    fn new(batch: fb::RecordBatchRef<'_>, body: &'a [u8]) -> Result<Cursor<'a>> {
        let compression = match batch.compression().map_err(flat)? {
            None => None,
            Some(c) => Some(c.codec().map_err(flat)?),
        };
        let count = |n: i64| {
            usize::try_from(n)
                .map_err(|_| ErrorKind::format("node", "a length of 0 or more", n.to_string()))
        };
        let nodes = batch.nodes().map_err(flat)?.into_iter().flatten();
        let nodes = nodes
            .map(|n| Ok((count(n.length())?, n.null_count() != 0)))
            .collect::<Result<Vec<_>>>()?;
        let buffers = batch.buffers().map_err(flat)?.into_iter().flatten();
        let buffers: Vec<_> = buffers.map(|b| (b.offset(), b.length())).collect();
        let limit = body.len().saturating_mul(MAX_RATIO).clamp(SMALL_BATCH, MAX_BATCH);
        Ok(Cursor {
            nodes: nodes.into_iter(),
            buffers: buffers.into_iter(),
            body,
            compression,
            limit,
            budget: limit,
        })
    }

    fn skip(&mut self, field: &Field) -> Result<Option<Box<dyn Array>>> {
        let (nodes, buffers) = if field.dictionary.is_some() { (1, 2) } else { field.kind.size() };
        for _ in 0..nodes {
            self.node()?;
        }
        for _ in 0..buffers {
            self.raw()?;
        }
        Ok(None)
    }

    /// Length, and whether there are nulls.
    fn node(&mut self) -> Result<(usize, bool)> {
        self.nodes.next().ok_or_else(|| ErrorKind::format("nodes", "one more", "none"))
    }

    /// The octets of the next buffer as they stand in the body.
    fn raw(&mut self) -> Result<&'a [u8]> {
        let (offset, length) =
            self.buffers.next().ok_or_else(|| ErrorKind::format("buffers", "one more", "none"))?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        range.and_then(|range| self.body.get(range)).ok_or_else(|| {
            let expected = format!("octets within a body of {}", self.body.len());
            ErrorKind::format("buffer", expected, format!("{length} at {offset}"))
        })
    }

    /// The first `needed` octets of the next buffer, decompressed.
    fn buffer(&mut self, count: usize, width: usize) -> Result<Vec<u8>> {
        let needed = count.checked_mul(width).filter(|n| *n <= self.budget).ok_or_else(|| {
            let expected = format!("a record batch of at most {} octets", self.limit);
            ErrorKind::format("buffer", expected, format!("{count} values of {width} octets"))
        })?;
        let raw = self.raw()?;
        let mut octets = Vec::new();
        match (self.compression, raw.split_first_chunk()) {
            (None, _) => octets.extend_from_slice(&raw[..needed.min(raw.len())]),
            (Some(_), _) if needed == 0 => {}
            (Some(_), None) => {}
            (Some(codec), Some((prefix, packed))) => match i64::from_le_bytes(*prefix) {
                // Stored as it is, since compression did not pay.
                -1 => octets.extend_from_slice(&packed[..needed.min(packed.len())]),
                _ => unpack(codec, packed, needed, &mut octets).map_err(|_| {
                    let name = if codec == fb::CompressionType::Zstd { "zstd" } else { "LZ4" };
                    invalid(&format!("{name} frames"), "octets that are none")
                })?,
            },
        }
        if octets.len() < needed {
            let expected = format!("{count} values of {width} octets");
            return Err(ErrorKind::format("buffer", expected, format!("{} octets", octets.len())));
        }
        self.budget -= needed;
        Ok(octets)
    }

    fn validity(&mut self, rows: usize, has_nulls: bool) -> Result<Option<Bitmap>> {
        if !has_nulls {
            self.raw()?;
            return Ok(None);
        }
        let bits = self.buffer(rows.div_ceil(8), 1)?;
        Bitmap::try_new(bits, rows).map(Some).map_err(|_| invalid("a bit per row", "fewer"))
    }

    fn array(&mut self, kind: &Kind) -> Result<Option<Box<dyn Array>>> {
        match kind {
            Kind::Null => self.node().map(|_| None),
            Kind::Int(int) => self.integers(*int).map(Some),
            Kind::Time(data_type) => {
                Ok(Some(self.primitives::<i64>()?.to(data_type.clone()).boxed()))
            }
            Kind::Text { large: false } => self.text::<i32>().map(Some),
            Kind::Text { large: true } => self.text::<i64>().map(Some),
            Kind::List { large: false, child } => self.list::<i32>(child).map(Some),
            Kind::List { large: true, child } => self.list::<i64>(child).map(Some),
            Kind::Other { name, .. } => {
                Err(ErrorKind::format("type", "integers, text, times or lists of integers", *name))
            }
        }
    }

    fn integers(&mut self, int: Int) -> Result<Box<dyn Array>> {
        Ok(match (int.bits, int.signed) {
            (8, true) => self.primitives::<i8>()?.boxed(),
            (8, false) => self.primitives::<u8>()?.boxed(),
            (16, true) => self.primitives::<i16>()?.boxed(),
            (16, false) => self.primitives::<u16>()?.boxed(),
            (32, true) => self.primitives::<i32>()?.boxed(),
            (32, false) => self.primitives::<u32>()?.boxed(),
            (_, true) => self.primitives::<i64>()?.boxed(),
            (_, false) => self.primitives::<u64>()?.boxed(),
        })
    }

    fn primitives<T: NativeType>(&mut self) -> Result<PrimitiveArray<T>> {
        let (rows, has_nulls) = self.node()?;
        let validity = self.validity(rows, has_nulls)?;
        let values = self.values::<T>(rows)?;
        PrimitiveArray::try_new(T::PRIMITIVE.into(), values.into(), validity)
            .map_err(|_| invalid("a value per row", "another number"))
    }

    fn values<T: NativeType>(&mut self, count: usize) -> Result<Vec<T>> {
        let octets = self.buffer(count, size_of::<T>())?;
        let values = octets.chunks_exact(size_of::<T>()).filter_map(|c| T::Bytes::try_from(c).ok());
        Ok(values.map(T::from_le_bytes).collect())
    }

    /// Offsets of so many rows; none at all stand for no rows.
    fn offsets<O: Offset>(&mut self, rows: usize) -> Result<OffsetsBuffer<O>> {
        let offsets = if rows == 0 {
            self.raw()?;
            vec![O::default()]
        } else {
            let count = rows.checked_add(1);
            self.values::<O>(
                count.ok_or_else(|| ErrorKind::format("node", "a length", rows.to_string()))?,
            )?
        };
        let wrong =
            |_| invalid("offsets from 0 on that never fall", "one that is below the one before");
        OffsetsBuffer::try_from(offsets).map_err(wrong)
    }

    fn utf8<O: Offset>(&mut self) -> Result<Utf8Array<O>> {
        let (rows, has_nulls) = self.node()?;
        let validity = self.validity(rows, has_nulls)?;
        let offsets = self.offsets::<O>(rows)?;
        let text = self.buffer(offsets.last().to_usize(), 1)?;
        let data_type = if O::IS_LARGE { DataType::LargeUtf8 } else { DataType::Utf8 };
        Utf8Array::try_new(data_type, offsets, text.into(), validity)
            .map_err(|_| invalid("UTF-8", "other octets"))
    }

    fn text<O: Offset>(&mut self) -> Result<Box<dyn Array>> {
        self.utf8::<O>().map(|a| a.boxed())
    }

    fn texts(&mut self, large: bool) -> Result<Texts> {
        let rows = self.nodes.as_slice().first().map_or(0, |(rows, _)| *rows);
        if rows > MAX_TEXTS {
            return Err(ErrorKind::format(
                "node",
                format!("at most {MAX_TEXTS} texts"),
                rows.to_string(),
            ));
        }
        let own = |t: Option<&str>| t.map(str::to_owned);
        Ok(if large {
            self.utf8::<i64>()?.iter().map(own).collect()
        } else {
            self.utf8::<i32>()?.iter().map(own).collect()
        })
    }

    /// Text by dictionary, spelled out.
    fn by_dictionary(
        &mut self,
        dictionary: Dictionary,
        texts: Option<&Texts>,
    ) -> Result<Option<Box<dyn Array>>> {
        let keys = self.integers(dictionary.index)?;
        let wrong = |found: String| ErrorKind::format("key", "a number", found);
        let keys = Integers::new(&*keys).ok_or_else(|| wrong("another type".into()))?;
        let nothing = Texts::new();
        let texts = texts.unwrap_or(&nothing);
        let mut spelled = arrow2::array::MutableUtf8Array::<i64>::new();
        for row in 0..keys.len() {
            let text = match keys.get(row).map_err(|(_, found)| wrong(found))? {
                None => None,
                Some(key) => usize::try_from(key)
                    .ok()
                    .and_then(|k| texts.get(k))
                    .ok_or_else(|| {
                        ErrorKind::format(
                            "key",
                            format!("one below {}", texts.len()),
                            key.to_string(),
                        )
                    })?
                    .as_deref(),
            };
            self.budget =
                self.budget.checked_sub(8 + text.map_or(0, str::len)).ok_or_else(|| {
                    ErrorKind::format(
                        "text",
                        format!("a record batch of at most {} octets", self.limit),
                        "more",
                    )
                })?;
            spelled.push(text);
        }
        Ok(Some(arrow2::array::MutableArray::as_box(&mut spelled)))
    }

    fn list<O: Offset>(&mut self, child: &Kind) -> Result<Box<dyn Array>> {
        let (rows, has_nulls) = self.node()?;
        let validity = self.validity(rows, has_nulls)?;
        let offsets = self.offsets::<O>(rows)?;
        let Kind::Int(int) = child else {
            return Err(ErrorKind::format(
                "type",
                "a list of integers",
                format!("a list of {}", child.name()),
            ));
        };
        let values = self.integers(*int)?;
        let (count, last) = (values.len(), offsets.last().to_usize());
        let item = Box::new(ArrowField::new("item", values.data_type().clone(), true));
        let data_type = if O::IS_LARGE { DataType::LargeList(item) } else { DataType::List(item) };
        let wrong = |_| invalid(&format!("offsets up to {count}"), &last.to_string());
        ListArray::try_new(data_type, offsets, values, validity).map(|a| a.boxed()).map_err(wrong)
    }
}

/// At most `needed` octets of a compressed buffer.
fn unpack(
    codec: fb::CompressionType,
    packed: &[u8],
    needed: usize,
    to: &mut Vec<u8>,
) -> io::Result<()> {
    let limit = needed as u64;
    match codec {
        fb::CompressionType::Lz4Frame => lz4::Decoder::new(packed)?.take(limit).read_to_end(to)?,
        fb::CompressionType::Zstd => {
            zstd::Decoder::with_buffer(packed)?.take(limit).read_to_end(to)?
        }
    };
    Ok(())
}

fn invalid(expected: &str, found: &str) -> ErrorKind {
    ErrorKind::format("buffer", expected, found)
}
