//! What a run says, and where: messages and progress on stderr, the summary on stdout.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context;
use indicatif::MultiProgress;
use serde::Serialize;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::{Common, Interrupts, Progress, Unit, interrupt, stderr};

/// At most so many things left out are named one by one; the rest are counted.
const NAMED: u64 = 50;

/// What a run says, and where.
#[derive(Debug)]
pub struct Console {
    name: String,
    quiet: bool,
    json: bool,
    level: LevelFilter,
    bars: MultiProgress,
    left_out: AtomicU64,
    stdout_is_data: AtomicBool,
}

impl Console {
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
        }
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `-q` was given.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether `--json` was given.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A progress bar on stderr for long work. It appears after half a second, only on a terminal,
    /// and not with `-q`.
    #[must_use]
    pub fn progress(&self, what: &str, total: Option<u64>, unit: Unit) -> Progress {
        Progress::new((!self.quiet).then(|| self.bars.clone()), what, total, unit)
    }

    /// Takes stdout for data: from here on the summary goes to stderr.
    #[must_use]
    pub fn stdout(&self) -> BufWriter<Stdout> {
        self.stdout_is_data.store(true, Ordering::Relaxed);
        BufWriter::with_capacity(1 << 16, io::stdout())
    }

    /// Names something that was left out (`path: what, where, expected, found`); the exit code
    /// becomes 1.
    pub fn left_out(&self, what: impl Display) {
        if self.left_out.fetch_add(1, Ordering::Relaxed) < NAMED {
            self.line(&format!("left out: {what}"));
        }
    }

    /// How often [`left_out`](Console::left_out) was called.
    #[must_use]
    pub fn left_out_count(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Takes SIGINT and SIGTERM into the caller's hands: the first one only sets the flag, the
    /// second ends the run.
    #[must_use]
    pub fn catch_interrupts(&self) -> Interrupts {
        interrupt::catch()
    }

    /// Prints the summary: its `Display` form, or with `--json` its `Serialize` form on one line.
    /// With `-q` the human form is not printed.
    ///
    /// # Errors
    /// Where stdout cannot be written.
    pub fn summary(&self, summary: &(impl Serialize + Display)) -> anyhow::Result<()> {
        let mut text = match (self.json, self.quiet) {
            (true, _) => serde_json::to_string(summary).context("summary")?,
            (false, true) => return Ok(()),
            (false, false) => summary.to_string(),
        };
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

    /// One line on stderr, after the program's name, whatever `-q` says.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| stderr::write_line(&format!("{}: {text}", self.name)));
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

    pub(crate) fn close(&self) {
        let unnamed = self.left_out_count().saturating_sub(NAMED);
        if unnamed > 0 {
            self.line(&format!("left out: {} more", crate::text::count(unnamed)));
        }
        // A bar that is still drawn would stay behind on the terminal.
        drop(self.bars.clear());
    }
}

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

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Writes whole events above the progress bars.
struct AboveBars(MultiProgress);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = AboveBarsWriter<'a>;

    fn make_writer(&'a self) -> AboveBarsWriter<'a> {
        AboveBarsWriter(&self.0)
    }
}

struct AboveBarsWriter<'a>(&'a MultiProgress);

impl Write for AboveBarsWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
