//! Footer of a Parquet file: its metadata and the types of its columns.
//!
//! parquet2 refuses a file if it does not know the logical type of any column, and arrow2 refuses a
//! file if the Arrow schema that its writer has put beside the Parquet schema has a type that
//! arrow2 does not know. Neither says anything of the columns that are read: both are put aside
//! here.

use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow2::datatypes::{DataType, Field};
use arrow2::io::parquet::read as pq;

use super::ipc::{FieldType, read_schema};
use super::tensor::data_alone;
use crate::ErrorKind;
use crate::panics::with_silent_panics;

type Result<T> = std::result::Result<T, ErrorKind>;

/// First and last four octets of a Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Key of the Arrow schema in the metadata of a Parquet file.
const ARROW_SCHEMA: &str = "ARROW:schema";
/// Maximum nesting of the footer's thrift structures; Parquet's have 6.
const MAX_DEPTH: usize = 32;

/// Metadata of a file, the names of all columns, and the wanted columns.
pub(super) struct Footer {
    pub(super) metadata: pq::FileMetaData,
    pub(super) names: Vec<String>,
    pub(super) fields: Vec<Field>,
}

/// Reads the footer of a file of `size` octets.
///
/// # Errors
/// If there is none, or it is damaged.
pub(super) fn read_footer(
    input: &mut (impl Read + Seek),
    size: u64,
    wanted: fn(&str) -> bool,
) -> Result<Footer> {
    let wrong =
        |found: &str| ErrorKind::format("footer", "what the Parquet format has there", found);
    let end = size.checked_sub(8).filter(|end| *end >= 4);
    let end = end.ok_or_else(|| wrong("a file of fewer than 12 octets"))?;
    let mut tail = [0; 8];
    input.seek(SeekFrom::Start(end))?;
    input.read_exact(&mut tail)?;
    let [a, b, c, d, ..] = tail;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if tail[4..] != *MAGIC {
        return Err(wrong("no PAR1 at the end: the file was cut off"));
    }
    let start = end.checked_sub(length).filter(|start| *start >= 4);
    let start = start.ok_or_else(|| wrong("a length of more octets than the file has"))?;
    input.seek(SeekFrom::Start(start))?;
    let mut octets = Vec::new();
    input.take(length).read_to_end(&mut octets)?;
    let octets = without_unknown_types(&octets).unwrap_or(octets);
    let (metadata, names, fields) = catch_panic("footer", || {
        // Nested lists of a few octets are long in memory.
        let limit = octets.len() * 2 + 1024;
        let metadata = parquet2::read::deserialize_metadata(&octets[..], limit)?;
        let roots = metadata.schema().fields();
        let names = roots.iter().map(|root| root.name().to_owned()).collect();
        let wanted: Vec<_> = roots.iter().filter(|root| wanted(root.name())).cloned().collect();
        let fields = pq::schema::parquet_to_arrow_schema(&wanted);
        Ok((metadata, names, fields))
    })?;
    let durations = durations(&metadata);
    let fields = fields.into_iter().map(|field| with_duration(data_alone(field), &durations));
    let fields = fields.collect();
    Ok(Footer { metadata, names, fields })
}

/// Returns the columns that are durations by the Arrow schema of a file. Parquet has no such type,
/// and the numbers do not tell their unit.
fn durations(metadata: &pq::FileMetaData) -> Vec<(String, DataType)> {
    let pairs = metadata.key_value_metadata.iter().flatten();
    let encoded =
        pairs.filter(|pair| pair.key == ARROW_SCHEMA).find_map(|pair| pair.value.as_ref());
    let message = encoded.and_then(|text| from_base64(text)).unwrap_or_default();
    let message = message
        .strip_prefix(&[0xff; 4])
        .map_or(&message[..], |rest| rest.get(4..).unwrap_or_default());
    let fields = read_schema(message).map_or_else(|_| Vec::new(), |(fields, _)| fields);
    let duration = |of: FieldType| match of {
        FieldType::Time(of @ DataType::Duration(_)) => Some(of),
        _ => None,
    };
    fields.into_iter().filter_map(|f| Some((f.name, duration(f.field_type)?))).collect()
}

fn with_duration(mut field: Field, durations: &[(String, DataType)]) -> Field {
    if field.data_type == DataType::Int64
        && let Some((_, duration)) = durations.iter().find(|(name, _)| *name == field.name)
    {
        field.data_type = duration.clone();
    }
    field
}

/// Calls arrow2 and turns a panic into a format error.
pub(super) fn catch_panic<T>(
    place: &str,
    read: impl FnOnce() -> arrow2::error::Result<T>,
) -> Result<T> {
    let found = match with_silent_panics(|| catch_unwind(AssertUnwindSafe(read))) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => without_prefixes(&error.to_string()),
        Err(_) => "octets that mean nothing".to_owned(),
    };
    Err(ErrorKind::format(place, "what the Parquet format has there", found))
}

/// Strips the prefixes that arrow2 and parquet2 give their errors; keeps at most 200 characters.
fn without_prefixes(error: &str) -> String {
    let known = ["External format error: ", "File out of specification: ", "Invalid thrift: "];
    let mut text = error;
    while let Some(rest) = known.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.chars().take(200).collect()
}

