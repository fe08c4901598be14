//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clikit::Common;

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

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a model on a dataset
    Train(Train),
    /// Go on with a training run that was stopped: the result is the same as if it had not been
    Resume(Resume),
    /// Generate a dataset with a model
    Generate(Generate),
    /// Print how probable a model finds each flow of a dataset
    Score(Score),
}

/// Train a model on a dataset.
///
/// The model folder holds model.safetensors (the weights that did best on flows held out),
/// config.json, metrics.jsonl (a line for each step and each validation), event files for
/// TensorBoard, training.html with the curves, and checkpoint.safetensors, from which `resume` goes
/// on. Ctrl-C writes a checkpoint first. Started by torchrun, or with its variables RANK,
/// WORLD_SIZE, MASTER_ADDR and MASTER_PORT, processes share out each step.
#[derive(clap::Args, Debug)]
pub struct Train {
    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    /// The model folder to make
    #[arg(long, alias = "output_dir", value_name = "FOLDER")]
    pub output_dir: PathBuf,

    /// Sizes of model and training run: tiny takes minutes on a laptop
    #[arg(long, value_enum, default_value = "tiny")]
    pub preset: Preset,

    /// Write into a folder that has something in it
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub changes: Changes,

    #[command(flatten)]
    pub machine: Machine,
}

/// Go on with a training run that was stopped.
///
/// The settings are the stopped run's; flags given here change them. The dataset must be the same
/// one.
#[derive(clap::Args, Debug)]
pub struct Resume {
    /// The model folder of the run that was stopped, or a checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    /// The model folder: the stopped run's own, or another
    #[arg(long, alias = "output_dir", value_name = "FOLDER")]
    pub output_dir: PathBuf,

    #[command(flatten)]
    pub changes: Changes,

    #[command(flatten)]
    pub machine: Machine,
}

/// Settings that a flag changes.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Training settings")]
pub struct Changes {
    /// Read settings from a TOML file, as they stand under `settings` in config.json; flags go
    /// before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where all randomness comes from [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How often the dataset is gone through, at most
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,

    /// Steps to make, at most; 0: no limit
    #[arg(long, alias = "max_steps", value_name = "N")]
    pub max_steps: Option<u64>,

    /// Minutes to train, at most; the learning rate falls to its end by then. 0: no limit
    #[arg(long, alias = "max_minutes", value_name = "MINUTES")]
    pub max_minutes: Option<f64>,

    /// Tokens in a step
    #[arg(long, value_name = "TOKENS")]
    pub batch: Option<usize>,

    /// Parts in which a process computes its share of a step, one after another: more take less
    /// memory
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,

    /// Of flows that differ in time alone, keep so many at most; 0: all
    #[arg(long, alias = "max_repeats", value_name = "N")]
    pub max_repeats: Option<u64>,

    /// Highest learning rate
    #[arg(long, alias = "learning_rate", value_name = "RATE")]
    pub learning_rate: Option<f64>,

    /// Steps between validations
    #[arg(long, alias = "validate_every", value_name = "STEPS")]
    pub validate_every: Option<u64>,

    /// End after so many validations without a better loss; 0: go on
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,

    /// What matrices are multiplied in; bf16 is for GPUs
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Any setting by the name that it has in config.json, as often as needed: --set
    /// model.width=192
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// What matrices are multiplied in.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// 32 bits
    F32,
    /// bfloat16, the weights kept in 32 bits
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

/// What to compute with.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Machine")]
pub struct Machine {
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Threads to use [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

impl Machine {
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, usize::from)
    }
}

const CONDITIONS: &str = "Conditions";

/// Generate a dataset with a model.
///
/// Conditions are fulfilled exactly: what they leave open is drawn as the model gives it under
/// them. The same seed gives the same flows, whatever the batch and the threads.
#[derive(clap::Args, Debug)]
pub struct Generate {
    /// A model folder, or a model or checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset to make: a folder, a file by its name (.arrow, .arrows, .parquet), or - for an
    /// Arrow stream on stdout
    #[arg(long, alias = "output_dir", value_name = "DATASET")]
    pub output_dir: PathBuf,

