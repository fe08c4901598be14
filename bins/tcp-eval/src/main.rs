//! tcp-eval: real flows against generated ones.

mod args;
mod flows;
mod judges;
mod likelihood;
mod report;
mod run;
mod summary;

/// What the test of the command line shares with other programs'.
#[cfg(test)]
#[path = "../../../crates/clikit/tests/support/commandline.rs"]
mod commandline;

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
