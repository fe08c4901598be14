//! Captures and datasets as complete flows.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use arrowio::{CodecId, DatasetReader, FIELD_1, ReadOptions};
use flowtrack::{Class, FinishedConversation, Flow, FlowReader, TrackerOptions};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tcpwire::{CaptureReader, ReadError};
use tokenizer::DecodeError;

use crate::codec::{RowCodec, RowDecoder};

/// Complete flows of any number of files, and counts of the others.
#[derive(Debug)]
pub struct CompleteFlows {
    /// Flows with handshake, both streams without a gap, and a close or reset.
    pub flows: Vec<Flow>,
    /// Number of conversations that are not complete.
    pub incomplete: u64,
    /// Number of decoded flows whose row has no client port. Such rows are generated, and their
    /// flows have no initial numbers either.
    pub missing_identity: u64,
    /// Token code of datasets whose metadata name none; `None`: their tokens tell it.
    token_code: Option<CodecId>,
    /// Receiver of lines about datasets.
    notice: fn(&str),
    /// Source of the bases of generated flows.
    random: ChaCha8Rng,
}

/// Seed of the bases of generated flows: that of `tcp-decode`, if none is asked for.
const SEED: u64 = 1;

/// Reasons why a file cannot be read at all.
#[derive(thiserror::Error, Debug)]
pub enum SourceError {
    /// The capture cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// File of the capture.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The dataset cannot be opened, or has another token code than `field`.
    #[error(transparent)]
    Dataset(#[from] arrowio::Error),
}

/// Part of a file that could not be read, in a form to report to the user.
#[derive(thiserror::Error, Debug)]
pub enum LeftOut {
    /// Row, or rest, of a dataset.
    #[error(transparent)]
    Rows(arrowio::Error),
    /// Row whose tokens are not valid.
    #[error("{}: row {row} (from 0): {error}", path.display())]
    Tokens {
        /// File or folder of the dataset.
        path: PathBuf,
        /// Number of the row, from 0.
        row: usize,
        /// First token that is not valid.
        error: DecodeError,
    },
    /// Rest of a capture.
    #[error("{}: {damage}", path.display())]
    Frames {
        /// File of the capture.
        path: PathBuf,
        /// Reason why reading ended.
        damage: ReadError,
    },
}

/// Reports whether a file has the extension of a dataset, or begins like a capture.
#[must_use]
pub fn is_dataset_or_capture(path: &Path) -> bool {
    arrowio::is_dataset_name(path) || begins_like_capture(path)
}

/// Reports whether a file begins like a capture, or like a compressed file that may hold one.
#[must_use]
pub fn begins_like_capture(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && tcpwire::is_capture_magic(&head)
}

/// Returns whether the file at a path holds a capture, compressed or not.
#[must_use]
pub fn is_capture(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| CaptureReader::new(file).is_ok())
}

impl Default for CompleteFlows {
    fn default() -> CompleteFlows {
        CompleteFlows::new(None, |_| {})
    }
}

impl CompleteFlows {
    /// Creates a set without flows. `token_code` is that of datasets whose metadata name none;
    /// `notice` receives what a user should know of a dataset, a line each.
    #[must_use]
    pub fn new(token_code: Option<RowCodec>, notice: fn(&str)) -> CompleteFlows {
        CompleteFlows {
            flows: Vec::new(),
            incomplete: 0,
            missing_identity: 0,
            token_code: token_code.map(RowCodec::id),
            notice,
            random: ChaCha8Rng::seed_from_u64(SEED),
        }
    }

    /// Adds the complete flows of a file, which is a dataset by its extension or else a capture.
    /// Returns the parts that could not be read.
    ///
    /// # Errors
    /// If the file cannot be opened, or is a dataset in another token code than `field`.
    pub fn add_file(&mut self, path: &Path) -> Result<Vec<LeftOut>, SourceError> {
        self.add_file_with(path, |_, _| {})
    }

    /// Adds the complete flows of a file, and calls `each` with every flow that has its addresses,
    /// complete or not, and the name of its capture.
    ///
    /// # Errors
    /// Like [`add_file`](CompleteFlows::add_file).
    pub fn add_file_with(
        &mut self,
        path: &Path,
        each: impl FnMut(&str, &Flow),
    ) -> Result<Vec<LeftOut>, SourceError> {
        if arrowio::is_dataset_name(path) {
            self.add_dataset(path, each)
        } else {
            self.add_capture(path, each)
        }
    }

    fn add_dataset(
        &mut self,
        path: &Path,
        mut each: impl FnMut(&str, &Flow),
    ) -> Result<Vec<LeftOut>, SourceError> {
        let mut left_out = Vec::new();
        let mut decoder = RowDecoder::default();
        let options = ReadOptions {
            accepted: &[RowCodec::Field.id(), FIELD_1],
            token_code: self.token_code,
            notice: self.notice,
        };
        for (number, row) in DatasetReader::open_with(path, &options)?.enumerate() {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    left_out.push(LeftOut::Rows(error));
                    continue;
                }
            };
            match decoder.decode_with_drawn_bases(&row, &mut self.random) {
                Ok(flow) => {
                    if row.identity.client.addr.is_some() && row.identity.server.addr.is_some() {
                        each(row.summary.as_ref().map_or("", |summary| &summary.source), &flow);
                    }
                    match flow.verdict() {
                        Some((verdict, _)) => {
                            self.missing_identity += u64::from(row.identity.client_port.is_none());
                            self.push(flow, verdict.class);
                        }
                        None => self.incomplete += 1,
                    }
                }
                Err(error) => {
                    left_out.push(LeftOut::Tokens { path: path.to_owned(), row: number, error });
                }
            }
        }
        Ok(left_out)
    }

    fn add_capture(
        &mut self,
        path: &Path,
        mut each: impl FnMut(&str, &Flow),
    ) -> Result<Vec<LeftOut>, SourceError> {
        let file = File::open(path)
            .map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        let damaged = |damage| vec![LeftOut::Frames { path: path.to_owned(), damage }];
        let input = BufReader::with_capacity(1 << 20, file);
        let reader = match FlowReader::new(input, TrackerOptions::default()) {
            Ok(reader) => reader,
            Err(damage) => return Ok(damaged(damage)),
        };
        let mut left_out = Vec::new();
        let name = path.display().to_string();
        for conversation in reader {
            match conversation {
                Ok(FinishedConversation { flow: Some(flow), verdict, .. }) => {
                    each(&name, &flow);
                    self.push(flow, verdict.class);
                }
                Ok(_) => self.incomplete += 1,
                Err(damage) => left_out = damaged(damage),
            }
        }
        Ok(left_out)
    }

    fn push(&mut self, flow: Flow, class: Class) {
        if class.is_complete() {
            self.flows.push(flow);
        } else {
            self.incomplete += 1;
        }
    }
}
