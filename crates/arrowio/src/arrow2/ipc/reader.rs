//! Messages of an Arrow IPC stream into the columns of record batches.

use std::collections::HashMap;
use std::io::{self, Read};

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;

use super::super::extract::Columns;
use super::cursor::{BatchCursor, DictionaryValues, MAX_DICTIONARY};
use super::error::{Result, flatbuffer_error};
use super::schema::{FieldType, IpcField, KeyValues, read_schema};
use crate::ErrorKind;

/// First and last six octets of an Arrow IPC file. A stream follows the first six and two octets of
/// padding.
pub(crate) const FILE_MAGIC: &[u8; 6] = b"ARROW1";
/// First four octets of every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Maximum size of a message's metadata in octets. It holds a schema or the lengths of buffers,
/// which take far less.
const MAX_METADATA: usize = 64 << 20;

/// Reader of the record batches of a stream, or of a file from front to back.
pub(crate) struct IpcReader<R> {
    input: R,
    /// Number of octets read so far.
    offset: u64,
    fields: Vec<IpcField>,
    /// Key-value metadata of the schema.
    pub(crate) metadata: KeyValues,
    dictionaries: HashMap<i64, DictionaryValues>,
    wanted: fn(&str) -> bool,
    is_at_end: bool,
}

/// One message: flatbuffer metadata, then a body of buffers.
struct Message {
    metadata: Vec<u8>,
    body: Vec<u8>,
}

impl<R: Read> IpcReader<R> {
    /// Reads the schema. Columns are decoded only if `wanted` accepts their names.
    pub(crate) fn new(input: R, wanted: fn(&str) -> bool) -> Result<IpcReader<R>> {
        let mut reader = IpcReader {
            input,
            offset: 0,
            fields: Vec::new(),
            metadata: Vec::new(),
            dictionaries: HashMap::new(),
            wanted,
            is_at_end: false,
        };
        let message = reader
            .next_message()?
            .ok_or_else(|| ErrorKind::format("octet 0", "a schema", "the end of the stream"))?;
        (reader.fields, reader.metadata) =
            read_schema(&message.metadata).map_err(|e| e.within("schema"))?;
        Ok(reader)
    }

    /// Returns the names of all columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }

    /// Reads the wanted columns of the next record batch; `None` at the end of the stream.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Columns>> {
        while !self.is_at_end {
            let start = self.offset;
            let Some(message) = self.next_message()? else {
                self.is_at_end = true;
                break;
            };
            let place = format!("message at octet {start}");
            if let Some(batch) = self.decode_message(&message).map_err(|e| e.within(&place))? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Decodes a record batch, or stores a dictionary and returns `None`.
    fn decode_message(&mut self, message: &Message) -> Result<Option<Columns>> {
        let header = fb::MessageRef::read_as_root(&message.metadata)
            .and_then(|m| m.header())
            .map_err(flatbuffer_error)?;
        match header {
            Some(fb::MessageHeaderRef::RecordBatch(batch)) => {
                self.decode_record_batch(batch, &message.body).map(Some)
            }
            Some(fb::MessageHeaderRef::DictionaryBatch(batch)) => {
                self.decode_dictionary_batch(batch, &message.body).map(|()| None)
            }
            _ => Err(ErrorKind::format("header", "a record batch or a dictionary", "another one")),
        }
    }

    fn decode_record_batch(&self, batch: fb::RecordBatchRef<'_>, body: &[u8]) -> Result<Columns> {
        let mut cursor = BatchCursor::new(batch, body)?;
        let mut columns = Vec::new();
        for field in &self.fields {
            let place = format!("column {}", field.name);
            let column = match &field.dictionary {
                _ if !(self.wanted)(&field.name) => cursor.skip(field),
                None => cursor.array(&field.field_type),
                Some(dictionary) => cursor
                    .dictionary_text(*dictionary, self.dictionaries.get(&dictionary.id))
                    .map(Some),
            };
            columns.extend(
                column.map_err(|e| e.within(&place))?.map(|array| (field.name.clone(), array)),
            );
        }
        Ok(columns)
    }

    fn decode_dictionary_batch(
        &mut self,
        batch: fb::DictionaryBatchRef<'_>,
        body: &[u8],
    ) -> Result<()> {
        let id = batch.id().map_err(flatbuffer_error)?;
        let uses_it =
            |f: &&IpcField| f.dictionary.is_some_and(|d| d.id == id) && (self.wanted)(&f.name);
        let Some(field) = self.fields.iter().find(uses_it) else { return Ok(()) };
        let data = batch
            .data()
            .map_err(flatbuffer_error)?
            .ok_or_else(|| ErrorKind::format("dictionary", "data", "none"))?;
        let place = format!("dictionary of column {}", field.name);
        let FieldType::Text { is_large } = field.field_type else {
            return Err(ErrorKind::format(place, "text", field.field_type.name()));
        };
        let more = BatchCursor::new(data, body)?
            .dictionary_values(is_large)
            .map_err(|e| e.within(&place))?;
        let values = self.dictionaries.entry(id).or_default();
        // A delta extends the dictionary; any other batch replaces it.
        if !batch.is_delta().map_err(flatbuffer_error)? {
            values.clear();
        }
        values.extend(more);
        if values.len() > MAX_DICTIONARY {
            let expected = format!("at most {MAX_DICTIONARY} texts");
            return Err(ErrorKind::format(place, expected, values.len().to_string()));
        }
        Ok(())
    }

    /// Reads the next message; `None` at the end-of-stream marker. An input that ends without the
    /// marker was cut off.
    fn next_message(&mut self) -> Result<Option<Message>> {
        let mut word = [0; 4];
        self.read_exact(&mut word, "the next message or an end-of-stream marker")?;
        if word != CONTINUATION {
            let place = format!("octet {}", self.offset - 4);
            return Err(ErrorKind::format(place, "ff ff ff ff", format!("{word:02x?}")));
        }
        self.read_exact(&mut word, "the length of a message")?;
        let length = i32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        let place = format!("octet {}", self.offset - 4);
        let length =
            usize::try_from(length).ok().filter(|l| *l <= MAX_METADATA).ok_or_else(|| {
                let expected = format!("a length of at most {MAX_METADATA}");
                ErrorKind::format(&place, expected, length.to_string())
            })?;
        let metadata = self.read_octets(length as u64, "the metadata of a message")?;
        let body_length = fb::MessageRef::read_as_root(&metadata)
            .and_then(|m| m.body_length())
            .map_err(flatbuffer_error)?;
        let body_length = u64::try_from(body_length).map_err(|_| {
            ErrorKind::format(place, "a body of 0 octets or more", body_length.to_string())
        })?;
        let body = self.read_octets(body_length, "the body of a message")?;
        Ok(Some(Message { metadata, body }))
    }

    fn read_exact(&mut self, octets: &mut [u8], expected: &str) -> Result<()> {
        match self.input.read_exact(octets) {
            Ok(()) => {
                self.offset += octets.len() as u64;
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.truncated_error(expected))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Reads `count` octets. Memory grows only as they arrive, since `count` may be a lie.
    fn read_octets(&mut self, count: u64, expected: &str) -> Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(count.min(1 << 20) as usize);
        let read = self.input.by_ref().take(count).read_to_end(&mut octets)? as u64;
        self.offset += read;
        if read < count { Err(self.truncated_error(expected)) } else { Ok(octets) }
    }

    fn truncated_error(&self, expected: &str) -> ErrorKind {
        let place = format!("octet {}", self.offset);
        ErrorKind::format(place, expected, "the end of the input: it was cut off")
    }
}
