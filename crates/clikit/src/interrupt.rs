//! SIGINT and SIGTERM: unfinished outputs are removed before the process ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stderr;

static NAME: OnceLock<String> = OnceLock::new();
static CAUGHT: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Exit code of an interrupted run: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// A view of whether the user asked the run to end. Made by
/// [`Console::catch_interrupts`](crate::Console::catch_interrupts).
#[derive(Clone, Copy, Debug)]
pub struct Interrupts(());

impl Interrupts {
    /// Whether SIGINT or SIGTERM came.
    #[must_use]
    pub fn requested(self) -> bool {
        REQUESTED.load(Ordering::Relaxed)
    }
}

pub(crate) fn catch() -> Interrupts {
    CAUGHT.store(true, Ordering::Relaxed);
    Interrupts(())
}

pub(crate) fn install(name: &str) {
    if NAME.set(name.to_owned()).is_err() {
        return;
    }
    if let Err(error) = ctrlc::set_handler(on_signal) {
        tracing::debug!("signals keep their defaults: {error}");
    }
}

fn on_signal() {
    if CAUGHT.load(Ordering::Relaxed) && !REQUESTED.swap(true, Ordering::Relaxed) {
        return;
    }
    atomic_output::remove_unfinished();
    let name = NAME.get().map_or("", String::as_str);
    stderr::write_line(&format!("{name}: interrupted, unfinished outputs removed"));
    std::process::exit(INTERRUPTED);
}
