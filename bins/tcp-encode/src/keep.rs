//! Selection of the conversations that go into the dataset.

use clap::ValueEnum;
use flowtrack::{Class, Verdict};

/// Value of `--keep`: one class of conversations, or several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum KeepClass {
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
    /// All conversations, whole or not
    All,
    /// Pattern of tcpflowgen: IPv4, flags exactly S, SA, A at the begin and FA, A, FA, A at the end
    Strict,
}

impl KeepClass {
    /// Returns whether a conversation with this verdict is in the class.
    fn matches(self, verdict: &Verdict) -> bool {
        match self {
            KeepClass::Complete => verdict.class.is_complete(),
            KeepClass::Graceful => verdict.class == Class::Graceful,
            KeepClass::Reset => verdict.class == Class::Reset,
            KeepClass::Started => verdict.class == Class::Started,
            KeepClass::Ended => verdict.class == Class::Ended,
            KeepClass::Partial => verdict.class == Class::Partial,
            KeepClass::All => true,
            KeepClass::Strict => verdict.strict,
        }
    }
}

/// All values of `--keep`: a conversation is kept if one of them matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeepSet(pub(crate) Vec<KeepClass>);

impl KeepSet {
    /// Returns whether a conversation with this verdict is kept.
    pub(crate) fn matches(&self, verdict: &Verdict) -> bool {
        self.0.iter().any(|keep| keep.matches(verdict))
    }

    /// Returns why a conversation that does not match is left out: for its class, or for its flags
    /// alone.
    pub(crate) fn refusal(&self, verdict: &Verdict) -> String {
        if verdict.class.is_complete() && self.0.contains(&KeepClass::Strict) {
            "flags other than strict".to_owned()
        } else {
            format!("class {}", verdict.class.name())
        }
    }

    /// Returns whether every conversation that matches begins with a SYN.
    pub(crate) fn only_opened(&self) -> bool {
        !self
            .0
            .iter()
            .any(|keep| matches!(keep, KeepClass::Ended | KeepClass::Partial | KeepClass::All))
    }
}
