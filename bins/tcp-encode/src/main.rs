//! tcp-encode: captures to a token dataset.

mod anonymize;
mod args;
mod capture;
mod dataset;
mod flow_log;
mod jobs;
mod keep;
mod run;
mod side_output;
mod summary;

/// What the test of the command line shares with other programs'.
#[cfg(test)]
#[path = "../../../crates/clikit/tests/support/commandline.rs"]
mod commandline;

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
