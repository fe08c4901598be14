//! Reading a dataset.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::arrow2::{
    BatchRows, CONTINUATION, Columns, FILE_MAGIC, IpcReader, PARQUET_MAGIC, ParquetReader,
    is_stream_inside,
};
use crate::column::{is_known, known_names_in_other_case};
use crate::token_code::{self, CodecId, TokenCodeSource};
use crate::{DatasetMeta, Error, ErrorKind, FlowRow, HOST_COLUMNS, Recovery, metadata};

/// Options of reading a dataset.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions<'a> {
    /// Token codes that are accepted.
    pub accepted: &'a [CodecId],
    /// Token code of files whose metadata name none, such as those of programs that copy columns
    /// alone. `None`: the first tokens tell it.
    pub token_code: Option<CodecId>,
    /// Receiver of what a user should know of a dataset that is read: a line each.
    pub notice: fn(&str),
}

impl<'a> ReadOptions<'a> {
    /// Creates options that accept these codes and drop notices.
    #[must_use]
    pub fn accepting(accepted: &'a [CodecId]) -> ReadOptions<'a> {
        ReadOptions { accepted, token_code: None, notice: |_| {} }
    }
}

/// Reads the flows of a dataset, one record batch at a time.
///
/// A dataset is a folder (searched in depth, in sorted order), a file or a stream. Other writers'
/// files are accepted too, as `docs/dataset.md` says: numbers of any type that are whole, lists and
/// text of any layout, further columns, files without metadata, and the single column `flows` of
/// tcpflowgen.
///
/// After an error the iterator continues at the position that [`Error::recovery`] states: the next
/// row, or the next file if there is one.
pub struct DatasetReader {
    acceptance: Acceptance,
    meta: DatasetMeta,
    files: VecDeque<PathBuf>,
    open: Option<Source>,
}

/// Codes that the files of a dataset may have, and the notices given so far.
struct Acceptance {
    accepted: Vec<CodecId>,
    token_code: Option<CodecId>,
    notice: fn(&str),
    /// Notices without their file: the same of another file is not given again.
    given: Vec<String>,
}

impl Acceptance {
    fn new(options: &ReadOptions<'_>) -> Acceptance {
        let ReadOptions { accepted, token_code, notice } = *options;
        Acceptance { accepted: accepted.to_vec(), token_code, notice, given: Vec::new() }
    }

    /// Gives a notice about a file, unless it was given about another.
    fn give_notice(&mut self, file: &str, line: String) {
        if !self.given.contains(&line) {
            (self.notice)(&format!("{file}: {line}"));
            self.given.push(line);
        }
    }
}

/// Rows of one file or stream.
struct Source {
    name: String,
    batches: Batches,
    token_code: String,
    /// Whether the tokens are of version 1 of the code `field`.
    is_version_1: bool,
    /// Batches that were read to tell the token code.
    peeked: VecDeque<Columns>,
    rows: Option<BatchRows>,
}

/// Record batches of one file or stream.
pub(crate) enum Batches {
    Ipc {
        reader: Box<IpcReader>,
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
        DatasetReader::open_with(path, &ReadOptions::accepting(accepted))
    }

    /// Like [`open`](DatasetReader::open), with more options.
    ///
    /// # Errors
    /// As [`open`](DatasetReader::open), and if the metadata name no token code and nothing else
    /// tells it.
    pub fn open_with(path: &Path, options: &ReadOptions<'_>) -> Result<DatasetReader, Error> {
        DatasetReader::open_all(&[path], options)
    }

