//! From arguments to a dataset.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrowio::Tokens;
use atomic_output::FileKind;
use clikit::{Console, Inputs, SideOutput, Unit, is_dash};
use dataset::{Sink, begins_like_capture};
use flowtrack::TrackerOptions;
use tcpwire::{ReadError, foreign_format};
use tokenizer::field::TokenStats;

use crate::anonymize::CryptoPan;
use crate::args::{Args, TagArg};
use crate::counts::{CaptureReport, EncodeCounts};
use crate::flow_log;
use crate::jobs::{CaptureTask, Message, read_all};
use crate::keep::KeepSet;
use crate::options::ReadOptions;
use crate::rows;
use crate::summary::Summary;

/// Reads the captures of `args.input` and writes the dataset, the flow log and the token table.
///
/// # Errors
/// If the command line contradicts itself, no input is a capture, or an output cannot be written.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let mut outputs = vec![("OUTPUT", args.output.as_path())];
    outputs.extend(args.flow_log.as_deref().map(|path| ("--flow-log", path)));
    outputs.extend(args.token_table.as_deref().map(|path| ("--token-table", path)));
    let mut inputs = vec![("INPUT", args.input.as_path())];
    inputs.extend(args.anonymize.as_deref().map(|path| ("--anonymize", path)));
    clikit::ensure_distinct_paths(&inputs, &outputs)?;
    let to_stdout: Vec<&str> =
        outputs.iter().filter(|(_, path)| is_dash(path)).map(|(name, _)| *name).collect();
    if let [first, second, ..] = to_stdout[..] {
        bail!("-: expected one output on stdout, found {first} and {second}");
    }
    ensure_free(&args)?;
    let found = find(&args, console)?;
    let options = options(&args)?;
    let jobs = args
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let progress = console.progress("reading", found.octets, Unit::Octets);
    let mut writer = OutputWriter {
        args: &args,
        console,
        found: &found,
        outputs: None,
        summary: Summary::new(&args),
    };
    read_all(&found.tasks, jobs, &options, &progress, |task, message| writer.write(task, message))?;
    progress.finish();
    let summary = writer.finish()?;
    if summary.written.flows == 0 {
        tracing::warn!(
            "{}: no flow of it is kept: {} is empty",
            args.input.display(),
            args.output.display()
        );
    }
    console.summary(&summary)
}

/// Files that `--flow-log` may replace: their first line is a conversation.
const FLOW_LOG: FileKind = FileKind { name: "a flow log", is_at: flow_log::is_log };

/// Files that `--token-table` may replace: their first line names its columns.
const TOKEN_TABLE: FileKind = FileKind {
    name: "a table of tokens",
    is_at: |path| {
        let table = TokenStats::default().to_string();
        clikit::first_line(path).is_some_and(|line| table.lines().next() == Some(&line))
    },
};

/// Fails if an output is there that the run may not replace, before it reads any capture.
fn ensure_free(args: &Args) -> anyhow::Result<()> {
    rows::ensure_free(args)?;
    for (path, kind) in [(&args.flow_log, FLOW_LOG), (&args.token_table, TOKEN_TABLE)] {
        path.as_deref().map_or(Ok(()), |path| clikit::ensure_free(path, kind, args.force))?;
    }
    Ok(())
}

/// Returns the options of reading, with the key of `--anonymize` read from its file.
fn options(args: &Args) -> anyhow::Result<ReadOptions> {
    let keep = KeepSet(args.keep.clone());
    let defaults = TrackerOptions::default();
    let tracker = TrackerOptions {
        only_opened: keep.only_opened(),
        idle_timeout_ns: args.idle_timeout,
        max_octets: args.max_memory.map(|mib| mib as usize * 1024 * 1024),
        separate: TagArg::kinds(&args.separate),
        copy_window_ns: args.dedup.unwrap_or(defaults.copy_window_ns),
        drop_copies: args.dedup.is_some(),
        ..defaults
    };
    let anonymize = args.anonymize.as_deref().map(CryptoPan::from_file).transpose()?;
    Ok(ReadOptions {
        keep,
        tracker,
        vxlan_ports: args.vxlan_port.clone(),
        flow_log: args.flow_log.is_some(),
        tokens: args.tokens,
        anonymize,
    })
}

