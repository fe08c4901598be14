//! Packets in memory: captures that are read and written whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tcpwire::{CaptureFormat, CaptureReader, CaptureWriter, TimestampUnit};

use crate::error::raised;

/// Writes Ethernet frames to a new capture with times in nanoseconds, and returns their number.
///
/// packets: tuples of the time (int, ns since 1970), the octets, and optionally the length on the
/// wire in octets, if fewer were captured.
#[pyfunction]
pub(crate) fn write_packets(path: PathBuf, packets: &Bound<'_, PyAny>) -> PyResult<u64> {
    let file = File::create_new(&path).map(BufWriter::new)?;
    let mut writer = CaptureWriter::new(file, CaptureFormat::Pcapng(TimestampUnit::Nanos))?;
    let mut count = 0;
    for packet in packets.try_iter()? {
        let packet = packet?;
        let (time_ns, octets, length) = parts(&packet).map_err(|_| {
            let found = packet.repr().map_or_else(|_| "another".to_owned(), |r| r.to_string());
            let found: String = found.chars().take(60).collect();
            let expected = "(time in ns as int, octets as bytes, length on the wire)";
            PyTypeError::new_err(format!("packet {count}: expected {expected}, found {found}"))
        })?;
        let captured = octets.as_bytes();
        let length = length.unwrap_or(captured.len() as u32);
        writer.write(time_ns, length, captured).map_err(raised)?;
        count += 1;
    }
    writer.into_inner().flush()?;
    Ok(count)
}

/// Parts of a packet: time in nanoseconds, octets, length on the wire.
type Parts<'py> = (i64, Bound<'py, PyBytes>, Option<u32>);

fn parts<'py>(packet: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    match packet.extract::<(i64, Bound<'py, PyBytes>, u32)>() {
        Ok((time_ns, octets, length)) => Ok((time_ns, octets, Some(length))),
        Err(_) => packet.extract().map(|(time_ns, octets)| (time_ns, octets, None)),
    }
}

/// Returns the frames of a capture as tuples of time (ns since 1970), octets, and length on the
/// wire in octets.
#[pyfunction]
pub(crate) fn read_packets(py: Python<'_>, path: PathBuf) -> PyResult<Vec<Bound<'_, PyTuple>>> {
    let mut capture = CaptureReader::new(File::open(path)?).map_err(raised)?;
    let mut packets = Vec::new();
    while let Some(frame) = capture.next_frame().map_err(raised)? {
        let octets = PyBytes::new(py, frame.data);
        packets.push((frame.time_ns, octets, frame.orig_len).into_pyobject(py)?);
    }
    Ok(packets)
}
