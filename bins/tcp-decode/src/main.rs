//! A token dataset to captures.

mod args;
mod codec;
mod draw;
mod fault;
mod frame;
mod labels;
mod merge;
mod order;
mod output;
mod ports;
mod reports;
mod run;
mod summary;

/// What the test of the command line shares with other programs'.
#[cfg(test)]
#[path = "../../../crates/clikit/tests/support/commandline.rs"]
mod commandline;

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
