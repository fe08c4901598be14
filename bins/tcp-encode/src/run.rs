//! From arguments to a dataset.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arrowio::{DatasetMeta, Tokens};
use atomic_output::FileKind;
use clikit::text::count;
use clikit::{Console, SideOutput, Unit, is_dash};
use dataset::{HostTable, PartReport, PartRun, Sink};
use flowtrack::{EndedCapture, TrackerOptions};
use tcpwire::ReadError;
use tokenizer::field::TokenStats;

use crate::anonymize::CryptoPan;
use crate::args::{Args, TagArg};
use crate::counts::{EncodeCounts, TaskReport};
use crate::filter::PcapFilter;
use crate::find::{FoundCaptures, find, is_capture_name, is_foreign};
use crate::flow_log;
use crate::hosts;
use crate::jobs::{Message, read_all};
use crate::keep::KeepSet;
use crate::labels::{LabelRows, Labels};
use crate::options::ReadOptions;
use crate::parts;
use crate::rows::{self, EncodedFlow};
use crate::summary::Summary;
use crate::task::{CaptureFile, CaptureTask};

/// Reads the captures of the command line and writes the dataset, the flow log and the token table.
///
/// # Errors
/// If the command line contradicts itself, no input is a capture, or an output cannot be written.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    encode(&args, console, &mut |output| rows::create(&args, output, console))
}

/// Like [`run`], with the dataset written to the sink that `create` makes for its metadata. OUTPUT
/// is not used; it should be `-`.
///
/// # Errors
/// As [`run`].
pub fn run_into(
    args: Args,
    console: &Console,
    mut create: impl FnMut(&DatasetMeta) -> Sink<'static>,
) -> anyhow::Result<()> {
    if args.part.is_some() || args.join {
        bail!("--part: expected a folder as OUTPUT, found another sink");
    }
    encode(&args, console, &mut |_| Ok(create(&rows::meta(&args))))
}

/// Creator of the dataset that a run writes to.
type CreateSink<'a> = dyn FnMut(&Path) -> anyhow::Result<Sink<'static>> + 'a;

/// Encodes captures into the dataset that `create` returns.
fn encode(args: &Args, console: &Console, create: &mut CreateSink<'_>) -> anyhow::Result<()> {
    if args.join {
        return parts::join(args, console);
    }
    let (inputs, output) = args.split_paths()?;
    let mut outputs = vec![("OUTPUT", output.as_path())];
    outputs.extend(args.flow_log.as_deref().map(|path| ("--flow-log", path)));
    outputs.extend(args.token_table.as_deref().map(|path| ("--token-table", path)));
    outputs.extend(args.traces.as_deref().map(|path| ("--traces", path)));
    let mut read: Vec<_> = inputs.iter().map(|path| ("INPUT", path.as_path())).collect();
    read.extend(args.files_from.as_deref().map(|path| ("--files-from", path)));
    read.extend(args.anonymize.as_deref().map(|path| ("--anonymize", path)));
    read.extend(args.labels.as_deref().map(|path| ("--labels", path)));
    clikit::ensure_distinct_paths(&read, &outputs)?;
    let to_stdout: Vec<&str> =
        outputs.iter().filter(|(_, path)| is_dash(path)).map(|(name, _)| *name).collect();
    if let [first, second, ..] = to_stdout[..] {
        bail!("-: expected one output on stdout, found {first} and {second}");
    }
    if let Some(hosts) = &args.traces {
        hosts::ensure_apart(hosts, &output)?;
    }
    let mut part = parts::run_of(args, &inputs, &output)?;
    if let Some(part) = &part
        && parts::is_kept(args, part, console)?
    {
        return Ok(());
    }
    ensure_free(args, &output)?;
    let options = options(args)?;
    let found = find(args, &inputs, part.as_mut(), options.labels.as_deref(), console)?;
    let jobs = args
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let progress = console.progress("reading", found.octets, Unit::Octets);
    let mut writer = OutputWriter {
        args,
        output: &output,
        console,
        found: &found,
        create,
        part: part.as_ref(),
        outputs: None,
        summary: Summary::new(args),
    };
    read_all(&found.tasks, jobs, &options, &progress, |task, message| writer.write(task, message))?;
    progress.finish();
    for refusal in options.filter.iter().flat_map(|filter| filter.refusals()) {
        console.left_out(refusal);
    }
    let summary = writer.finish()?;
    if let Some(labels) = &options.labels {
        if part.is_none() {
            // A row that no flow of a part took may be about a flow of another.
            labels.remarks().into_iter().for_each(|said| tracing::warn!("{said}"));
        }
        if summary.unlabelled > 0 {
            let (kept, unlabelled) = (count(summary.written.flows), count(summary.unlabelled));
            tracing::warn!("{}: {unlabelled} of {kept} flows without a label", found.shown);
        }
    }
    if summary.written.flows == 0 && !found.tasks.is_empty() {
        tracing::warn!("{}: no flow of it is kept: {} is empty", found.shown, output.display());
    }
    console.summary(&summary)
}

