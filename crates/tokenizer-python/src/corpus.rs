//! Flows as training reads them: distinct, split by capture, packed.

use std::path::PathBuf;
use std::sync::Arc;

use arrowio::ReadOptions;
use dataset::{
    CorpusOptions, NearDuplicates, Part, Row, RowCodec, Shares, Split, TokenCheck, epoch_order,
    pack_rows, without_time,
};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use tokenizer::field;

use crate::arrays::array;
use crate::error::raised;

/// Distinct flows of a dataset, split into training, validation and test by capture, as `tcp-train`
/// splits them for the same seed and shares.
#[pyclass(module = "tcp_flows", frozen)]
pub(crate) struct Corpus {
    corpus: Arc<dataset::Corpus>,
    split: Split,
    seed: u64,
}

/// Arrays of a part: tokens, offsets of the flows in them.
type Ragged<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

#[pymethods]
impl Corpus {
    /// Reads a dataset. `max_repeats` is the number of flows kept that differ in time alone, 0 for
    /// all of them.
    #[new]
    #[pyo3(signature = (path, *, seed, validation, test, max_repeats))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        seed: u64,
        validation: f64,
        test: f64,
        max_repeats: u32,
    ) -> PyResult<Corpus> {
        let shares = [("validation", validation), ("test", test)];
        if let Some((name, share)) = shares.into_iter().find(|(_, s)| !(0.0..1.0).contains(s)) {
            let line = format!("{name}: expected a share from 0 to below 1, found {share}");
            return Err(PyValueError::new_err(line));
        }
        let signature = without_time;
        let options = CorpusOptions {
            vocab_size: field::VOCAB_SIZE,
            scratch: std::env::temp_dir(),
            near_duplicates: (max_repeats > 0)
                .then_some(NearDuplicates { max: max_repeats, signature }),
            check: TokenCheck::Flows,
        };
        let accepted = [RowCodec::Field.id()];
        let read = ReadOptions::accepting(&accepted);
        let corpus = py.detach(|| dataset::Corpus::open(&path, &read, &options, |_| {}));
        let corpus = corpus.map_err(raised)?;
        let split = corpus.split(Shares { validation, test }, seed);
        Ok(Corpus { corpus: Arc::new(corpus), split, seed })
    }

    /// Number of distinct flows.
    fn __len__(&self) -> usize {
        self.corpus.len()
    }

    /// Returns the indices of the flows of a part: a numpy array of uint32.
    fn part<'py>(&self, py: Python<'py>, part: &str) -> PyResult<Bound<'py, PyAny>> {
        let flows = self.split.part(parse(part)?);
        array(py, flows.len(), flows.iter().copied())
    }

    /// Returns the tokens of a flow: a numpy array of uint16.
    fn tokens<'py>(&self, py: Python<'py>, flow: usize) -> PyResult<Bound<'py, PyAny>> {
        if flow >= self.corpus.len() {
            let line = format!("flow: expected one below {}, found {flow}", self.corpus.len());
            return Err(PyIndexError::new_err(line));
        }
        let tokens = self.corpus.tokens(flow);
        array(py, tokens.len(), tokens.iter().copied())
    }

    /// Returns the tokens of all flows of a part, uint16, and their offsets, int32 [flows + 1].
    fn ragged<'py>(&self, py: Python<'py>, part: &str) -> PyResult<Ragged<'py>> {
        let flows = self.split.part(parse(part)?);
        let each = || flows.iter().map(|&flow| self.corpus.tokens(flow as usize));
        let all: usize = each().map(<[u16]>::len).sum();
        if i32::try_from(all).is_err() {
            let line = format!("{part}: expected fewer than 2^31 tokens, found {all}");
            return Err(PyValueError::new_err(line));
        }
        let tokens = array(py, all, each().flatten().copied())?;
        let offsets = array(py, flows.len() + 1, offsets(each().map(<[u16]>::len)))?;
        Ok((tokens, offsets))
    }

    /// Returns the capture of each flow of a part.
    fn sources(&self, part: &str) -> PyResult<Vec<&str>> {
        let flows = self.split.part(parse(part)?).iter();
        let source =
            |&flow: &u32| self.corpus.sources()[self.corpus.source(flow as usize)].as_str();
        Ok(flows.map(source).collect())
    }

    /// Packs the flows of a part into rows of at most `row_tokens` tokens: in the order of an
    /// epoch, or for `None` in that of the dataset.
    #[pyo3(signature = (part, row_tokens, epoch = None))]
    fn rows(
        &self,
        py: Python<'_>,
        part: &str,
        row_tokens: usize,
        epoch: Option<u64>,
    ) -> PyResult<Rows> {
        if row_tokens == 0 {
            return Err(PyValueError::new_err("row_tokens: expected 1 or more, found 0"));
        }
        let flows = self.split.part(parse(part)?);
        let rows = py.detach(|| {
            let order = epoch.map(|epoch| epoch_order(flows, self.seed, epoch));
            let flows = order.as_deref().unwrap_or(flows).iter();
            let predicted =
                |&flow: &u32| (flow, self.corpus.tokens(flow as usize).len().saturating_sub(1));
            pack_rows(flows.map(predicted), row_tokens, row_tokens)
        });
        Ok(Rows { corpus: self.corpus.clone(), rows })
    }
}

/// Returns the part of a name.
fn parse(name: &str) -> PyResult<Part> {
    Part::ALL.into_iter().find(|part| part.name() == name).ok_or_else(|| {
        let names = Part::ALL.map(Part::name).join(", ");
        PyValueError::new_err(format!("part: expected one of {names}, found '{name}'"))
    })
}

/// Returns 0 and the sums of the lengths so far.
fn offsets(lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = i32> {
    let sums = lengths.scan(0, |sum, length| {
        *sum += length as i32;
        Some(*sum)
    });
    std::iter::once(0).chain(sums)
}

/// Flows packed into rows, each for one step of training.
#[pyclass(module = "tcp_flows", frozen)]
pub(crate) struct Rows {
    corpus: Arc<dataset::Corpus>,
    rows: Vec<Row>,
}

#[pymethods]
impl Rows {
    /// Returns the number of rows.
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    /// Returns a row as numpy arrays: input tokens and target tokens, int64 [tokens]; offsets of
    /// the sequences in them, int32 [sequences + 1]; flow and first token of each sequence, int64
    /// [sequences].
    fn __getitem__<'py>(&self, py: Python<'py>, row: usize) -> PyResult<[Bound<'py, PyAny>; 5]> {
        let row = self.rows.get(row).ok_or_else(|| PyIndexError::new_err("row"))?;
        let len = row.iter().map(|piece| piece.tokens()).sum();
        let tokens = |ahead: usize| {
            row.iter().flat_map(move |piece| {
                let tokens = self.corpus.tokens(piece.flow as usize);
                tokens[piece.start + ahead..piece.end + ahead].iter().map(|&t| i64::from(t))
            })
        };
        Ok([
            array(py, len, tokens(0))?,
            array(py, len, tokens(1))?,
            array(py, row.len() + 1, offsets(row.iter().map(|piece| piece.tokens())))?,
            array(py, row.len(), row.iter().map(|piece| i64::from(piece.flow)))?,
            array(py, row.len(), row.iter().map(|piece| piece.start as i64))?,
        ])
    }
}
