//! Outputs next to a program's main one: logs, tables, labels.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use atomic_output::{AtomicFile, OnExisting};

use crate::{Console, is_dash};

/// Log or table that is a file, which appears when it is complete, or stdout.
pub struct SideOutput(Sink);

enum Sink {
    File(AtomicFile),
    Stdout(Box<dyn Write>),
}

impl SideOutput {
    /// Creates the file `path`, or takes stdout if `path` is `-`.
    ///
    /// # Errors
    /// If the file cannot be created, or `on_existing` does not allow to replace one.
    pub fn create(
        path: &Path,
        on_existing: OnExisting,
        console: &Console,
    ) -> anyhow::Result<SideOutput> {
        Ok(SideOutput(if is_dash(path) {
            Sink::Stdout(Box::new(console.stdout()))
        } else {
            Sink::File(AtomicFile::create(path, on_existing)?)
        }))
    }

    /// Returns the name of the output for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Sink::File(file) => file.target().display().to_string(),
            Sink::Stdout(_) => "standard output".to_owned(),
        }
    }

    /// Writes out the buffer, and puts a file's data on the disk before the file appears. A run
    /// calls this for each output before it commits the first: a full disk is then found while
    /// none has appeared.
    ///
    /// # Errors
    /// If writing fails.
    pub fn flush_and_sync(&mut self) -> anyhow::Result<()> {
        match &mut self.0 {
            Sink::File(file) => Ok(file.flush_and_sync()?),
            Sink::Stdout(out) => out.flush().context("standard output"),
        }
    }

    /// Gives a file its name.
    ///
    /// # Errors
    /// If writing or renaming fails.
    pub fn commit(self) -> anyhow::Result<()> {
        match self.0 {
            Sink::File(file) => Ok(file.commit()?),
            Sink::Stdout(mut out) => out.flush().context("standard output"),
        }
    }
}

impl Write for SideOutput {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Sink::File(file) => file.write(octets),
            Sink::Stdout(out) => out.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::File(file) => file.flush(),
            Sink::Stdout(out) => out.flush(),
        }
    }
}
