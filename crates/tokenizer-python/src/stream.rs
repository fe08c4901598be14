//! Datasets for other libraries of the process.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use arrowio::{ArrowStream, COLUMNS, DatasetReader, ReadOptions};
use dataset::{DECODED_IDS, RowCodec};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::raised;

/// Rows of a dataset that one consumer takes, through the Arrow PyCapsule interface: pyarrow,
/// Polars, DuckDB and nanoarrow do. Nothing is copied.
#[pyclass(module = "tcp_flows", frozen)]
pub(crate) struct Stream(Mutex<Option<ArrowStream>>);

impl From<ArrowStream> for Stream {
    fn from(stream: ArrowStream) -> Stream {
        Stream(Mutex::new(Some(stream)))
    }
}

#[pymethods]
impl Stream {
    /// Hands the rows over, once, as a capsule with an `ArrowArrayStream`. Their types are fixed:
    /// `requested_schema` changes nothing.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream =
            stream.ok_or_else(|| PyValueError::new_err("the rows have been taken already"))?;
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}

/// Returns the rows of a dataset in the columns and types of a dataset of today. `token_code` is
/// that of files whose metadata name none.
#[pyfunction]
#[pyo3(signature = (path, token_code = None))]
pub(crate) fn read(py: Python<'_>, path: PathBuf, token_code: Option<&str>) -> PyResult<Stream> {
    let token_code = token_code.map(str::parse::<RowCodec>).transpose();
    let token_code =
        token_code.map_err(|line| PyValueError::new_err(format!("token_code: {line}")))?;
    let read = ReadOptions {
        accepted: &DECODED_IDS,
        token_code: token_code.map(RowCodec::id),
        notice: |_| {},
    };
    let reader = py.detach(|| DatasetReader::open_with(&path, &read)).map_err(raised)?;
    Ok(reader.into_stream().into())
}

/// Returns the columns of a dataset as their names, Arrow types, units and meanings.
#[pyfunction]
pub(crate) fn columns() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    COLUMNS.iter().map(|c| (c.name, c.kind.arrow_name(), c.unit, c.meaning)).collect()
}
