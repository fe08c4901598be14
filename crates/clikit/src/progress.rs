//! Progress bars on stderr.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Time after which a bar appears: shorter work shows none.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// Unit that a bar counts in, which decides how its numbers are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Octets, shown in KiB, MiB and so on.
    Octets,
    /// Flows, steps or other items, shown as plain numbers.
    Items,
}

/// Progress bar on stderr that appears after half a second of work. Created by
/// [`Console::progress`](crate::Console::progress); removed from the terminal when dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// Bars to add this one to once it is due; `None` once added, or with `-q`.
    waiting: Mutex<Option<MultiProgress>>,
}

impl Progress {
    /// Creates a bar that is added to `bars` once it is due; `None` keeps it hidden.
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

    /// Advances the bar by `amount`. Meant for each batch rather than each packet, though cheap.
    pub fn inc(&self, amount: u64) {
        self.bar.inc(amount);
        self.show_when_due();
    }

    /// Sets the bar to `position`, counted from the start of the work.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
        self.show_when_due();
    }

    /// Replaces the label to the left of the bar.
    pub fn message(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
        self.show_when_due();
    }

    /// Removes the bar from the terminal.
    pub fn finish(&self) {
        drop(self.take_waiting());
        self.bar.finish_and_clear();
    }

    /// Adds the bar to the terminal if the work has taken long enough.
    fn show_when_due(&self) {
        if self.bar.is_hidden()
            && self.started.elapsed() >= SHOW_AFTER
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

/// Returns the layout of a bar, with an estimate of the remaining time if the total is known.
fn style(has_total: bool, unit: Unit) -> ProgressStyle {
    let template = match (has_total, unit) {
        (true, Unit::Octets) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        (true, Unit::Items) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}",
        (false, Unit::Octets) => "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}",
        (false, Unit::Items) => "{msg} {spinner} {human_pos} {per_sec} {elapsed}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
