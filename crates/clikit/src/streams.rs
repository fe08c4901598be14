//! Standard input and output of a run, which a caller may put others in place of.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Standard input of a run: that of the process, or what a caller gives in its place. Copies read
/// on where the others are.
#[derive(Clone)]
pub struct Stdin(Arc<Mutex<dyn Read + Send>>);

/// Standard output of a run: that of the process, or what a caller gives in its place.
#[derive(Clone)]
pub struct Stdout(Arc<Mutex<dyn Write + Send>>);

/// Streams of a run, in place of the process's own.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// Octets that `-` reads.
    pub stdin: Stdin,
    /// Receiver of the octets that go to `-`.
    pub stdout: Stdout,
}

impl Stdin {
    /// Creates a standard input with the octets of `from`.
    pub fn new(from: impl Read + Send + 'static) -> Stdin {
        Stdin(Arc::new(Mutex::new(from)))
    }
}

impl Stdout {
    /// Creates a standard output that goes to `to`.
    pub fn new(to: impl Write + Send + 'static) -> Stdout {
        Stdout(Arc::new(Mutex::new(to)))
    }
}

impl Default for Stdin {
    fn default() -> Stdin {
        Stdin::new(io::stdin())
    }
}

impl Default for Stdout {
    fn default() -> Stdout {
        Stdout::new(io::stdout())
    }
}

impl Read for Stdin {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(octets)
    }
}

impl Write for Stdout {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}
