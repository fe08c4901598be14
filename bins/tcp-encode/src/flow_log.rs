//! `--flow-log`: what became of every conversation.

use std::collections::VecDeque;
use std::io::Write;
use std::net::IpAddr;

use flowtrack::ConversationSummary;
use serde::Serialize;

use crate::capture::Decision;

/// One conversation.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Line {
    /// The capture, relative to the input.
    pub(crate) file: String,
    /// Number of the frame that opens it, from 1.
    pub(crate) first_packet: u64,
    /// The opener.
    pub(crate) src: IpAddr,
    pub(crate) src_port: u16,
    /// The other end.
    pub(crate) dst: IpAddr,
    pub(crate) dst_port: u16,
    /// Packets, as Wireshark counts them.
    pub(crate) packets: u64,
    /// Of these, packets that came after the conversation was given out: they are not in the
    /// dataset.
    #[serde(rename = "late_packets")]
    pub(crate) packets_after_export: u64,
    /// `tcp.completeness` as tshark prints it in one pass: without the last packet.
    pub(crate) completeness: u8,
    /// `tcp.completeness` with the last packet, as Wireshark's window and `tshark -2` show it.
    pub(crate) completeness_final: u8,
    /// Our own class.
    pub(crate) class: &'static str,
    /// How it ended.
    pub(crate) close: &'static str,
    /// Stream octets never seen, the opener's and the other end's.
    pub(crate) missing_octets: [u64; 2],
    /// Whether it is in the dataset.
    pub(crate) kept: bool,
    /// Why not; empty where it is.
    pub(crate) reason: String,
}

impl Line {
    /// The line of a conversation of the capture `file`; `shown` gives each address as it may be
    /// written.
    pub(crate) fn of(
        file: &str,
        decision: Decision,
        record: &ConversationSummary,
        shown: impl Fn(IpAddr) -> IpAddr,
    ) -> Line {
        let [opener, other] = record.endpoints;
        Line {
            file: file.to_owned(),
            first_packet: record.first_frame,
            src: shown(opener.addr),
            src_port: opener.port,
            dst: shown(other.addr),
            dst_port: other.port,
            packets: record.packets,
            packets_after_export: record.packets_after_export,
            completeness: record.completeness_before_last.bits(),
            completeness_final: record.completeness.bits(),
            class: decision.class.name(),
            close: decision.close,
            missing_octets: decision.missing_octets,
            kept: decision.kept,
            reason: decision.reason,
        }
    }
}

/// Conversations on their way into the log, which is in order of first packets: each waits for what
/// was decided and for its last packet, and for those before it.
#[derive(Default)]
pub(crate) struct Pending {
    /// Number of the first that waits.
    first: u64,
    waiting: VecDeque<Waiting>,
}

type Waiting = (Option<Decision>, Option<ConversationSummary>);

impl Pending {
    pub(crate) fn decided(&mut self, id: u64, decision: Decision) {
        self.of(id).0 = Some(decision);
    }

    pub(crate) fn settled(&mut self, record: ConversationSummary) {
        let of = self.of(record.id);
        of.1 = Some(record);
    }

    /// The next conversation, where it does not wait any more.
    pub(crate) fn next(&mut self) -> Option<(Decision, ConversationSummary)> {
        let (Some(_), Some(_)) = self.waiting.front()? else { return None };
        let (decision, record) = self.waiting.pop_front()?;
        self.first += 1;
        decision.zip(record)
    }

    fn of(&mut self, id: u64) -> &mut Waiting {
        let at = (id - self.first) as usize;
        if self.waiting.len() <= at {
            self.waiting.resize_with(at + 1, Default::default);
        }
        &mut self.waiting[at]
    }
}

/// Writes lines of JSON.
pub(crate) fn write(to: &mut dyn Write, lines: &[Line]) -> std::io::Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *to, line)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}
