//! A dataset as training reads it: distinct flows, split into parts and packed into rows.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrowio::ReadOptions;
use clikit::{Console, Unit, is_dash};
use dataset::{
    Corpus, CorpusOptions, FlowPiece, NearDuplicates, Part, Row, RowCodec, Shares, Split,
    TokenCheck, epoch_order, pack_rows, without_time,
};
use linformer::Batch;
use tokenizer::{FlowIdentity, field};

use super::trace;
use crate::args::{Reading, TokenCode};
use crate::level::Level;
use crate::ports::SeenServerPorts;
use crate::settings::Settings;

/// Sequences to train on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sequences<'a> {
    /// Flows of a dataset.
    Flows(&'a Path),
    /// Hosts of a dataset by its hosts table.
    Hosts {
        /// Path of the dataset.
        dataset: &'a Path,
        /// Path of the hosts table.
        hosts: &'a Path,
    },
}

/// Distinct flows of a dataset, split into training, validation and test flows. Flows are known by
/// their index among the distinct ones.
#[derive(Debug)]
pub(crate) struct SplitDataset {
    /// Distinct flows, in a memory-mapped file.
    corpus: Corpus,
    /// Largest number of tokens of one flow in a row.
    max_piece: usize,
    /// Number of packets of each flow.
    packets: Vec<u64>,
    /// Flows of each part.
    split: Split,
    /// Number of flows left out because another one has the same tokens.
    pub(crate) duplicates: u64,
    /// Number of flows left out because `max_repeats` others differ from them in time alone.
    pub(crate) repeats: u64,
    /// Number of flows that are too long for one row.
    pub(crate) in_pieces: u64,
}

impl SplitDataset {
    /// Reads and splits a dataset. Tokens are kept in an unnamed file on the file system of
    /// `output`.
    ///
    /// # Errors
    /// If the dataset cannot be read, is of another token code, or holds no flows.
    pub(crate) fn load(
        sequences: &Sequences<'_>,
        reading: Reading,
        output: &Path,
        settings: &Settings,
        console: &Console,
    ) -> anyhow::Result<SplitDataset> {
        let scratch = existing_ancestor(output);
        let most = u32::try_from(settings.max_repeats).unwrap_or(u32::MAX);
        let (path, level) = match *sequences {
            Sequences::Flows(path) => (path, Level::Flow),
            Sequences::Hosts { dataset, .. } => (dataset, Level::Trace),
        };
        let is_flows = level == Level::Flow;
        let near_duplicates =
            (most > 0 && is_flows).then_some(NearDuplicates { max: most, signature: without_time });
        let check = if is_flows { TokenCheck::Flows } else { TokenCheck::Ids };
        let vocab_size = level.vocab_size();
        let options = CorpusOptions { vocab_size, scratch, near_duplicates, check };
        let read = ReadOptions {
            accepted: &[RowCodec::Field.id()],
            token_code: reading.token_code.map(|TokenCode::Field| RowCodec::Field.id()),
            notice: |line| tracing::warn!("{line}"),
        };
        let progress = console.progress("reading flows", None, Unit::Items);
        let stream = is_dash(path).then(|| spool_stdin(&options.scratch)).transpose()?;
        let flows = stream.as_ref().map_or(path, |file| file.path());
        let corpus = match *sequences {
            Sequences::Flows(_) => Corpus::open(flows, &read, &options, |_| progress.inc(1))?,
            Sequences::Hosts { hosts, .. } => {
                let file = trace::skeleton_file(flows, hosts, &read, &options.scratch)?;
                let read = ReadOptions::accepting(&[trace::SKELETON]);
                Corpus::open(file.path(), &read, &options, |_| progress.inc(1))?
            }
        };
        progress.finish();
        let found = corpus.meta().vocab_size as usize;
        if found != vocab_size {
            bail!(
                "{}: vocab_size: expected {vocab_size}, the token ids of the code, found {found}",
                path.display(),
            );
        }
        if corpus.is_empty() {
            bail!("{}: expected flows to train on, found none", path.display());
        }
        let shares = Shares { validation: settings.validation_share, test: settings.test_share };
        let split = corpus.split(shares, settings.seed);
        let max_piece = settings.max_sequence_piece.min(settings.batch);
        let lengths = (0..corpus.len()).map(|flow| corpus.tokens(flow).len());
        Ok(SplitDataset {
            max_piece,
            duplicates: corpus.duplicates(),
            repeats: corpus.near_duplicates(),
            in_pieces: lengths.filter(|&length| length > max_piece + 1).count() as u64,
            packets: (0..corpus.len())
                .map(|flow| count_packets(&corpus, flow))
                .collect::<anyhow::Result<_>>()?,
            split,
            corpus,
        })
    }

    /// Returns whether the split is by capture, as far as flows name theirs.
    pub(crate) fn is_by_capture(&self) -> bool {
        self.corpus.has_captures()
    }

