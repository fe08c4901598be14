//! Captures that are to be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clikit::{Progress, Stdin};
use flowtrack::FrameId;
use tcpwire::{CaptureInput, MergedReader};

use crate::labels::FileLabel;

/// Capture of a task.
#[derive(Clone, Debug)]
pub(crate) struct CaptureFile {
    /// Path of the file; `None` for stdin.
    pub(crate) path: Option<PathBuf>,
    /// Standard input, which a capture without a path is read from.
    pub(crate) stdin: Stdin,
    /// Name in the flow log and the dataset: a path relative to the inputs, or a number with
    /// `--anonymize`.
    pub(crate) name: String,
    /// Size in octets when it was found.
    pub(crate) size: u64,
    /// Labels that `--labels` or `--label-from` gives its flows.
    pub(crate) label: FileLabel,
}

impl CaptureFile {
    /// Returns the name of the capture for messages.
    pub(crate) fn shown(&self) -> String {
        self.path.as_deref().map_or_else(|| "-".to_owned(), |path| path.display().to_string())
    }

    /// Returns by how much the file has grown or shrunk since it was found, as a message.
    pub(crate) fn change(&self) -> Option<String> {
        let metadata = std::fs::metadata(self.path.as_deref()?).ok()?;
        let (before, now) = (self.size, metadata.len());
        (metadata.is_file() && before != now)
            .then(|| format!("changed while it was read: expected {before} octets, found {now}"))
    }

    /// Opens the file, or stdin. `progress` counts the octets that are read.
    fn open<'p>(&self, progress: Option<&'p Progress>) -> io::Result<CaptureInput<'p>> {
        let Some(path) = &self.path else {
            return Ok(CaptureInput::Stream(Box::new(CountingReader {
                input: self.stdin.clone(),
                progress,
            })));
        };
        let input = File::open(path)?;
        let is_file = input.metadata()?.is_file();
        let input = Box::new(CountingReader { input, progress });
        Ok(if is_file { CaptureInput::File(input) } else { CaptureInput::Stream(input) })
    }
}

/// Captures that are read as one: a single one, or with `--merge` all or those of a folder.
#[derive(Clone, Debug)]
pub(crate) struct CaptureTask {
    /// Captures in the order of the inputs.
    pub(crate) files: Vec<CaptureFile>,
}

impl CaptureTask {
    /// Returns the name of the capture that holds the first frame of a flow.
    pub(crate) fn name_of(&self, first_frame: u64) -> &str {
        self.file_of(first_frame).map_or("-", |file| &file.name)
    }

    /// Returns the capture that holds the first frame of a flow.
    pub(crate) fn file_of(&self, first_frame: u64) -> Option<&CaptureFile> {
        self.files.get(FrameId::of(first_frame).capture())
    }

    /// Returns the size of all captures when they were found, in octets.
    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Begins to read the captures.
    pub(crate) fn read<'p>(&'p self, progress: &'p Progress) -> MergedReader<'p> {
        // Of several files the first octets are read twice, and counted once.
        let mut uncounted = if self.files.len() > 1 { self.files.len() } else { 0 };
        MergedReader::new(self.files.len(), move |capture| {
            let is_counted = uncounted == 0;
            uncounted = uncounted.saturating_sub(1);
            self.files[capture].open(is_counted.then_some(progress))
        })
    }
}

/// Input whose octets the progress bar counts.
struct CountingReader<'p, R> {
    input: R,
    progress: Option<&'p Progress>,
}

impl<R: Read> Read for CountingReader<'_, R> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(octets)?;
        if let Some(progress) = self.progress {
            progress.inc(n as u64);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use testkit::Scratch;

    use super::*;

    #[test]
    fn a_file_that_has_grown_or_shrunk_is_named() {
        let scratch = Scratch::new();
        let path = scratch.write("x.pcap", b"twelve octets");
        let file = |path, size| {
            let (name, label) = (String::new(), FileLabel::default());
            CaptureFile { path, stdin: Stdin::default(), name, size, label }
        };
        let change = |size| file(Some(path.clone()), size).change();
        assert_eq!(change(13), None);
        let said = change(12).unwrap();
        assert_eq!(said, "changed while it was read: expected 12 octets, found 13");
        assert!(change(14).is_some());
        assert_eq!(file(None, 0).change(), None);
    }
}
