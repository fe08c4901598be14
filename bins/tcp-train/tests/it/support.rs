//! A temporary folder with a dataset of whole sessions and settings of a model small enough for a
//! test, and the program to run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use testkit::{Scratch, datasets};
use tokenizer::field::{Constraint, Grammar, Limits};

/// Temporary folder with a dataset in `dataset` and settings of a small model in `settings.toml`.
pub(crate) struct Workdir {
    scratch: Scratch,
}

const SETTINGS: &str = "
epochs = 2
max_minutes = 0.0
batch = 512
validate_every = 5
checkpoint_seconds = 0.0
[model]
width = 32
heads = 2
layers = 1
feed = 32
";

impl Workdir {
    /// Returns a folder with a dataset of 60 flows.
    pub(crate) fn new() -> Workdir {
        Workdir::with_flows(60)
    }

    /// Returns a folder with a dataset of this many flows.
    pub(crate) fn with_flows(flows: u64) -> Workdir {
        let scratch = Scratch::new();
        scratch.write("settings.toml", SETTINGS.as_bytes());
        write_flows(&scratch.path("dataset"), (0..flows).map(session));
        Workdir { scratch }
    }

    /// Returns the path of a file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Returns the program with arguments, to be run in the folder.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcp-train"));
        command.current_dir(self.scratch.folder()).args(args.split_whitespace());
        command
    }

    /// Runs the program, which must succeed, and returns its stdout.
    pub(crate) fn succeed(&self, args: &str) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Trains a model into the folder `model`.
    pub(crate) fn train(&self) {
        self.succeed(
            "train --input-dir dataset --output-dir model --config settings.toml --max-steps 3 \
             --threads 1",
        );
    }
}

/// Returns what the program wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a dataset of flows, given as tokens, into a folder.
pub(crate) fn write_flows(folder: &Path, flows: impl Iterator<Item = Vec<u16>>) {
    datasets::write_folder(folder, flows.map(datasets::row));
}

/// Returns the tokens of a random session of at most 12 packets.
pub(crate) fn session(seed: u64) -> Vec<u16> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut grammar = Grammar::new(Constraint::Session, Limits { max_packets: 12 });
    let mut tokens = Vec::new();
    while !grammar.is_done() {
        let allowed = grammar.allowed_next();
        let token = allowed.nth(rng.random_range(0..allowed.count() as usize)).unwrap();
        grammar.push(token).unwrap();
        tokens.push(token);
    }
    tokens
}

/// Returns the JSON header of a safetensors file, with the names of its tensors.
pub(crate) fn head(path: &Path) -> String {
    let octets = std::fs::read(path).unwrap();
    let head = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    String::from_utf8_lossy(&octets[8..8 + head]).into_owned()
}

/// Returns the octets of all tensors of a safetensors file, without its header.
pub(crate) fn tensors(path: &Path) -> Vec<u8> {
    let octets = std::fs::read(path).unwrap();
    let head = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    octets[8 + head..].to_vec()
}

/// Removes the checksum from a safetensors file, as versions before the checksum wrote it.
pub(crate) fn without_checksum(octets: &[u8]) -> Vec<u8> {
    let size = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(octets[8..8 + size].to_vec()).unwrap();
    let (before, after) = text.split_once(r#"\"crc32c\":"#).unwrap();
    let head = format!("{before}{:size$}", after.split_once(',').unwrap().1);
    [&octets[..8], &head.as_bytes()[..size], &octets[8 + size..]].concat()
}
