//! Field nodes and buffers of one record batch into arrays.

use std::io::{self, Read};

use arrow_format::ipc as fb;
use arrow2::array::{Array, ListArray, MutableArray, MutableUtf8Array, PrimitiveArray, Utf8Array};
use arrow2::bitmap::Bitmap;
use arrow2::datatypes::{DataType, Field};
use arrow2::offset::{Offset, OffsetsBuffer};
use arrow2::types::NativeType;

use super::super::arrays::Integers;
use super::error::{Result, flatbuffer_error};
use super::schema::{DictionaryEncoding, FieldType, IntType, IpcField, Layout};
use crate::ErrorKind;

/// Maximum number of texts in a dictionary.
pub(super) const MAX_DICTIONARY: usize = 1 << 24;
/// Maximum size of one record batch in octets, once decompressed.
const MAX_BATCH: usize = 1 << 30;
/// Maximum ratio of that size to the size of the batch in the file, ...
const MAX_RATIO: usize = 1000;
/// ... unless the size in octets is below this: runs of one value compress to almost nothing.
const SMALL_BATCH: usize = 64 << 20;

/// Texts of a dictionary, in the order of their keys.
pub(super) type DictionaryValues = Vec<Option<String>>;

/// Cursor over the field nodes and buffers of one record batch. Both are in the order of a
/// depth-first walk of the schema.
pub(super) struct BatchCursor<'a> {
    /// Length of each field node, and whether it has nulls.
    nodes: std::vec::IntoIter<(usize, bool)>,
    /// Offset and length of each buffer in the body.
    buffers: std::vec::IntoIter<(i64, i64)>,
    /// Number of data buffers of each column of views.
    view_buffers: std::vec::IntoIter<i64>,
    body: &'a [u8],
    compression: Option<fb::CompressionType>,
    /// Maximum size of the decompressed batch, in octets.
    limit: usize,
    /// Octets of `limit` that are left.
    budget: usize,
}