    /// Flows to generate [default: 1000, or as many as --packets takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub flows: Option<u64>,

    /// Generate flows until they have so many packets together; the last one is whole and may go
    /// beyond
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,

    /// Where all randomness comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// What a flow must be
    #[arg(long, value_enum, default_value = "session")]
    pub constrain: Constrain,

    /// 1 draws as the model says, less is safer, more is stranger
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub temperature: f32,

    /// Draw among the K likeliest tokens alone; 0: among all
    #[arg(long, alias = "top_k", value_name = "K", default_value_t = 0)]
    pub top_k: usize,

    /// Draw among the likeliest tokens that together have this probability alone
    #[arg(long, alias = "top_p", value_name = "P", default_value_t = 1.0, value_parser = probability)]
    pub top_p: f32,

    /// Packets that a flow has at most: those of the length classes that fit are drawn [a session
    /// takes 7; with --constrain none, which knows of no packets, 128 tokens are let through for
    /// each]
    #[arg(long, alias = "max_packets_per_flow", value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(7..))]
    pub max_packets_per_flow: u64,

    /// Packets that a flow has at least
    #[arg(long, alias = "min_packets_per_flow", value_name = "N", default_value_t = 0, help_heading = CONDITIONS)]
    pub min_packets_per_flow: u64,

    /// Only flows to these server ports
    #[arg(long, alias = "server_port", value_name = "PORT", value_delimiter = ',', help_heading = CONDITIONS)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub server_port: Vec<u16>,

    /// Only flows that end like this
    #[arg(long, value_enum, value_delimiter = ',', help_heading = CONDITIONS)]
    pub ends: Vec<Ends>,

    /// Only flows of these length classes: class N has 2^N to 2^(N+1) - 1 packets; class 15, all
    /// from 32,768 on
    #[arg(long, alias = "length_class", value_name = "N or N-N", value_parser = classes, help_heading = CONDITIONS)]
    pub length_class: Option<RangeInclusive<u8>>,

    /// Flows side by side in each thread
    #[arg(long, value_name = "FLOWS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,

    /// The dataset's format [default: as the file's name says, else arrow]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Replace a folder that has something in it
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub machine: Machine,
}

/// Print how probable a model finds each flow of a dataset.
///
/// A line of JSON for each distinct flow, or for some of them, in the dataset's order, on stdout:
/// `flow` (its number among them), `bits` (what an ideal coder would need for it with this model),
/// `tokens`, `packets`, `copies` and `source`; and `split` (train, validation or test): what the
/// flow would be to a run with this model's settings on this dataset, as it was where the model was
/// trained on it.
#[derive(clap::Args, Debug)]
pub struct Score {
    /// A model folder, or a model or checkpoint in it
    #[arg(long, alias = "checkpoint_path", value_name = "PATH")]
    pub checkpoint_path: PathBuf,

    /// The dataset: a folder, a file, or - for a stream on stdin
    #[arg(long, alias = "input_dir", value_name = "DATASET")]
    pub input_dir: PathBuf,

    /// Score so many distinct flows at most, drawn by the model's seed [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub flows: Option<u64>,

    /// Tokens side by side
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    #[command(flatten)]
    pub machine: Machine,
}

/// Sizes of model and training run.
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

/// What a flow must be.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constrain {
    /// A whole TCP session: every flow is valid
    Session,
    /// Tokens that decode
    Syntax,
    /// Whatever the model says
    None,
}

/// How a flow ends.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// Closed by FIN from both sides
    Graceful,
    /// Reset by one side
    Reset,
    /// Not closed: not with --constrain session
    Open,
}

/// The dataset's format.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Arrow IPC
    Arrow,
    /// Parquet
    Parquet,
}

fn classes(text: &str) -> Result<RangeInclusive<u8>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && last < 16 => Ok(first..=last),
        _ => Err("expected a class from 0 to 15, or two: 4-6".to_owned()),
    }
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a probability above 0, at most 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f32, String> {
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
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
