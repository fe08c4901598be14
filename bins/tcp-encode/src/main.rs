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

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
