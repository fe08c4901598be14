//! The subcommands and all else that needs libtorch.

mod classify;
mod conditions;
mod cost;
mod data;
mod detect;
mod embed;
mod embedder;
mod events;
mod filter;
mod flow_rows;
mod folder;
mod generate;
mod memory;
mod metrics;
mod openmp;
mod parts;
mod processes;
mod report;
mod run;
mod score;
mod summary;
mod trace;
mod train;
mod workers;

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
        Command::Score(score) => match &score.calibrate {
            Some(benign) => detect::detect(score, benign, console),
            None => score::score(score, console),
        },
        Command::Embed(embed) => embed::embed(embed, console),
        Command::Classify(classify) => classify::classify(classify, console),
    }
}
