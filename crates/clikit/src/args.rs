//! The flags that every binary has.

use clap::{ArgAction, Args};
use clap_complete::Shell;

/// The flags that every binary has; flatten it into the binary's own `clap` arguments.
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

    // The two below are answered before the command line is parsed (see `entry`), since they need
    // no other argument; they stand here for the help text.
    /// Print a completion script for a shell, and leave
    #[arg(long, global = true, value_name = "SHELL")]
    pub completions: Option<Shell>,

    /// Print the manual page (`... --man | man -l -`), and leave
    #[arg(long, global = true)]
    pub man: bool,
}

/// A binary's command line.
pub trait Cli: clap::Parser {
    /// The common flags in it.
    fn common(&self) -> &Common;
}
