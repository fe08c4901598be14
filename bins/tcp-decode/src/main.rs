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

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
