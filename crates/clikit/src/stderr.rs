//! Output of single lines on stderr.

use std::io::{self, Write};

/// Writes one line to stderr. A failure is ignored: there is no other stream to report it on.
pub(crate) fn write_line(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