/// Decodes base64 (RFC 4648, section 4).
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| {
        Some(u32::from(match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for group in text.chunks(4) {
        let mut bits = 0;
        for (i, c) in group.iter().enumerate() {
            bits |= digit(*c)? << (18 - 6 * i);
        }
        octets.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(octets)
}

/// Removes the logical types that parquet2 does not know from the schema of a footer; `None` if
/// there are none, or the footer is damaged.
///
/// A type that is removed leaves its column with the physical type alone.
fn without_unknown_types(footer: &[u8]) -> Option<Vec<u8>> {
    let mut thrift = Thrift { octets: footer, at: 0 };
    let mut cuts = Vec::new();
    let mut id = 0;
    while let Some(kind) = thrift.field(&mut id)? {
        // `FileMetaData.schema` is field 2, a list of the structure `SchemaElement`.
        if (id, kind) != (2, LIST) {
            thrift.skip(kind, 0)?;
            continue;
        }
        let (count, _) = thrift.list()?;
        for _ in 0..count {
            thrift.schema_element(&mut cuts)?;
        }
    }
    let mut kept = Vec::with_capacity(footer.len());
    let mut at = 0;
    for (start, end) in &cuts {
        kept.extend_from_slice(footer.get(at..*start)?);
        at = *end;
    }
    kept.extend_from_slice(footer.get(at..)?);
    (!cuts.is_empty()).then_some(kept)
}

/// Kinds of values in thrift's compact protocol.
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Cursor over a structure in thrift's compact protocol.
struct Thrift<'a> {
    octets: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn octet(&mut self) -> Option<u8> {
        let octet = *self.octets.get(self.at)?;
        self.at += 1;
        Some(octet)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn advance(&mut self, octets: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(octets).ok()?)?;
        (self.at <= self.octets.len()).then_some(())
    }

    /// Reads the header of a structure's next field, and sets its number; the result is the kind of
    /// its value, `Some(None)` at the end of the structure.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let header = self.octet()?;
        if header == 0 {
            return Some(None);
        }
        *id = match header >> 4 {
            0 => {
                let zigzag = self.varint()?;
                (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
            }
            delta => id.checked_add(i64::from(delta))?,
        };
        Some(Some(header & 15))
    }

    /// Reads the header of a list: the number and the kind of its values.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.octet()?;
        let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
        Some((count, header & 15))
    }

    /// Moves past a value.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            // Booleans of fields are in the header.
            1 | 2 => Some(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            8 => {
                let length = self.varint()?;
                self.advance(length)
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    self.skip_element(kind, depth)?;
                }
                Some(())
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.octet()? } else { 0 };
                for _ in 0..count {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 15, depth)?;
                }
                Some(())
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Moves past an element of a list, a set or a map: at least one octet, so that a count cannot
    /// ask for more steps than there are octets.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        // Unlike a field's, an element's boolean is an octet of its own.
        if matches!(kind, 1 | 2) { self.advance(1) } else { self.skip(kind, depth + 1) }
    }

    /// Moves past a `SchemaElement`, and notes where its logical type is if that is unknown.
    fn schema_element(&mut self, cuts: &mut Vec<(usize, usize)>) -> Option<()> {
        let mut id = 0;
        loop {
            let start = self.at;
            let Some(kind) = self.field(&mut id)? else { return Some(()) };
            // `SchemaElement.logicalType` is field 10, the last one: a union with one field.
            let is_last_type = (id, kind) == (10, STRUCT);
            let mut of_union = 0;
            let mut peek = Thrift { octets: self.octets, at: self.at };
            let is_known =
                peek.field(&mut of_union).is_some() && matches!(of_union, 1..=8 | 10..=14);
            self.skip(kind, 0)?;
            if is_last_type && !is_known && self.octets.get(self.at) == Some(&0) {
                cuts.push((start, self.at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        let check =
            |text, expected: &[u8]| assert_eq!(from_base64(text).as_deref(), Some(expected));
        check("", b"");
        check("Zg==", b"f");
        check("Zm8=", b"fo");
        check("Zm9vYmFy", b"foobar");
        check("/+8=", &[0xff, 0xef]);
        assert_eq!(from_base64("Zm9?"), None);
    }

    #[test]
    fn octets_that_are_no_footer_are_left_as_they_are() {
        for length in 0..64 {
            assert_eq!(without_unknown_types(&vec![0x19; length]), None);
            assert_eq!(without_unknown_types(&vec![0xff; length]), None);
        }
    }

    #[test]
    fn elements_end_with_the_octets() {
        // 2^32 - 1 pairs of booleans, of which two octets are there.
        for kind in [LIST, SET, MAP] {
            let count: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x0f];
            let head: &[u8] = if kind == MAP { &[] } else { &[0xf1] };
            let octets = [head, count, &[0x11, 1, 2]].concat();
            let mut thrift = Thrift { octets: &octets, at: 0 };
            assert_eq!((thrift.skip(kind, 0), thrift.at), (None, octets.len() + 1));
        }
        let mut thrift = Thrift { octets: &[2, 0x11, 1, 2, 1, 1, 9], at: 0 };
        assert_eq!((thrift.skip(MAP, 0), thrift.at), (Some(()), 6));
    }
}
