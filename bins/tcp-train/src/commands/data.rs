//! A dataset as the model sees it: distinct flows, split, put into rows.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrowio::{CodecId, Corpus, CorpusOptions, Part, Repeats, Shares, Split, epoch_order};
use clikit::{Console, Unit, is_dash};
use linformer::Batch;
use tokenizer::field::vocab;
use tokenizer::{FlowIdentity, field};

use super::rows::{Piece, Row, rows};
use crate::ports::Ports;
use crate::settings::Settings;

/// The only token code that a model is trained on.
pub(crate) const CODE: CodecId = CodecId { name: field::NAME, version: field::VERSION };

/// A dataset's flows, on disk, and which of them are for what.
#[derive(Debug)]
pub(crate) struct Data {
    corpus: Corpus,
    piece: usize,
    packets: Vec<u64>,
    split: Split,
    /// Flows left out because another one has the same tokens.
    pub(crate) duplicates: u64,
    /// Flows left out because enough others differ from them in time alone.
    pub(crate) repeats: u64,
    /// Flows that are learnt in more than one step.
    pub(crate) in_pieces: u64,
}

impl Data {
    /// Reads and splits a dataset. What does not fit into memory is kept on the disk of `output`.
    pub(crate) fn load(
        path: &Path,
        output: &Path,
        settings: &Settings,
        console: &Console,
    ) -> anyhow::Result<Data> {
        let scratch = existing(output);
        let most = u32::try_from(settings.max_repeats).unwrap_or(u32::MAX);
        let repeats = (most > 0).then_some(Repeats { most, outline: without_time });
        let options = CorpusOptions { vocab_size: field::VOCAB_SIZE, scratch, repeats };
        let progress = console.progress("reading flows", None, Unit::Items);
        let stream = is_dash(path).then(|| spooled(&options.scratch)).transpose()?;
        let corpus = Corpus::open(
            stream.as_ref().map_or(path, |file| file.path()),
            &[CODE],
            &options,
            |_| progress.inc(1),
        )?;
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
        let shares = Shares { validation: settings.validation_share, test: settings.test_share };
        let split = corpus.split(shares, settings.seed);
        let piece = settings.piece.min(settings.batch);
        let lengths = (0..corpus.len()).map(|flow| corpus.tokens(flow).len());
        Ok(Data {
            piece,
            duplicates: corpus.duplicates(),
            repeats: corpus.repeats(),
            in_pieces: lengths.filter(|&length| length > piece + 1).count() as u64,
            packets: (0..corpus.len())
                .map(|flow| packets_of(&corpus, flow))
                .collect::<anyhow::Result<_>>()?,
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

    /// The flows kept for a test, which training does not look at.
    pub(crate) fn test(&self) -> &[u32] {
        &self.split.test
    }

    /// Every flow with its part, in the dataset's order.
    pub(crate) fn all(&self) -> Vec<(u32, Part)> {
        let of = |part| self.split.part(part).iter().map(move |&flow| (flow, part));
        let mut all: Vec<_> = Part::ALL.into_iter().flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// Which capture a flow is from and how often the dataset holds it.
    pub(crate) fn origin(&self, flow: u32) -> (&str, u64) {
        let source = self.corpus.sources().get(self.corpus.source(flow as usize));
        (source.map_or("", String::as_str), self.corpus.copies(flow as usize))
    }

    /// Tokens and packets of a flow.
    pub(crate) fn size(&self, flow: u32) -> (usize, u64) {
        (self.corpus.tokens(flow as usize).len(), self.packets[flow as usize])
    }

    /// Flows, packets and tokens of a part.
    pub(crate) fn count(&self, part: &[u32]) -> Counts {
        let mut counts = Counts { flows: part.len() as u64, ..Counts::default() };
        for &flow in part {
            let (tokens, packets) = self.size(flow);
            counts.packets += packets;
            counts.tokens += tokens as u64;
        }
        counts
    }

    /// The server ports of the flows to train on.
    pub(crate) fn server_ports(&self) -> Ports {
        let port = |&flow: &u32| {
            field::header(self.corpus.tokens(flow as usize)).map(|head| head.server_port).ok()
        };
        self.train().iter().filter_map(port).collect()
    }

    /// Packets in a row; of a piece, the flow's in proportion.
    pub(crate) fn packets(&self, row: &[Piece]) -> f64 {
        let of = |piece: &Piece| {
            let (tokens, packets) = self.size(piece.flow);
            packets as f64 * piece.tokens() as f64 / tokens.saturating_sub(1).max(1) as f64
        };
        row.iter().map(of).sum()
    }

    /// The rows of an epoch: flows in an order of its own.
    pub(crate) fn epoch(&self, epoch: u64, settings: &Settings) -> Vec<Row> {
        self.in_rows(&epoch_order(self.train(), settings.seed, epoch), settings.batch)
    }

    /// The rows of a part, in about its order.
    pub(crate) fn in_rows(&self, part: &[u32], budget: usize) -> Vec<Row> {
        let predicted = |flow: u32| self.corpus.tokens(flow as usize).len().saturating_sub(1);
        rows(part.iter().map(|&flow| (flow, predicted(flow))), self.piece, budget)
    }

    /// A row as a batch.
    pub(crate) fn batch(&self, row: &[Piece]) -> Batch {
        Batch::pack_pieces(row.iter().map(|piece| linformer::SequencePiece {
            sequence: piece.flow.into(),
            start: piece.start,
            tokens: &self.corpus.tokens(piece.flow as usize)[piece.start..=piece.end],
            continues: piece.goes_on,
        }))
    }

    /// A number that another dataset, or the same one split otherwise, does not have.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.corpus.fingerprint() ^ self.split.fingerprint().rotate_left(1)
    }
}

/// A flow's tokens without times, time stamps and their digits: flows alike in these differ in
/// their clocks alone.
fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut is_left_out = false;
    let is_kept = |token: &u16| {
        if vocab::DIGIT.arg(*token).is_none() {
            is_left_out =
                vocab::row(*token).is_some_and(|row| ["time", "timestamps"].contains(&row.field));
        }
        !is_left_out
    };
    tokens.iter().copied().filter(is_kept).collect()
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
    let mut file =
        tempfile::Builder::new().suffix(".arrows").tempfile_in(folder).context("standard input")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
    Ok(file)
}

/// The folder itself or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Flows, packets and tokens.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) flows: u64,
    pub(crate) packets: u64,
    pub(crate) tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::{vocab, without_time};

    #[test]
    fn times_and_their_digits_do_not_count() {
        let digit = |n| vocab::DIGIT.at(n);
        let flow = |gap: usize| {
            let head = [vocab::PACKET.at(3), vocab::WIN_UP.at(9), digit(7)];
            let clock = [
                vocab::TSVAL_FORWARD.at(0),
                digit(1),
                digit(gap),
                vocab::TIME.at(gap),
                digit(gap),
                digit(2),
            ];
            [&head[..], &clock, &[vocab::PACKET.at(5), digit(1)]].concat()
        };
        assert_eq!(without_time(&flow(4)), without_time(&flow(90)));
        assert_eq!(without_time(&flow(4)).len(), 5);
    }
}
