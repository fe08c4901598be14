//! A dataset as training and evaluation want it: any flow at any time, no two the same.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::{CodecId, DatasetMeta, DatasetReader, Error, ErrorKind, FlowRow, Tokens};

/// How a [`Corpus`] is made.
#[derive(Clone, Debug)]
pub struct CorpusOptions {
    /// Token ids are below this; a flow with another one is refused.
    pub vocab_size: usize,
    /// An existing folder on a disk that has room for the tokens, two octets each. The file there
    /// has no name.
    pub scratch: PathBuf,
    /// Of flows that are much the same, so many stay at most; absent: all.
    pub repeats: Option<Repeats>,
}

/// When flows are much the same, and how many of them are enough.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    /// Those that come first in the dataset stay; at least 1.
    pub most: u32,
    /// What is compared of a flow. (Its hash is, of 64 bits.)
    pub outline: fn(&[u16]) -> Vec<u16>,
}

/// The distinct flows of a dataset, in its order, any of them at any time. Of flows with the same
/// tokens the first one stays.
///
/// The dataset is read once, front to back, whatever its format. Its tokens go into a file without
/// a name in `scratch`, which is mapped: memory holds some 20 octets per flow and the tokens that
/// are being used. Nobody else can change or cut that file, and it is gone with the process; the
/// dataset's own files may change once `open` is done.
///
/// ```
/// # use arrowio::*;
/// # let code = CodecId { name: "field", version: 1 };
/// # let meta = DatasetMeta { token_code: code.name.into(), token_version: 1, vocab_size: 1024, tool: String::new(),
/// #     options: Default::default() };
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("flows.arrow");
/// # let file = std::fs::File::create(&path).unwrap();
/// # let options = WriteOptions { format: DatasetFormat::Arrow, ..Default::default() };
/// # let mut writer = DatasetWriter::to("flows.arrow", file, &meta, &options)?;
/// # for word in [5, 6, 5] {
/// #     let tokens = Tokens::U16(vec![word; 3]);
/// #     writer.write(&FlowRow { tokens, identity: Default::default(), summary: None })?;
/// # }
/// # writer.finish()?;
/// use arrowio::{Corpus, CorpusOptions, Shares, epoch_order};
///
/// let options = CorpusOptions { vocab_size: 1024, scratch: std::env::temp_dir(), repeats: None };
/// let corpus = Corpus::open(&path, &[code], &options, |_flows_read| {})?;
/// assert_eq!((corpus.len(), corpus.duplicates()), (2, 1));
/// assert_eq!(corpus.tokens(1), [6, 6, 6]);
///
/// let split = corpus.split(Shares { validation: 0.5, test: 0.0 }, 1);
/// for flow in epoch_order(&split.train, 1, 0) {
///     assert_eq!(corpus.tokens(flow as usize).len(), 3);
/// }
/// # Ok::<(), arrowio::Error>(())
/// ```
#[derive(Debug)]
pub struct Corpus {
    meta: DatasetMeta,
    flows: Vec<Entry>,
    sources: Vec<String>,
    map: Mmap,
    duplicates: u64,
    repeats: u64,
    fingerprint: u64,
}

/// Where a flow is, and what is known of it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    length: u32,
    /// From both sides; 0: unknown.
    packets: u32,
    source: u32,
    copies: u32,
}