/// Captures that were found in the input.
struct FoundCaptures {
    tasks: Vec<CaptureTask>,
    /// Size of all files, `None` for stdin.
    octets: Option<u64>,
    /// Whether the input is one capture, not a folder.
    is_single: bool,
}

/// Finds the captures of the input: files whose name or first octets are those of a capture.
fn find(args: &Args, console: &Console) -> anyhow::Result<FoundCaptures> {
    let mut others = 0u64;
    let inputs = Inputs::find(&args.input, |path| {
        let taken = is_capture_name(path) || begins_like_capture(path) || is_foreign(path);
        others += u64::from(!taken);
        taken
    })?;
    let octets = inputs.total_size();
    let (files, unreadable) = match inputs {
        Inputs::Stdin => {
            let task = CaptureTask { path: None, name: "-".to_owned() };
            return Ok(FoundCaptures { tasks: vec![task], octets: None, is_single: true });
        }
        Inputs::Files { files, unreadable } => (files, unreadable),
    };
    for what in unreadable {
        console.left_out(what);
    }
    if others > 0 {
        tracing::info!("{}: {others} files that are no captures", args.input.display());
    }
    if files.is_empty() {
        bail!("{}: expected captures, found none", args.input.display());
    }
    // With --anonymize, names of files are replaced too: they may identify hosts or persons.
    let name = |n: usize, name| {
        if args.anonymize.is_some() { format!("capture-{:05}", n + 1) } else { name }
    };
    let tasks = files
        .into_iter()
        .enumerate()
        .map(|(n, f)| CaptureTask { path: Some(f.path), name: name(n, f.name) })
        .collect();
    Ok(FoundCaptures { tasks, octets, is_single: !args.input.is_dir() })
}

/// Returns whether the name is that of a capture. A file with such a name that is no capture is
/// reported.
fn is_capture_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    CAPTURES.iter().any(|end| name.ends_with(end))
}

/// Ends of the names of compressed files and archives.
const PACKED: [&str; 11] =
    [".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip", ".7z", ".rar", ".z", ".lzma", ".lz"];
/// Ends of the names of captures in the formats that are read, and in those of other programs.
const CAPTURES: [&str; 16] = [
    ".pcap", ".pcapng", ".cap", ".snoop", ".dmp", ".ntar", ".erf", ".5vw", ".bfr", ".trc", ".syc",
    ".fdc", ".pkt", ".acp", ".tpc", ".vwr",
];

/// Returns whether a file begins like a capture format or an archive that is not read, which is
/// reported.
fn is_foreign(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|len| foreign_format(&head[..len]).is_some())
}

/// Writer of all outputs. They are created with the first message, so that an input without any
/// capture leaves none.
struct OutputWriter<'a> {
    args: &'a Args,
    console: &'a Console,
    found: &'a FoundCaptures,
    outputs: Option<Outputs>,
    summary: Summary,
}

/// Outputs of the run, none of them under its name yet.
struct Outputs {
    dataset: Sink<'static>,
    flow_log: Option<SideOutput>,
    /// Costs of the tokens by field, and the table that they are written to.
    stats: Option<(TokenStats, SideOutput)>,
}

