//! Command line of `tcp-train`. The doc comments are the text of `--help`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clikit::Common;
use dataset::RunPart;

use crate::level::Level;

/// Trains a model on a token dataset, and generates token datasets with it.
///
/// Exit codes: 0 all done; 1 done, but something was left out and named (a training run that was
/// interrupted, flows that do not decode); 2 failed.
#[derive(Parser, Debug)]
#[command(name = "tcp-train", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub common: Common,
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Subcommands, with their arguments.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a model on a dataset
    Train(Train),
    /// Resume a training run that was stopped: the result is that of an uninterrupted run
    Resume(Resume),
    /// Generate a dataset with a model
    Generate(Generate),
    /// Print the probability of each flow of a dataset under a model
    Score(Score),
    /// Give each flow of a dataset a vector
    Embed(Embed),
    /// Train a classifier of flows on labels, or use one
    #[command(subcommand)]
    Classify(Classify),
}

/// Train a model on a dataset.
///
/// The model folder holds model.safetensors (the weights with the lowest validation loss),
/// config.json, metrics.jsonl (a line for each step and each validation), event files for
/// TensorBoard, training.html with the curves, and checkpoint.safetensors, from which `resume`
/// continues. Ctrl-C writes a checkpoint before the run ends. Processes started by torchrun, or
/// with its variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, divide each step among
/// themselves; where torchrun starts them anew, they resume.
#[derive(clap::Args, Debug)]
pub struct Train {
    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// Sequences that the model learns
    #[arg(long, value_enum, default_value = "flow")]
    pub level: Level,

    /// The hosts table of the dataset, for --level trace: `tcp-encode --traces`
    #[arg(long, value_name = "HOSTS", required_if_eq("level", "trace"))]
    pub traces: Option<PathBuf>,

    /// The model folder to create
    #[arg(long, alias = "output_dir", value_name = "FOLDER")]
    pub output_dir: PathBuf,

    /// Size of the model and settings of the training run: tiny takes minutes on a laptop
    #[arg(long, value_enum, default_value = "tiny")]
    pub preset: Preset,

    /// Replace the model in a folder that is not empty; files that no run wrote stay
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub changes: Changes,

    #[command(flatten)]
    pub machine: Machine,
}

impl Train {
    /// Returns the command line that resumes this run in its own folder.
    #[must_use]
    pub fn resumed(&self) -> Resume {
        Resume {
            checkpoint_path: self.output_dir.clone(),
            input_dir: self.input_dir.clone(),
            reading: self.reading,
            traces: self.traces.clone(),
            output_dir: self.output_dir.clone(),
            changes: Changes::default(),
            machine: self.machine.clone(),
        }
    }
}

/// Resume a training run that was stopped.
///
/// The settings are those of the stopped run, changed by the flags given here. The dataset must be
/// the one that the run was started on.
#[derive(clap::Args, Debug)]
pub struct Resume {
    /// The model folder of the stopped run, or a checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// The hosts table of the dataset, for a model of --level trace
    #[arg(long, value_name = "HOSTS")]
    pub traces: Option<PathBuf>,

    /// The model folder to write: that of the stopped run, or another
    #[arg(long, alias = "output_dir", value_name = "FOLDER")]
    pub output_dir: PathBuf,

    #[command(flatten)]
    pub changes: Changes,

    #[command(flatten)]
    pub machine: Machine,
}

/// Way in which a dataset is read.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Reading {
    /// Token code of a dataset whose metadata name none [default: as its tokens show]
    #[arg(long, alias = "token_code", value_name = "CODE", value_enum)]
    pub token_code: Option<TokenCode>,
}

/// Token code of a dataset that a model reads.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenCode {
    /// Header fields, relative to TCP's state
    Field,
}

/// Flags that change settings. The doc comments are the text of `--help`.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Training settings")]
pub struct Changes {
    /// Read settings from a TOML file, named as under `settings` in config.json; flags override
    /// the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Seed of all random numbers [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Passes over the dataset, at most
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,

    /// Steps to make, at most; 0: no limit
    #[arg(long, alias = "max_steps", value_name = "N")]
    pub max_steps: Option<u64>,

    /// Minutes to train, at most; the learning rate reaches its final value by then. 0: no limit
    #[arg(long, alias = "max_minutes", value_name = "MINUTES")]
    pub max_minutes: Option<f64>,

    /// Tokens in a step, at most, over all processes
    #[arg(long, value_name = "TOKENS")]
    pub batch: Option<usize>,

    /// Micro-batches that a process computes one after another in each step: more need less
    /// memory
    #[arg(long, alias = "gradient-accumulation", value_name = "N")]
    pub accumulate: Option<usize>,