    /// Like [`open_with`](DatasetReader::open_with), for folders and files whose rows come one
    /// behind the other. The metadata are those of the first one.
    ///
    /// # Errors
    /// As [`open_with`](DatasetReader::open_with), also if a folder has no dataset.
    pub fn open_all(
        paths: &[impl AsRef<Path>],
        options: &ReadOptions<'_>,
    ) -> Result<DatasetReader, Error> {
        let none = |path: &Path| {
            let expected = "files *.arrow, *.arrows or *.parquet";
            ErrorKind::format("folder", expected, "none").at(&path.display().to_string())
        };
        let mut files = VecDeque::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let of_path =
                if path.is_dir() { shards(path, options.notice)? } else { vec![path.to_owned()] };
            if of_path.is_empty() {
                return Err(none(path));
            }
            files.extend(of_path);
        }
        let first = files.pop_front().ok_or_else(|| none(Path::new("")))?;
        let mut acceptance = Acceptance::new(options);
        let (meta, source) = Source::open(&first, &mut acceptance)?;
        Ok(DatasetReader { acceptance, meta, files, open: Some(source) })
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
        DatasetReader::stream_with(name, input, &ReadOptions::accepting(accepted))
    }

    /// Like [`stream`](DatasetReader::stream), with more options.
    ///
    /// # Errors
    /// As [`stream`](DatasetReader::stream), and if the metadata name no token code and nothing
    /// else tells it.
    pub fn stream_with(
        name: &str,
        input: impl Read + Send + 'static,
        options: &ReadOptions<'_>,
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
                ensure_stream_inside(input)?
            } else {
                Box::new(std::io::Cursor::new(head).chain(input))
            };
            Batches::stream(input, None, is_known)
        };
        let batches = open().map_err(|e| e.at(name))?;
        let mut acceptance = Acceptance::new(options);
        let (meta, source) = Source::new(name.to_owned(), batches, &mut acceptance)?;
        Ok(DatasetReader { acceptance, meta, files: VecDeque::new(), open: Some(source) })
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
            let (meta, source) = Source::open(&path, &mut self.acceptance)?;
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

/// Returns an input behind a file's magic again, if a stream follows.
///
/// # Errors
/// If none does: some writers place messages where the footer alone says, and a pipe has its footer
/// at the end.
fn ensure_stream_inside(
    mut input: Box<dyn Read + Send>,
) -> Result<Box<dyn Read + Send>, ErrorKind> {
    let mut word = Vec::new();
    input.by_ref().take(4).read_to_end(&mut word)?;
    if !word.is_empty() && word != CONTINUATION {
        let expected = "a stream, since this input has no end to read the footer from";
        let found = "an Arrow file that is read by its footer: name it as a file";
        return Err(ErrorKind::format("octet 8", expected, found));
    }
    Ok(Box::new(std::io::Cursor::new(word).chain(input)))
}

impl Batches {
    fn stream(
        input: Box<dyn Read + Send>,
        ending: Option<ErrorKind>,
        wanted: fn(&str) -> bool,
    ) -> Result<Batches, ErrorKind> {
        let reader = IpcReader::stream(input, wanted)?;
        Ok(Batches::Ipc { reader: Box::new(reader), ending })
    }

    /// Opens a file, of which the columns are read whose names are `wanted`.
    pub(crate) fn open(path: &Path, wanted: fn(&str) -> bool) -> Result<Batches, ErrorKind> {
        let mut file = File::open(path)?;
        let head = read_head(&mut file)?;
        if head.starts_with(PARQUET_MAGIC) {
            return ParquetReader::new(file, wanted).map(|r| Batches::Parquet(Box::new(r)));
        }
        if head.starts_with(b"FEA1") {
            let found = "Feather version 1, which pyarrow reads and writes again as version 2";
            return Err(ErrorKind::format("octet 0", "Arrow or Parquet", found));
        }
        let mut ending = None;
        if head.starts_with(FILE_MAGIC) {
            match IpcReader::file(file.try_clone()?, wanted) {
                Ok(reader) => {
                    return Ok(Batches::Ipc { reader: Box::new(reader), ending: None });
                }
                // The batches of a file that was cut off are read from the front.
                Err(error) if is_stream_inside(&mut file)? => ending = Some(error),
                Err(error) => return Err(error),
            }
            file.seek(SeekFrom::Start(8))?;
        } else {
            file.rewind()?;
        }
        Batches::stream(Box::new(BufReader::with_capacity(1 << 16, file)), ending, wanted)
    }

    fn metadata(&self) -> &[(String, String)] {
        match self {
            Batches::Ipc { reader, .. } => &reader.metadata,
            Batches::Parquet(reader) => &reader.metadata,
        }
    }