/// Files that `--flow-log` may replace: their first line is a conversation.
const FLOW_LOG: FileKind = FileKind { name: "a flow log", is_at: flow_log::is_log };

/// Files that `--traces` may replace: they have the columns of a hosts table.
const HOSTS: FileKind = FileKind { name: "a hosts table", is_at: arrowio::is_hosts };

/// Files that `--token-table` may replace: their first line names its columns.
const TOKEN_TABLE: FileKind = FileKind {
    name: "a table of tokens",
    is_at: |path| {
        let table = TokenStats::default().to_string();
        clikit::first_line(path).is_some_and(|line| table.lines().next() == Some(&line))
    },
};

/// Fails if an output is there that the run may not replace, before it reads any capture.
fn ensure_free(args: &Args, output: &Path) -> anyhow::Result<()> {
    rows::ensure_free(args, output)?;
    for (path, kind) in
        [(&args.flow_log, FLOW_LOG), (&args.token_table, TOKEN_TABLE), (&args.traces, HOSTS)]
    {
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
        linger_ns: args.live.unwrap_or(defaults.linger_ns),
        linger_octets: args.live.map_or(defaults.linger_octets, |_| 0),
    };
    let anonymize = args.anonymize.as_deref().map(CryptoPan::from_file).transpose()?;
    let filter = args.filter.as_deref().map(PcapFilter::new).transpose()?.map(Arc::new);
    let labels = match (&args.labels, args.label_from) {
        (Some(path), _) => Some(Labels::Rows(Box::new(LabelRows::read(path)?))),
        (None, from) => from.map(Labels::Paths),
    };
    Ok(ReadOptions {
        keep,
        labels: labels.map(Arc::new),
        filter,
        tracker,
        vxlan_ports: args.vxlan_port.clone(),
        flow_log: args.flow_log.is_some(),
        live: args.live.is_some(),
        traces: args.traces.is_some(),
        tokens: args.tokens,
        anonymize,
    })
}

/// Writer of all outputs. They are created with the first message, so that an input without any
/// capture leaves none.
struct OutputWriter<'a> {
    args: &'a Args,
    output: &'a Path,
    console: &'a Console,
    found: &'a FoundCaptures,
    create: &'a mut CreateSink<'a>,
    /// Part of the dataset that is written, if it is not the whole.
    part: Option<&'a PartRun>,
    outputs: Option<Outputs>,
    summary: Summary,
}

/// Outputs of the run, none of them under its name yet.
struct Outputs {
    dataset: Sink<'static>,
    flow_log: Option<SideOutput>,
    /// Costs of the tokens by field, and the table that they are written to.
    stats: Option<(TokenStats, SideOutput)>,
    /// Hosts of the rows, and the table that they are written to.
    hosts: Option<(HostTable, SideOutput)>,
}

