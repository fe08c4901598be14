//! The subcommands and all else that needs libtorch.

mod conditions;
mod data;
mod events;
mod filter;
mod folder;
mod generate;
mod memory;
mod metrics;
mod openmp;
mod processes;
mod report;
mod run;
mod score;
mod summary;
mod train;

use clikit::Console;

pub use self::openmp::set_passive_wait_policy;
use crate::args::{Args, Command};

/// Runs the subcommand that the command line names.
///
/// # Errors
/// Fails as the subcommand does; the message names the file, the flow or the option at fault.
pub fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    arrowio::silence_panics();
    match &args.command {
        Command::Train(train) => train::train(train, console),
        Command::Resume(resume) => train::resume(resume, console),
        Command::Generate(generate) => generate::generate(generate, console),
        Command::Score(score) => score::score(score, console),
    }
}
