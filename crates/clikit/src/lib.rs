//! What the binaries share: inputs, outputs, progress, exit codes, reports.
//!
//! A binary's `main` is one line:
//!
//! ```no_run
//! use clikit::{Common, Console};
//!
//! /// Counts things.
//! #[derive(clap::Parser)]
//! #[command(version)]
//! struct Args {
//!     #[command(flatten)]
//!     common: Common,
//! }
//!
//! impl clikit::Cli for Args {
//!     fn common(&self) -> &Common {
//!         &self.common
//!     }
//! }
//!
//! fn run(args: Args, console: &Console) -> anyhow::Result<()> {
//!     let progress = console.progress("counting", Some(10), clikit::Unit::Items);
//!     progress.inc(10);
//!     progress.finish();
//!     console.summary(&10)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     clikit::main(run)
//! }
//! ```
//!
//! stdout is data or the summary, never both: whoever takes stdout for data ([`Console::stdout`])
//! sends the summary to stderr. Everything else (messages, progress, errors) goes to stderr.
//!
//! Exit codes, here and nowhere else: 0 all done (a reader that closed its pipe included), 1 done
//! but something was left out and named ([`Console::left_out`]), 2 failed.

#![forbid(unsafe_code)]

mod args;
mod console;
mod entry;
mod input;
mod interrupt;
mod paths;
mod progress;
mod stderr;
pub mod text;

pub use args::{Cli, Common};
pub use console::Console;
pub use entry::{main, render_help_page};
pub use input::{InputFile, Inputs, is_dash};
pub use interrupt::Interrupts;
pub use paths::{ensure_distinct_paths, warn_if_named_like_a_file};
pub use progress::{Progress, Unit};
