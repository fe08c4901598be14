//! Command lines at random, and those that fuzzing began with: every program's own tests include
//! this file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clikit::Cli;
use proptest::prelude::*;

/// Words: a subcommand where there are some, then its flags, each mostly with something after it:
/// what it may take, letters and figures, or any octets, since a path need not be text.
pub(crate) fn words<A: Cli>() -> impl Strategy<Value = Vec<OsString>> {
    let mut commands = Vec::new();
    gather(&A::command(), &[], &mut commands);
    prop::sample::select(commands).prop_flat_map(|(path, known)| {
        let value = || {
            prop_oneof![
                2 => "[-0-9a-z.:/,]{0,12}".prop_map(OsString::from),
                1 => prop::collection::vec(1u8.., 0..12).prop_map(OsString::from_vec),
            ]
        };
        let word = prop_oneof![
            3 => (prop::sample::select(known.clone()), value()).prop_map(|(flag, value)| vec![flag, value]),
            1 => prop::sample::select(known).prop_map(|word| vec![word]),
            1 => value().prop_map(|word| vec![word]),
        ];
        let line = move |words: Vec<Vec<OsString>>| path.iter().cloned().chain(words.concat()).collect();
        prop::collection::vec(word, 0..6).prop_map(line)
    })
}

/// Words that lead to a command, and those that it knows.
type Known = (Vec<OsString>, Vec<OsString>);

fn gather(command: &clap::Command, path: &[OsString], commands: &mut Vec<Known>) {
    let mut known = vec!["--help".into()];
    for argument in command.get_arguments() {
        known.extend(argument.get_long().map(|long| format!("--{long}").into()));
        known.extend(argument.get_possible_values().iter().map(|value| value.get_name().into()));
    }
    for inner in command.get_subcommands() {
        known.push(inner.get_name().into());
        gather(inner, &[path, &[inner.get_name().into()]].concat(), commands);
    }
    commands.push((path.to_vec(), known));
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
