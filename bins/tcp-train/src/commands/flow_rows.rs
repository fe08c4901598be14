//! Rows of a dataset that is read once, front to back: checked flows, a chunk of them at a time.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use anyhow::bail;
use arrowio::{DatasetMeta, DatasetReader, FlowRow, ReadOptions, Tokens};
use clikit::{Console, is_dash};
use dataset::{RowCodec, RowDecoder};
use tokenizer::field;

use crate::args::{Reading, TokenCode};

/// Rows that a thread reads ahead.
const ROWS_AHEAD: usize = 1 << 10;

/// When a chunk of rows ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// With as many tokens as were asked for: the chunks depend on the rows alone.
    Full,
    /// Earlier, if no further row is there yet: rows of a live stream do not wait for later ones.
    Live,
}

/// Reader of the flows of a dataset, in a thread of its own.
pub(crate) struct FlowRows {
    meta: DatasetMeta,
    rows: Receiver<Result<FlowRow, String>>,
}

impl FlowRows {
    /// Opens a dataset, or a stream on stdin.
    ///
    /// # Errors
    /// If it cannot be read, or is of another token code than the model's.
    pub(crate) fn open(path: &Path, reading: Reading) -> anyhow::Result<FlowRows> {
        let options = ReadOptions {
            accepted: &[RowCodec::Field.id()],
            token_code: reading.token_code.map(|TokenCode::Field| RowCodec::Field.id()),
            notice: |line| tracing::warn!("{line}"),
        };
        let reader = if is_dash(path) {
            DatasetReader::stream_with("-", std::io::stdin(), &options)?
        } else {
            DatasetReader::open_with(path, &options)?
        };
        let meta = reader.meta().clone();
        let (expected, found) = (field::VOCAB_SIZE, meta.vocab_size as usize);
        if found != expected {
            let shown = path.display();
            bail!("{shown}: vocab_size: expected {expected}, the ids of the code, found {found}");
        }
        let (sender, rows) = sync_channel(ROWS_AHEAD);
        let shown = path.display().to_string();
        std::thread::spawn(move || read(reader, &shown, &sender));
        Ok(FlowRows { meta, rows })
    }

    /// Returns the metadata of the dataset.
    pub(crate) fn meta(&self) -> &DatasetMeta {
        &self.meta
    }

    /// Returns the next rows, with about `tokens` tokens together; `None` after the last one. Rows
    /// that cannot be read or do not decode are left out and named.
    pub(crate) fn next_chunk(
        &mut self,
        tokens: usize,
        pace: Pace,
        console: &Console,
    ) -> Option<Vec<FlowRow>> {
        let (mut chunk, mut left) = (Vec::new(), tokens);
        loop {
            let next = match self.rows.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Empty) if pace == Pace::Live && !chunk.is_empty() => break,
                Err(_) => match self.rows.recv() {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Ok(row) => {
                    left = left.saturating_sub(row.tokens.len());
                    chunk.push(row);
                }
                Err(what) => console.left_out(what),
            }
            if left == 0 {
                break;
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

/// Returns the tokens of a row that [`FlowRows`] has read.
pub(crate) fn tokens(row: &FlowRow) -> &[u16] {
    match &row.tokens {
        Tokens::U16(tokens) => tokens,
        Tokens::I32(_) => &[],
    }
}

/// Reads rows, checks that they decode, and sends them until nobody takes them any more.
fn read(reader: DatasetReader, shown: &str, to: &SyncSender<Result<FlowRow, String>>) {
    let mut decoder = RowDecoder::default();
    for (row, number) in reader.zip(1_u64..) {
        let checked = row.map_err(|error| error.to_string()).and_then(|row| {
            let (flow, _) =
                decoder.decode(&row).map_err(|error| format!("{shown}: flow {number}: {error}"))?;
            decoder.recycle(flow);
            Ok(row)
        });
        if to.send(checked).is_err() {
            return;
        }
    }
}
