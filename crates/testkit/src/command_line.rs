//! Random command lines, and the seeds of the fuzz target `commandline`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clikit::Cli;
use proptest::prelude::*;

/// Generates the words of a command line: a subcommand where the program has some, then its flags,
/// each mostly followed by a value. Values are one of the flag's choices, letters and digits, or
/// any octets but NUL, since a path need not be UTF-8.
pub fn words<A: Cli>() -> impl Strategy<Value = Vec<OsString>> {
    let mut commands = Vec::new();
    collect_commands(&A::command(), &[], &mut commands);
    prop::sample::select(commands).prop_flat_map(|(path, known)| {
        let value = || {
            prop_oneof![
                2 => "[-0-9a-z.:/,]{0,12}".prop_map(OsString::from),
                1 => prop::collection::vec(1u8.., 0..12).prop_map(OsString::from_vec),
            ]
        };
        let flag = prop::sample::select(known.clone());
        let word = prop_oneof![
            3 => (flag, value()).prop_map(|(flag, value)| vec![flag, value]),
            1 => prop::sample::select(known).prop_map(|word| vec![word]),
            1 => value().prop_map(|word| vec![word]),
        ];
        let line =
            move |words: Vec<Vec<OsString>>| path.iter().cloned().chain(words.concat()).collect();
        prop::collection::vec(word, 0..6).prop_map(line)
    })
}

/// Words that lead to a subcommand, and the words that it knows.
type KnownWords = (Vec<OsString>, Vec<OsString>);

fn collect_commands(command: &clap::Command, path: &[OsString], commands: &mut Vec<KnownWords>) {
    let mut known = vec!["--help".into()];
    for argument in command.get_arguments() {
        known.extend(argument.get_long().map(|long| format!("--{long}").into()));
        known.extend(argument.get_possible_values().iter().map(|value| value.get_name().into()));
    }
    for inner in command.get_subcommands() {
        known.push(inner.get_name().into());
        collect_commands(inner, &[path, &[inner.get_name().into()]].concat(), commands);
    }
    commands.push((path.to_vec(), known));
}

/// Parses words as a command line and returns the arguments, if clap accepts them.
///
/// # Panics
/// If a help page or a refusal is empty.
pub fn parse<A: Cli>(words: &[OsString]) -> Option<A> {
    if let Some(Ok(page)) = clikit::render_help_page::<A>(words) {
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

/// Parses every file of `fuzz/seeds/commandline` as a command line of this program. The first octet
/// of a seed chooses the program in the fuzz target; here it is skipped.
///
/// # Panics
/// If there are fewer seeds than were collected at first.
pub fn replay_seeds<A: Cli>() {
    let seeds = crate::fuzz_seeds("commandline");
    for seed in &seeds {
        let octets = std::fs::read(seed).unwrap();
        let words = octets[1..].split(|octet| *octet == 0);
        let words: Vec<OsString> = words.map(|word| OsStr::from_bytes(word).into()).collect();
        let _ = parse::<A>(&words);
    }
    assert!(seeds.len() >= 8, "{}", seeds.len());
}
