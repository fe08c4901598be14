//! Arrow IPC files, read by their footer: it lists where the dictionaries and record batches are.
//! Before the first of them a file may hold anything.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::ReadAsRoot;

use super::error::{Result, flatbuffer_error};
use super::message::{CONTINUATION, Message, body_length, metadata_length};
use super::schema::{IpcField, KeyValues, schema_of};
use crate::ErrorKind;

/// First and last six octets of an Arrow IPC file. Two octets of padding follow the first ones.
pub(crate) const FILE_MAGIC: &[u8; 6] = b"ARROW1";

/// Messages that the footer of a file lists: dictionaries, then record batches.
pub(super) struct BlockMessages {
    file: File,
    /// Offset of each message.
    starts: std::vec::IntoIter<i64>,
}

impl BlockMessages {
    /// Reads the footer of a file, which has the schema too.
    ///
    /// # Errors
    /// If the file does not end with a footer.
    pub(super) fn open(mut file: File) -> Result<(BlockMessages, (Vec<IpcField>, KeyValues))> {
        let footer = read_footer(&mut file)?;
        let footer = fb::FooterRef::read_as_root(&footer).map_err(flatbuffer_error)?;
        let schema = footer
            .schema()
            .map_err(flatbuffer_error)?
            .ok_or_else(|| ErrorKind::format("footer", "a schema", "none"))?;
        let schema = schema_of(schema).map_err(|e| e.within("schema"))?;
        let blocks = [
            footer.dictionaries().map_err(flatbuffer_error)?,
            footer.record_batches().map_err(flatbuffer_error)?,
        ];
        let starts: Vec<i64> =
            blocks.into_iter().flatten().flatten().map(|block| block.offset()).collect();
        Ok((BlockMessages { file, starts: starts.into_iter() }, schema))
    }

    /// Reads the next message; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Message>> {
        let Some(start) = self.starts.next() else { return Ok(None) };
        let place = format!("octet {start}");
        let start = u64::try_from(start)
            .map_err(|_| ErrorKind::format("footer", "offsets of 0 or more", start.to_string()))?;
        self.file.seek(SeekFrom::Start(start))?;
        let mut word = self.octets(4, &place)?;
        // Versions before 0.15 of the format had the length alone.
        if word == CONTINUATION {
            word = self.octets(4, &place)?;
        }
        let length = word.try_into().map(i32::from_le_bytes).unwrap_or(-1);
        let metadata = self.octets(metadata_length(length, &place)? as u64, &place)?;
        let body_length = body_length(&metadata, &place)?;
        let body = self.octets(body_length, &place)?;
        Ok(Some(Message { start, metadata, body }))
    }

    /// Reads `count` octets. Memory grows only as they arrive, since `count` may be a lie.
    fn octets(&mut self, count: u64, place: &str) -> Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(count.min(1 << 20) as usize);
        let read = self.file.by_ref().take(count).read_to_end(&mut octets)?;
        if (read as u64) < count {
            let expected = format!("a message with {count} octets more");
            return Err(ErrorKind::format(place, expected, "the end of the file"));
        }
        Ok(octets)
    }
}

/// Reads the octets of a file's footer: before the last magic is its length.
fn read_footer(file: &mut File) -> Result<Vec<u8>> {
    let size = file.seek(SeekFrom::End(0))?;
    let cut_off = || {
        let found = "something else: the file was cut off";
        ErrorKind::format(format!("octet {size}"), "ARROW1 at the end", found)
    };
    let end = size.checked_sub(10).filter(|end| *end >= 8).ok_or_else(cut_off)?;
    let mut tail = [0; 10];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut tail)?;
    let (length, magic) = tail.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    if magic != FILE_MAGIC {
        return Err(cut_off());
    }
    let length = i32::from_le_bytes(*length);
    let place = format!("octet {end}");
    let count = metadata_length(length, &place)? as u64;
    let start = end
        .checked_sub(count)
        .filter(|start| *start >= 8)
        .ok_or_else(|| ErrorKind::format(place, "the length of a footer", length.to_string()))?;
    file.seek(SeekFrom::Start(start))?;
    let mut footer = Vec::new();
    file.take(count).read_to_end(&mut footer)?;
    Ok(footer)
}

/// Returns whether a message begins where one begins in files that are streams too.
pub(crate) fn is_stream_inside(file: &mut File) -> io::Result<bool> {
    let mut word = [0; 4];
    file.seek(SeekFrom::Start(8))?;
    Ok(file.read(&mut word)? == word.len() && word == CONTINUATION)
}
