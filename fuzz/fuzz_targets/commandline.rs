//! Parses any words as the command line of each program: the result is arguments, a help page or a
//! message. Checks that an output which is also an input or another output is refused.

#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use testkit::command_line::parse;

fuzz_target!(|octets: &[u8]| {
    let Some((&program, rest)) = octets.split_first() else { return };
    let words: Vec<OsString> = rest
        .split(|octet| *octet == 0)
        .take(40)
        .map(|word| OsStr::from_bytes(word).into())
        .collect();
    let kept = match program % 4 {
        0 => parse::<tcp_encode::Args>(&words)
            .and_then(|a| with_paths(a.paths, [a.flow_log, a.token_table])),
        1 => parse::<tcp_decode::Args>(&words)
            .and_then(|a| with_paths(a.paths, [a.labels, a.reports])),
        2 => parse::<tcp_eval::Args>(&words).map(|a| (a.real, vec![a.output])),
        _ => {
            parse::<tcp_train::args::Args>(&words);
            None
        }
    };
    let Some((input, outputs)) = kept else { return };
    let named: Vec<(&str, &Path)> =
        outputs.iter().flatten().map(|path| ("OUTPUT", path.as_path())).collect();
    if clikit::ensure_distinct_paths(&[("INPUT", &input)], &named).is_ok() {
        for (i, (_, output)) in named.iter().enumerate() {
            let is_free = clikit::is_dash(output)
                || std::fs::metadata(output).is_ok_and(|m| !m.is_file() && !m.is_dir());
            assert!(
                is_free || input != *output && named[..i].iter().all(|(_, other)| other != output)
            );
        }
    }
});

/// Returns the first input and all outputs of a command line whose last path is an output.
fn with_paths(
    paths: Vec<PathBuf>,
    others: [Option<PathBuf>; 2],
) -> Option<(PathBuf, Vec<Option<PathBuf>>)> {
    let (inputs, output) = clikit::split_paths(&paths, Vec::new()).ok()?;
    let outputs = std::iter::once(Some(output)).chain(others).collect();
    Some((inputs.into_iter().next()?, outputs))
}
