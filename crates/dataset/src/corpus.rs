//! A dataset as training wants it: random access to its distinct flows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrowio::{DatasetMeta, DatasetReader, FlowRow, ReadOptions, Tokens};
use memmap2::Mmap;

use crate::codec::RowDecoder;
use crate::hash::fnv1a;

/// Options of [`Corpus::open`]: vocabulary, place of the tokens, limit on near-duplicates.
#[derive(Clone, Debug)]
pub struct CorpusOptions {
    /// Number of token ids; a flow with an id that is not below it is refused.
    pub vocab_size: usize,
    /// Existing folder for a file without a name that holds all tokens, two octets each.
    pub scratch: PathBuf,
    /// Limit on near-duplicates; `None` keeps all of them.
    pub near_duplicates: Option<NearDuplicates>,
    /// Check of each flow's tokens.
    pub check: TokenCheck,
}

/// Check of the tokens of a corpus. A flow that fails it is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenCheck {
    /// Every token is one of the vocabulary.
    Ids,
    /// The tokens of every flow decode to the end: none follows it, such as padding.
    Flows,
}

/// Limit on flows with the same signature, in addition to exact deduplication.
#[derive(Clone, Copy, Debug)]
pub struct NearDuplicates {
    /// Number of flows kept of each signature, the first ones in the dataset; at least 1.
    pub max: u32,
    /// Returns the signature of a flow's tokens. Signatures are compared by a hash of 64 bits.
    pub signature: fn(&[u16]) -> Vec<u16>,
}