    /// Returns the names of all columns.
    fn names(&self) -> Vec<&str> {
        match self {
            Batches::Ipc { reader, .. } => reader.names().collect(),
            Batches::Parquet(reader) => reader.names().collect(),
        }
    }

    /// Returns whether there is a column of tokens. That of tcpflowgen has the name of a column of
    /// hosts tables.
    fn has_tokens(&self) -> bool {
        self.has_column("tokens") || self.has_column("flows") && !self.is_hosts()
    }

    /// Returns whether the columns are those of a hosts table.
    pub(crate) fn is_hosts(&self) -> bool {
        HOST_COLUMNS.iter().all(|column| column.nullable || self.has_column(column.name))
    }

    fn has_column(&self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// Checks that the tokens are there, and that no known column is there twice.
    fn check_columns(&self) -> Result<(), ErrorKind> {
        let names = self.names();
        for name in names.iter().filter(|name| is_known(name)) {
            let count = names.iter().filter(|other| *other == name).count();
            if count > 1 {
                let place = format!("column {name}");
                return Err(ErrorKind::format(place, "one of this name", count.to_string()));
            }
        }
        if self.has_tokens() {
            return Ok(());
        }
        let similar = names.iter().find(|name| name.eq_ignore_ascii_case("tokens"));
        let found = match similar {
            Some(name) => format!("one named {name}"),
            None if self.is_hosts() => "those of a hosts table".to_owned(),
            None => "none".to_owned(),
        };
        Err(ErrorKind::format("schema", "a column named tokens or flows", found))
    }

    /// Reads the wanted columns of the next rows; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Columns>, ErrorKind> {
        match self {
            Batches::Ipc { reader, ending } => match reader.next_batch()? {
                Some(batch) => Ok(Some(batch)),
                None => ending.take().map_or(Ok(None), Err),
            },
            Batches::Parquet(reader) => reader.next_batch(),
        }
    }
}

impl Source {
    fn open(path: &Path, acceptance: &mut Acceptance) -> Result<(DatasetMeta, Source), Error> {
        let name = path.display().to_string();
        let batches = Batches::open(path, is_known).map_err(|e| e.at(&name))?;
        Source::new(name, batches, acceptance)
    }

    fn new(
        name: String,
        batches: Batches,
        acceptance: &mut Acceptance,
    ) -> Result<(DatasetMeta, Source), Error> {
        let mut source = Source {
            name,
            batches,
            token_code: String::new(),
            is_version_1: false,
            peeked: VecDeque::new(),
            rows: None,
        };
        let mut meta = source.check(acceptance).map_err(|e| e.at(&source.name))?;
        source.token_code = meta.token_code.clone();
        source.is_version_1 = token_code::is_version_1(&meta);
        if source.is_version_1 {
            // Rows leave the reader with today's tokens.
            let DatasetMeta { token_version, vocab_size, .. } =
                token_code::meta_of(token_code::FIELD);
            (meta.token_version, meta.vocab_size) = (token_version, vocab_size);
        }
        Ok((meta, source))
    }

    /// Checks the columns and the token code; returns the metadata, with what the file lacks.
    fn check(&mut self, acceptance: &mut Acceptance) -> Result<DatasetMeta, ErrorKind> {
        self.batches.check_columns()?;
        if let Some(line) = known_names_in_other_case(&self.batches.names()) {
            acceptance.give_notice(&self.name, line);
        }
        let meta = self.meta(acceptance)?;
        let is_accepted =
            |code: &CodecId| code.name == meta.token_code && code.version == meta.token_version;
        if !acceptance.accepted.iter().any(is_accepted) {
            let known: Vec<String> = acceptance
                .accepted
                .iter()
                .map(|c| format!("{} version {}", c.name, c.version))
                .collect();
            let mut found = format!("{} version {}", meta.token_code, meta.token_version);
            if token_code::is_version_1(&meta) {
                found += ", which `tcp-decode OLD - | tcp-encode - NEW` makes anew";
            }
            return Err(ErrorKind::TokenCode { expected: known.join(" or "), found });
        }
        Ok(meta)
    }

