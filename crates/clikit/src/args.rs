//! Command-line flags that every binary has.

use clap::{ArgAction, Args};
use clap_complete::Shell;

/// Flags that every binary has, flattened into the binary's own `clap` arguments.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "General options")]
pub struct Common {
    /// Say nothing but errors and what was left out
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print the summary as one JSON object
    #[arg(long, global = true)]
    pub json: bool,

    // `entry` handles the next two before clap parses the command line, since they need none of the
    // required arguments. They are declared here for the help text.
    /// Print a completion script for a shell, and leave
    #[arg(long, global = true, value_name = "SHELL")]
    pub completions: Option<Shell>,

    /// Print the manual page (`... --man | man -l -`), and leave
    #[arg(long, global = true)]
    pub man: bool,
}

/// Command line of a binary, with the common flags in it.
pub trait Cli: clap::Parser {
    /// Returns the common flags of the command line.
    fn common(&self) -> &Common;
}
