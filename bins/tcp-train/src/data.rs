//! A dataset as the model sees it: distinct flows, split, put into rows.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrowio::{Corpus, CorpusOptions, Shares, Split, TokenCode, epoch_order};
use clikit::{Console, Unit, is_dash};
use linformer::Batch;
use tokenizer::{FlowIdentity, field};

use crate::settings::Settings;

/// The only token code that a model is trained on.
pub(crate) const CODE: TokenCode = TokenCode { name: field::NAME, version: field::VERSION };

/// A dataset's flows, on disk, and which of them are for what.
#[derive(Debug)]
pub(crate) struct Data {
    corpus: Corpus,
    max_flow_tokens: usize,
    packets: Vec<u64>,
    split: Split,
    /// Flows left out because another one has the same tokens.
    pub(crate) duplicates: u64,
    /// Flows of which only the beginning is used.
    pub(crate) cut: u64,
}

impl Data {
    /// Reads and splits a dataset. What does not fit into memory is kept on the disk of `output`.
    pub(crate) fn load(path: &Path, output: &Path, settings: &Settings, console: &Console) -> anyhow::Result<Data> {
        let options = CorpusOptions { vocab_size: field::VOCAB_SIZE, scratch: existing(output) };
        let progress = console.progress("reading flows", None, Unit::Items);
        let stream = is_dash(path).then(|| spooled(&options.scratch)).transpose()?;
        let corpus =
            Corpus::open(stream.as_ref().map_or(path, |file| file.path()), &[CODE], &options, |_| progress.inc(1))?;
        progress.finish();
        let found = corpus.meta().vocab_size as usize;
        if found != field::VOCAB_SIZE {
            bail!(
                "{}: vocab_size: expected {}, the token ids of the code, found {found}",
                path.display(),
                field::VOCAB_SIZE
            );
        }
        if corpus.is_empty() {
            bail!("{}: expected flows to train on, found none", path.display());
        }
        let split = corpus.split(Shares { validation: settings.validation_share, test: 0.0 }, settings.seed);
        let lengths = (0..corpus.len()).map(|flow| corpus.tokens(flow).len());
        Ok(Data {
            max_flow_tokens: settings.max_flow_tokens,
            duplicates: corpus.duplicates(),
            cut: lengths.filter(|&length| length > settings.max_flow_tokens).count() as u64,
            packets: (0..corpus.len()).map(|flow| packets_of(&corpus, flow)).collect::<anyhow::Result<_>>()?,
            split,
            corpus,
        })
    }

    /// The flows to train on.
    pub(crate) fn train(&self) -> &[u32] {
        &self.split.train
    }

    /// The flows held out.
    pub(crate) fn validation(&self) -> &[u32] {
        &self.split.validation
    }

    /// What is used of a flow's tokens.
    fn tokens(&self, flow: u32) -> &[u16] {
        let all = self.corpus.tokens(flow as usize);
        &all[..all.len().min(self.max_flow_tokens)]
    }

    /// Flows, packets and tokens of a part. Of a flow that is cut, packets count in proportion.
    pub(crate) fn count(&self, part: &[u32]) -> Counts {
        let mut counts = Counts { flows: part.len() as u64, ..Counts::default() };
        for &flow in part {
            let (used, all) = (self.tokens(flow).len() as u64, self.corpus.tokens(flow as usize).len() as u64);
            counts.packets += self.packets[flow as usize] * used / all.max(1);
            counts.tokens += used;
        }
        counts
    }

    /// The rows of an epoch: flows in an order of its own, as many in a row as its token budget holds.
    pub(crate) fn rows(&self, epoch: u64, settings: &Settings) -> Vec<Vec<u32>> {
        self.in_rows(&epoch_order(self.train(), settings.seed, epoch), settings.batch)
    }

    /// The rows of a part, in order.
    pub(crate) fn in_rows(&self, part: &[u32], budget: usize) -> Vec<Vec<u32>> {
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut room = 0;
        for &flow in part {
            let size = self.tokens(flow).len();
            match rows.last_mut() {
                Some(row) if size <= room => row.push(flow),
                _ => {
                    rows.push(vec![flow]);
                    room = budget.max(size);
                }
            }
            room -= size;
        }
        rows
    }

    /// A row in `n` parts of about as many tokens each, flows whole and in order. Some may be empty.
    pub(crate) fn parts(&self, row: &[u32], n: usize) -> Vec<Vec<u32>> {
        let sizes = || row.iter().map(|&flow| self.tokens(flow).len());
        let all = sizes().sum::<usize>().max(1);
        let mut parts = vec![Vec::new(); n];
        let mut before = 0;
        for (&flow, size) in row.iter().zip(sizes()) {
            parts[(before + size / 2) * n / all].push(flow);
            before += size;
        }
        parts
    }

    /// Tokens of a row that are predicted: all but each flow's first.
    pub(crate) fn predicted(&self, row: &[u32]) -> usize {
        row.iter().map(|&flow| self.tokens(flow).len().saturating_sub(1)).sum()
    }

    /// A row as a batch.
    pub(crate) fn batch(&self, row: &[u32]) -> Batch {
        Batch::pack(row.iter().map(|&flow| self.tokens(flow)))
    }

    /// A number that another dataset, or the same one split otherwise, does not have.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.corpus.fingerprint() ^ self.split.fingerprint().rotate_left(1)
    }
}

fn packets_of(corpus: &Corpus, flow: usize) -> anyhow::Result<u64> {
    if let Some(packets) = corpus.packets(flow) {
        return Ok(packets);
    }
    let decoded = field::decode(corpus.tokens(flow), &FlowIdentity::default());
    Ok(decoded.with_context(|| format!("flow {flow} of the dataset"))?.packets.len() as u64)
}

/// A stream on stdin as a file: it goes with what this answers.
fn spooled(folder: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(".arrows").tempfile_in(folder).context("standard input")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
    Ok(file)
}

/// The folder itself or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Flows, packets and tokens.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) tokens: u64,
}
