//! Compressed streams: members of one kind, one after another.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Source;

/// Largest memory that a member of xz may ask for, in MiB: four times that of `xz -9`.
const XZ_MEMORY: u32 = 256;
/// Number of octets that are read from a compressed file at a time.
const CHUNK: usize = 64 * 1024;

/// Kind of compression of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    Lz4,
}

/// First octets of a member of each kind: gzip with deflate (RFC 1952, section 2.3.1), Zstandard
/// (RFC 8878, section 3.1.1), bzip2, xz, and the frame format of LZ4.
const MAGICS: [(&[u8], Compression); 5] = [
    (&[0x1f, 0x8b, 0x08], Compression::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    (b"BZh", Compression::Bzip2),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    (&[0x04, 0x22, 0x4d, 0x18], Compression::Lz4),
];

/// Number of octets that tell the kind of compression.
const LONGEST_MAGIC: usize = 6;

/// Returns the kind of compression of a stream that begins with `head`. Four octets are enough.
fn compression(head: &[u8]) -> Option<Compression> {
    let begins = |magic: &[u8]| {
        let len = magic.len().min(head.len());
        len > 2 && head[..len] == magic[..len]
    };
    MAGICS.into_iter().find(|(magic, _)| begins(magic)).map(|(_, kind)| kind)
}

/// Reports whether a stream that begins with `head` is compressed. Four octets are enough.
pub(super) fn is_magic(head: &[u8]) -> bool {
    compression(head).is_some()
}

/// Number of octets after the last member that are neither a member nor zeros, at least 1 if there
/// are any.
#[derive(Clone, Debug, Default)]
pub(super) struct Trailer(Arc<AtomicU64>);

impl Trailer {
    /// Returns whether octets were passed over.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Returns the stream, decompressed if it begins as a compressed one, and its trailer.
pub(super) fn decompress(mut source: Source<'_>) -> io::Result<(Source<'_>, Trailer)> {
    let mut head = [0u8; LONGEST_MAGIC];
    let mut have = 0;
    while have < head.len() {
        match source.read(&mut head[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let trailer = Trailer::default();
    let Some(kind) = compression(&head[..have]) else {
        let whole = Cursor::new(head).take(have as u64).chain(source);
        return Ok((Box::new(whole), trailer));
    };
    let source = BufReader::with_capacity(CHUNK, source);
    let input = Input { back: head[..have].to_vec(), at: 0, source };
    let member = Some(Member::begin(kind, input)?);
    Ok((Box::new(Members { kind, member, trailer: trailer.clone() }), trailer))
}

/// Compressed octets, some of which were looked at and are read again.
struct Input<'r> {
    back: Vec<u8>,
    /// Index of the next octet in `back`.
    at: usize,
    source: BufReader<Source<'r>>,
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.back.len() { Ok(&self.back[self.at..]) } else { self.source.fill_buf() }
    }

    fn consume(&mut self, octets: usize) {
        if self.at < self.back.len() {
            self.at += octets;
        } else {
            self.source.consume(octets);
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let len = from.len().min(out.len());
        out[..len].copy_from_slice(&from[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// Decoder of one member.
enum Member<'r> {
    Gzip(flate2::bufread::GzDecoder<Input<'r>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<'r>>),
    Bzip2(bzip2::bufread::BzDecoder<Input<'r>>),
    Xz(Box<lzma_rust2::XzReader<Input<'r>>>),
    Lz4(lz4::Decoder<Input<'r>>),
}

impl<'r> Member<'r> {
    /// Begins to read a member.
    fn begin(kind: Compression, input: Input<'r>) -> io::Result<Member<'r>> {
        Ok(match kind {
            Compression::Gzip => Member::Gzip(flate2::bufread::GzDecoder::new(input)),
            Compression::Zstd => {
                Member::Zstd(zstd::stream::read::Decoder::with_buffer(input)?.single_frame())
            }
            Compression::Bzip2 => Member::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            Compression::Xz => {
                let reader = lzma_rust2::XzReader::new_mem_limit(input, false, XZ_MEMORY << 10);
                Member::Xz(Box::new(reader))
            }
            Compression::Lz4 => Member::Lz4(lz4::Decoder::new(input)?),
        })
    }

    /// Returns the compressed octets after the member.
    fn into_rest(self) -> io::Result<Input<'r>> {
        Ok(match self {
            Member::Gzip(decoder) => decoder.into_inner(),
            Member::Zstd(decoder) => decoder.finish(),
            Member::Bzip2(decoder) => decoder.into_inner(),
            Member::Xz(decoder) => decoder.into_inner(),
            Member::Lz4(decoder) => {
                let (input, ended) = decoder.finish();
                ended?;
                input
            }
        })
    }
}

impl Read for Member<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Member::Gzip(decoder) => decoder.read(out),
            Member::Zstd(decoder) => decoder.read(out),
            Member::Bzip2(decoder) => decoder.read(out),
            Member::Xz(decoder) => decoder.read(out).map_err(too_large),
            Member::Lz4(decoder) => decoder.read(out),
        }
    }
}

/// Says what a member of xz that asks for too much memory is.
fn too_large(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return error;
    }
    io::Error::other(format!("expected xz data that takes at most {XZ_MEMORY} MiB, found more"))
}

/// Reader of all members. Zeros after the last one are padding, as gzip takes them; other octets
/// are passed over, and told by the trailer.
struct Members<'r> {
    kind: Compression,
    /// Decoder of the current member; `None` after the last one.
    member: Option<Member<'r>>,
    trailer: Trailer,
}

/// Reads the next `octets` of a stream, or those that are left.
fn start(input: &mut Input<'_>, octets: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.by_ref().take(octets as u64).read_to_end(&mut head)?;
    Ok(head)
}

impl<'r> Members<'r> {
    /// Returns the member that begins at the current octet, or after skippable frames (RFC 8878,
    /// section 3.1.2), if there is one.
    fn next_member(&mut self, mut input: Input<'r>) -> io::Result<Option<Member<'r>>> {
        let magic = MAGICS.into_iter().find(|(_, kind)| *kind == self.kind);
        let magic = magic.map_or(&[][..], |(magic, _)| magic);
        let mut head = start(&mut input, magic.len())?;
        let has_skippable = matches!(self.kind, Compression::Zstd | Compression::Lz4);
        while has_skippable && matches!(head[..], [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
            let len = start(&mut input, 4)?.try_into().map_or(0, u32::from_le_bytes);
            io::copy(&mut input.by_ref().take(u64::from(len)), &mut io::sink())?;
            head = start(&mut input, magic.len())?;
        }
        if head == magic {
            input.back = head;
            input.at = 0;
            return Member::begin(self.kind, input).map(Some);
        }
        let mut zeros = head.iter().all(|octet| *octet == 0);
        while zeros {
            let rest = input.fill_buf()?;
            if rest.is_empty() {
                return Ok(None);
            }
            zeros = rest.iter().all(|octet| *octet == 0);
            let len = rest.len();
            input.consume(len);
        }
        self.trailer.0.store(1, Ordering::Relaxed);
        Ok(None)
    }
}

impl Read for Members<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            if let Some(member) = self.member.take() {
                let rest = member.into_rest()?;
                self.member = self.next_member(rest)?;
            }
        }
    }
}