    /// Flows to keep, at most, among those that differ in time alone; 0: all
    #[arg(long, alias = "max_repeats", value_name = "N")]
    pub max_repeats: Option<u64>,

    /// Highest learning rate, reached at the end of the warmup
    #[arg(long, alias = "learning_rate", value_name = "RATE")]
    pub learning_rate: Option<f64>,

    /// Steps from one validation to the next
    #[arg(long, alias = "validate_every", value_name = "STEPS")]
    pub validate_every: Option<u64>,

    /// Validations in a row without a lower loss after which training ends; 0: no limit
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,

    /// Number format of matrix products; bf16 is faster on GPUs, and on
    /// processors with AVX512_BF16
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Change a setting, named as in config.json; may be repeated: --set model.width=192
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Number format of matrix products.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// 32-bit floating point numbers
    #[default]
    F32,
    /// bfloat16; weights and moments stay in 32 bits
    Bf16,
}

impl From<Precision> for linformer::Precision {
    fn from(precision: Precision) -> linformer::Precision {
        match precision {
            Precision::F32 => linformer::Precision::F32,
            Precision::Bf16 => linformer::Precision::Bf16,
        }
    }
}

/// Device and threads of the computation.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub struct Machine {
    /// Device to compute on: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Threads to use [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

impl Machine {
    /// Returns the number of threads to use: by default, as many as there are cores.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, usize::from)
    }
}

/// Heading in `--help` of the flags that restrict the flows to generate.
const CONDITIONS: &str = "Conditions";

/// Generate a dataset with a model.
///
/// Every flow fulfils the conditions; all else is drawn from the model's distribution under them.
/// The same seed gives the same flows, whatever the batch and the threads; on a GPU, rounding makes
/// some differ.
#[derive(clap::Args, Debug)]
pub struct Generate {
    /// A model folder, or a model or checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset to create: a folder, a file if the name ends in .arrow, .arrows or .parquet, or
    /// - for an Arrow stream on stdout
    #[arg(long, alias = "output_dir", value_name = "DATASET")]
    pub output_dir: PathBuf,

    /// Flows to generate [default: 1000, or as many as --packets needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub flows: Option<u64>,

    /// Packets to generate: flows are added until their packets reach this number; the last flow
    /// is whole and may exceed it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,

    /// Generate a trace: hosts by this model of `train --level trace`, each with its flows by the
    /// model of --checkpoint-path. Rows are in order of their starts; the second flow to a server
    /// is answered as the first one was
    #[arg(long, value_name = "MODEL", requires = "traces")]
    pub trace: Option<PathBuf>,

    /// The hosts table of the trace to write, for `tcp-decode --hosts`: Arrow or Parquet by its
    /// name
    #[arg(long, value_name = "HOSTS", requires = "trace")]
    pub traces: Option<PathBuf>,

    /// Hosts of the trace [default: 100, or as many as --flows and --duration need]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(requires = "trace")]
    pub hosts: Option<u64>,

    /// Time in which the flows of the trace start: 30s, 10m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration_ns, requires = "trace")]
    pub duration: Option<i64>,

    /// Generate the I-th of N parts of the flows, for N processes on one machine or several. The
    /// flows of all parts are those of one run. Parts wait in the folder DATASET.parts for --join
    #[arg(long, value_name = "I/N", conflicts_with = "packets")]
    pub part: Option<RunPart>,

    /// Do nothing where the part is there already
    #[arg(long, requires = "part", conflicts_with = "force")]
    pub resume: bool,

    /// Make the dataset of its parts: check that all are there and of the same model and options,
    /// write a manifest and the checksums of the shards, and print the sum of the summaries
    #[arg(long, conflicts_with = "part")]
    pub join: bool,

    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Constraint on the flows
    #[arg(long, value_enum, default_value = "session")]
    pub constrain: Constrain,

    /// Temperature of sampling: 1 is the distribution of the model, less favours likely tokens,
    /// more favours unlikely ones
    #[arg(long, default_value_t = 1.0, value_parser = non_negative)]
    pub temperature: f32,

    /// Sample from the K likeliest tokens only; 0: from all
    #[arg(long, alias = "top_k", value_name = "K", default_value_t = 0)]
    pub top_k: usize,

    /// Sample from the likeliest tokens only that have this probability together
    #[arg(long, alias = "top_p", value_name = "P", default_value_t = 1.0)]
    #[arg(value_parser = probability)]
    pub top_p: f32,

    /// Packets of a flow, at most: length classes beyond are not drawn [at least 7, which a session
    /// may need; --constrain none counts no packets and allows 128 tokens for each]
    #[arg(long, alias = "max_packets_per_flow", value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(7..))]
    pub max_packets_per_flow: u64,

