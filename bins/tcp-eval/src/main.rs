//! tcp-eval: real flows against generated ones.

mod args;
mod flows;
mod run;
mod summary;

fn main() -> std::process::ExitCode {
    clikit::main(run::run)
}
