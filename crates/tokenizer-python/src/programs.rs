//! The programs, called with the words of their command lines.

use std::ffi::OsString;

use anyhow::{Context, bail};
use clikit::Called;
use dataset::Sink;
use pyo3::prelude::*;

use crate::error::raised;
use crate::stream::Stream;

/// Calls `$call(words, run)` with the `run` of the program that the first word names.
macro_rules! of_program {
    ($words:expr, $call:path) => {{
        let words: &[OsString] = $words;
        match words.first().and_then(|name| name.to_str()) {
            Some("tcp-encode") => Some($call(words, tcp_encode::run)),
            Some("tcp-decode") => Some($call(words, tcp_decode::run)),
            Some("tcp-eval") => Some($call(words, tcp_eval::run)),
            _ => None,
        }
    }};
}

/// Calls a program and returns its summary as JSON, and its warnings and what it left out, a line
/// each. The first word is the program's name.
#[pyfunction]
pub(crate) fn call(py: Python<'_>, words: Vec<OsString>) -> PyResult<(String, Vec<String>)> {
    let called = py.detach(|| match of_program!(&words, clikit::call) {
        Some(called) => called,
        None => bail!("expected the name of a program"),
    });
    let Called { summary, messages } = called.map_err(raised)?;
    Ok((summary, messages))
}

/// Calls tcp-encode for a dataset in memory: its rows, its summary as JSON, and its messages.
#[pyfunction]
pub(crate) fn encode(
    py: Python<'_>,
    words: Vec<OsString>,
) -> PyResult<(Stream, String, Vec<String>)> {
    let encoded = py.detach(|| {
        let mut batches = None;
        let called = clikit::call(&words, |args, console| {
            tcp_encode::run_into(args, console, |meta| {
                let (sink, written) = Sink::in_memory(meta);
                batches = Some(written);
                sink
            })
        })?;
        let batches = batches.context("expected a dataset, found none")?;
        anyhow::Ok((batches.into_stream(), called))
    });
    let (stream, Called { summary, messages }) = encoded.map_err(raised)?;
    Ok((stream.into(), summary, messages))
}

/// Runs a program as its own executable would, and returns the exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, words: Vec<OsString>) -> PyResult<u8> {
    let code = py.detach(|| of_program!(&words, clikit::main_with));
    code.context("expected the name of a program").map_err(raised)
}
