//! The subcommand `classify`: a classifier of flows from labels, and the classes of flows by it.

mod examples;
mod figures;
mod fit;
mod folder;
mod folds;
mod predict;

use clikit::Console;

use crate::args::Classify;

/// Runs the subcommand that the command line names.
pub(crate) fn classify(args: &Classify, console: &Console) -> anyhow::Result<()> {
    match args {
        Classify::Fit(args) => fit::fit(args, console),
        Classify::Predict(args) => predict::predict(args, console),
    }
}