    /// Returns the metadata of the file. A file whose metadata name no token code is tcpflowgen's
    /// if it has a column `flows` instead of `tokens`; else its first tokens tell the code.
    fn meta(&mut self, acceptance: &mut Acceptance) -> Result<DatasetMeta, ErrorKind> {
        let names_code = self.batches.metadata().iter().any(|(key, _)| key == "token_code");
        if names_code {
            let meta = metadata::decode(self.batches.metadata())?;
            return match acceptance.token_code {
                Some(asked) if asked.name != meta.token_code => {
                    let expected = format!("{}, as --token-code says", asked.name);
                    Err(ErrorKind::TokenCode { expected, found: meta.token_code })
                }
                _ => Ok(meta),
            };
        }
        if acceptance.token_code.is_none() && !self.batches.has_column("tokens") {
            return Ok(token_code::meta_of_tcpflowgen());
        }
        let told = self.told_code()?;
        let (code, source) = match acceptance.token_code {
            // The option names the code, and the first tokens tell its version.
            Some(asked) => {
                let told = told.filter(|told| told.name == asked.name);
                (told.unwrap_or(asked), TokenCodeSource::Option)
            }
            None => (told.ok_or_else(token_code::not_told)?, TokenCodeSource::Tokens),
        };
        acceptance.give_notice(&self.name, source.notice(code));
        Ok(token_code::meta_of(code))
    }

    /// Returns the token code that the first tokens of the file tell, if they tell one.
    fn told_code(&mut self) -> Result<Option<CodecId>, ErrorKind> {
        while let Some(columns) = self.batches.next_batch()? {
            let told =
                BatchRows::first_tokens(&columns)?.iter().find_map(|t| token_code::told_by(*t));
            let is_empty = columns.first().is_none_or(|(_, array)| array.is_empty());
            self.peeked.push_back(columns);
            if told.is_some() || !is_empty {
                return Ok(told);
            }
        }
        // Without a row either code fits.
        Ok(Some(token_code::FIELD))
    }

    fn next_batch(&mut self) -> Result<Option<Columns>, ErrorKind> {
        match self.peeked.pop_front() {
            Some(columns) => Ok(Some(columns)),
            None => self.batches.next_batch(),
        }
    }

    fn next_row(&mut self) -> Result<Option<FlowRow>, Error> {
        loop {
            match self.rows.as_mut().and_then(Iterator::next) {
                Some(Ok(mut row)) => {
                    if self.is_version_1 {
                        token_code::translate(&mut row.tokens);
                    }
                    return Ok(Some(row));
                }
                Some(Err(kind)) => {
                    return Err(Error { recovery: Recovery::NextRow, ..kind.at(&self.name) });
                }
                None => {}
            }
            let next = self.next_batch();
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

/// Returns whether the file at a path holds a dataset: Arrow or Parquet with a column of tokens.
#[must_use]
pub fn is_dataset(path: &Path) -> bool {
    Batches::open(path, is_known).is_ok_and(|batches| batches.has_tokens())
}

/// Finds the files of a folder's dataset, searched in depth, in sorted order. `notice` receives
/// a line for each file that is skipped for its name.
fn shards(folder: &Path, notice: fn(&str)) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let at = |e: std::io::Error| ErrorKind::from(e).at(&folder.display().to_string());
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let path = entry.path();
            let name = entry.file_name();
            if name == "_delta_log" {
                let found = "a Delta table, whose files keep rows that it has removed";
                return Err(ErrorKind::format("folder", "the files of a dataset", found)
                    .at(&folder.display().to_string()));
            }
            let is_dir = entry.file_type().map_err(at)?.is_dir();
            // Spark and others write no rows under such names, and skip them.
            if name.as_encoded_bytes().starts_with(b"_") {
                if !is_dir && is_dataset_name(&path) {
                    notice(&format!("{}: skipped, for its name begins with _", path.display()));
                }
            } else if is_dir && !name.as_encoded_bytes().starts_with(b".") {
                folders.push(path);
            } else if is_dataset_name(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