    /// Packets of a flow, at least
    #[arg(long, alias = "min_packets_per_flow", value_name = "N", default_value_t = 0)]
    #[arg(help_heading = CONDITIONS)]
    pub min_packets_per_flow: u64,

    /// Only flows to these server ports
    #[arg(long, alias = "server_port", value_name = "PORT", value_delimiter = ',')]
    #[arg(help_heading = CONDITIONS)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub server_port: Vec<u16>,

    /// Only flows with these ends
    #[arg(long, value_enum, value_delimiter = ',', help_heading = CONDITIONS)]
    pub ends: Vec<Ends>,

    /// Only flows of these length classes: class N has 2^N to 2^(N+1) - 1 packets; class 15, all
    /// from 32,768 on
    #[arg(long, alias = "length_class", value_name = "N or N-N")]
    #[arg(value_parser = length_classes, help_heading = CONDITIONS)]
    pub length_class: Option<RangeInclusive<u8>>,

    /// Flows that each thread generates in parallel [default: 64, on a GPU 256]
    #[arg(long, value_name = "FLOWS", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: Option<u32>,

    /// Format of the dataset [default: by the name of the file, else arrow]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Replace a dataset that exists. Other files are never replaced
    #[arg(long)]
    pub force: bool,

    /// Number format of matrix products on the CPU; bf16 is faster and needs a processor with
    /// AVX512_BF16. A seed gives other flows in it
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,

    #[command(flatten)]
    pub machine: Machine,
}

/// Print the probability of each flow of a dataset under a model.
///
/// Writes a line of JSON to stdout for each distinct flow, or for a sample of them, in the order of
/// the dataset. Keys: `flow` (its number among the distinct flows), `bits` (its negative log2
/// probability: the length of its ideal code), `tokens`, `packets`, `copies`, `source`, and `split`
/// (train, validation or test): the part that the flow belongs to in a training run on this dataset
/// with the settings of the model.
///
/// With --calibrate, writes a line for every flow, and for a stream as soon as the flow is there.
/// Keys: `flow` (its number, from 1), `p_value`, `bits` (given its class, its length class and the
/// server's port), `packets`, `costliest` (the three costliest fields of single packets), `fields`
/// (the bits of each field), and the addresses, ports, `source`, `first_frame` and `label` of the
/// dataset.
#[derive(clap::Args, Debug)]
pub struct Score {
    /// A model folder, or a model or checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// Distinct flows to score, at most, sampled by the seed of the model [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with = "calibrate")]
    pub flows: Option<u64>,

    /// Compare each flow with the benign flows of a dataset: of flows like these, one in a hundred
    /// has a p-value of at most 0.01. They should be of the same network, and later ones than those
    /// that the model has learnt
    #[arg(long, value_name = "BENIGN")]
    pub calibrate: Option<PathBuf>,

    /// Score the I-th of N parts of the flows, for N processes on one machine or several. The lines
    /// of all parts, one behind the other, are those of one run, with numbers rounded otherwise
    #[arg(long, value_name = "I/N")]
    pub part: Option<RunPart>,

    /// Tokens computed in parallel
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    /// Number format of matrix products; bf16 is faster on GPUs, and on processors with AVX512_BF16
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,

    #[command(flatten)]
    pub machine: Machine,
}

/// Give each flow of a dataset a vector.
///
/// Writes the dataset with a further column `embedding` (`fixed_size_list<float>`): what the model
/// knows of a flow after its last packet. The vectors know no address; nor do they know the
/// server's port, unless it is asked for.
#[derive(clap::Args, Debug)]
pub struct Embed {
    /// A model folder, or a model or checkpoint in it
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,

    /// The dataset to create: a folder, a file if the name ends in .arrow, .arrows or .parquet, or
    /// - for an Arrow stream on stdout
    #[arg(value_name = "OUTPUT")]
    pub output: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// Also give each flow the vector that it has after a number of packets, in columns such as
    /// `embedding_5`
    #[arg(long, value_name = "PACKETS", value_delimiter = ',', value_parser = packets)]
    pub at: Vec<u64>,

    /// Whiten the vectors by the mean and the covariance of those of a dataset: the one that a
    /// classifier is to learn from. Vectors then have fewer values, the most telling ones first
    #[arg(long, value_name = "TRAINING")]
    pub whiten_by: Option<PathBuf>,

    /// Show the server's port to the model, which is hidden otherwise
    #[arg(long)]
    pub with_port: bool,

    /// Tokens computed in parallel
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    /// Format of the dataset [default: by the name of the file, else arrow]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Replace a dataset that exists. Other files are never replaced
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub machine: Machine,
}

