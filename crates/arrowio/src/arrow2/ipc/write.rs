//! Record batches into the messages of an Arrow IPC stream or file.
//!
//! arrow2 has writers too. In their messages vectors of structs begin at multiples of four octets,
//! where flatbuffers demand eight, and their LZ4 frames have blocks that depend on each other, with
//! checksums, which the decoders of some languages do not know. Here they are as Arrow C++ writes
//! them.

use std::io::{self, Write};

use arrow_format::ipc as fb;
use arrow_format::ipc::planus::{Builder, Offset, ReadAsRoot, WriteAsOptional};
use arrow2::array::{Array, ListArray, PrimitiveArray};
use arrow2::datatypes::Schema;
use arrow2::io::ipc::write::{default_ipc_fields, schema_to_bytes, write};

use super::file::FILE_MAGIC;
use super::message::CONTINUATION;
use crate::Compression;

/// Alignment of messages and their bodies, in octets.
const ALIGNMENT: usize = 8;
/// Alignment of the buffers in a body, in octets, as the format recommends.
const BUFFER_ALIGNMENT: usize = 64;

/// Writer of a stream, or of a file: a stream between magics, and a footer.
pub(crate) struct IpcWriter<W: Write> {
    to: W,
    compression: Option<fb::CompressionType>,
    /// Message with the schema, as it was written.
    schema: Vec<u8>,
    /// Number of octets written.
    offset: usize,
    /// Places of the record batches; `None` in a stream.
    blocks: Option<Vec<fb::Block>>,
    /// Buffers of an array before they are compressed.
    plain: Vec<u8>,
}

impl<W: Write> IpcWriter<W> {
    /// Begins a stream with its schema.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub(crate) fn stream(to: W, schema: &Schema, compression: Compression) -> io::Result<Self> {
        IpcWriter::new(to, schema, compression, None)
    }

    /// Begins a file with its magic and schema.
    ///
    /// # Errors
    /// If `to` cannot be written.
    pub(crate) fn file(mut to: W, schema: &Schema, compression: Compression) -> io::Result<Self> {
        to.write_all(FILE_MAGIC)?;
        to.write_all(&[0; ALIGNMENT - FILE_MAGIC.len()])?;
        IpcWriter::new(to, schema, compression, Some(Vec::new()))
    }

    fn new(
        to: W,
        schema: &Schema,
        compression: Compression,
        blocks: Option<Vec<fb::Block>>,
    ) -> io::Result<Self> {
        let compression = match compression {
            Compression::None => None,
            Compression::Lz4 => Some(fb::CompressionType::Lz4Frame),
            Compression::Zstd => Some(fb::CompressionType::Zstd),
        };
        let schema = schema_to_bytes(schema, &default_ipc_fields(&schema.fields));
        let offset = if blocks.is_some() { ALIGNMENT } else { 0 };
        let (plain, empty) = (Vec::new(), Vec::new());
        let mut writer = IpcWriter { to, compression, schema: empty, offset, blocks, plain };
        writer.message(&schema, &[])?;
        writer.schema = schema;
        Ok(writer)
    }

    /// Writes a record batch of `rows` rows.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn write(&mut self, rows: usize, arrays: &[Box<dyn Array>]) -> io::Result<()> {
        let (mut buffers, mut nodes, mut body) = (Vec::new(), Vec::new(), Vec::new());
        let mut end = 0;
        for array in arrays {
            let Some(codec) = self.compression else {
                write(&**array, &mut buffers, &mut body, &mut nodes, &mut end, true, None);
                continue;
            };
            if let Some((offsets, values)) = list_in_place(&**array) {
                let list = fb::FieldNode { length: array.len() as i64, null_count: 0 };
                let length = values.len() as i64;
                nodes.extend([list, fb::FieldNode { length, null_count: 0 }]);
                // Neither lists nor values have a buffer of validity.
                for octets in [&[], offsets, &[], values.octets()] {
                    buffers.push(compress_buffer(octets, codec, &mut body)?);
                }
                continue;
            }
            let first = buffers.len();
            self.plain.clear();
            write(&**array, &mut buffers, &mut self.plain, &mut nodes, &mut 0, true, None);
            compress_buffers(&self.plain, &mut buffers[first..], codec, &mut body)?;
        }
        let message = record_batch(rows, &nodes, &buffers, self.compression, body.len());
        let start = self.offset;
        let metadata = self.message(&message, &body)?;
        if let Some(blocks) = &mut self.blocks {
            blocks.push(fb::Block {
                offset: start as i64,
                meta_data_length: metadata as i32,
                body_length: body.len() as i64,
            });
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Writes the end of the stream, and of a file its footer; returns the output.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&CONTINUATION)?;
        self.to.write_all(&[0; 4])?;
        if let Some(blocks) = &self.blocks {
            let footer = footer(&self.schema, blocks).map_err(io::Error::other)?;
            self.to.write_all(&footer)?;
            self.to.write_all(&(footer.len() as i32).to_le_bytes())?;
            self.to.write_all(FILE_MAGIC)?;
        }
        self.to.flush()?;
        Ok(self.to)
    }

    /// Writes a message and its body; returns the length of the message with its prefix.
    fn message(&mut self, message: &[u8], body: &[u8]) -> io::Result<usize> {
        let prefix = CONTINUATION.len() + 4;
        let length = (prefix + message.len()).next_multiple_of(ALIGNMENT);
        self.to.write_all(&CONTINUATION)?;
        self.to.write_all(&((length - prefix) as i32).to_le_bytes())?;
        self.to.write_all(message)?;
        self.to.write_all(&[0; ALIGNMENT][..length - prefix - message.len()])?;
        self.to.write_all(body)?;
        self.offset += length + body.len();
        Ok(length)
    }
}

