//! A token dataset to a model, and a model to a token dataset.

#[cfg(test)]
mod any_text;
mod args;
mod config;
mod data;
mod events;
mod fields;
mod filter;
mod folder;
mod generate;
mod memory;
mod metrics;
mod patience;
mod place;
mod ports;
mod report;
mod rows;
mod run;
mod schedule;
mod score;
mod settings;
mod summary;
mod train;
mod wish;

use std::process::ExitCode;

use args::{Args, Command};

fn main() -> ExitCode {
    patience::let_waiting_threads_sleep();
    clikit::main(|args: Args, console| match &args.command {
        Command::Train(train) => train::train(train, console),
        Command::Resume(resume) => train::resume(resume, console),
        Command::Generate(generate) => generate::generate(generate, console),
        Command::Score(score) => score::score(score, console),
    })
}