/// Train a classifier of flows on labels, or use one.
#[derive(Subcommand, Debug)]
pub enum Classify {
    /// Train a classifier on a dataset with labels
    Fit(Fit),
    /// Print the class of each flow of a dataset
    Predict(Predict),
}

/// Train a classifier on a dataset with labels.
///
/// The classifier is a linear one of the vectors of `embed`; the model stays as it is. Its penalty
/// is chosen on flows held out: those of a group, or of a capture, are all held out together. The
/// folder holds the classifier, a copy of the model, and config.json with the classes, the splits
/// and the figures, those of the 5 nearest neighbours beside them. Flows without a label are not
/// read.
#[derive(clap::Args, Debug)]
pub struct Fit {
    /// A model folder, or a model or checkpoint in it
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,

    /// The folder of the classifier to create
    #[arg(value_name = "CLASSIFIER")]
    pub output: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// Flows that are held out together [default: group if there are two of them, else source]
    #[arg(long, value_enum)]
    pub split_by: Option<SplitBy>,

    /// Parts that the groups are split into; each is held out once
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=100))]
    pub folds: u16,

    /// Numbers of packets after which there is a verdict, besides the end of the flow
    #[arg(long, value_name = "PACKETS", value_delimiter = ',', value_parser = packets)]
    #[arg(default_value = "3,5,10,20,30")]
    pub at: Vec<u64>,

    /// Seed of the split
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Show the server's port to the model, which is hidden otherwise
    #[arg(long)]
    pub with_port: bool,

    /// Tokens computed in parallel
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    /// Replace a classifier that exists. Other files are never replaced
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub machine: Machine,
}

/// Flows that a split keeps together.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// Those with the same `group`
    Group,
    /// Those of one capture
    Source,
}

/// Print the class of each flow of a dataset.
///
/// Writes a line of JSON to stdout for each flow, in the order of the dataset, and for a stream as
/// soon as the flow is there. Keys: `flow` (its number, from 1), `label` (the likeliest class),
/// `probability`, `margin` (to the second likeliest), `settled` (the number of packets after which
/// the verdict did not change any more), `packets`, the addresses, ports, `source` and
/// `first_frame` of the dataset, and `known`, the flow's own label if it has one.
#[derive(clap::Args, Debug)]
pub struct Predict {
    /// The folder of the classifier
    #[arg(value_name = "CLASSIFIER")]
    pub classifier: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,

    #[command(flatten)]
    pub reading: Reading,

    /// Judge each flow by its first packets alone: one of the numbers of --at of `fit`
    #[arg(long, value_name = "PACKETS", value_parser = packets)]
    pub first: Option<u64>,

    /// Tokens computed in parallel
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    #[command(flatten)]
    pub machine: Machine,
}

/// Preset of the architecture and the training settings.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// 0.9 million weights: minutes on a laptop
    Tiny,
    /// 5.0 million weights: an hour on a workstation
    Small,
    /// 26 million weights: a GPU
    Base,
    /// The architecture and the optimizer of the original tcpflowgen
    Original,
}

/// Constraint on generated flows.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constrain {
    /// Whole TCP sessions: every flow is valid
    Session,
    /// Token sequences that decode
    Syntax,
    /// No constraint at all
    None,
}

/// End of a flow, as `--ends` names it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// Closed by FIN from both sides
    Graceful,
    /// Reset by one side
    Reset,
    /// Not closed: not with --constrain session
    Open,
}

/// File format of the dataset to generate.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Arrow IPC file format
    Arrow,
    /// Apache Parquet file format
    Parquet,
}

/// Parses a time with a unit, `90s`, `15m` or `1h`, and returns nanoseconds.
fn duration_ns(text: &str) -> Result<i64, String> {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * seconds)
    });
    match seconds {
        Some(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok((seconds * 1e9) as i64),
        _ => Err("expected a time above 0 with its unit: 30s, 10m, 1h".to_owned()),
    }
}

/// Parses a number of packets.
fn packets(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(packets) if packets > 0 => Ok(packets),
        _ => Err("expected a number of packets from 1".to_owned()),
    }
}

/// Parses a length class, `4`, or a range of them, `4-6`.
fn length_classes(text: &str) -> Result<RangeInclusive<u8>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && last < 16 => Ok(first..=last),
        _ => Err("expected a class from 0 to 15, or two: 4-6".to_owned()),
    }
}

/// Parses a probability greater than 0.
fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a probability above 0, at most 1".to_owned()),
    }
}

/// Parses a finite number that is not negative.
fn non_negative(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of 0 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;
    use testkit::command_line;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_words_are_a_command_line_or_refused(words in command_line::words::<Args>()) {
            command_line::parse::<Args>(&words);
        }
    }

    #[test]
    fn seeds() {
        command_line::replay_seeds::<Args>();
    }

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
