//! Progress bars.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a bar counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Octets, shown as KiB, MiB and so on.
    Octets,
    /// Anything else.
    Items,
}

/// A progress bar on stderr that appears once the work proves long. Made by
/// [`Console::progress`](crate::Console::progress); cleared when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    waiting: Mutex<Option<MultiProgress>>,
}

impl Progress {
    pub(crate) fn new(
        bars: Option<MultiProgress>,
        what: &str,
        total: Option<u64>,
        unit: Unit,
    ) -> Progress {
        let bar = ProgressBar::hidden()
            .with_style(style(total.is_some(), unit))
            .with_message(what.to_owned());
        if let Some(total) = total {
            bar.set_length(total);
        }
        Progress { bar, started: Instant::now(), waiting: Mutex::new(bars) }
    }

    /// So much more is done. Cheap, yet meant for every batch rather than every packet.
    pub fn inc(&self, amount: u64) {
        self.bar.inc(amount);
        self.show_when_due();
    }

    /// So much is done in all.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
        self.show_when_due();
    }

    /// Replaces the text before the bar.
    pub fn message(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
        self.show_when_due();
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        drop(self.take_waiting());
        self.bar.finish_and_clear();
    }

    fn show_when_due(&self) {
        if self.bar.is_hidden()
            && self.started.elapsed() >= PATIENCE
            && let Some(bars) = self.take_waiting()
        {
            bars.add(self.bar.clone());
        }
    }

    fn take_waiting(&self) -> Option<MultiProgress> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(has_total: bool, unit: Unit) -> ProgressStyle {
    let template = match (has_total, unit) {
        (true, Unit::Octets) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        (true, Unit::Items) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
        (false, Unit::Octets) => "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}",
        (false, Unit::Items) => "{msg} {spinner} {human_pos} {per_sec} {elapsed}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
