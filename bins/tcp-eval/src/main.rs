//! tcp-eval: real flows against generated ones.

mod args;
mod flows;
mod judges;
mod likelihood;
mod report;
mod run;
mod summary;

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