/// Values of a list in memory.
enum Values<'a> {
    U16(&'a [u16]),
    I32(&'a [i32]),
}

impl<'a> Values<'a> {
    fn len(&self) -> usize {
        match self {
            Values::U16(values) => values.len(),
            Values::I32(values) => values.len(),
        }
    }

    fn octets(&self) -> &'a [u8] {
        match self {
            Values::U16(values) => bytemuck::cast_slice(values),
            Values::I32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// Returns the octets of a list's offsets, and its values, if the array is a list without nulls and
/// memory has its numbers as the format does. The tokens are the largest column by far: they are
/// compressed where they are.
fn list_in_place(array: &dyn Array) -> Option<(&[u8], Values<'_>)> {
    let list = array.as_any().downcast_ref::<ListArray<i32>>()?;
    let (offsets, child) = (list.offsets().as_slice(), list.values());
    let any = child.as_any();
    let u16s = any.downcast_ref::<PrimitiveArray<u16>>().map(|a| Values::U16(a.values()));
    let i32s = || any.downcast_ref::<PrimitiveArray<i32>>().map(|a| Values::I32(a.values()));
    let values = u16s.or_else(i32s)?;
    let is_whole = offsets.first() == Some(&0) && offsets.last() == Some(&(values.len() as i32));
    let is_plain = is_whole && list.null_count() == 0 && child.null_count() == 0;
    (is_plain && cfg!(target_endian = "little")).then(|| (bytemuck::cast_slice(offsets), values))
}

/// Compresses the buffers of an array one by one to the end of a body, and sets their new places.
fn compress_buffers(
    plain: &[u8],
    buffers: &mut [fb::Buffer],
    codec: fb::CompressionType,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    for buffer in buffers {
        let octets = &plain[buffer.offset as usize..][..buffer.length as usize];
        *buffer = compress_buffer(octets, codec, body)?;
    }
    Ok(())
}

/// Compresses a buffer to the end of a body, behind its length, and returns its place.
fn compress_buffer(
    octets: &[u8],
    codec: fb::CompressionType,
    body: &mut Vec<u8>,
) -> io::Result<fb::Buffer> {
    let start = body.len();
    if !octets.is_empty() {
        body.extend_from_slice(&(octets.len() as i64).to_le_bytes());
        compress(octets, codec, body)?;
    }
    let buffer = fb::Buffer { offset: start as i64, length: (body.len() - start) as i64 };
    body.resize(body.len().next_multiple_of(BUFFER_ALIGNMENT), 0);
    Ok(buffer)
}

fn compress(octets: &[u8], codec: fb::CompressionType, to: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        fb::CompressionType::Lz4Frame => {
            // Blocks that do not depend on each other compress worse the shorter they are.
            let size = match octets.len() {
                0..=0x1_0000 => lz4::BlockSize::Max64KB,
                0x1_0001..=0x4_0000 => lz4::BlockSize::Max256KB,
                _ => lz4::BlockSize::Max1MB,
            };
            let mut encoder = lz4::EncoderBuilder::new()
                .block_size(size)
                .block_mode(lz4::BlockMode::Independent)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .checksum(lz4::ContentChecksum::NoChecksum)
                // Blocks are compressed where they are, and not copied first.
                .auto_flush(true)
                .build(to)?;
            encoder.write_all(octets)?;
            encoder.finish().1
        }
        fb::CompressionType::Zstd => zstd::stream::copy_encode(octets, to, 0),
    }
}

/// Builds the message of a record batch.
fn record_batch(
    rows: usize,
    nodes: &[fb::FieldNode],
    buffers: &[fb::Buffer],
    compression: Option<fb::CompressionType>,
    body_length: usize,
) -> Vec<u8> {
    let mut builder = Builder::new();
    let compression = compression.map(|codec| {
        fb::BodyCompression::create(&mut builder, codec, fb::BodyCompressionMethod::Buffer)
    });
    let nodes = Structs(nodes, |node: &fb::FieldNode| vec![node.length, node.null_count]);
    let buffers = Structs(buffers, |buffer: &fb::Buffer| vec![buffer.offset, buffer.length]);
    let batch = fb::RecordBatch::create(&mut builder, rows as i64, nodes, buffers, compression);
    let header = fb::MessageHeader::create_record_batch(&mut builder, batch);
    let version = fb::MetadataVersion::V5;
    let message = fb::Message::create(&mut builder, version, header, body_length as i64, ());
    builder.finish(message, None).to_vec()
}

/// Builds the footer of a file from its schema message and the places of its record batches.
fn footer(schema: &[u8], blocks: &[fb::Block]) -> fb::planus::Result<Vec<u8>> {
    let header = fb::MessageRef::read_as_root(schema)?.header()?;
    let schema = match header {
        Some(fb::MessageHeaderRef::Schema(schema)) => Some(fb::Schema::try_from(schema)?),
        _ => None,
    };
    let mut builder = Builder::new();
    let blocks = Structs(blocks, |block: &fb::Block| {
        vec![block.offset, i64::from(block.meta_data_length), block.body_length]
    });
    let dictionaries = Structs(&[] as &[fb::Block], |_| Vec::new());
    let version = fb::MetadataVersion::V5;
    let footer = fb::Footer::create(&mut builder, version, schema, dictionaries, blocks, ());
    Ok(builder.finish(footer, None).to_vec())
}

/// Vector of structs whose members take eight octets each, padding included. planus aligns the
/// vector's length to eight octets, and so not its first struct.
struct Structs<'a, T, F: Fn(&T) -> Vec<i64>>(&'a [T], F);

impl<T, F: Fn(&T) -> Vec<i64>> WriteAsOptional<Offset<[T]>> for Structs<'_, T, F> {
    type Prepared = Offset<[T]>;

    fn prepare(&self, builder: &mut Builder) -> Option<Offset<[T]>> {
        let words = self.0.iter().flat_map(&self.1);
        let octets: Vec<u8> = words.flat_map(i64::to_le_bytes).collect();
        // A flatbuffer is built from its end.
        builder.prepare_write(octets.len(), ALIGNMENT - 1);
        builder.write(&octets);
        builder.prepare_write(4, 3);
        builder.write(&(self.0.len() as u32).to_le_bytes());
        Some(builder.current_offset())
    }
}