impl Corpus {
    /// Reads a dataset, all of it; `progress` hears how many flows were read.
    ///
    /// # Errors
    /// Where the dataset cannot be read to its end, holds a token id that `options` does not allow,
    /// tokens that are not of 16 bits, or more than 2^32 - 1 flows, and where the scratch file
    /// cannot be written.
    pub fn open(
        path: &Path,
        accepted: &[CodecId],
        options: &CorpusOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Corpus, Error> {
        let reader = DatasetReader::open(path, accepted)?;
        let meta = reader.meta().clone();
        let at = |kind: ErrorKind| kind.at(&path.display().to_string());
        let mut intake = Intake::new(options)?;
        for (row, read) in reader.zip(1_u64..) {
            intake.take(&row?, read, options.vocab_size).map_err(at)?;
            progress(read);
        }
        intake.finish(meta, options.repeats.as_ref())
    }

    /// What the dataset says of itself.
    #[must_use]
    pub fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    /// Number of flows, each one counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Flows left out because an earlier one has the same tokens.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Flows left out because as many as [`CorpusOptions::repeats`] allows came before that are
    /// much the same.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// The tokens of a flow.
    ///
    /// # Panics
    /// Where `flow` is not below `len`, as do the methods below.
    #[must_use]
    pub fn tokens(&self, flow: usize) -> &[u16] {
        tokens(&self.map, &self.flows[flow])
    }

    /// How many packets a flow has, where the dataset says so.
    #[must_use]
    pub fn packets(&self, flow: usize) -> Option<u64> {
        Some(u64::from(self.flows[flow].packets)).filter(|packets| *packets > 0)
    }

    /// The number of the capture that a flow comes from, below `sources().len()`.
    #[must_use]
    pub fn source(&self, flow: usize) -> usize {
        self.flows[flow].source as usize
    }

    /// How often the dataset holds a flow, 1 or more.
    #[must_use]
    pub fn copies(&self, flow: usize) -> u64 {
        self.flows[flow].copies.into()
    }

    /// The captures that the flows come from, in the order in which they were met; empty for
    /// generated flows and where the dataset does not say.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// A number that stands for the distinct flows and their order: the same on every machine and
    /// in every version.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// A dataset on its way into a scratch file.
struct Intake {
    scratch: String,
    file: BufWriter<File>,
    end: u64,
    flows: Vec<Entry>,
    hashes: Vec<u64>,
    sources: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Intake {
    fn new(options: &CorpusOptions) -> Result<Intake, Error> {
        let scratch = format!("scratch file in {}", options.scratch.display());
        let file =
            tempfile::tempfile_in(&options.scratch).map_err(|e| ErrorKind::from(e).at(&scratch))?;
        Ok(Intake {
            scratch,
            file: BufWriter::with_capacity(1 << 18, file),
            end: 0,
            flows: Vec::new(),
            hashes: Vec::new(),
            sources: Vec::new(),
            numbers: HashMap::new(),
        })
    }

    fn take(&mut self, row: &FlowRow, number: u64, vocab_size: usize) -> Result<(), ErrorKind> {
        let place = || format!("flow {number}");
        let Tokens::U16(tokens) = &row.tokens else {
            return Err(ErrorKind::format(place(), "tokens of 16 bits", "wider ones"));
        };
        if let Some(wrong) = tokens.iter().find(|t| usize::from(**t) >= vocab_size) {
            return Err(ErrorKind::format(
                place(),
                format!("token ids below {vocab_size}"),
                wrong.to_string(),
            ));
        }
        let length = u32::try_from(tokens.len()).map_err(|_| {
            ErrorKind::format(place(), "fewer than 2^32 tokens", tokens.len().to_string())
        })?;
        if u32::try_from(self.flows.len()).is_err() {
            return Err(ErrorKind::format(place(), "fewer than 2^32 flows", "more"));
        }
        let octets: Vec<u8> = tokens.iter().flat_map(|t| t.to_ne_bytes()).collect();
        self.file
            .write_all(&octets)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.scratch)))?;
        let packets = row.summary.as_ref().map_or(0, |s| s.packets[0].saturating_add(s.packets[1]));
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        let source = self.source(row.summary.as_ref().map_or("", |s| &s.source));
        self.flows.push(Entry { start: self.end, length, packets, source, copies: 1 });
        self.hashes.push(hash(tokens.iter().copied().map(u64::from)));
        self.end += u64::from(length);
        Ok(())
    }

    fn source(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        // There are no more sources than flows.
        let number = self.sources.len() as u32;
        self.sources.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn finish(self, meta: DatasetMeta, repeats: Option<&Repeats>) -> Result<Corpus, Error> {
        let at = |e: io::Error| ErrorKind::from(e).at(&self.scratch);
        let file = self.file.into_inner().map_err(|e| at(e.into_error()))?;
        // SAFETY: the file was made above and has no name, so that no other process can open,
        // change or cut it, and this one writes to it no more: its octets stay as they are while
        // they are mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(at)?;
        let (mut flows, duplicates) = distinct(&map, self.flows, &self.hashes);
        let repeats = repeats.map_or(0, |repeats| without_repeats(&map, &mut flows, repeats));
        let fingerprint =
            hash(flows.iter().map(|flow| hash(tokens(&map, flow).iter().copied().map(u64::from))));
        Ok(Corpus { meta, flows, sources: self.sources, map, duplicates, repeats, fingerprint })
    }
}

/// The first of each group of flows with the same tokens, in order, and how many others there were.
/// Tokens are looked at only where their hashes are the same.
fn distinct(map: &Mmap, mut flows: Vec<Entry>, hashes: &[u64]) -> (Vec<Entry>, u64) {
    let all = flows.len();
    let content = |flow: u32| (hashes[flow as usize], tokens(map, &flows[flow as usize]));
    let mut order: Vec<u32> = (0..all as u32).collect();
    order.sort_unstable_by(|a, b| content(*a).cmp(&content(*b)).then(a.cmp(b)));
    let mut copies = vec![0_u32; all];
    for alike in order.chunk_by(|a, b| content(*a) == content(*b)) {
        copies[alike[0] as usize] = alike.len() as u32;
    }
    flows.iter_mut().zip(&copies).for_each(|(flow, copies)| flow.copies = *copies);
    flows.retain(|flow| flow.copies > 0);
    flows.shrink_to_fit();
    let duplicates = all - flows.len();
    (flows, duplicates as u64)
}

/// Takes out flows of which as many as are enough came before; answers how many.
fn without_repeats(map: &Mmap, flows: &mut Vec<Entry>, repeats: &Repeats) -> u64 {
    let all = flows.len();
    let mut met: HashMap<u64, u32> = HashMap::new();
    flows.retain(|flow| {
        let outline = (repeats.outline)(tokens(map, flow));
        let count = met.entry(hash(outline.into_iter().map(u64::from))).or_default();
        *count = count.saturating_add(1);
        *count <= repeats.most.max(1)
    });
    flows.shrink_to_fit();
    (all - flows.len()) as u64
}

fn tokens<'a>(map: &'a Mmap, flow: &Entry) -> &'a [u16] {
    let start = flow.start as usize * 2;
    let octets = &map[start..start + flow.length as usize * 2];
    // SAFETY: any two octets are a u16.
    let (before, tokens, after) = unsafe { octets.align_to() };
    debug_assert!(
        before.is_empty() && after.is_empty(),
        "a map begins at a page, a flow at an even offset in it"
    );
    tokens
}

/// FNV-1a over words instead of octets: fast, and the same everywhere. What means harm finds words
/// that collide, which costs comparisons and nothing else.
pub(crate) fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
