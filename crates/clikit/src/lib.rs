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

mod apart;
mod args;
mod console;
mod entry;
mod input;
mod interrupt;
mod leftover;
mod output;
mod progress;
pub mod text;

pub use apart::keep_apart;
pub use args::{Cli, Common};
pub use console::Console;
pub use entry::{main, page};
pub use input::{InputFile, Inputs, is_dash};
pub use interrupt::Interrupts;
pub use output::{
    AtomicFile, AtomicFolder, Existing, Lender, LentFile, TEMPORARY_SUFFIX, is_temporary,
    tell_of_folder,
};
pub use progress::{Progress, Unit};
