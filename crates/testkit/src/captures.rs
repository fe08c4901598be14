//! Captures as conversations and flows.

use std::fs::File;
use std::path::Path;

use flowtrack::{FinishedConversation, Flow, FlowReader, TrackerOptions};

/// Tracks all conversations of a capture, compressed or not, and returns them in the order in which
/// they ended. A damaged capture (`cut-short.pcap`) is read up to the damage.
///
/// # Panics
/// If the file cannot be opened or is not a capture.
#[must_use]
pub fn conversations(path: &Path) -> Vec<FinishedConversation> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = FlowReader::new(file, TrackerOptions::default()).unwrap();
    reader.filter_map(Result::ok).collect()
}

/// Returns the flows of all conversations of a capture, whatever their class.
#[must_use]
pub fn flows(path: &Path) -> Vec<Flow> {
    conversations(path).into_iter().filter_map(|ended| ended.flow).collect()
}

/// Returns the flows of a capture's complete conversations: handshake, both streams without a gap,
/// and a close or reset.
#[must_use]
pub fn complete_flows(path: &Path) -> Vec<Flow> {
    let conversations = conversations(path).into_iter();
    conversations.filter(|e| e.verdict.class.is_complete()).filter_map(|e| e.flow).collect()
}

/// Returns the complete flows of every uncompressed capture of `testdata/`, file by file in the
/// order of their names: the sample that `docs/tokens.md` is computed from.
#[must_use]
pub fn all_complete_flows() -> Vec<Flow> {
    let entries = std::fs::read_dir(crate::testdata("")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"));
    paths.sort();
    paths.iter().flat_map(|path| complete_flows(path)).collect()
}
