//! Counts of a capture, and its report.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flowtrack::CaptureCounts;
use tcpwire::SkipReason;

use crate::open_ends::OpenEnds;

/// Counts of one capture, or of several together.
#[derive(Default, Debug)]
pub(crate) struct EncodeCounts {
    /// Frames of any protocol.
    pub(crate) frames: u64,
    /// Octets of the capture files, decompressed.
    pub(crate) octets: u64,
    /// Frames that `--filter` does not take.
    pub(crate) filtered: u64,
    /// Number of TCP segments in the frames.
    pub(crate) segments: u64,
    /// Segments that are copies of another one, dropped or not.
    pub(crate) copies: u64,
    /// Conversations, kept or not.
    pub(crate) conversations: u64,
    /// Packets that came after their conversation was exported, which the dataset lacks.
    pub(crate) packets_after_export: u64,
    /// Number of conversations of each class.
    pub(crate) classes: BTreeMap<&'static str, u64>,
    /// Conversations with exactly the flags of `--keep strict`.
    pub(crate) strict: u64,
    /// Conversations in the dataset.
    pub(crate) kept: u64,
    /// Packets of the conversations in the dataset.
    pub(crate) kept_packets: u64,
    /// Frames without a segment, by reason.
    pub(crate) not_read: BTreeMap<SkipReason, u64>,
    /// Conversations that are not kept, by reason.
    pub(crate) left_out: BTreeMap<String, u64>,
    /// Conversations that `--keep` selects and that could not be kept: a part of `left_out`.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Kept conversations that lost outer headers, by the kind of header.
    pub(crate) stripped: BTreeMap<&'static str, u64>,
    /// Conversations that were ended early, by cause.
    pub(crate) ended_early: BTreeMap<&'static str, u64>,
    /// Conversations with packets under several tags at once, by the option that separates them.
    pub(crate) crossed: BTreeMap<&'static str, u64>,
    /// Frames whose timestamps were cut to nanoseconds.
    pub(crate) finer_times: u64,
}

impl From<CaptureCounts> for EncodeCounts {
    /// Returns the counts of frames, without those of conversations.
    fn from(counts: CaptureCounts) -> EncodeCounts {
        let CaptureCounts { frames, octets, filtered, segments, .. } = counts;
        let CaptureCounts { copies, finer_times, skipped: not_read, .. } = counts;
        EncodeCounts {
            frames,
            octets,
            filtered,
            segments,
            copies,
            finer_times,
            not_read,
            ..EncodeCounts::default()
        }
    }
}

impl EncodeCounts {
    /// Returns the frames that may hold TCP and were not read, by reason; `None` if there are none.
    pub(crate) fn losses(&self) -> Option<BTreeMap<String, u64>> {
        let losses: BTreeMap<String, u64> = self
            .not_read
            .iter()
            .filter(|(reason, _)| reason.is_loss())
            .map(|(reason, n)| (reason.to_string(), *n))
            .collect();
        (!losses.is_empty()).then_some(losses)
    }

    /// Counts fragments as lost that were counted as fragments before.
    pub(crate) fn lose(&mut self, lost: BTreeMap<SkipReason, u64>) {
        let fragments = self.not_read.entry(SkipReason::Fragment).or_default();
        *fragments = fragments.saturating_sub(lost.values().sum());
        merge(&mut self.not_read, lost);
        self.not_read.retain(|_, n| *n > 0);
    }

    /// Adds the counts of another capture.
    pub(crate) fn add(&mut self, other: EncodeCounts) {
        self.frames += other.frames;
        self.octets += other.octets;
        self.filtered += other.filtered;
        self.segments += other.segments;
        self.copies += other.copies;
        self.conversations += other.conversations;
        self.packets_after_export += other.packets_after_export;
        self.strict += other.strict;
        self.kept += other.kept;
        self.kept_packets += other.kept_packets;
        self.finer_times += other.finer_times;
        merge(&mut self.classes, other.classes);
        merge(&mut self.not_read, other.not_read);
        merge(&mut self.left_out, other.left_out);
        merge(&mut self.lost, other.lost);
        merge(&mut self.stripped, other.stripped);
        merge(&mut self.ended_early, other.ended_early);
        merge(&mut self.crossed, other.crossed);
    }
}

/// Adds counts to those under the same keys.
fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, n) in from {
        *into.entry(key).or_default() += n;
    }
}

/// Result of a task, when all its rows are handed over.
#[derive(Debug, Default)]
pub(crate) struct TaskReport {
    /// Counts of conversations and copies.
    pub(crate) counts: EncodeCounts,
    /// Fragments of datagrams that no capture of several completes, by reason.
    pub(crate) lost_fragments: BTreeMap<SkipReason, u64>,
    /// Conversations that may go on in another capture.
    pub(crate) open_ends: OpenEnds,
    /// Link-layer addresses of the addresses that opened conversations, as outputs show these.
    pub(crate) senders: BTreeMap<IpAddr, [u8; 6]>,
}
