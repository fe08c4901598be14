//! Packets in memory: captures that a program reads while Python makes them, and the other way
//! round.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use clikit::Stdin;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyTuple};
use tcpwire::{CaptureFormat, CaptureReader, CaptureWriter, TimestampUnit};

use crate::error::raised;

/// Octets that are handed on together.
const CHUNK: usize = 1 << 18;
/// Chunks that may wait for their reader.
const CHUNKS_WAITING: usize = 4;

/// Exception that ended an iteration over packets, for the caller of the program.
#[derive(Clone, Default)]
pub(crate) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    /// Returns the exception as an error, if there was one.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// Capture of Ethernet frames with times in nanoseconds, of packets that Python has: tuples of the
/// time (int, ns since 1970), the octets, and optionally the length on the wire in octets, if fewer
/// were captured. An exception ends it.
struct PacketCapture {
    packets: Py<PyIterator>,
    writer: CaptureWriter<Vec<u8>>,
    /// Number of octets of the writer that were read.
    read: usize,
    /// Number of packets that were written.
    count: u64,
    raised: Raised,
}

/// Returns a standard input of packets, and the place of the exception that ends them.
///
/// # Errors
/// If `packets` cannot be iterated over.
pub(crate) fn stdin_of(packets: &Bound<'_, PyAny>) -> PyResult<(Stdin, Raised)> {
    let raised = Raised::default();
    let capture = PacketCapture {
        packets: packets.try_iter()?.unbind(),
        writer: CaptureWriter::new(Vec::new(), CaptureFormat::Pcapng(TimestampUnit::Nanos))?,
        read: 0,
        count: 0,
        raised: raised.clone(),
    };
    Ok((Stdin::new(capture), raised))
}

impl PacketCapture {
    fn fill(&mut self, py: Python<'_>) -> PyResult<()> {
        let mut packets = self.packets.bind(py).clone();
        while self.writer.get_mut().len() < CHUNK
            && let Some(packet) = packets.next()
        {
            let packet = packet?;
            let (time_ns, octets, length) = parts(&packet).map_err(|_| {
                let found = packet.repr().map_or_else(|_| "another".to_owned(), |r| r.to_string());
                let found: String = found.chars().take(60).collect();
                let expected = "(time in ns as int, octets as bytes, length on the wire)";
                let count = self.count;
                PyTypeError::new_err(format!("packet {count}: expected {expected}, found {found}"))
            })?;
            let captured = octets.as_bytes();
            let length = length.unwrap_or(captured.len() as u32);
            self.writer.write(time_ns, length, captured).map_err(raised)?;
            self.count += 1;
        }
        Ok(())
    }
}

impl Read for PacketCapture {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.read == self.writer.get_mut().len() {
            self.writer.get_mut().clear();
            self.read = 0;
            if let Err(error) = Python::attach(|py| self.fill(py)) {
                *self.raised.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return Err(io::Error::other("an exception in Python"));
            }
        }
        let read = (&self.writer.get_mut()[self.read..]).read(to)?;
        self.read += read;
        Ok(read)
    }
}

/// Parts of a packet: time in nanoseconds, octets, length on the wire.
type Parts<'py> = (i64, Bound<'py, PyBytes>, Option<u32>);

fn parts<'py>(packet: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    match packet.extract::<(i64, Bound<'py, PyBytes>, u32)>() {
        Ok((time_ns, octets, length)) => Ok((time_ns, octets, Some(length))),
        Err(_) => packet.extract().map(|(time_ns, octets)| (time_ns, octets, None)),
    }
}

/// Writer of octets to another thread.
pub(crate) struct ChunkWriter(SyncSender<Vec<u8>>);

/// Reader of octets of another thread. It lets Python's lock go while it waits.
pub(crate) struct ChunkReader {
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    /// Number of octets of the chunk that were read.
    read: usize,
}

/// Creates both ends of a channel of octets.
pub(crate) fn channel() -> (ChunkWriter, ChunkReader) {
    let (sender, chunks) = sync_channel(CHUNKS_WAITING);
    (ChunkWriter(sender), ChunkReader { chunks, chunk: Vec::new(), read: 0 })
}

impl Write for ChunkWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(octets.to_vec());
        sent.map(|()| octets.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ChunkReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            let chunks = &mut self.chunks;
            let next = Python::attach(|py| py.detach(move || chunks.recv()));
            (self.chunk, self.read) = (next.unwrap_or_default(), 0);
        }
        let read = (&self.chunk[self.read..]).read(to)?;
        self.read += read;
        Ok(read)
    }
}

/// Returns the frames of a capture as tuples of time (ns since 1970), octets, and length on the
/// wire in octets.
///
/// # Errors
/// If the capture is damaged.
pub(crate) fn read_packets<'py>(
    py: Python<'py>,
    from: impl Read + Send,
) -> PyResult<Vec<Bound<'py, PyTuple>>> {
    let mut capture = CaptureReader::new(from).map_err(raised)?;
    let mut packets = Vec::new();
    while let Some(frame) = capture.next_frame().map_err(raised)? {
        let octets = PyBytes::new(py, frame.data);
        packets.push((frame.time_ns, octets, frame.orig_len).into_pyobject(py)?);
    }
    Ok(packets)
}
