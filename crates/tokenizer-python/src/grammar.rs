//! The grammar of tokens, and their names.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokenizer::TokenId;
use tokenizer::field::{self, Constraint, Limits, vocab};

use crate::arrays::array;
use crate::error::raised;

/// Follows a flow token by token, and computes which tokens may come next.
///
/// constraint: 'session' allows whole sessions alone, 'syntax' every flow that decodes.
/// max_packets, min_packets: bounds on the packets of a flow.
/// steady_clock: no packet is earlier than the one before.
/// steady_windows: no window takes back what an earlier one has offered.
/// advisory_length: a session may have another length class than its header says.
#[pyclass(module = "tcp_flows")]
#[derive(Clone)]
pub(crate) struct Grammar(field::Grammar);

#[pymethods]
impl Grammar {
    #[new]
    #[pyo3(signature = (
        constraint = "session", *, max_packets = None, min_packets = 0, steady_clock = false,
        steady_windows = false, advisory_length = false,
    ))]
    fn new(
        constraint: &str,
        max_packets: Option<u64>,
        min_packets: u64,
        steady_clock: bool,
        steady_windows: bool,
        advisory_length: bool,
    ) -> PyResult<Grammar> {
        let constraint = match constraint {
            "session" => Constraint::Session,
            "syntax" => Constraint::Syntax,
            found => {
                let line = format!("constraint: expected session or syntax, found '{found}'");
                return Err(PyValueError::new_err(line));
            }
        };
        let unlimited = Limits::default();
        let limits = Limits { max_packets: max_packets.unwrap_or(unlimited.max_packets) };
        let mut grammar = field::Grammar::new(constraint, limits).with_min_packets(min_packets);
        if steady_clock {
            grammar = grammar.with_steady_clock();
        }
        if steady_windows {
            grammar = grammar.with_steady_windows();
        }
        if advisory_length {
            grammar = grammar.with_advisory_length();
        }
        Ok(Grammar(grammar))
    }

    /// Returns which tokens may come next: a numpy array of bool, [VOCAB_SIZE].
    ///
    /// No token is allowed once the flow has ended, and at least one before that.
    fn allowed_mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mask = self.0.allowed_next();
        let ids = 0..field::VOCAB_SIZE as TokenId;
        array(py, field::VOCAB_SIZE, ids.map(|token| u8::from(mask.contains(token))))
    }

    /// Returns the tokens that may come next, in ascending order.
    fn allowed_tokens(&self) -> Vec<TokenId> {
        self.0.allowed_next().iter().collect()
    }

    /// Appends a token to the flow. A token that does not decode here is a ValueError.
    fn push(&mut self, token: TokenId) -> PyResult<()> {
        self.0.push(token).map_err(raised)
    }

    /// Returns a grammar in the same state.
    fn copy(&self) -> Grammar {
        self.clone()
    }

    /// Whether the flow has ended.
    #[getter]
    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// Number of complete packets so far.
    #[getter]
    fn packets(&self) -> u64 {
        self.0.packets()
    }

    /// Number of tokens so far.
    fn __len__(&self) -> usize {
        self.0.tokens()
    }
}

/// Returns the name of a token: its field, and its number within the field.
#[pyfunction]
pub(crate) fn describe(token: TokenId) -> PyResult<String> {
    if usize::from(token) >= field::VOCAB_SIZE {
        let line = format!("token: expected one below {}, found {token}", field::VOCAB_SIZE);
        return Err(PyValueError::new_err(line));
    }
    Ok(vocab::describe(token))
}
