//! Command lines at random, and those that fuzzing began with: every program's own tests include this file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clikit::Cli;
use proptest::prelude::*;

/// Words: flags, values and subcommands that the program knows, what may stand after one, or any octets, since a path need
/// not be text.
pub(crate) fn words<A: Cli>() -> impl Strategy<Value = Vec<OsString>> {
    let mut known = Vec::new();
    add_known(&A::command(), &mut known);
    let word = prop_oneof![
        4 => prop::sample::select(known),
        2 => "[-0-9a-z.:/,]{0,12}".prop_map(Into::into),
        1 => prop::collection::vec(1u8.., 0..12).prop_map(OsString::from_vec),
    ];
    prop::collection::vec(word, 0..8)
}

fn add_known(command: &clap::Command, known: &mut Vec<OsString>) {
    for argument in command.get_arguments() {
        known.extend(argument.get_long().map(|long| format!("--{long}").into()));
        known.extend(argument.get_possible_values().iter().map(|value| value.get_name().into()));
    }
    for inner in command.get_subcommands() {
        known.push(inner.get_name().into());
        add_known(inner, known);
    }
}

/// Takes words for a command line: arguments, a page, or a message.
pub(crate) fn take<A: Cli>(words: &[OsString]) {
    if let Some(Ok(page)) = clikit::page::<A>(words) {
        assert!(!page.is_empty());
    }
    let line = std::iter::once("program".into()).chain(words.iter().cloned());
    if let Err(refused) = A::try_parse_from(line) {
        assert!(!refused.to_string().is_empty());
    }
}

/// What fuzzing began with and what it has found, once more: the files of `fuzz/seeds/commandline`.
pub(crate) fn take_seeds<A: Cli>() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let folder = Path::new(&manifest).join("../../fuzz/seeds/commandline");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        let words: Vec<OsString> = octets
            .iter()
            .skip(1)
            .copied()
            .collect::<Vec<u8>>()
            .split(|o| *o == 0)
            .map(|w| OsStr::from_bytes(w).into())
            .collect();
        take::<A>(&words);
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
