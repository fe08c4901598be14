//! Which conversations go into the dataset.

use std::fmt;

use clap::ValueEnum;
use flowtrack::{Class, Verdict};

/// A class of conversations, or several, as `--keep` takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Keep {
    /// Whole: handshake, nothing missing, closed by FINs or ended by RST (graceful and reset)
    Complete,
    /// Whole, and closed by both ends' FINs
    Graceful,
    /// Whole, and ended by a RST
    Reset,
    /// Begins with a SYN, nothing missing, but no whole handshake or no end was seen
    Started,
    /// No SYN was seen, but the end, and nothing missing before it
    Ended,
    /// Everything that is in no other class
    Partial,
    /// All conversations
    All,
    /// The original's pattern: IPv4, flags exactly S, SA, A at the begin and FA, A, FA, A at the
    /// end
    Strict,
}

impl Keep {
    fn takes(self, verdict: &Verdict) -> bool {
        match self {
            Keep::Complete => verdict.class.is_complete(),
            Keep::Graceful => verdict.class == Class::Graceful,
            Keep::Reset => verdict.class == Class::Reset,
            Keep::Started => verdict.class == Class::Started,
            Keep::Ended => verdict.class == Class::Ended,
            Keep::Partial => verdict.class == Class::Partial,
            Keep::All => true,
            Keep::Strict => verdict.strict,
        }
    }
}

/// What `--keep` said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeepSet(pub(crate) Vec<Keep>);

impl KeepSet {
    /// Whether a conversation with this verdict is wanted.
    pub(crate) fn takes(&self, verdict: &Verdict) -> bool {
        self.0.iter().any(|keep| keep.takes(verdict))
    }

    /// What of a conversation that is not wanted makes it so: its class, or only its flags.
    pub(crate) fn refusal(&self, verdict: &Verdict) -> String {
        if verdict.class.is_complete() && self.0.contains(&Keep::Strict) {
            "flags other than strict".to_owned()
        } else {
            format!("class {}", verdict.class.name())
        }
    }

    /// Whether all that is wanted begins with a SYN.
    pub(crate) fn only_opened(&self) -> bool {
        !self.0.iter().any(|keep| matches!(keep, Keep::Ended | Keep::Partial | Keep::All))
    }
}

impl fmt::Display for KeepSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .0
            .iter()
            .filter_map(|k| Some(k.to_possible_value()?.get_name().to_owned()))
            .collect();
        f.write_str(&names.join(","))
    }
}
