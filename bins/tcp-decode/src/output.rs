//! Captures that are written: their targets, formats and files.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use atomic_output::{AtomicFile, FileKind, has_name_like};
use clikit::{Console, Stdout, is_dash};
use dataset::RunPart;
use flate2::write::GzEncoder;
use tcpwire::{CaptureFormat, CaptureWriter, TimestampUnit};

use crate::args::{Args, CaptureFileFormat, ResolutionArg, SplitArg, is_gzip};
use crate::labels;

/// Files that a capture may replace.
const CAPTURE: FileKind = FileKind { name: "a capture", is_at: dataset::is_capture };

/// Files that a folder of captures may hold which is replaced: one per flow, and their labels.
pub(crate) const CAPTURE_OF_FLOW: FileKind = FileKind {
    name: "captures of flows",
    is_at: |path| {
        let is_named = ["flow-*.pcap", "flow-*.pcapng"].iter().any(|n| has_name_like(path, n));
        is_named && dataset::is_capture(path) || labels::is_table(path)
    },
};

/// Place that the capture, or the captures, go to.
pub(crate) enum CaptureTarget {
    /// One capture on standard output.
    Stdout,
    /// One capture in this file.
    File(PathBuf),
    /// One capture per flow in this folder.
    Folder(PathBuf),
}

/// Target and format of the output.
pub(crate) struct OutputPlan {
    /// Target that `--split` and OUTPUT give.
    pub(crate) target: CaptureTarget,
    /// Format by `--format`, or else by the extension of OUTPUT.
    pub(crate) format: CaptureFileFormat,
    /// Resolution by `--resolution`; `None` if it depends on the flows.
    resolution: Option<TimestampUnit>,
}

impl OutputPlan {
    /// Creates the plan that the command line asks for.
    ///
    /// # Errors
    /// If OUTPUT does not fit the format or `--split`, or the format cannot express the start
    /// time.
    pub(crate) fn new(args: &Args, output: &Path) -> anyhow::Result<OutputPlan> {
        let by_name = CaptureFileFormat::from_extension(output);
        if by_name.is_none() && args.format.is_none() && args.split == SplitArg::None {
            refuse_other_formats(output)?;
        }
        let format = args.format.or(by_name).unwrap_or(CaptureFileFormat::Pcap);
        let target = match args.split {
            SplitArg::Flow if is_dash(output) => {
                anyhow::bail!("--split flow: expected a folder as OUTPUT, found -")
            }
            SplitArg::Flow => CaptureTarget::Folder(output.to_owned()),
            SplitArg::None if is_dash(output) => CaptureTarget::Stdout,
            SplitArg::None if names_folder(output) => {
                CaptureTarget::File(output.join(format!("capture.{}", format.extension())))
            }
            SplitArg::None => CaptureTarget::File(output.to_owned()),
        };
        let target = match (args.part, target) {
            (None, target) => target,
            (Some(part), CaptureTarget::File(path)) => CaptureTarget::File(name_of(part, &path)),
            (Some(_), _) => anyhow::bail!(
                "{}: expected the name of a capture as OUTPUT of --part, found another",
                output.display()
            ),
        };
        let resolution = match args.resolution {
            ResolutionArg::Us => Some(TimestampUnit::Micros),
            ResolutionArg::Ns => Some(TimestampUnit::Nanos),
            ResolutionArg::Auto => None,
        };
        if format == CaptureFileFormat::Pcap && args.identity.start_time.0 > LAST_OF_PCAP_NS {
            anyhow::bail!(
                "--start-time: expected a time before 2106-02-07T06:28:16Z for pcap, found a later \
                 one, which pcapng takes"
            );
        }
        Ok(OutputPlan { target, format, resolution })
    }

    /// Fails if something is at the target that the captures may not replace.
    pub(crate) fn ensure_free(&self, force: bool) -> anyhow::Result<()> {
        match &self.target {
            CaptureTarget::Stdout => Ok(()),
            CaptureTarget::File(path) => clikit::ensure_free(path, CAPTURE, force),
            CaptureTarget::Folder(folder) => {
                clikit::ensure_folder_free(folder, CAPTURE_OF_FLOW, force)
            }
        }
    }

    /// Returns the file name of `path` if it lies in the folder of `--split flow`.
    pub(crate) fn name_in_folder<'p>(&self, path: &'p Path) -> Option<&'p std::ffi::OsStr> {
        match &self.target {
            CaptureTarget::Folder(folder) if path.parent() == Some(folder.as_path()) => {
                path.file_name()
            }
            _ => None,
        }
    }

    /// Returns whether the resolution of a capture is what its flows need.
    pub(crate) fn follows_flows(&self) -> bool {
        self.resolution.is_none()
    }

    /// Returns the format of a capture whose times need nanoseconds or do not.
    pub(crate) fn capture_format(&self, needs_ns: bool) -> CaptureFormat {
        let needed = if needs_ns { TimestampUnit::Nanos } else { TimestampUnit::Micros };
        let resolution = self.resolution.unwrap_or(needed);
        match self.format {
            CaptureFileFormat::Pcap => CaptureFormat::Pcap(resolution),
            CaptureFileFormat::Pcapng => CaptureFormat::Pcapng(resolution),
        }
    }
}

