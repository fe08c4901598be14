//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clikit::Common;
use dataset::{CODEC_IDS, RowCodec};

/// Measures how far generated flows are from real ones.
///
/// Both sides may be captures or datasets: a file, or a folder of them. Whole sessions alone are
/// compared: opened, and closed by FIN from both sides or by RST, with no octet missing. Every
/// distance comes with its noise floor, the same distance between two real samples of the same
/// size. tshark and suricata give their verdicts if they are installed.
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

    /// Training data of the model, to measure whether generated flows repeat it; REAL should be
    /// flows that the model has not seen
    #[arg(long, value_name = "TRAINING")]
    pub(crate) training: Option<PathBuf>,

    /// Bits of each flow of the training data under the model, from tcp-train score: lines of the
    /// split `train` are compared with those of the others
    #[arg(long, value_name = "JSONL")]
    pub(crate) likelihood: Option<PathBuf>,

    /// Bits of flows that the model has not seen, instead of the held-out lines of --likelihood
    #[arg(long, value_name = "JSONL", requires = "likelihood")]
    pub(crate) likelihood_held_out: Option<PathBuf>,

    /// Also compare traces: what hosts do over several flows, of all flows that begin with a SYN.
    /// REAL is several captures, or a dataset of them; generated flows have addresses from
    /// tcp-decode
    #[arg(long)]
    pub(crate) traces: bool,

    /// Token code of a dataset whose metadata name none [default: as its tokens show]
    #[arg(long, value_name = "CODE", value_parser = row_codec())]
    pub(crate) token_code: Option<RowCodec>,

    /// Folder for report.html and metrics.json, created if it does not exist
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,

    /// Replace the report in an output folder. A folder with other files is never replaced
    #[arg(long)]
    pub(crate) force: bool,

    /// Do not run Wireshark and Suricata, even where they are installed
    #[arg(long)]
    pub(crate) no_judges: bool,

    /// Seed of all random samples
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Number of samples behind each value and its interval
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeats: u32,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// Returns the parser of `--token-code`.
fn row_codec() -> impl TypedValueParser<Value = RowCodec> {
    PossibleValuesParser::new(CODEC_IDS.map(|code| code.name)).try_map(|name| name.parse())
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