impl OutputWriter<'_> {
    /// Writes a message about a capture.
    fn write(&mut self, task: &CaptureTask, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Rows(rows) => {
                let outputs = self.outputs()?;
                for row in &rows {
                    outputs.dataset.write(row)?;
                    if let (Some((stats, _)), Tokens::U16(tokens)) =
                        (&mut outputs.stats, &row.tokens)
                    {
                        stats.add(tokens);
                    }
                }
                Ok(())
            }
            Message::LogEntries(entries) => match &mut self.outputs()?.flow_log {
                Some(log) => flow_log::write(log, &entries).with_context(|| log.name()),
                None => Ok(()),
            },
            Message::Report(report) => self.finish_capture(task, *report),
        }
    }

    /// Adds the report of a capture to the summary, and reports its damage.
    ///
    /// # Errors
    /// If the only capture cannot be read at all.
    fn finish_capture(&mut self, task: &CaptureTask, report: CaptureReport) -> anyhow::Result<()> {
        if let Some(damage) = &report.damage {
            let shown = task.shown();
            match damage {
                ReadError::NotACapture { .. } if self.found.is_single => bail!("{shown}: {damage}"),
                ReadError::NotACapture { .. }
                    if task
                        .path
                        .as_deref()
                        .is_some_and(|p| !is_capture_name(p) && !is_foreign(p)) =>
                {
                    tracing::info!("{shown}: {damage}");
                    return Ok(());
                }
                ReadError::Io { offset: 0, source, .. } if self.found.is_single => {
                    bail!("{shown}: {source}")
                }
                _ if self.found.is_single && report.counts.frames == 0 => {
                    bail!("{shown}: {damage}")
                }
                ReadError::Io { offset: 0, source, .. } => {
                    self.console.left_out(format!("{shown}: {source}"))
                }
                _ => self.console.left_out(format!("{shown}: {damage}")),
            }
            if damage.is_not_a_capture() {
                self.summary.not_captures += 1;
                return Ok(());
            }
            if report.counts.octets == 0 {
                return Ok(());
            }
            self.summary.damaged += 1;
        }
        if report.has_trailing_garbage {
            tracing::warn!("{}: octets after the compressed data are passed over", task.shown());
        }
        self.report_losses(task, &report.counts);
        for (reason, n) in &report.counts.lost {
            self.console.left_out(format!("{}: {n} wanted conversations: {reason}", task.shown()));
        }
        self.summary.captures += 1;
        self.summary.open_ends.append(report.open_ends);
        self.summary.counts.add(report.counts);
        Ok(())
    }

    /// Reports the frames of a capture that may hold TCP and were not read. A capture of which
    /// nothing else was read is left out.
    fn report_losses(&mut self, task: &CaptureTask, counts: &EncodeCounts) {
        let Some(losses) = counts.losses() else { return };
        let names: Vec<String> = losses.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let (shown, names) = (task.shown(), names.join(", "));
        if counts.segments == 0 {
            self.console.left_out(format!("{shown}: expected TCP packets, found frames: {names}"));
        } else {
            tracing::warn!("{shown}: frames that may hold TCP: {names}");
        }
        self.summary.losses.insert(task.name.clone(), losses);
    }

    /// Returns the outputs, and creates them in the first call.
    fn outputs(&mut self) -> anyhow::Result<&mut Outputs> {
        if self.outputs.is_none() {
            let dataset = rows::create(self.args, self.console)?;
            let create = |path: &Option<PathBuf>, kind: FileKind| {
                let on_existing = kind.on_existing(self.args.force);
                let create = |path| SideOutput::create(path, on_existing, self.console);
                path.as_deref().map(create).transpose()
            };
            let flow_log = create(&self.args.flow_log, FLOW_LOG)?;
            let table = create(&self.args.token_table, TOKEN_TABLE)?;
            let stats = table.map(|file| (TokenStats::default(), file));
            self.outputs = Some(Outputs { dataset, flow_log, stats });
        }
        self.outputs.as_mut().context("the outputs are closed")
    }

    /// Completes all outputs and gives them their names.
    ///
    /// # Errors
    /// If no capture could be read, or an output cannot be written.
    fn finish(mut self) -> anyhow::Result<Summary> {
        if self.summary.captures == 0 {
            bail!("{}: expected captures, found none that can be read", self.args.input.display());
        }
        self.outputs()?;
        if let Some(outputs) = self.outputs.take() {
            let mut side_outputs = Vec::from_iter(outputs.flow_log);
            if let Some((stats, mut table)) = outputs.stats {
                writeln!(table, "{stats}").with_context(|| table.name())?;
                side_outputs.push(table);
            }
            // If there is no room for one of them, the dataset does not appear either.
            side_outputs.iter_mut().try_for_each(SideOutput::flush_and_sync)?;
            self.summary.written = outputs.dataset.finish()?;
            side_outputs.into_iter().try_for_each(SideOutput::commit)?;
        }
        Ok(self.summary)
    }
}