/// Returns the path of a part of a capture: its name has the part before the extensions.
fn name_of(part: RunPart, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let (stem, end) = name.split_at(plain.rfind('.').unwrap_or(plain.len()));
    path.with_file_name(format!("{}{end}", part.name(stem)))
}

/// Last time that pcap can express: its seconds have 32 bits.
const LAST_OF_PCAP_NS: i64 = (u32::MAX as i64 + 1) * 1_000_000_000 - 1;

/// Fails if the extension of `path` is that of a format which is not written here: readers would
/// trust it.
fn refuse_other_formats(path: &Path) -> anyhow::Result<()> {
    let others = [
        "arrow", "arrows", "parquet", "csv", "json", "zst", "xz", "bz2", "lz4", "zip", "zeek",
        "erf",
    ];
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(found) if others.contains(&found) && !path.is_dir() => {
            anyhow::bail!(
                "{}: expected the name of a .pcap or .pcapng (or .gz) file, found .{found}",
                path.display()
            )
        }
        _ => Ok(()),
    }
}

/// Returns whether a path is a folder, or ends in `/`.
fn names_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Size of a capture that is complete, in octets.
pub(crate) struct CaptureSize {
    /// Number of octets before compression.
    pub(crate) octets: u64,
    /// Number of octets of the file, 0 on stdout.
    pub(crate) on_disk: u64,
}

/// Capture that is being written.
pub(crate) struct CaptureOutput {
    writer: CaptureWriter<OctetSink>,
    /// Name of the capture for messages.
    name: String,
}

/// Writer of the octets of a capture.
enum OctetSink {
    Stdout(BufWriter<Stdout>),
    File(AtomicFile),
    Gzip(Box<GzEncoder<AtomicFile>>),
    /// File in a folder that appears as a whole.
    InFolder(BufWriter<std::fs::File>),
}

impl CaptureOutput {
    /// Begins a capture on standard output.
    pub(crate) fn stdout(
        console: &Console,
        format: CaptureFormat,
    ) -> anyhow::Result<CaptureOutput> {
        CaptureOutput::new(OctetSink::Stdout(console.stdout()), "standard output".into(), format)
    }

    /// Begins a capture file, compressed if its name ends in `.gz`, that appears when it is
    /// complete.
    pub(crate) fn file(
        path: &Path,
        force: bool,
        format: CaptureFormat,
    ) -> anyhow::Result<CaptureOutput> {
        let file = AtomicFile::create(path, CAPTURE.on_existing(force))?;
        let sink = if is_gzip(path) {
            OctetSink::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::default())))
        } else {
            OctetSink::File(file)
        };
        CaptureOutput::new(sink, path.display().to_string(), format)
    }

    /// Begins a capture file in a folder that appears as a whole. `path` is its path until then,
    /// `target` its path after that.
    pub(crate) fn file_in_folder(
        path: &Path,
        target: &Path,
        format: CaptureFormat,
    ) -> anyhow::Result<CaptureOutput> {
        let name = target.display().to_string();
        let file = std::fs::File::create_new(path).with_context(|| name.clone())?;
        CaptureOutput::new(OctetSink::InFolder(BufWriter::new(file)), name, format)
    }

    fn new(sink: OctetSink, name: String, format: CaptureFormat) -> anyhow::Result<CaptureOutput> {
        let writer = CaptureWriter::new(sink, format).with_context(|| name.clone())?;
        Ok(CaptureOutput { writer, name })
    }

    /// Writes a frame. `wire_len` is its length on the wire, at least that of `octets`.
    pub(crate) fn write(
        &mut self,
        time_ns: i64,
        wire_len: u32,
        octets: &[u8],
    ) -> anyhow::Result<()> {
        self.writer.write(time_ns, wire_len, octets).with_context(|| self.name.clone())
    }

    /// Completes the capture and returns its size.
    pub(crate) fn finish(self) -> anyhow::Result<CaptureSize> {
        let octets = self.writer.octets();
        let mut sink = self.writer.into_inner();
        sink.flush().with_context(|| self.name.clone())?;
        let on_disk = match sink {
            OctetSink::File(file) => {
                file.commit()?;
                octets
            }
            OctetSink::Gzip(packed) => {
                let mut file = packed.finish().with_context(|| self.name.clone())?;
                file.flush_and_sync()?;
                let size = std::fs::metadata(file.path()).with_context(|| self.name.clone())?.len();
                file.commit()?;
                size
            }
            OctetSink::Stdout(_) => 0,
            OctetSink::InFolder(_) => octets,
        };
        Ok(CaptureSize { octets, on_disk })
    }
}

impl Write for OctetSink {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            OctetSink::Stdout(to) => to.write(octets),
            OctetSink::File(to) => to.write(octets),
            OctetSink::Gzip(to) => to.write(octets),
            OctetSink::InFolder(to) => to.write(octets),
        }
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            OctetSink::Stdout(to) => to.write_all(octets),
            OctetSink::File(to) => to.write_all(octets),
            OctetSink::Gzip(to) => to.write_all(octets),
            OctetSink::InFolder(to) => to.write_all(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            OctetSink::Stdout(to) => to.flush(),
            OctetSink::File(to) => to.flush(),
            OctetSink::Gzip(to) => to.flush(),
            OctetSink::InFolder(to) => to.flush(),
        }
    }
}