impl<'a> BatchCursor<'a> {
    /// Creates a cursor before the first node and buffer.
    pub(super) fn new(
        batch: fb::RecordBatchRef<'_>,
        view_buffers: Vec<i64>,
        body: &'a [u8],
    ) -> Result<BatchCursor<'a>> {
        let compression = match batch.compression().map_err(flatbuffer_error)? {
            None => None,
            Some(c) => Some(c.codec().map_err(flatbuffer_error)?),
        };
        let length = |n: i64| {
            usize::try_from(n)
                .map_err(|_| ErrorKind::format("node", "a length of 0 or more", n.to_string()))
        };
        let nodes = batch.nodes().map_err(flatbuffer_error)?.into_iter().flatten();
        let nodes = nodes
            .map(|n| Ok((length(n.length())?, n.null_count() != 0)))
            .collect::<Result<Vec<_>>>()?;
        let buffers = batch.buffers().map_err(flatbuffer_error)?.into_iter().flatten();
        let buffers: Vec<_> = buffers.map(|b| (b.offset(), b.length())).collect();
        let limit = body.len().saturating_mul(MAX_RATIO).clamp(SMALL_BATCH, MAX_BATCH);
        Ok(BatchCursor {
            nodes: nodes.into_iter(),
            buffers: buffers.into_iter(),
            view_buffers: view_buffers.into_iter(),
            body,
            compression,
            limit,
            budget: limit,
        })
    }

    /// Moves past a column without decoding it.
    pub(super) fn skip(&mut self, field: &IpcField) -> Result<Option<Box<dyn Array>>> {
        let layout = match field.dictionary {
            // The indices: one node, validity and values.
            Some(_) => Layout { nodes: 1, buffers: 2, views: 0 },
            None => field.field_type.layout(),
        };
        for _ in 0..layout.nodes {
            self.next_node()?;
        }
        let mut buffers = layout.buffers;
        for _ in 0..layout.views {
            buffers = buffers.saturating_add(self.next_view_buffers()?);
        }
        for _ in 0..buffers {
            self.next_buffer()?;
        }
        Ok(None)
    }

    /// Decodes a column; `None` if its type is `null`.
    pub(super) fn array(&mut self, field_type: &FieldType) -> Result<Option<Box<dyn Array>>> {
        match field_type {
            FieldType::Null => self.next_node().map(|_| None),
            FieldType::Int(_) | FieldType::Float { .. } | FieldType::Decimal(_) => {
                self.numbers(field_type).map(Some)
            }
            FieldType::Time(data_type) => {
                Ok(Some(self.primitives::<i64>()?.to(data_type.clone()).boxed()))
            }
            FieldType::Text { is_large: false } => self.utf8::<i32>().map(|a| Some(a.boxed())),
            FieldType::Text { is_large: true } => self.utf8::<i64>().map(|a| Some(a.boxed())),
            FieldType::TextView => self.text_views().map(|a| Some(a.boxed())),
            FieldType::List { is_large: false, child } => self.list::<i32>(child).map(Some),
            FieldType::List { is_large: true, child } => self.list::<i64>(child).map(Some),
            FieldType::ListView { is_large: false, child } => {
                self.list_views::<i32>(child).map(Some)
            }
            FieldType::ListView { is_large: true, child } => {
                self.list_views::<i64>(child).map(Some)
            }
            FieldType::Other { name, .. } => Err(ErrorKind::format(
                "type",
                "integers, text, times or lists of integers or text",
                *name,
            )),
        }
    }

    /// Decodes a column of dictionary-encoded text to plain text.
    pub(super) fn dictionary_text(
        &mut self,
        dictionary: DictionaryEncoding,
        values: Option<&DictionaryValues>,
    ) -> Result<Box<dyn Array>> {
        let keys = self.integers(dictionary.index)?;
        let wrong = |found: String| ErrorKind::format("key", "a number", found);
        let keys = Integers::new(&*keys).ok_or_else(|| wrong("another type".into()))?;
        // A column may precede its dictionary if all its keys are null.
        let values = values.map_or(&[][..], Vec::as_slice);
        let mut array = MutableUtf8Array::<i64>::new();
        for row in 0..keys.len() {
            let text = match keys.get(row).map_err(|(_, found)| wrong(found))? {
                None => None,
                Some(key) => usize::try_from(key)
                    .ok()
                    .and_then(|k| values.get(k))
                    .ok_or_else(|| {
                        let expected = format!("one below {}", values.len());
                        ErrorKind::format("key", expected, key.to_string())
                    })?
                    .as_deref(),
            };
            // A long text and many keys make a bomb: the text counts once for each key.
            self.budget = self
                .budget
                .checked_sub(8 + text.map_or(0, str::len))
                .ok_or_else(|| ErrorKind::format("text", self.batch_limit(), "more"))?;
            array.push(text);
        }
        Ok(array.as_box())
    }

    /// Decodes the texts of a dictionary batch.
    ///
    /// # Errors
    /// If the values are of another type, or the batch is damaged.
    pub(super) fn dictionary_values(&mut self, of: &FieldType) -> Result<DictionaryValues> {
        let rows = self.nodes.as_slice().first().map_or(0, |(rows, _)| *rows);
        if rows > MAX_DICTIONARY {
            let expected = format!("at most {MAX_DICTIONARY} texts");
            return Err(ErrorKind::format("node", expected, rows.to_string()));
        }
        let own = |t: Option<&str>| t.map(str::to_owned);
        Ok(match of {
            FieldType::Text { is_large: false } => self.utf8::<i32>()?.iter().map(own).collect(),
            FieldType::Text { is_large: true } => self.utf8::<i64>()?.iter().map(own).collect(),
            FieldType::TextView => self.text_views()?.iter().map(own).collect(),
            _ => return Err(ErrorKind::format("type", "text", of.name())),
        })
    }

    /// Returns the length of the next field node, and whether it has nulls.
    fn next_node(&mut self) -> Result<(usize, bool)> {
        self.nodes.next().ok_or_else(|| ErrorKind::format("nodes", "one more", "none"))
    }

    /// Returns the number of data buffers of the next column of views.
    fn next_view_buffers(&mut self) -> Result<usize> {
        let count = self.view_buffers.next().ok_or_else(|| {
            ErrorKind::format("variadic buffers", "the number of one column more", "none")
        })?;
        usize::try_from(count)
            .map_err(|_| ErrorKind::format("variadic buffers", "0 or more", count.to_string()))
    }

    /// Returns the octets of the next buffer, still compressed.
    fn next_buffer(&mut self) -> Result<&'a [u8]> {
        let (offset, length) =
            self.buffers.next().ok_or_else(|| ErrorKind::format("buffers", "one more", "none"))?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        range.and_then(|range| self.body.get(range)).ok_or_else(|| {
            let expected = format!("octets within a body of {}", self.body.len());
            ErrorKind::format("buffer", expected, format!("{length} at {offset}"))
        })
    }

    /// Decompresses the first `count` values of `width` octets of the next buffer.
    fn decompressed(&mut self, count: usize, width: usize) -> Result<Vec<u8>> {
        let needed = count.checked_mul(width).filter(|n| *n <= self.budget).ok_or_else(|| {
            let found = format!("{count} values of {width} octets");
            ErrorKind::format("buffer", self.batch_limit(), found)
        })?;
        let raw = self.next_buffer()?;
        let mut octets = Vec::new();
        match (self.compression, raw.split_first_chunk()) {
            (None, _) => octets.extend_from_slice(&raw[..needed.min(raw.len())]),
            (Some(_), _) if needed == 0 => {}
            (Some(_), None) => {}
            // A compressed buffer begins with its uncompressed size in 64 bits; -1 marks octets
            // that are stored as they are (`BodyCompressionMethod.BUFFER` in Message.fbs).
            (Some(codec), Some((prefix, packed))) => match i64::from_le_bytes(*prefix) {
                -1 => octets.extend_from_slice(&packed[..needed.min(packed.len())]),
                _ => decompress(codec, packed, needed, &mut octets).map_err(|_| {
                    let name = if codec == fb::CompressionType::Zstd { "zstd" } else { "LZ4" };
                    buffer_error(&format!("{name} frames"), "octets that are none")
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

    /// Decompresses the next buffer as a whole.
    fn whole_buffer(&mut self) -> Result<Vec<u8>> {
        let raw = match self.buffers.as_slice().first() {
            Some((_, length)) => *length,
            None => 0,
        };
        let length = match self.compression {
            None => raw,
            Some(_) => {
                let before = self.buffers.clone();
                let octets = self.next_buffer()?;
                self.buffers = before;
                match octets.split_first_chunk() {
                    None => 0,
                    Some((prefix, packed)) => match i64::from_le_bytes(*prefix) {
                        -1 => packed.len() as i64,
                        length => length,
                    },
                }
            }
        };
        let length = usize::try_from(length).map_err(|_| {
            ErrorKind::format("buffer", "a length of 0 or more", length.to_string())
        })?;
        self.decompressed(length, 1)
    }

    fn batch_limit(&self) -> String {
        format!("a record batch of at most {} octets", self.limit)
    }

    fn validity(&mut self, rows: usize, has_nulls: bool) -> Result<Option<Bitmap>> {
        if !has_nulls {
            self.next_buffer()?;
            return Ok(None);
        }
        let bits = self.decompressed(rows.div_ceil(8), 1)?;
        Bitmap::try_new(bits, rows).map(Some).map_err(|_| buffer_error("a bit per row", "fewer"))
    }

    /// Decodes a column of numbers of any kind.
    fn numbers(&mut self, of: &FieldType) -> Result<Box<dyn Array>> {
        Ok(match of {
            FieldType::Int(int) => self.integers(*int)?,
            FieldType::Float { is_double: false } => self.primitives::<f32>()?.boxed(),
            FieldType::Float { is_double: true } => self.primitives::<f64>()?.boxed(),
            FieldType::Decimal(data_type) => {
                self.primitives::<i128>()?.to(data_type.clone()).boxed()
            }
            _ => return Err(ErrorKind::format("type", "numbers", of.name())),
        })
    }

    fn integers(&mut self, int: IntType) -> Result<Box<dyn Array>> {
        Ok(match (int.bits, int.is_signed) {
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
        let (rows, has_nulls) = self.next_node()?;
        let validity = self.validity(rows, has_nulls)?;
        let values = self.values::<T>(rows)?;
        PrimitiveArray::try_new(T::PRIMITIVE.into(), values.into(), validity)
            .map_err(|_| buffer_error("a value per row", "another number"))
    }

    fn values<T: NativeType>(&mut self, count: usize) -> Result<Vec<T>> {
        let octets = self.decompressed(count, size_of::<T>())?;
        let values = octets.chunks_exact(size_of::<T>()).filter_map(|c| T::Bytes::try_from(c).ok());
        Ok(values.map(T::from_le_bytes).collect())
    }

    /// Decodes the offsets of `rows` rows, one more than rows. An array without rows may have an
    /// empty buffer instead of one offset.
    fn offsets<O: Offset>(&mut self, rows: usize) -> Result<OffsetsBuffer<O>> {
        let offsets = if rows == 0 {
            self.next_buffer()?;
            vec![O::default()]
        } else {
            let count = rows.checked_add(1);
            self.values::<O>(
                count.ok_or_else(|| ErrorKind::format("node", "a length", rows.to_string()))?,
            )?
        };
        let wrong = |_| {
            let expected = "offsets from 0 on that never fall";
            buffer_error(expected, "one that is below the one before")
        };
        OffsetsBuffer::try_from(offsets).map_err(wrong)
    }

    fn utf8<O: Offset>(&mut self) -> Result<Utf8Array<O>> {
        let (rows, has_nulls) = self.next_node()?;
        let validity = self.validity(rows, has_nulls)?;
        let offsets = self.offsets::<O>(rows)?;
        let text = self.decompressed(offsets.last().to_usize(), 1)?;
        let data_type = if O::IS_LARGE { DataType::LargeUtf8 } else { DataType::Utf8 };
        Utf8Array::try_new(data_type, offsets, text.into(), validity)
            .map_err(|_| buffer_error("UTF-8", "other octets"))
    }

    fn list<O: Offset>(&mut self, child: &FieldType) -> Result<Box<dyn Array>> {
        let (rows, has_nulls) = self.next_node()?;
        let validity = self.validity(rows, has_nulls)?;
        let offsets = self.offsets::<O>(rows)?;
        let values = self.list_values(child)?;
        let (count, last) = (values.len(), offsets.last().to_usize());
        let item = Box::new(Field::new("item", values.data_type().clone(), true));
        let data_type = if O::IS_LARGE { DataType::LargeList(item) } else { DataType::List(item) };
        let wrong = |_| buffer_error(&format!("offsets up to {count}"), &last.to_string());
        ListArray::try_new(data_type, offsets, values, validity).map(|a| a.boxed()).map_err(wrong)
    }
}

/// Decoding of views: an array of each row's place in other buffers, in any order.
impl BatchCursor<'_> {
    /// Decodes a column of text views (`Utf8View`) to plain text.
    fn text_views(&mut self) -> Result<Utf8Array<i64>> {
        let (rows, has_nulls) = self.next_node()?;
        let validity = self.validity(rows, has_nulls)?;
        let views = self.values::<i128>(rows)?;
        let count = self.next_view_buffers()?;
        if count > self.buffers.len() {
            return Err(ErrorKind::format("buffers", format!("{count} more"), "fewer"));
        }
        let data = (0..count).map(|_| self.whole_buffer()).collect::<Result<Vec<_>>>()?;
        let mut array = MutableUtf8Array::<i64>::new();
        for (row, view) in views.iter().enumerate() {
            if validity.as_ref().is_some_and(|bits| !bits.get_bit(row)) {
                array.push::<&str>(None);
                continue;
            }
            let view = view.to_le_bytes();
            let octets = octets_of_view(&view, &data)
                .ok_or_else(|| buffer_error("views of octets within the data", "one beyond"))?;
            let text =
                std::str::from_utf8(octets).map_err(|_| buffer_error("UTF-8", "other octets"))?;
            // Any number of views may show one long text.
            self.charge(8 + text.len())?;
            array.push(Some(text));
        }
        Ok(array.into())
    }

    /// Decodes a column of list views (`ListView`) to plain lists.
    fn list_views<O: Offset>(&mut self, child: &FieldType) -> Result<Box<dyn Array>> {
        let (rows, has_nulls) = self.next_node()?;
        let validity = self.validity(rows, has_nulls)?;
        let (offsets, sizes) = (self.values::<O>(rows)?, self.values::<O>(rows)?);
        let values = self.list_values(child)?;
        let integers = Integers::new(&*values)
            .ok_or_else(|| ErrorKind::format("type", "a list of integers", child.name()))?;
        let (mut all, mut ends) = (Vec::new(), vec![0_i64]);
        for (row, (offset, size)) in offsets.iter().zip(&sizes).enumerate() {
            let is_null = validity.as_ref().is_some_and(|bits| !bits.get_bit(row));
            let size = if is_null { 0 } else { size.to_usize() };
            let end = offset.to_usize().checked_add(size).filter(|end| *end <= integers.len());
            let end = end.ok_or_else(|| {
                let expected = format!("a view of {} values", integers.len());
                buffer_error(&expected, &format!("{size} at {}", offset.to_usize()))
            })?;
            self.charge(size.saturating_mul(8))?;
            for index in end - size..end {
                let value = integers.get(index);
                all.push(value.map_err(|(expected, found)| buffer_error(expected, &found))?);
            }
            ends.push(all.len() as i64);
        }
        let values = PrimitiveArray::<i64>::from(all).boxed();
        let item = Box::new(Field::new("item", DataType::Int64, true));
        let offsets = OffsetsBuffer::try_from(ends)
            .map_err(|_| buffer_error("offsets that never fall", "others"))?;
        ListArray::try_new(DataType::LargeList(item), offsets, values, validity)
            .map(|array| array.boxed())
            .map_err(|_| buffer_error("lists of the values", "others"))
    }

    /// Decodes the values of a column of lists.
    fn list_values(&mut self, child: &FieldType) -> Result<Box<dyn Array>> {
        match child {
            FieldType::Int(_) | FieldType::Float { .. } | FieldType::Decimal(_) => {
                self.numbers(child)
            }
            FieldType::Text { is_large: false } => self.utf8::<i32>().map(Utf8Array::boxed),
            FieldType::Text { is_large: true } => self.utf8::<i64>().map(Utf8Array::boxed),
            FieldType::TextView => self.text_views().map(Utf8Array::boxed),
            _ => {
                let found = format!("a list of {}", child.name());
                Err(ErrorKind::format("type", "a list of integers or text", found))
            }
        }
    }

    /// Subtracts octets that no buffer of the batch has from the limit on its size.
    fn charge(&mut self, octets: usize) -> Result<()> {
        self.budget = self
            .budget
            .checked_sub(octets)
            .ok_or_else(|| ErrorKind::format("views", self.batch_limit(), "more"))?;
        Ok(())
    }
}

/// Returns the octets that a view shows: its length in four octets, then twelve that hold a short
/// text, or else its first four, the number of its buffer, and its offset there.
fn octets_of_view<'d>(view: &'d [u8; 16], data: &'d [Vec<u8>]) -> Option<&'d [u8]> {
    let number = |at: usize| -> Option<usize> {
        let octets = view.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(i32::from_le_bytes(octets)).ok()
    };
    let length = number(0)?;
    if length <= 12 {
        return view.get(4..4 + length);
    }
    let start = number(12)?;
    data.get(number(8)?)?.get(start..start.checked_add(length)?)
}

/// Decompresses at most `needed` octets of a buffer.
fn decompress(
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

fn buffer_error(expected: &str, found: &str) -> ErrorKind {
    ErrorKind::format("buffer", expected, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_shows_octets_of_its_own_or_of_a_buffer() {
        let data = [b"0123456789abcdefghij".to_vec(), b"the second buffer".to_vec()];
        let check = |words: [i32; 4], expected: Option<&[u8]>| {
            let view: Vec<u8> = words.into_iter().flat_map(i32::to_le_bytes).collect();
            assert_eq!(octets_of_view(&view.try_into().unwrap(), &data), expected, "{words:?}");
        };
        let word = |text: &[u8; 4]| i32::from_le_bytes(*text);
        let short = [word(b"abcd"), word(b"efgh"), word(b"ijkl")];
        check([12, short[0], short[1], short[2]], Some(b"abcdefghijkl"));
        check([3, short[0], 0, 0], Some(b"abc"));
        check([0; 4], Some(b""));
        check([13, 0, 1, 4], Some(b"second buffer"));
        check([20, 0, 0, 0], Some(&data[0]));
        for beyond in [[20, 0, 0, 1], [20, 0, 2, 0], [20, 0, -1, 0], [-1, 0, 0, 0], [20, 0, 0, -1]]
        {
            check(beyond, None);
        }
    }
}
