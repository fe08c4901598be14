//! Command line, messages, progress bars and exit codes of the binaries.
//!
//! The `main` function of a binary is one line:
//!
//! ```no_run
//! use clikit::{Common, Console};
//!
//! /// Counts to ten.
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
//! stdout carries data or the summary, never both: a run that writes data to [`Console::stdout`]
//! has its summary on stderr. Messages, progress bars and errors always go to stderr.
//!
//! Exit codes, decided in this crate alone:
//!
//! | code | meaning |
//! | ---: | --- |
//! | 0 | finished; also if the reader of stdout closed its pipe |
//! | 1 | finished, with items left out and reported on stderr ([`Console::left_out`]) |
//! | 2 | failed, or the command line is wrong |
//! | 130 | interrupted by SIGINT or SIGTERM; unfinished outputs are removed |
//!
//! A run that catches the signals itself ([`Console::catch_interrupts`]) ends with the code of its
//! own result.

#![forbid(unsafe_code)]

mod args;
mod call;
mod console;
mod entry;
mod input;
mod interrupt;
mod paths;
mod progress;
mod side_output;
mod stderr;
mod streams;
pub mod text;

pub use args::{Cli, Common};
pub use call::{Called, call};
pub use console::Console;
pub use entry::{main, main_with, one_line, render_help_page};
pub use input::{InputFile, Inputs, is_dash, read_list};
pub use interrupt::Interrupts;
pub use paths::{
    ensure_distinct_paths, ensure_folder_free, ensure_free, first_line, split_paths,
    warn_if_named_like_a_file,
};
pub use progress::{Progress, Unit};
pub use side_output::SideOutput;
pub use streams::{Stdin, Stdout, Streams};
