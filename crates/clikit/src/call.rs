//! Runs of a program inside of another one, such as an interpreter: nothing is printed.

use std::ffi::OsString;

use crate::console::Collected;
use crate::{Cli, Console, Streams};

/// Everything that a run says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Called {
    /// Summary of the run as a JSON object; empty if it has none.
    pub summary: String,
    /// Warnings and lines about what was left out, in order.
    pub messages: Vec<String>,
}

/// Calls `run` with the command line `words` (the program's name, then its arguments), and returns
/// its summary and messages in place of printing them. Data of `-` are in `streams`. Signals stay
/// as they are.
///
/// # Errors
/// If the command line is wrong, which a line says, or `run` fails.
pub fn call<A: Cli>(
    words: &[OsString],
    streams: Streams,
    run: impl FnOnce(A, &Console) -> anyhow::Result<()>,
) -> anyhow::Result<Called> {
    let args = A::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        anyhow::anyhow!("{}", line.trim_start_matches("error: "))
    })?;
    let collected = Collected::default();
    let name = A::command().get_name().to_owned();
    let (console, messages) = Console::collecting(&name, args.common(), &collected, streams);
    tracing::subscriber::with_default(messages, || run(args, &console))?;
    console.close();
    let (messages, summary) = collected.take();
    Ok(Called { summary, messages })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Common, Stdin, Stdout};

    /// Counts to a number.
    #[derive(clap::Parser)]
    #[command(name = "count", version)]
    struct Args {
        to: u64,
        #[command(flatten)]
        common: Common,
    }

    impl Cli for Args {
        fn common(&self) -> &Common {
            &self.common
        }
    }

    fn count(words: &[&str]) -> anyhow::Result<Called> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        call(&words, Streams::default(), |args: Args, console| {
            anyhow::ensure!(args.to < 100, "expected less than 100, found {}", args.to);
            tracing::warn!("slow");
            tracing::info!("not said");
            (0..args.to).for_each(|n| console.left_out(n));
            console.summary(&args.to)
        })
    }

    #[test]
    fn messages_and_the_summary_are_returned() {
        let called = count(&["count", "2"]).unwrap();
        assert_eq!(called.summary, "2");
        assert_eq!(
            called.messages,
            ["count: warning: slow", "count: left out: 0", "count: left out: 1"]
        );
        let many = count(&["count", "60"]).unwrap().messages;
        assert_eq!(many.last().unwrap(), "count: left out: 10 more");
    }

    #[test]
    fn data_pass_through_the_streams_of_the_caller() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let streams = Streams {
            stdin: Stdin::new(&b"abc"[..]),
            stdout: Stdout::new(Shared(written.clone())),
        };
        let words: Vec<OsString> = ["count", "2"].map(OsString::from).into();
        let called = call(&words, streams, |args: Args, console| {
            let mut read = Vec::new();
            console.stdin().take(args.to).read_to_end(&mut read)?;
            console.stdin().read_to_end(&mut read)?;
            console.stdout().write_all(&read)?;
            console.summary(&read.len())
        });
        assert_eq!(called.unwrap().summary, "3");
        assert_eq!(*written.lock().unwrap(), b"abc");
    }

    /// Writer whose octets are seen while it is written to.
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failures_are_one_line() {
        let line = |words: &[&str]| count(words).unwrap_err().to_string();
        assert_eq!(line(&["count", "100"]), "expected less than 100, found 100");
        assert!(line(&["count", "--upto", "3"]).starts_with("unexpected argument '--upto' found"));
        let missing = line(&["count"]);
        assert_eq!(missing, "the following required arguments were not provided: <TO>");
    }
}
