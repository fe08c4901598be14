//! Terminal output of a run: messages and progress on stderr, the summary on stdout.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use indicatif::MultiProgress;
use serde::Serialize;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::{Common, Interrupts, Progress, Stdin, Stdout, Streams, Unit, interrupt, stderr};

/// Number of items left out that are named in a line each; later ones are only counted.
const MAX_NAMED: u64 = 50;

/// Terminal output of a run: messages and progress bars on stderr, the summary on stdout.
#[derive(Debug)]
pub struct Console {
    name: String,
    quiet: bool,
    json: bool,
    level: LevelFilter,
    bars: MultiProgress,
    left_out: AtomicU64,
    stdout_is_data: AtomicBool,
    /// Receiver of everything that would be printed; `None` prints it.
    collected: Option<Collected>,
    streams: Streams,
}

/// Messages and summary of a run that prints nothing.
#[derive(Clone, Default, Debug)]
pub(crate) struct Collected(Arc<Mutex<(Vec<String>, String)>>);

impl Collected {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<String>, &mut String) -> T) -> T {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (messages, summary) = &mut *guard;
        change(messages, summary)
    }

    /// Takes the messages, a line each, and the summary as JSON: empty if there is none.
    pub(crate) fn take(&self) -> (Vec<String>, String) {
        self.with(|messages, summary| (std::mem::take(messages), std::mem::take(summary)))
    }
}

impl Console {
    /// Creates the console of the program `name` with the settings of its common flags.
    pub(crate) fn new(name: &str, common: &Common) -> Console {
        let level = match (common.quiet, common.verbose) {
            (true, _) => LevelFilter::ERROR,
            (_, 0) => LevelFilter::WARN,
            (_, 1) => LevelFilter::INFO,
            (_, 2) => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        Console {
            name: name.to_owned(),
            quiet: common.quiet,
            json: common.json,
            level,
            bars: MultiProgress::new(),
            left_out: AtomicU64::new(0),
            stdout_is_data: AtomicBool::new(false),
            collected: None,
            streams: Streams::default(),
        }
    }

    /// Creates a console that prints nothing and collects instead, with data in `streams`, and the
    /// subscriber of the messages that the run sends through `tracing`.
    pub(crate) fn collecting(
        name: &str,
        common: &Common,
        collected: &Collected,
        streams: Streams,
    ) -> (Console, impl Subscriber + Send + Sync) {
        let quiet = Common { quiet: true, json: true, verbose: 0, ..common.clone() };
        let collected_by = Some(collected.clone());
        let console = Console { collected: collected_by, streams, ..Console::new(name, &quiet) };
        let to = collected.clone();
        let messages = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::WARN)
            .event_format(OneLine { name: name.to_owned() })
            .with_writer(move || CollectedWriter(to.clone()))
            .finish();
        (console, messages)
    }

    /// Returns the program's name, which starts each message.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether `-q` was given.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether `--json` was given.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Creates a progress bar on stderr with the label `what`. The bar appears after half a second,
    /// on a terminal only, and not with `-q`.
    #[must_use]
    pub fn progress(&self, what: &str, total: Option<u64>, unit: Unit) -> Progress {
        Progress::new((!self.quiet).then(|| self.bars.clone()), what, total, unit)
    }

    /// Returns stdin, which each call shares.
    #[must_use]
    pub fn stdin(&self) -> Stdin {
        self.streams.stdin.clone()
    }

    /// Returns stdout as a buffered writer for data. The summary goes to stderr from then on.
    #[must_use]
    pub fn stdout(&self) -> BufWriter<Stdout> {
        self.stdout_is_data.store(true, Ordering::Relaxed);
        BufWriter::with_capacity(1 << 16, self.streams.stdout.clone())
    }

    /// Reports an item that was left out (`path: what, where, expected, found`) on stderr. The exit
    /// code becomes 1.
    pub fn left_out(&self, what: impl Display) {
        if self.left_out.fetch_add(1, Ordering::Relaxed) < MAX_NAMED {
            self.line(&format!("left out: {what}"));
        }
    }

    /// Returns the number of calls of [`left_out`](Console::left_out).
    #[must_use]
    pub fn left_out_count(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Hands SIGINT and SIGTERM to the caller: the first signal only sets the flag that
    /// [`Interrupts::requested`] reads, the second ends the process.
    #[must_use]
    pub fn catch_interrupts(&self) -> Interrupts {
        interrupt::catch()
    }

    /// Prints the summary: its `Display` form, or with `--json` its `Serialize` form on one line.
    /// With `-q` the human form is not printed.
    ///
    /// # Errors
    /// If stdout, or stderr in its place, cannot be written.
    pub fn summary(&self, summary: &(impl Serialize + Display)) -> anyhow::Result<()> {
        let mut text = match (self.json, self.quiet) {
            (true, _) => serde_json::to_string(summary).context("summary")?,
            (false, true) => return Ok(()),
            (false, false) => summary.to_string(),
        };
        if let Some(collected) = &self.collected {
            collected.with(|_, summary| *summary = text);
            return Ok(());
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.bars.suspend(|| {
            if self.stdout_is_data.load(Ordering::Relaxed) {
                io::stderr().lock().write_all(text.as_bytes()).context("standard error")
            } else {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
            }
        })
    }

    /// Writes one line to stderr, after the program's name, with `-q` too.
    pub fn line(&self, text: &str) {
        let line = format!("{}: {text}", self.name);
        match &self.collected {
            Some(collected) => collected.with(|messages, _| messages.push(line)),
            None => self.bars.suspend(|| stderr::write_line(&line)),
        }
    }

    /// Sends `tracing` events to stderr as `program: level: message`.
    pub(crate) fn start_messages(&self) {
        let started = tracing_subscriber::fmt()
            .with_max_level(self.level)
            .event_format(OneLine { name: self.name.clone() })
            .with_writer(AboveBars(self.bars.clone()))
            .try_init();
        if started.is_err() {
            self.line("messages go to a subscriber set earlier");
        }
    }

    /// Reports the number of items left out without a line of their own, and removes all bars.
    pub(crate) fn close(&self) {
        let unnamed = self.left_out_count().saturating_sub(MAX_NAMED);
        if unnamed > 0 {
            self.line(&format!("left out: {} more", crate::text::count(unnamed)));
        }
        // A bar that is still drawn would remain on the terminal.
        let _ = self.bars.clear();
    }
}

/// Format of `tracing` events: `program: level: message`, one line each.
struct OneLine {
    name: String,
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        write!(to, "{}: {}: ", self.name, level_word(*event.metadata().level()))?;
        ctx.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

/// Returns the word for a level in messages.
fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Writer of `tracing` events, each a line, that collects them.
struct CollectedWriter(Collected);

impl Write for CollectedWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(octets);
        self.0.with(|messages, _| messages.extend(text.lines().map(str::to_owned)));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Maker of writers to stderr that hide the progress bars while they write.
struct AboveBars(MultiProgress);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = AboveBarsWriter<'a>;

    fn make_writer(&'a self) -> AboveBarsWriter<'a> {
        AboveBarsWriter(&self.0)
    }
}

/// Writer to stderr that hides the progress bars while it writes.
struct AboveBarsWriter<'a>(&'a MultiProgress);

impl Write for AboveBarsWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