impl OutputWriter<'_> {
    /// Writes a message about a capture.
    fn write(&mut self, task: &CaptureTask, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Rows(rows) => {
                let mut unlabelled = 0;
                let outputs = self.outputs()?;
                for EncodedFlow { row, traits } in &rows {
                    outputs.dataset.write(row)?;
                    if let (Some((hosts, _)), Some(traits)) = (&mut outputs.hosts, traits) {
                        hosts.add(row, traits);
                    }
                    let is_labelled = row.summary.as_ref().is_some_and(|s| s.label.is_some());
                    unlabelled += u64::from(!is_labelled);
                    if let (Some((stats, _)), Tokens::U16(tokens)) =
                        (&mut outputs.stats, &row.tokens)
                    {
                        stats.add(tokens);
                    }
                }
                self.summary.unlabelled += unlabelled;
                Ok(())
            }
            Message::Pause => Ok(self.outputs()?.dataset.flush()?),
            Message::LogEntries(entries) => match &mut self.outputs()?.flow_log {
                Some(log) => flow_log::write(log, &entries).with_context(|| log.name()),
                None => Ok(()),
            },
            Message::Ended(ended, change) => {
                let Some(file) = task.files.get(ended.capture) else { return Ok(()) };
                self.finish_capture(file, *ended, change)
            }
            Message::Report(report) => {
                if let Some(Outputs { hosts: Some((hosts, _)), .. }) = &mut self.outputs {
                    hosts.end_capture(&report.senders);
                }
                self.finish_task(task, *report);
                Ok(())
            }
        }
    }

    /// Adds the counts of a capture to the summary, and reports its damage.
    ///
    /// # Errors
    /// If the only capture cannot be read at all.
    fn finish_capture(
        &mut self,
        file: &CaptureFile,
        ended: EndedCapture,
        change: Option<String>,
    ) -> anyhow::Result<()> {
        let shown = file.shown();
        if let Some(damage) = &ended.damage {
            match damage {
                ReadError::NotACapture { .. } if self.found.is_single => bail!("{shown}: {damage}"),
                ReadError::NotACapture { .. }
                    if file
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
                _ if self.found.is_single && ended.counts.frames == 0 => {
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
            if ended.counts.octets == 0 {
                return Ok(());
            }
            self.summary.damaged += 1;
        } else if let Some(change) = change {
            self.console.left_out(format!("{shown}: {change}"));
        }
        if ended.has_trailing_garbage {
            tracing::warn!("{shown}: octets after the compressed data are passed over");
        }
        let counts = EncodeCounts::from(ended.counts);
        self.report_losses(file, &counts);
        self.summary.captures += 1;
        self.summary.counts.add(counts);
        Ok(())
    }

    /// Adds the report of a task to the summary.
    fn finish_task(&mut self, task: &CaptureTask, report: TaskReport) {
        let shown = match &task.files[..] {
            [file] => file.shown(),
            _ => self.found.shown.clone(),
        };
        for (reason, n) in &report.counts.lost {
            self.console.left_out(format!("{shown}: {n} wanted conversations: {reason}"));
        }
        for (reason, n) in &report.lost_fragments {
            tracing::warn!("{shown}: frames that may hold TCP: {n} {reason}");
        }
        self.summary.open_ends.append(report.open_ends);
        self.summary.counts.add(report.counts);
        self.summary.counts.lose(report.lost_fragments);
    }

    /// Reports the frames of a capture that may hold TCP and were not read. A capture of which
    /// nothing else was read is left out.
    fn report_losses(&mut self, file: &CaptureFile, counts: &EncodeCounts) {
        let Some(losses) = counts.losses() else { return };
        let names: Vec<String> = losses.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let (shown, names) = (file.shown(), names.join(", "));
        if counts.segments == 0 {
            self.console.left_out(format!("{shown}: expected TCP packets, found frames: {names}"));
        } else {
            tracing::warn!("{shown}: frames that may hold TCP: {names}");
        }
        self.summary.losses.insert(file.name.clone(), losses);
    }

    /// Returns the outputs, and creates them in the first call.
    fn outputs(&mut self) -> anyhow::Result<&mut Outputs> {
        if self.outputs.is_none() {
            let dataset = match self.part {
                Some(part) => rows::create_part(self.args, part)?,
                None => (self.create)(self.output)?,
            };
            let create = |path: &Option<PathBuf>, kind: FileKind| {
                let on_existing = kind.on_existing(self.args.force);
                let create = |path| SideOutput::create(path, on_existing, self.console);
                path.as_deref().map(create).transpose()
            };
            let flow_log = create(&self.args.flow_log, FLOW_LOG)?;
            let table = create(&self.args.token_table, TOKEN_TABLE)?;
            let stats = table.map(|file| (TokenStats::default(), file));
            let hosts = create(&self.args.traces, HOSTS)?;
            let hosts = hosts.map(|file| (HostTable::default(), file));
            self.outputs = Some(Outputs { dataset, flow_log, stats, hosts });
        }
        self.outputs.as_mut().context("the outputs are closed")
    }

    /// Completes all outputs and gives them their names.
    ///
    /// # Errors
    /// If no capture of the whole could be read, or an output cannot be written.
    fn finish(mut self) -> anyhow::Result<Summary> {
        if self.summary.captures == 0 && self.part.is_none() {
            bail!("{}: expected captures, found none that can be read", self.found.shown);
        }
        self.outputs()?;
        if let Some(outputs) = self.outputs.take() {
            let mut side_outputs = Vec::from_iter(outputs.flow_log);
            if let Some((stats, mut table)) = outputs.stats {
                writeln!(table, "{stats}").with_context(|| table.name())?;
                side_outputs.push(table);
            }
            if let Some((hosts, table)) = outputs.hosts {
                side_outputs.push(hosts::write(hosts, table, self.args)?);
            }
            // If there is no room for one of them, the dataset does not appear either.
            side_outputs.iter_mut().try_for_each(SideOutput::flush_and_sync)?;
            match self.part {
                Some(part) => outputs.dataset.finish_part(part, |written| {
                    self.summary.written = written;
                    PartReport::new(self.console.left_out_count(), &self.summary)
                })?,
                None => self.summary.written = outputs.dataset.finish()?,
            }
            side_outputs.into_iter().try_for_each(SideOutput::commit)?;
        }
        Ok(self.summary)
    }
}
