//! Messages of an Arrow IPC stream into the columns of record batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;

use super::super::extract::Columns;
use super::cursor::{BatchCursor, DictionaryValues, MAX_DICTIONARY};
use super::error::{Result, flatbuffer_error};
use super::file::BlockMessages;
use super::message::{CONTINUATION, Message, body_length, metadata_length};
use super::schema::{IpcField, KeyValues, read_schema};
use super::views::{Within, view_buffers};
use crate::ErrorKind;

/// Reader of the record batches of a stream or file.
pub(crate) struct IpcReader {
    messages: Messages,
    fields: Vec<IpcField>,
    /// Key-value metadata of the schema.
    pub(crate) metadata: KeyValues,
    dictionaries: HashMap<i64, DictionaryValues>,
    wanted: fn(&str) -> bool,
}

/// Messages with dictionaries and record batches.
enum Messages {
    /// Those of a stream, or of a file from front to back.
    Stream(StreamMessages),
    /// Those that the footer of a file lists.
    File(BlockMessages),
}

impl IpcReader {
    /// Reads the schema of a stream. Columns are decoded only if `wanted` accepts their names.
    pub(crate) fn stream(
        input: Box<dyn Read + Send>,
        wanted: fn(&str) -> bool,
    ) -> Result<IpcReader> {
        let mut messages = StreamMessages { input, offset: 0, is_at_end: false };
        let message = messages
            .next()?
            .ok_or_else(|| ErrorKind::format("octet 0", "a schema", "the end of the stream"))?;
        let schema = read_schema(&message.metadata).map_err(|e| e.within("schema"))?;
        Ok(IpcReader::new(Messages::Stream(messages), schema, wanted))
    }

    /// Reads the footer of a file. Columns are decoded only if `wanted` accepts their names.
    pub(crate) fn file(file: File, wanted: fn(&str) -> bool) -> Result<IpcReader> {
        let (messages, schema) = BlockMessages::open(file)?;
        Ok(IpcReader::new(Messages::File(messages), schema, wanted))
    }

    fn new(
        messages: Messages,
        (fields, metadata): (Vec<IpcField>, KeyValues),
        wanted: fn(&str) -> bool,
    ) -> IpcReader {
        IpcReader { messages, fields, metadata, dictionaries: HashMap::new(), wanted }
    }

    /// Returns the names of all columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| f.name.as_str())
    }

    /// Reads the wanted columns of the next record batch; `None` at the end of the stream.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Columns>> {
        loop {
            let message = match &mut self.messages {
                Messages::Stream(messages) => messages.next()?,
                Messages::File(messages) => messages.next()?,
            };
            let Some(message) = message else { return Ok(None) };
            let place = format!("message at octet {}", message.start);
            if let Some(batch) = self.decode_message(&message).map_err(|e| e.within(&place))? {
                return Ok(Some(batch));
            }
        }
    }

    /// Decodes a record batch, or stores a dictionary and returns `None`.
    fn decode_message(&mut self, message: &Message) -> Result<Option<Columns>> {
        let header = fb::MessageRef::read_as_root(&message.metadata)
            .and_then(|m| m.header())
            .map_err(flatbuffer_error)?;
        match header {
            Some(fb::MessageHeaderRef::RecordBatch(batch)) => {
                let views = view_buffers(&message.metadata, Within::RecordBatch);
                self.decode_record_batch(BatchCursor::new(batch, views, &message.body)?).map(Some)
            }
            Some(fb::MessageHeaderRef::DictionaryBatch(batch)) => {
                let views = view_buffers(&message.metadata, Within::DictionaryBatch);
                self.decode_dictionary_batch(batch, views, &message.body).map(|()| None)
            }
            _ => Err(ErrorKind::format("header", "a record batch or a dictionary", "another one")),
        }
    }

    fn decode_record_batch(&self, mut cursor: BatchCursor<'_>) -> Result<Columns> {
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
        views: Vec<i64>,
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
        let more = BatchCursor::new(data, views, body)?
            .dictionary_values(&field.field_type)
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
}

/// Messages of a stream.
struct StreamMessages {
    input: Box<dyn Read + Send>,
    /// Number of octets read so far.
    offset: u64,
    is_at_end: bool,
}

impl StreamMessages {
    /// Reads the next message; `None` at the end-of-stream marker. An input that ends without the
    /// marker was cut off.
    fn next(&mut self) -> Result<Option<Message>> {
        if self.is_at_end {
            return Ok(None);
        }
        let start = self.offset;
        let mut word = [0; 4];
        self.read_exact(&mut word, "the next message or an end-of-stream marker")?;
        if word != CONTINUATION {
            let place = format!("octet {}", self.offset - 4);
            return Err(ErrorKind::format(place, "ff ff ff ff", format!("{word:02x?}")));
        }
        self.read_exact(&mut word, "the length of a message")?;
        let length = i32::from_le_bytes(word);
        if length == 0 {
            self.is_at_end = true;
            return Ok(None);
        }
        let place = format!("octet {}", self.offset - 4);
        let length = metadata_length(length, &place)?;
        let metadata = self.read_octets(length as u64, "the metadata of a message")?;
        let body_length = body_length(&metadata, &place)?;
        let body = self.read_octets(body_length, "the body of a message")?;
        Ok(Some(Message { start, metadata, body }))
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
