//! Where captures go.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use atomic_output::AtomicFile;
use clikit::{Console, is_dash};
use flate2::write::GzEncoder;
use tcpwire::{CaptureFormat, CaptureWriter, TimestampUnit};

use crate::args::{Args, FormatArg, ResolutionArg, SplitArg, is_gzip};

/// What is written where, as the command line has it.
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
    /// One file per flow in a folder.
    Split(PathBuf),
}

/// Target and format.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) format: FormatArg,
    /// `None`: what the flows need.
    resolution: Option<TimestampUnit>,
}

impl Plan {
    pub(crate) fn new(args: &Args) -> anyhow::Result<Plan> {
        let by_name = FormatArg::of(&args.output);
        if by_name.is_none() && args.format.is_none() && args.split == SplitArg::None {
            refuse_other_formats(&args.output)?;
        }
        let format = args.format.or(by_name).unwrap_or(FormatArg::Pcap);
        let target = match args.split {
            SplitArg::Flow if is_dash(&args.output) => {
                anyhow::bail!("--split flow: expected a folder as OUTPUT, found -")
            }
            SplitArg::Flow => Target::Split(args.output.clone()),
            SplitArg::None if is_dash(&args.output) => Target::Stdout,
            SplitArg::None if names_folder(&args.output) => {
                Target::File(args.output.join(format!("capture.{}", format.extension())))
            }
            SplitArg::None => Target::File(args.output.clone()),
        };
        let resolution = match (args.resolution, &target) {
            (ResolutionArg::Us, _) => Some(TimestampUnit::Micros),
            (ResolutionArg::Ns, _) | (ResolutionArg::Auto, Target::Stdout) => {
                Some(TimestampUnit::Nanos)
            }
            (ResolutionArg::Auto, _) => None,
        };
        if format == FormatArg::Pcap && args.identity.start_time.0 > LAST_OF_PCAP_NS {
            anyhow::bail!(
                "--start-time: expected a time before 2106-02-07T06:28:16Z for pcap, found a later one, which pcapng takes"
            );
        }
        Ok(Plan { target, format, resolution })
    }

    /// The name of `path` where it lies in the folder that the flows go into, one file each.
    pub(crate) fn inside<'p>(&self, path: &'p Path) -> Option<&'p std::ffi::OsStr> {
        match &self.target {
            Target::Split(folder) if path.parent() == Some(folder.as_path()) => path.file_name(),
            _ => None,
        }
    }

    /// The format of a capture whose flows do or do not need nanoseconds.
    pub(crate) fn capture_format(&self, needs_ns: bool) -> CaptureFormat {
        let needed = if needs_ns { TimestampUnit::Nanos } else { TimestampUnit::Micros };
        let resolution = self.resolution.unwrap_or(needed);
        match self.format {
            FormatArg::Pcap => CaptureFormat::Pcap(resolution),
            FormatArg::Pcapng => CaptureFormat::Pcapng(resolution),
        }
    }
}

/// Seconds are 32 bits there.
const LAST_OF_PCAP_NS: i64 = (u32::MAX as i64 + 1) * 1_000_000_000 - 1;

/// A name that says what is not written here would be believed.
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

fn names_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// A capture being written.
pub(crate) struct Capture {
    writer: CaptureWriter<Place>,
    shown: String,
}

enum Place {
    Stdout(BufWriter<Stdout>),
    File(AtomicFile),
    Gzip(Box<GzEncoder<AtomicFile>>),
    /// In a folder that itself appears only once it is whole.
    Inner(BufWriter<std::fs::File>),
}

impl Capture {
    pub(crate) fn stdout(console: &Console, format: CaptureFormat) -> anyhow::Result<Capture> {
        Capture::new(Place::Stdout(console.stdout()), "standard output".into(), format)
    }

    pub(crate) fn file(path: &Path, format: CaptureFormat) -> anyhow::Result<Capture> {
        let file = AtomicFile::create(path)?;
        let place = if is_gzip(path) {
            Place::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::default())))
        } else {
            Place::File(file)
        };
        Capture::new(place, path.display().to_string(), format)
    }

    /// `path` is where the file is now, `shown` where it will be.
    pub(crate) fn inner(
        path: &Path,
        shown: &Path,
        format: CaptureFormat,
    ) -> anyhow::Result<Capture> {
        let shown = shown.display().to_string();
        let file = std::fs::File::create_new(path).with_context(|| shown.clone())?;
        Capture::new(Place::Inner(BufWriter::new(file)), shown, format)
    }

    fn new(place: Place, shown: String, format: CaptureFormat) -> anyhow::Result<Capture> {
        let writer = CaptureWriter::new(place, format).with_context(|| shown.clone())?;
        Ok(Capture { writer, shown })
    }

    pub(crate) fn write(
        &mut self,
        time_ns: i64,
        wire_len: u32,
        octets: &[u8],
    ) -> anyhow::Result<()> {
        self.writer.write(time_ns, wire_len, octets).with_context(|| self.shown.clone())
    }

    /// Ends the capture; says how many octets it has, before compression.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        let octets = self.writer.octets();
        let mut place = self.writer.into_inner();
        place.flush().with_context(|| self.shown.clone())?;
        match place {
            Place::File(file) => file.commit()?,
            Place::Gzip(packed) => packed.finish().with_context(|| self.shown.clone())?.commit()?,
            Place::Stdout(_) | Place::Inner(_) => {}
        }
        Ok(octets)
    }
}

impl Write for Place {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Place::Stdout(to) => to.write(octets),
            Place::File(to) => to.write(octets),
            Place::Gzip(to) => to.write(octets),
            Place::Inner(to) => to.write(octets),
        }
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Place::Stdout(to) => to.write_all(octets),
            Place::File(to) => to.write_all(octets),
            Place::Gzip(to) => to.write_all(octets),
            Place::Inner(to) => to.write_all(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Place::Stdout(to) => to.flush(),
            Place::File(to) => to.flush(),
            Place::Gzip(to) => to.flush(),
            Place::Inner(to) => to.flush(),
        }
    }
}
