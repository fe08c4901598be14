//! SIGINT and SIGTERM: the handler removes unfinished outputs before the process ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stderr;

/// Name of the program, for the handler's message.
static NAME: OnceLock<String> = OnceLock::new();
/// Set if the run catches signals itself: the first one then only sets [`REQUESTED`].
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// Set once a signal has arrived at a run that catches signals itself.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Exit code of an interrupted run: 128 + SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// Handle that tells whether the user asked the run to end. Created by
/// [`Console::catch_interrupts`](crate::Console::catch_interrupts).
#[derive(Clone, Copy, Debug)]
pub struct Interrupts(());

impl Interrupts {
    /// Returns whether SIGINT or SIGTERM has arrived.
    #[must_use]
    pub fn requested(self) -> bool {
        REQUESTED.load(Ordering::Relaxed)
    }
}

/// Lets the run end by itself at the first signal.
pub(crate) fn catch() -> Interrupts {
    CAUGHT.store(true, Ordering::Relaxed);
    Interrupts(())
}

/// Installs the signal handler of the program `name`, once for each process.
pub(crate) fn install(name: &str) {
    if NAME.set(name.to_owned()).is_err() {
        return;
    }
    if let Err(error) = ctrlc::set_handler(on_signal) {
        tracing::debug!("signals keep their defaults: {error}");
    }
}

/// Handles a signal, on a thread of its own.
fn on_signal() {
    if CAUGHT.load(Ordering::Relaxed) && !REQUESTED.swap(true, Ordering::Relaxed) {
        return;
    }
    atomic_output::remove_unfinished();
    let name = NAME.get().map_or("", String::as_str);
    stderr::write_line(&format!("{name}: interrupted, unfinished outputs removed"));
    std::process::exit(INTERRUPTED);
}
