//! Small binary built on `clikit` that the tests run: copies files to a file or to stdout.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use atomic_output::{AtomicFile, OnExisting};
use clikit::{Common, Console, Inputs, Unit};
use serde::Serialize;

/// Copies files to one output, a file after the other
#[derive(clap::Parser)]
#[command(name = "copy", version)]
struct Args {
    /// A file, a folder searched in depth, or - for stdin
    input: PathBuf,
    /// A file, or - for stdout
    output: PathBuf,
    /// Wait this many milliseconds before the output appears
    #[arg(long, default_value_t = 0)]
    wait: u64,
    #[command(flatten)]
    common: Common,
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Summary of a run, for people or as JSON.
#[derive(Serialize)]
struct Summary {
    octets: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = clikit::text::Rows::default();
        rows.push("octets", clikit::text::count(self.octets));
        rows.fmt(to)
    }
}

fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let mut all = Vec::new();
    match Inputs::find(&args.input, |_| true)? {
        Inputs::Stdin => {
            std::io::copy(&mut std::io::stdin().lock(), &mut all).context("standard input")?;
        }
        Inputs::Files { files, unreadable } => {
            unreadable.iter().for_each(|line| console.left_out(line));
            let progress = console.progress("copying", Some(files.len() as u64), Unit::Items);
            for file in files {
                tracing::info!("{}", file.name);
                match std::fs::read(&file.path) {
                    Ok(octets) if octets.is_empty() => {
                        console.left_out(format!("{}: empty", file.name))
                    }
                    Ok(octets) => all.extend(octets),
                    Err(error) => {
                        return Err(error).with_context(|| file.path.display().to_string());
                    }
                }
                progress.inc(1);
            }
        }
    }
    if clikit::is_dash(&args.output) {
        let mut to = console.stdout();
        to.write_all(&all).and_then(|()| to.flush()).context("standard output")?;
    } else {
        let mut to = AtomicFile::create(&args.output, OnExisting::Fail)?;
        to.write_all(&all)
            .and_then(|()| to.flush())
            .with_context(|| args.output.display().to_string())?;
        std::thread::sleep(std::time::Duration::from_millis(args.wait));
        to.commit()?;
    }
    console.summary(&Summary { octets: all.len() as u64 })
}

fn main() -> std::process::ExitCode {
    clikit::main(run)
}
