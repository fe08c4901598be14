//! Reading a dataset.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tokenizer::word16;

use crate::arrow2::{BatchRows, Columns, FILE_MAGIC, IpcReader, PARQUET_MAGIC, ParquetReader};
use crate::column::is_known;
use crate::{DatasetMeta, Error, ErrorKind, FlowRow, Recovery, metadata};

/// Name and version of a token code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecId {
    /// Name of the code: `field` or `word16`.
    pub name: &'static str,
    /// Version of the code's vocabulary.
    pub version: u32,
}

/// Reads the flows of a dataset, one record batch at a time.
///
/// A dataset is a folder (searched in depth, in sorted order), a file or a stream. Other writers'
/// files are accepted too: lists with 64-bit offsets, integers of any width, dictionary-encoded
/// text, further columns, and the single column `flows` of tcpflowgen.
///
/// After an error the iterator continues at the position that [`Error::recovery`] states: the next
/// row, or the next file if there is one.
pub struct DatasetReader {
    accepted: Vec<CodecId>,
    meta: DatasetMeta,
    files: VecDeque<PathBuf>,
    open: Option<Source>,
}

/// Rows of one file or stream.
struct Source {
    name: String,
    batches: Batches,
    token_code: String,
    rows: Option<BatchRows>,
}

/// Record batches of one file or stream.
enum Batches {
    Ipc {
        reader: Box<IpcReader<Box<dyn Read + Send>>>,
        /// Error at the end of the file, returned after the batches before it.
        ending: Option<ErrorKind>,
    },
    Parquet(Box<ParquetReader<File>>),
}

impl DatasetReader {
    /// Opens a folder or a file and reads its metadata; a folder's are those of its first file.
    ///
    /// # Errors
    /// If there is no dataset, or its token code is not in `accepted`.
    pub fn open(path: &Path, accepted: &[CodecId]) -> Result<DatasetReader, Error> {
        let shown = path.display().to_string();
        let files = if path.is_dir() { shards(path)? } else { vec![path.to_owned()] };
        let mut files = VecDeque::from(files);
        let first = files.pop_front().ok_or_else(|| {
            ErrorKind::format("folder", "files *.arrow, *.arrows or *.parquet", "none").at(&shown)
        })?;
        let (meta, source) = Source::open(&first, accepted)?;
        Ok(DatasetReader { accepted: accepted.to_vec(), meta, files, open: Some(source) })
    }

    /// Reads an Arrow IPC stream, or an Arrow IPC file from front to back. `name` is the path in
    /// errors.
    ///
    /// # Errors
    /// If the input is neither, or its token code is not in `accepted`.
    pub fn stream(
        name: &str,
        input: impl Read + Send + 'static,
        accepted: &[CodecId],
    ) -> Result<DatasetReader, Error> {
        let open = || {
            let mut input: Box<dyn Read + Send> =
                Box::new(BufReader::with_capacity(1 << 16, input));
            let head = read_head(&mut input)?;
            if head.starts_with(PARQUET_MAGIC) {
                return Err(ErrorKind::format(
                    "octet 0",
                    "an Arrow IPC stream",
                    "Parquet, which cannot be read from a pipe",
                ));
            }
            // An Arrow file is a stream after eight octets, the magic and two of padding. A stream
            // has no magic: its first octets are given back.
            let input: Box<dyn Read + Send> = if head.starts_with(FILE_MAGIC) {
                input
            } else {
                Box::new(std::io::Cursor::new(head).chain(input))
            };
            Batches::ipc(input, None)
        };
        let batches = open().map_err(|e| e.at(name))?;
        let (meta, source) = Source::new(name.to_owned(), batches, accepted)?;
        Ok(DatasetReader {
            accepted: accepted.to_vec(),
            meta,
            files: VecDeque::new(),
            open: Some(source),
        })
    }

    /// Returns the metadata of the dataset.
    #[must_use]
    pub fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    fn next_row(&mut self) -> Result<Option<FlowRow>, Error> {
        loop {
            if let Some(source) = &mut self.open {
                let row = source.next_row();
                match row {
                    Ok(Some(row)) => return Ok(Some(row)),
                    Ok(None) => self.open = None,
                    Err(error) => {
                        if error.recovery == Recovery::NextFile {
                            self.open = None;
                        }
                        return Err(error);
                    }
                }
            }
            let Some(path) = self.files.pop_front() else { return Ok(None) };
            let (meta, source) = Source::open(&path, &self.accepted)?;
            if meta.token_code != self.meta.token_code {
                let kind = ErrorKind::TokenCode {
                    expected: self.meta.token_code.clone(),
                    found: meta.token_code,
                };
                return Err(kind.at(&source.name));
            }
            self.open = Some(source);
        }
    }
}

impl Iterator for DatasetReader {
    type Item = Result<FlowRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

/// Reads the first octets of an input, at most eight.
fn read_head(input: &mut impl Read) -> Result<Vec<u8>, ErrorKind> {
    let mut head = Vec::new();
    input.by_ref().take(8).read_to_end(&mut head)?;
    Ok(head)
}

impl Batches {
    fn ipc(input: Box<dyn Read + Send>, ending: Option<ErrorKind>) -> Result<Batches, ErrorKind> {
        IpcReader::new(input, is_known).map(|r| Batches::Ipc { reader: Box::new(r), ending })
    }

