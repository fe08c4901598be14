//! Panics of arrow2 that this crate catches, and their messages.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Set while this thread runs code whose panics are caught.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Installs a panic hook that hides the messages of panics which this crate catches.
///
/// arrow2 and parquet2 panic on some malformed Parquet files. [`DatasetReader`] catches these
/// panics and returns an error, but the standard panic hook has printed a message to stderr by
/// then. A program that reads files of unknown origin calls this function once, before it reads.
/// All other panics are passed on to the hook that was installed before. Further calls do nothing.
///
/// A hook belongs to the whole process, so that only programs call this function, not libraries.
///
/// [`DatasetReader`]: crate::DatasetReader
pub fn silence_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_SILENT.get() {
                previous(panic);
            }
        }));
    });
}

/// Runs `work` with its panics marked as caught, for the hook of [`silence_panics`].
pub(crate) fn with_silent_panics<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_SILENT.replace(true);
    let result = work();
    IS_SILENT.set(before);
    result
}
