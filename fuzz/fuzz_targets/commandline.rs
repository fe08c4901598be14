//! Any words as a command line of each program: arguments, a page, or a message; and what it names
//! as inputs and outputs is kept apart, or refused.

#![no_main]
#![allow(dead_code, reason = "parts of the programs, as they stand")]

// tcp-train's and tcp-encode's under the names that they use among themselves.
#[path = "../../bins/tcp-train/src/args.rs"]
mod args;
#[path = "../../bins/tcp-decode/src/args.rs"]
mod decode;
#[path = "../../bins/tcp-encode/src/args.rs"]
mod encode;
#[path = "../../bins/tcp-eval/src/args.rs"]
mod eval;
#[path = "../../bins/tcp-encode/src/keep.rs"]
mod keep;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clikit::Cli;
use libfuzzer_sys::fuzz_target;

fn take<A: Cli>(words: &[OsString]) -> Option<A> {
    if let Some(Ok(page)) = clikit::page::<A>(words) {
        assert!(!page.is_empty());
    }
    let line = std::iter::once("program".into()).chain(words.iter().cloned());
    match A::try_parse_from(line) {
        Ok(args) => Some(args),
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            None
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let Some((&program, rest)) = octets.split_first() else { return };
    let words: Vec<OsString> = rest
        .split(|octet| *octet == 0)
        .take(40)
        .map(|word| OsStr::from_bytes(word).into())
        .collect();
    let kept = match program % 4 {
        0 => take::<encode::Args>(&words)
            .map(|a| (a.input, vec![Some(a.output), a.flow_log, a.token_table])),
        1 => take::<decode::Args>(&words)
            .map(|a| (a.input, vec![Some(a.output), a.labels, a.reports])),
        2 => take::<eval::Args>(&words).map(|a| (a.real, vec![a.output])),
        _ => {
            take::<args::Args>(&words);
            None
        }
    };
    let Some((input, outputs)) = kept else { return };
    let named: Vec<(&str, &Path)> =
        outputs.iter().flatten().map(|path| ("OUTPUT", path.as_path())).collect();
    if clikit::keep_apart(&[("INPUT", &input)], &named).is_ok() {
        for (i, (_, output)) in named.iter().enumerate() {
            let is_free = clikit::is_dash(output)
                || std::fs::metadata(output).is_ok_and(|m| !m.is_file() && !m.is_dir());
            assert!(
                is_free || input != *output && named[..i].iter().all(|(_, other)| other != output)
            );
        }
    }
});
