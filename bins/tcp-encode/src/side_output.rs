//! What is written beside the dataset: a file that appears when it is whole, or stdout.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use atomic_output::AtomicFile;
use clikit::{Console, is_dash};

/// Where a flow log or a table goes.
pub(crate) enum SideOutput {
    File(AtomicFile),
    Stdout(Box<dyn Write>),
}

impl SideOutput {
    /// Begins it: a file at `path`, or stdout where that is `-`.
    pub(crate) fn create(path: &Path, console: &Console) -> anyhow::Result<SideOutput> {
        Ok(if is_dash(path) {
            SideOutput::Stdout(Box::new(console.stdout()))
        } else {
            SideOutput::File(AtomicFile::create(path)?)
        })
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            SideOutput::File(file) => file.target().display().to_string(),
            SideOutput::Stdout(_) => "standard output".to_owned(),
        }
    }

    /// Writes out what is buffered, not yet under its name.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        match self {
            SideOutput::File(file) => Ok(file.flush_and_sync()?),
            SideOutput::Stdout(out) => out.flush().context("standard output"),
        }
    }

    /// Gives a file its name.
    pub(crate) fn commit(self) -> anyhow::Result<()> {
        match self {
            SideOutput::File(file) => Ok(file.commit()?),
            SideOutput::Stdout(mut out) => Ok(out.flush()?),
        }
    }
}

impl Write for SideOutput {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            SideOutput::File(file) => file.write(octets),
            SideOutput::Stdout(out) => out.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            SideOutput::File(file) => file.flush(),
            SideOutput::Stdout(out) => out.flush(),
        }
    }
}