    /// Returns the flows to train on.
    pub(crate) fn train(&self) -> &[u32] {
        &self.split.train
    }

    /// Returns the flows held out to choose the best weights.
    pub(crate) fn validation(&self) -> &[u32] {
        &self.split.validation
    }

    /// Returns the flows kept for a test, which training does not read.
    pub(crate) fn test(&self) -> &[u32] {
        &self.split.test
    }

    /// Returns every flow with its part, in the order of the dataset.
    pub(crate) fn all(&self) -> Vec<(u32, Part)> {
        let of = |part| self.split.part(part).iter().map(move |&flow| (flow, part));
        let mut all: Vec<_> = Part::ALL.into_iter().flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// Returns the capture that a flow is from, and the number of its copies in the dataset.
    pub(crate) fn origin(&self, flow: u32) -> (&str, u64) {
        let source = self.corpus.sources().get(self.corpus.source(flow as usize));
        (source.map_or("", String::as_str), self.corpus.copies(flow as usize))
    }

    /// Returns the numbers of tokens and packets of a flow.
    pub(crate) fn size(&self, flow: u32) -> (usize, u64) {
        (self.corpus.tokens(flow as usize).len(), self.packets[flow as usize])
    }

    /// Counts the flows, packets and tokens of a part.
    pub(crate) fn count(&self, part: &[u32]) -> PartCounts {
        let mut counts = PartCounts { flows: part.len() as u64, ..PartCounts::default() };
        for &flow in part {
            let (tokens, packets) = self.size(flow);
            counts.packets += packets;
            counts.tokens += tokens as u64;
        }
        counts
    }

    /// Returns the server ports of the flows to train on.
    pub(crate) fn server_ports(&self) -> SeenServerPorts {
        let port = |&flow: &u32| {
            field::header(self.corpus.tokens(flow as usize)).map(|head| head.server_port).ok()
        };
        self.train().iter().filter_map(port).collect()
    }

    /// Returns the number of packets in a row. A piece counts the packets of its flow in proportion
    /// to its tokens.
    pub(crate) fn packets(&self, row: &[FlowPiece]) -> f64 {
        let in_piece = |piece: &FlowPiece| {
            let (tokens, packets) = self.size(piece.flow);
            packets as f64 * piece.tokens() as f64 / tokens.saturating_sub(1).max(1) as f64
        };
        row.iter().map(in_piece).sum()
    }

    /// Returns the rows of an epoch, with the training flows in an order that the seed and the
    /// number of the epoch determine.
    pub(crate) fn epoch(&self, epoch: u64, settings: &Settings) -> Vec<Row> {
        self.pack(&epoch_order(self.train(), settings.seed, epoch), settings.batch)
    }

    /// Packs flows into rows of at most `budget` tokens, about in their order.
    pub(crate) fn pack(&self, part: &[u32], budget: usize) -> Vec<Row> {
        let predicted = |flow: u32| self.corpus.tokens(flow as usize).len().saturating_sub(1);
        let flows = part.iter().map(|&flow| (flow, predicted(flow)));
        pack_rows(flows, self.max_piece, budget)
    }

    /// Returns a row, or a part of one, as a batch for the model.
    pub(crate) fn batch(&self, row: &[FlowPiece]) -> Batch {
        Batch::pack_pieces(row.iter().map(|piece| linformer::SequencePiece {
            sequence: piece.flow.into(),
            start: piece.start,
            tokens: &self.corpus.tokens(piece.flow as usize)[piece.start..=piece.end],
            continues: piece.continues,
        }))
    }

    /// Returns a hash of the flows and their split, by which `resume` recognises the dataset.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.corpus.fingerprint() ^ self.split.fingerprint().rotate_left(1)
    }
}

/// Returns the number of packets of a flow: from its summary if the dataset has one, else by
/// decoding its tokens.
fn count_packets(corpus: &Corpus, flow: usize) -> anyhow::Result<u64> {
    if let Some(packets) = corpus.packets(flow) {
        return Ok(packets);
    }
    let decoded = field::decode(corpus.tokens(flow), &FlowIdentity::default());
    Ok(decoded.with_context(|| format!("flow {flow} of the dataset"))?.packets.len() as u64)
}

/// Copies stdin to a temporary file, which is deleted when the returned handle is dropped.
fn spool_stdin(folder: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let mut file =
        tempfile::Builder::new().suffix(".arrows").tempfile_in(folder).context("standard input")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
    Ok(file)
}

/// Returns the folder itself, or its nearest ancestor that exists.
fn existing_ancestor(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Size of a part of the dataset.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct PartCounts {
    /// Number of distinct flows.
    pub(crate) flows: u64,
    /// Number of packets of these flows.
    pub(crate) packets: u64,
    /// Number of tokens of these flows, with the first and the last of each.
    pub(crate) tokens: u64,
}