    fn open(path: &Path) -> Result<Batches, ErrorKind> {
        let mut file = File::open(path)?;
        let head = read_head(&mut file)?;
        if head.starts_with(PARQUET_MAGIC) {
            return ParquetReader::new(file, is_known).map(|r| Batches::Parquet(Box::new(r)));
        }
        let mut ending = None;
        if head.starts_with(FILE_MAGIC) {
            // The end is checked at once, but the batches of a truncated file are read first.
            let size = file.seek(SeekFrom::End(0))?;
            let mut tail = Vec::new();
            file.seek(SeekFrom::Start(size.saturating_sub(FILE_MAGIC.len() as u64).max(8)))?;
            file.read_to_end(&mut tail)?;
            if tail != FILE_MAGIC {
                let place = format!("octet {size}");
                let found = "something else: the file was cut off";
                ending = Some(ErrorKind::format(place, "ARROW1 at the end", found));
            }
            file.seek(SeekFrom::Start(8))?;
        } else {
            file.rewind()?;
        }
        Batches::ipc(Box::new(BufReader::with_capacity(1 << 16, file)), ending)
    }

    fn metadata(&self) -> &[(String, String)] {
        match self {
            Batches::Ipc { reader, .. } => &reader.metadata,
            Batches::Parquet(reader) => &reader.metadata,
        }
    }

    fn has_column(&self, name: &str) -> bool {
        match self {
            Batches::Ipc { reader, .. } => reader.names().any(|n| n == name),
            Batches::Parquet(reader) => reader.names().any(|n| n == name),
        }
    }

    fn next_batch(&mut self) -> Result<Option<Columns>, ErrorKind> {
        match self {
            Batches::Ipc { reader, ending } => match reader.next_batch()? {
                Some(batch) => Ok(Some(batch)),
                None => ending.take().map_or(Ok(None), Err),
            },
            Batches::Parquet(reader) => reader.next_batch(),
        }
    }

    /// Returns the metadata of the file. A file without metadata is tcpflowgen's if it has a
    /// column `flows` instead of `tokens`.
    fn meta(&self) -> Result<DatasetMeta, ErrorKind> {
        let has_no_code = self.metadata().iter().all(|(key, _)| key != "token_code");
        if has_no_code && self.has_column("flows") && !self.has_column("tokens") {
            return Ok(DatasetMeta {
                token_code: word16::NAME.into(),
                token_version: word16::VERSION,
                vocab_size: word16::VOCAB_SIZE as u32,
                tool: String::new(),
                options: Default::default(),
            });
        }
        if !self.has_column("tokens") && !self.has_column("flows") {
            return Err(ErrorKind::format("schema", "a column named tokens or flows", "none"));
        }
        metadata::decode(self.metadata())
    }
}

impl Source {
    fn open(path: &Path, accepted: &[CodecId]) -> Result<(DatasetMeta, Source), Error> {
        let name = path.display().to_string();
        let batches = Batches::open(path).map_err(|e| e.at(&name))?;
        Source::new(name, batches, accepted)
    }

    fn new(
        name: String,
        batches: Batches,
        accepted: &[CodecId],
    ) -> Result<(DatasetMeta, Source), Error> {
        let meta = batches.meta().map_err(|e| e.at(&name))?;
        if !accepted
            .iter()
            .any(|code| code.name == meta.token_code && code.version == meta.token_version)
        {
            let known: Vec<String> =
                accepted.iter().map(|c| format!("{} version {}", c.name, c.version)).collect();
            let found = format!("{} version {}", meta.token_code, meta.token_version);
            return Err(ErrorKind::TokenCode { expected: known.join(" or "), found }.at(&name));
        }
        let token_code = meta.token_code.clone();
        Ok((meta, Source { name, batches, token_code, rows: None }))
    }

    fn next_row(&mut self) -> Result<Option<FlowRow>, Error> {
        loop {
            match self.rows.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => return Ok(Some(row)),
                Some(Err(kind)) => {
                    return Err(Error { recovery: Recovery::NextRow, ..kind.at(&self.name) });
                }
                None => {}
            }
            let next = self.batches.next_batch();
            let rows = next
                .and_then(|arrays| arrays.map(|a| BatchRows::new(a, &self.token_code)).transpose());
            self.rows = rows.map_err(|e| e.at(&self.name))?;
            if self.rows.is_none() {
                return Ok(None);
            }
        }
    }
}

/// Returns whether a file of this name in a folder belongs to a dataset. Hidden files do not.
#[must_use]
pub fn is_dataset_name(path: &Path) -> bool {
    let known = ["arrow", "arrows", "ipc", "feather", "parquet"];
    let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().and_then(OsStr::to_str).is_some_and(|e| known.contains(&e))
}

/// Finds the files of a folder's dataset, searched in depth, in sorted order.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let at = |e: std::io::Error| ErrorKind::from(e).at(&folder.display().to_string());
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let path = entry.path();
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if entry.file_type().map_err(at)?.is_dir() && !is_hidden {
                folders.push(path);
            } else if is_dataset_name(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
