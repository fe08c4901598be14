//! A dataset of whole sessions, a model small enough for a test, and the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrowio::{CodecId, DatasetMeta, DatasetReader, FlowRow, FolderWriter, Tokens, WriteOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokenizer::FlowIdentity;
use tokenizer::field::{self, Constraint, Grammar, Limits};

/// A folder with a dataset, and settings of a small model.
pub(crate) struct Place {
    folder: TempDir,
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

impl Place {
    pub(crate) fn new() -> Place {
        Place::with_flows(60)
    }

    pub(crate) fn with_flows(flows: u64) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        std::fs::write(place.path("settings.toml"), SETTINGS).unwrap();
        write_flows(&place.path("dataset"), (0..flows).map(session));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the binary in the folder.
    pub(crate) fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcp-train"));
        command.current_dir(self.folder.path()).args(args.split_whitespace());
        command
    }

    /// Runs the binary, which must succeed; its stdout.
    pub(crate) fn succeed(&self, args: &str) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A model in `model`.
    pub(crate) fn train(&self) {
        self.succeed("train --input-dir dataset --output-dir model --config settings.toml --max-steps 3 --threads 1");
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes a dataset of these flows.
pub(crate) fn write_flows(folder: &Path, flows: impl Iterator<Item = Vec<u16>>) {
    std::fs::create_dir_all(folder).unwrap();
    let meta = DatasetMeta {
        token_code: field::NAME.into(),
        token_version: field::VERSION,
        vocab_size: field::VOCAB_SIZE as u32,
        tool: "test".into(),
        options: BTreeMap::new(),
    };
    let mut writer = FolderWriter::new(folder, &meta, &WriteOptions::default());
    for tokens in flows {
        let tokens = Tokens::U16(tokens);
        writer
            .write(&FlowRow { tokens, identity: FlowIdentity::default(), summary: None })
            .unwrap();
    }
    writer.finish().unwrap();
}

pub(crate) fn session(seed: u64) -> Vec<u16> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut grammar = Grammar::new(Constraint::Session, Limits { max_packets: 12 });
    let mut tokens = Vec::new();
    while !grammar.is_done() {
        let legal: Vec<u16> = grammar.allowed_next().iter().collect();
        let token = legal[rng.random_range(0..legal.len())];
        grammar.push(token).unwrap();
        tokens.push(token);
    }
    tokens
}

/// The flows of a dataset.
pub(crate) fn flows(path: &Path) -> Vec<FlowRow> {
    let code = CodecId { name: field::NAME, version: field::VERSION };
    DatasetReader::open(path, &[code]).unwrap().map(|row| row.unwrap()).collect()
}

/// The names in a safetensors file, and more that stands at its beginning.
pub(crate) fn head(path: &Path) -> String {
    let octets = std::fs::read(path).unwrap();
    let head = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    String::from_utf8_lossy(&octets[8..8 + head]).into_owned()
}

/// The tensors of a safetensors file, without what stands beside them.
pub(crate) fn tensors(path: &Path) -> Vec<u8> {
    let octets = std::fs::read(path).unwrap();
    let head = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    octets[8 + head..].to_vec()
}

/// A safetensors file of ours without its checksum, as programs wrote it that knew of none.
pub(crate) fn without_checksum(octets: &[u8]) -> Vec<u8> {
    let size = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(octets[8..8 + size].to_vec()).unwrap();
    let (before, after) = text.split_once(r#"\"crc32c\":"#).unwrap();
    let head = format!("{before}{:size$}", after.split_once(',').unwrap().1);
    [&octets[..8], &head.as_bytes()[..size], &octets[8 + size..]].concat()
}