#[cfg(test)]
mod tests {
    use super::super::views::{Within, place_of_structs};
    use super::*;

    #[test]
    fn structs_begin_at_multiples_of_eight_octets() {
        for count in 0..9_usize {
            let nodes = vec![fb::FieldNode { length: 7, null_count: 1 }; count];
            let buffers = vec![fb::Buffer { offset: 64, length: 5 }; 2 * count + 1];
            for compression in [None, Some(fb::CompressionType::Zstd)] {
                let message = record_batch(7, &nodes, &buffers, compression, 128);
                // `RecordBatch.nodes` and `RecordBatch.buffers`.
                for number in [1, 2] {
                    let at = place_of_structs(&message, Within::RecordBatch, number).unwrap();
                    assert_eq!(at % 8, 0, "{count} nodes, field {number}");
                }
                let read = fb::MessageRef::read_as_root(&message).unwrap();
                assert_eq!(read.body_length().unwrap(), 128);
                let Some(fb::MessageHeaderRef::RecordBatch(batch)) = read.header().unwrap() else {
                    panic!("another message")
                };
                let found: Vec<_> = batch.nodes().unwrap().unwrap().iter().collect();
                assert_eq!(found.len(), count);
                assert!(found.iter().all(|n| (n.length(), n.null_count()) == (7, 1)));
                let found = batch.buffers().unwrap().unwrap();
                assert!(found.iter().all(|b| (b.offset(), b.length()) == (64, 5)));
                assert_eq!(batch.compression().unwrap().is_some(), compression.is_some());
            }
        }
    }

    #[test]
    fn the_footer_lists_the_batches() {
        let schema = schema_to_bytes(&Schema::from(Vec::new()), &[]);
        let block = fb::Block { offset: 8, meta_data_length: 16, body_length: 64 };
        for count in 0..4 {
            let octets = footer(&schema, &vec![block; count]).unwrap();
            let read = fb::FooterRef::read_as_root(&octets).unwrap();
            let blocks = read.record_batches().unwrap().unwrap();
            assert_eq!(blocks.len(), count);
            let same = |b: fb::BlockRef<'_>| {
                (b.offset(), b.meta_data_length(), b.body_length()) == (8, 16, 64)
            };
            assert!(blocks.iter().all(same));
            assert!(read.schema().unwrap().is_some());
        }
    }
}