/// Reasons why a dataset cannot be opened as a [`Corpus`].
#[derive(thiserror::Error, Debug)]
pub enum CorpusError {
    /// The dataset cannot be read to its end.
    #[error(transparent)]
    Dataset(#[from] arrowio::Error),
    /// A flow of the dataset cannot be part of a corpus.
    #[error("{}: flow {flow}: expected {expected}, found {found}", path.display())]
    Flow {
        /// File or folder of the dataset.
        path: PathBuf,
        /// Number of the flow, from 1.
        flow: u64,
        /// Property that every flow of a corpus has.
        expected: String,
        /// Value that the flow has instead.
        found: String,
    },
    /// The file of tokens cannot be written or mapped.
    #[error("scratch file in {}: {source}", folder.display())]
    Scratch {
        /// Folder of the file, which has no name itself.
        folder: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Distinct flows of a dataset in the order of their first occurrence, with random access.
///
/// The dataset is read once, front to back, in any format. Tokens go into a file without a name in
/// [`CorpusOptions::scratch`], which is memory-mapped: the heap holds about 20 octets per flow, and
/// the page cache holds the tokens in use. No other process can change or truncate that file, and
/// the operating system removes it when the process ends. The dataset's own files may change once
/// [`open`](Corpus::open) has returned.
///
/// ```
/// use arrowio::ReadOptions;
/// use dataset::{Corpus, CorpusOptions, Shares, TokenCheck, epoch_order};
/// use testkit::datasets::{FIELD, row, write_folder};
///
/// # let scratch = testkit::Scratch::new();
/// # let folder = scratch.path("flows");
/// write_folder(&folder, [row(vec![5; 3]), row(vec![6; 3]), row(vec![5; 3])]);
///
/// let scratch = std::env::temp_dir();
/// let (near_duplicates, check) = (None, TokenCheck::Ids);
/// let options = CorpusOptions { vocab_size: 1024, scratch, near_duplicates, check };
/// let read = ReadOptions::accepting(&[FIELD]);
/// let corpus = Corpus::open(&folder, &read, &options, |_flows_read| {})?;
/// assert_eq!((corpus.len(), corpus.duplicates()), (2, 1));
/// assert_eq!(corpus.tokens(1), [6, 6, 6]);
///
/// let split = corpus.split(Shares { validation: 0.5, test: 0.0 }, 1);
/// for flow in epoch_order(&split.train, 1, 0) {
///     assert_eq!(corpus.tokens(flow as usize).len(), 3);
/// }
/// # Ok::<(), dataset::CorpusError>(())
/// ```
#[derive(Debug)]
pub struct Corpus {
    meta: DatasetMeta,
    flows: Vec<FlowEntry>,
    sources: Vec<String>,
    map: Mmap,
    duplicates: u64,
    near_duplicates: u64,
    fingerprint: u64,
}

/// Location of a flow's tokens in the scratch file, and the flow's columns that training reads.
#[derive(Clone, Copy, Debug)]
struct FlowEntry {
    /// Index of the first token in the file, counted in tokens.
    start: u64,
    /// Number of tokens of the flow.
    length: u32,
    /// Packets of both sides; 0 if unknown.
    packets: u32,
    /// Index into the list of captures.
    source: u32,
    /// Occurrences in the dataset; 0 marks a duplicate while flows are deduplicated.
    copies: u32,
}

impl Corpus {
    /// Reads a whole dataset as `read` says. `progress` is called after each row
    /// with the number of rows read.
    ///
    /// # Errors
    /// If the dataset cannot be read to its end; if a flow has a token id that `options` excludes
    /// or tokens of more than 16 bits; if there are more than 2^32 - 1 flows; and if the scratch
    /// file cannot be written.
    pub fn open(
        path: &Path,
        read: &ReadOptions<'_>,
        options: &CorpusOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Corpus, CorpusError> {
        let reader = DatasetReader::open_with(path, read)?;
        let meta = reader.meta().clone();
        let mut builder = CorpusBuilder::new(path, options)?;
        for (row, number) in reader.zip(1_u64..) {
            builder.push(&row?, number, options)?;
            progress(number);
        }
        builder.finish(meta, options.near_duplicates.as_ref())
    }

    /// Returns the metadata of the dataset.
    #[must_use]
    pub fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    /// Returns the number of distinct flows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Reports whether the corpus holds no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Returns the number of flows left out because an earlier one has the same tokens.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Returns the number of flows left out by [`CorpusOptions::near_duplicates`].
    #[must_use]
    pub fn near_duplicates(&self) -> u64 {
        self.near_duplicates
    }

    /// Returns the tokens of a flow.
    ///
    /// # Panics
    /// If `flow` is not below [`len`](Corpus::len), as do the methods below.
    #[must_use]
    pub fn tokens(&self, flow: usize) -> &[u16] {
        tokens(&self.map, &self.flows[flow])
    }

    /// Returns the number of packets of a flow, if the dataset holds summaries.
    #[must_use]
    pub fn packets(&self, flow: usize) -> Option<u64> {
        Some(u64::from(self.flows[flow].packets)).filter(|packets| *packets > 0)
    }

    /// Returns the index into [`sources`](Corpus::sources) of a flow's capture.
    #[must_use]
    pub fn source(&self, flow: usize) -> usize {
        self.flows[flow].source as usize
    }

    /// Returns the number of occurrences of a flow in the dataset, at least 1.
    #[must_use]
    pub fn copies(&self, flow: usize) -> u64 {
        self.flows[flow].copies.into()
    }

    /// Returns the captures of all flows, in order of first occurrence. The name is empty for
    /// generated flows and in datasets without summaries.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Returns whether a flow names its capture. A split of flows that name none is by flow.
    #[must_use]
    pub fn has_captures(&self) -> bool {
        self.sources.iter().any(|name| !name.is_empty())
    }

    /// Returns a hash of the distinct flows and their order, equal on every machine and in every
    /// version. Checkpoints store it to recognize their dataset.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Corpus under construction: tokens go to the scratch file, entries to the heap.
struct CorpusBuilder<'p> {
    path: &'p Path,
    scratch: &'p Path,
    file: BufWriter<File>,
    /// Number of tokens written.
    end: u64,
    flows: Vec<FlowEntry>,
    /// Hash of each flow's tokens.
    hashes: Vec<u64>,
    sources: Vec<String>,
    source_index: HashMap<String, u32>,
    decoder: RowDecoder,
}

impl<'p> CorpusBuilder<'p> {
    fn new(path: &'p Path, options: &'p CorpusOptions) -> Result<CorpusBuilder<'p>, CorpusError> {
        let scratch = options.scratch.as_path();
        let file = tempfile::tempfile_in(scratch).map_err(|e| scratch_error(scratch, e))?;
        Ok(CorpusBuilder {
            path,
            scratch,
            file: BufWriter::with_capacity(1 << 18, file),
            end: 0,
            flows: Vec::new(),
            hashes: Vec::new(),
            sources: Vec::new(),
            source_index: HashMap::new(),
            decoder: RowDecoder::default(),
        })
    }

    fn push(
        &mut self,
        row: &FlowRow,
        number: u64,
        options: &CorpusOptions,
    ) -> Result<(), CorpusError> {
        let vocab_size = options.vocab_size;
        let path = self.path;
        let refused = |expected: String, found: String| CorpusError::Flow {
            path: path.to_owned(),
            flow: number,
            expected,
            found,
        };
        let Tokens::U16(tokens) = &row.tokens else {
            return Err(refused("tokens of 16 bits".into(), "wider ones".into()));
        };
        if let Some(wrong) = tokens.iter().find(|t| usize::from(**t) >= vocab_size) {
            return Err(refused(format!("token ids below {vocab_size}"), wrong.to_string()));
        }
        if options.check == TokenCheck::Flows {
            match self.decoder.decode(row) {
                Ok((flow, _)) => self.decoder.recycle(flow),
                Err(error) => {
                    return Err(refused("tokens that decode".into(), error.to_string()));
                }
            }
        }
        let length = u32::try_from(tokens.len())
            .map_err(|_| refused("fewer than 2^32 tokens".into(), tokens.len().to_string()))?;
        if u32::try_from(self.flows.len()).is_err() {
            return Err(refused("fewer than 2^32 flows".into(), "more".into()));
        }
        let octets: Vec<u8> = tokens.iter().flat_map(|t| t.to_ne_bytes()).collect();
        self.file.write_all(&octets).map_err(|e| scratch_error(self.scratch, e))?;
        let packets = row.summary.as_ref().map_or(0, |s| s.packets[0].saturating_add(s.packets[1]));
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        let source = self.intern_source(row.summary.as_ref().map_or("", |s| &s.source));
        self.flows.push(FlowEntry { start: self.end, length, packets, source, copies: 1 });
        self.hashes.push(hash_tokens(tokens));
        self.end += u64::from(length);
        Ok(())
    }

    /// Returns the index of a capture, which is added if it is new.
    fn intern_source(&mut self, name: &str) -> u32 {
        if let Some(index) = self.source_index.get(name) {
            return *index;
        }
        // There are no more captures than flows, whose number fits into 32 bits.
        let index = self.sources.len() as u32;
        self.sources.push(name.to_owned());
        self.source_index.insert(name.to_owned(), index);
        index
    }

    fn finish(
        self,
        meta: DatasetMeta,
        limit: Option<&NearDuplicates>,
    ) -> Result<Corpus, CorpusError> {
        let scratch = self.scratch;
        let file = self.file.into_inner().map_err(|e| scratch_error(scratch, e.into_error()))?;
        // SAFETY: the file was created above and has no name, so that no other process can open,
        // change or truncate it, and this process writes to it no more: its octets do not change
        // while they are mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| scratch_error(scratch, e))?;
        let (mut flows, duplicates) = deduplicate(&map, self.flows, &self.hashes);
        let near_duplicates =
            limit.map_or(0, |limit| remove_near_duplicates(&map, &mut flows, limit));
        let fingerprint = fnv1a(flows.iter().map(|flow| hash_tokens(tokens(&map, flow))));
        let sources = self.sources;
        Ok(Corpus { meta, flows, sources, map, duplicates, near_duplicates, fingerprint })
    }
}

fn scratch_error(folder: &Path, source: io::Error) -> CorpusError {
    CorpusError::Scratch { folder: folder.to_owned(), source }
}

/// Keeps the first flow of each group with equal tokens, in order; returns the flows and the number
/// of those removed. Tokens are compared only where their hashes are equal.
fn deduplicate(map: &Mmap, mut flows: Vec<FlowEntry>, hashes: &[u64]) -> (Vec<FlowEntry>, u64) {
    let all = flows.len();
    let content = |flow: u32| (hashes[flow as usize], tokens(map, &flows[flow as usize]));
    let mut order: Vec<u32> = (0..all as u32).collect();
    order.sort_unstable_by(|a, b| content(*a).cmp(&content(*b)).then(a.cmp(b)));
    let mut copies = vec![0_u32; all];
    for equal in order.chunk_by(|a, b| content(*a) == content(*b)) {
        copies[equal[0] as usize] = equal.len() as u32;
    }
    flows.iter_mut().zip(&copies).for_each(|(flow, copies)| flow.copies = *copies);
    flows.retain(|flow| flow.copies > 0);
    flows.shrink_to_fit();
    let duplicates = all - flows.len();
    (flows, duplicates as u64)
}

/// Removes flows beyond the limit for their signature; returns how many.
fn remove_near_duplicates(map: &Mmap, flows: &mut Vec<FlowEntry>, limit: &NearDuplicates) -> u64 {
    let all = flows.len();
    let mut seen: HashMap<u64, u32> = HashMap::new();
    flows.retain(|flow| {
        let signature = (limit.signature)(tokens(map, flow));
        let count = seen.entry(hash_tokens(&signature)).or_default();
        *count = count.saturating_add(1);
        *count <= limit.max.max(1)
    });
    flows.shrink_to_fit();
    (all - flows.len()) as u64
}

fn hash_tokens(tokens: &[u16]) -> u64 {
    fnv1a(tokens.iter().copied().map(u64::from))
}

fn tokens<'a>(map: &'a Mmap, flow: &FlowEntry) -> &'a [u16] {
    let start = flow.start as usize * 2;
    let octets = &map[start..start + flow.length as usize * 2];
    // SAFETY: every pair of octets is a valid u16.
    let (before, tokens, after) = unsafe { octets.align_to() };
    debug_assert!(
        before.is_empty() && after.is_empty(),
        "a map begins at a page, a flow at an even offset in it"
    );
    tokens
}
