//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clikit::Common;

/// Says how far generated flows are from real ones.
///
/// Both sides may be captures or datasets: a file, or a folder of them. Whole sessions alone are
/// compared: opened, and closed by FIN from both sides or by RST, with no octet missing. Every
/// distance stands beside its noise floor, the same distance between two real samples of the same
/// size. tshark and suricata are asked for their verdicts where they are installed.
///
/// Exit codes: 0 all done; 1 done, but something could not be read and was named; 2 failed, nothing
/// written.
#[derive(Parser, Debug)]
#[command(name = "tcp-eval", version, max_term_width = 110)]
pub struct Args {
    /// Real flows: captures or a dataset
    pub real: PathBuf,

    /// Generated flows: captures or a dataset
    pub(crate) generated: PathBuf,

    /// More real flows, to take the noise floor from [default: disjoint halves of REAL]
    #[arg(long, value_name = "REAL2")]
    pub(crate) reference: Option<PathBuf>,

    /// What the model was trained on, to say whether generated flows repeat it; REAL should be
    /// flows that it has not seen
    #[arg(long, value_name = "TRAINING")]
    pub(crate) training: Option<PathBuf>,

    /// Bits that each flow of the training data takes under the model, from tcp-train score: lines
    /// of the split `train` are held against those of the others
    #[arg(long, value_name = "JSONL")]
    pub(crate) likelihood: Option<PathBuf>,

    /// Take the flows that the model has not seen from here
    #[arg(long, value_name = "JSONL", requires = "likelihood")]
    pub(crate) likelihood_held_out: Option<PathBuf>,

    /// Folder for report.html and metrics.json; made if it does not exist
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,

    /// Replace an output folder that is not empty
    #[arg(long)]
    pub(crate) force: bool,

    /// Do not ask Wireshark and Suricata, where they are installed
    #[arg(long)]
    pub(crate) no_judges: bool,

    /// Seed of the samples
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Samples drawn for each value and its interval
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeats: u32,

    #[command(flatten)]
    pub(crate) common: Common,
}

impl clikit::Cli for Args {
    fn common(&self) -> &Common {
        &self.common
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
