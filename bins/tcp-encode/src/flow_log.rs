//! Flow log (`--flow-log`): a JSON line about every conversation, kept or not.

use std::collections::VecDeque;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use flowtrack::{ConversationSummary, FrameId};
use serde::Serialize;

use crate::decision::Decision;

/// One line of the log: a conversation. `docs/conversations.md` defines the fields.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct FlowLogEntry {
    /// Path of the capture of the first packet, below the folder that holds all inputs.
    pub(crate) file: String,
    /// Number of the frame that opens the conversation, from 1.
    pub(crate) first_packet: u64,
    /// Address of the opener: the client of the flow.
    pub(crate) src: IpAddr,
    /// Port of the opener.
    pub(crate) src_port: u16,
    /// Address of the other end: the server of the flow.
    pub(crate) dst: IpAddr,
    /// Port of the other end.
    pub(crate) dst_port: u16,
    /// Number of packets, as Wireshark counts them.
    pub(crate) packets: u64,
    /// Number of these packets that came after the conversation was exported, which the dataset
    /// lacks.
    #[serde(rename = "late_packets")]
    pub(crate) packets_after_export: u64,
    /// `tcp.completeness` as tshark prints it in one pass: without the last packet's bit.
    pub(crate) completeness: u8,
    /// `tcp.completeness` with the last packet's bit, as Wireshark's window and `tshark -2` show
    /// it.
    pub(crate) completeness_final: u8,
    /// Class of the conversation, which Wireshark does not have.
    pub(crate) class: &'static str,
    /// Way in which it ended: `fin`, `rst` or `open`.
    pub(crate) close: &'static str,
    /// Evidence of who opened it: `syn`, `syn-ack`, `earlier`, `ports` or `unknown`.
    pub(crate) direction: &'static str,
    /// Stream octets that the capture lacks: the opener's, the other end's.
    pub(crate) missing_octets: [u64; 2],
    /// Whether the conversation is in the dataset.
    pub(crate) kept: bool,
    /// Reason why it is not in the dataset, empty if it is.
    pub(crate) reason: String,
}

impl FlowLogEntry {
    /// Creates the entry of a conversation of the capture `file`. `shown` maps each address to the
    /// one that is written.
    pub(crate) fn new(
        file: &str,
        decision: Decision,
        summary: &ConversationSummary,
        shown: impl Fn(IpAddr) -> IpAddr,
    ) -> FlowLogEntry {
        let [opener, other] = summary.endpoints;
        FlowLogEntry {
            file: file.to_owned(),
            first_packet: FrameId::of(summary.first_frame).number(),
            src: shown(opener.addr),
            src_port: opener.port,
            dst: shown(other.addr),
            dst_port: other.port,
            packets: summary.packets,
            packets_after_export: summary.packets_after_export,
            completeness: summary.completeness_before_last.bits(),
            completeness_final: summary.completeness.bits(),
            class: decision.class.name(),
            close: decision.close,
            direction: decision.client_evidence,
            missing_octets: decision.missing_octets,
            kept: decision.kept,
            reason: decision.reason,
        }
    }
}

/// Queue of entries in the order of first packets. Each conversation waits for its decision, for
/// its final summary, and for the conversations before it.
#[derive(Default)]
pub(crate) struct FlowLogQueue {
    /// Number of the first conversation in the queue.
    first: u64,
    waiting: VecDeque<WaitingEntry>,
}

type WaitingEntry = (Option<Decision>, Option<ConversationSummary>);

impl FlowLogQueue {
    /// Adds the decision about conversation `id`.
    pub(crate) fn push_decision(&mut self, id: u64, decision: Decision) {
        self.entry_mut(id).0 = Some(decision);
    }

    /// Adds the final summary of a conversation.
    pub(crate) fn push_summary(&mut self, summary: ConversationSummary) {
        let waiting = self.entry_mut(summary.id);
        waiting.1 = Some(summary);
    }

    /// Removes the first conversation and returns it, if nothing of it is awaited any more.
    pub(crate) fn pop(&mut self) -> Option<(Decision, ConversationSummary)> {
        let (Some(_), Some(_)) = self.waiting.front()? else { return None };
        let (decision, summary) = self.waiting.pop_front()?;
        self.first += 1;
        decision.zip(summary)
    }

    fn entry_mut(&mut self, id: u64) -> &mut WaitingEntry {
        let at = (id - self.first) as usize;
        if self.waiting.len() <= at {
            self.waiting.resize_with(at + 1, Default::default);
        }
        &mut self.waiting[at]
    }
}

/// Returns whether the file at a path is a flow log: its first line has the keys of an entry.
pub(crate) fn is_log(path: &Path) -> bool {
    let line = clikit::first_line(path).unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    ["file", "first_packet", "completeness_final"].iter().all(|key| line.get(key).is_some())
}

/// Writes entries as lines of JSON.
pub(crate) fn write(to: &mut dyn Write, entries: &[FlowLogEntry]) -> std::io::Result<()> {
    for entry in entries {
        serde_json::to_writer(&mut *to, entry)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}
