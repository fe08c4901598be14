//! The `main` function of all binaries: command line, exit code, final error line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::{Cli, Console, interrupt, stderr};

/// Parses the command line, calls `run`, and turns its result into an exit code: 0 on success, 1 if
/// something was left out, 2 on failure, with the error on one line of stderr.
pub fn main<A: Cli>(run: impl FnOnce(A, &Console) -> anyhow::Result<()>) -> ExitCode {
    ExitCode::from(main_with(&std::env::args_os().collect::<Vec<_>>(), run))
}

/// Like [`main`], with the command line as an argument: the program's name, then its words. Returns
/// the exit code. A command line that is wrong, or asks for help, ends the process.
pub fn main_with<A: Cli>(
    words: &[OsString],
    run: impl FnOnce(A, &Console) -> anyhow::Result<()>,
) -> u8 {
    if let Some(code) = handle_meta_flags::<A>(words) {
        return code;
    }
    let args = A::parse_from(words);
    let console = Console::new(A::command().get_name(), args.common());
    console.start_messages();
    interrupt::install(console.name());
    let result = run(args, &console);
    console.close();
    match result {
        Ok(()) if console.left_out_count() > 0 => 1,
        Ok(()) => 0,
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            console.line(&one_line(&error));
            2
        }
    }
}

/// Handles `--completions SHELL` and `--man`, which need none of the required arguments. Returns
/// the exit code if one of them is given.
fn handle_meta_flags<A: Cli>(words: &[OsString]) -> Option<u8> {
    let answered = render_help_page::<A>(words.get(1..).unwrap_or_default())?
        .and_then(|page| io::stdout().lock().write_all(&page).context("standard output"));
    Some(match answered {
        Err(error) if !is_broken_pipe(&error) => {
            stderr::write_line(&format!("{}: {}", A::command().get_name(), one_line(&error)));
            2
        }
        _ => 0,
    })
}

/// Renders the completion script or manual page that a command line asks for, and returns `None` if
/// it asks for neither. Other arguments may be missing or wrong.
///
/// # Errors
/// If the shell is unknown.
pub fn render_help_page<A: Cli>(words: &[OsString]) -> Option<anyhow::Result<Vec<u8>>> {
    let words: Vec<&OsString> = words.iter().take_while(|word| *word != "--").collect();
    let wanted = words.iter().enumerate().find_map(|(i, word)| {
        let word = word.to_str()?;
        if word == "--man" {
            Some(Ok(None))
        } else if word == "--completions" {
            Some(shell(words.get(i + 1).and_then(|s| s.to_str()).unwrap_or("")))
        } else {
            word.strip_prefix("--completions=").map(shell)
        }
    })?;
    let mut command = A::command();
    let name = command.get_name().to_owned();
    Some(wanted.and_then(|shell| {
        let mut page = Vec::new();
        match shell {
            Some(shell) => clap_complete::generate(shell, &mut command, name, &mut page),
            None => clap_mangen::Man::new(named_subcommand(command, &words)).render(&mut page)?,
        }
        Ok(page)
    }))
}

/// Parses the name of a shell.
fn shell(name: &str) -> anyhow::Result<Option<Shell>> {
    Shell::from_str(name, true).map(Some).map_err(|_| {
        let known: Vec<String> = Shell::value_variants().iter().map(ToString::to_string).collect();
        anyhow::anyhow!("--completions: expected one of {}, found '{name}'", known.join(", "))
    })
}

/// Returns the subcommand that the arguments name, or the command itself.
fn named_subcommand(mut command: clap::Command, words: &[&OsString]) -> clap::Command {
    command.build();
    words.iter().find_map(|word| command.find_subcommand(word)).cloned().unwrap_or(command)
}

/// Returns whether the error is a broken pipe, which counts as success: a reader may stop early.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Formats an error and its causes on one line. A cause whose text an outer error contains already
/// is left out.
#[must_use]
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_once() {
        let inner = io::Error::other("no room");
        let error =
            anyhow::Error::new(inner).context("a.pcap: cannot write: no room").context("outer");
        assert_eq!(one_line(&error), "outer: a.pcap: cannot write: no room");
    }

    #[test]
    fn a_broken_pipe_is_found_below_contexts() {
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe))
            .context("standard output");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
