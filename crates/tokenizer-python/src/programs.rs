//! The programs, called with the words of their command lines.

use std::ffi::OsString;

use anyhow::{Context, bail};
use clikit::{Called, Stdout, Streams};
use dataset::Sink;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::raised;
use crate::packets::{Raised, channel, read_packets, stdin_of};
use crate::stream::Stream;

/// Calls `$call(words, argument, run)` with the `run` of the program that the first word names.
macro_rules! of_program {
    ($words:expr, $call:path $(, $argument:expr)?) => {{
        let words: &[OsString] = $words;
        match words.first().and_then(|name| name.to_str()) {
            Some("tcp-encode") => Some($call(words, $($argument,)? tcp_encode::run)),
            Some("tcp-decode") => Some($call(words, $($argument,)? tcp_decode::run)),
            Some("tcp-eval") => Some($call(words, $($argument,)? tcp_eval::run)),
            _ => None,
        }
    }};
}

/// Returns the streams of a run that reads `packets`, if there are any, in place of standard input.
fn streams_of(packets: Option<&Bound<'_, PyAny>>) -> PyResult<(Streams, Raised)> {
    let Some(packets) = packets else { return Ok(Default::default()) };
    let (stdin, raised) = stdin_of(packets)?;
    Ok((Streams { stdin, ..Streams::default() }, raised))
}

/// Calls a program and returns its summary as JSON, and its warnings and what it left out, a line
/// each. The first word is the program's name. `packets` are what `-` reads.
#[pyfunction]
#[pyo3(signature = (words, packets=None))]
pub(crate) fn call(
    py: Python<'_>,
    words: Vec<OsString>,
    packets: Option<&Bound<'_, PyAny>>,
) -> PyResult<(String, Vec<String>)> {
    let (streams, exception) = streams_of(packets)?;
    let called = py.detach(|| match of_program!(&words, clikit::call, streams) {
        Some(called) => called,
        None => bail!("expected the name of a program"),
    });
    exception.check()?;
    let Called { summary, messages } = called.map_err(raised)?;
    Ok((summary, messages))
}

/// Calls tcp-encode for a dataset in memory: its rows, its summary as JSON, and its messages.
/// `packets` are what `-` reads.
#[pyfunction]
#[pyo3(signature = (words, packets=None))]
pub(crate) fn encode(
    py: Python<'_>,
    words: Vec<OsString>,
    packets: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Stream, String, Vec<String>)> {
    let (streams, exception) = streams_of(packets)?;
    let encoded = py.detach(|| {
        let mut batches = None;
        let called = clikit::call(&words, streams, |args, console| {
            tcp_encode::run_into(args, console, |meta| {
                let (sink, written) = Sink::in_memory(meta);
                batches = Some(written);
                sink
            })
        })?;
        let batches = batches.context("expected a dataset, found none")?;
        anyhow::Ok((batches.into_stream(), called))
    });
    exception.check()?;
    let (stream, Called { summary, messages }) = encoded.map_err(raised)?;
    Ok((stream.into(), summary, messages))
}

/// Calls tcp-decode for packets in memory: tuples of time (ns since 1970), octets, and length on
/// the wire in octets; and its messages. OUTPUT is `-`.
#[pyfunction]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    words: Vec<OsString>,
) -> PyResult<(Vec<Bound<'py, PyTuple>>, Vec<String>)> {
    let (writer, reader) = channel();
    let streams = Streams { stdout: Stdout::new(writer), ..Streams::default() };
    let run = std::thread::spawn(move || clikit::call(&words, streams, tcp_decode::run));
    let packets = read_packets(py, reader);
    let called = py.detach(|| run.join());
    let called = called.map_err(|_| PyRuntimeError::new_err("tcp-decode panicked"))?;
    let Called { messages, .. } = called.map_err(raised)?;
    Ok((packets?, messages))
}

/// Runs a program as its own executable would, and returns the exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, words: Vec<OsString>) -> PyResult<u8> {
    let code = py.detach(|| of_program!(&words, clikit::main_with));
    code.context("expected the name of a program").map_err(raised)
}
