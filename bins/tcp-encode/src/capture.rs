//! The captures of a task: read, dissected, tracked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flowtrack::{
    ConversationSummary, EndedCapture, FinishedConversation, Flow, FlowReader, Tracker,
};
use tcpwire::{Dissector, MergedReader, SkipReason};

use crate::options::ReadOptions;

/// State after all captures are read to their ends or to their damage.
pub(crate) struct ReadOutcome {
    /// Number of packets that are copies of another one.
    pub(crate) copies: u64,
    /// Fragments of datagrams that no capture of several completes, by reason.
    pub(crate) lost_fragments: BTreeMap<SkipReason, u64>,
    /// Link-layer addresses of the addresses that opened conversations, for a hosts table.
    pub(crate) senders: BTreeMap<IpAddr, [u8; 6]>,
    /// Tracker, with the summaries of conversations that are not forgotten.
    pub(crate) tracker: Tracker,
}

/// Conversations that are handed over together, and captures that have ended.
#[derive(Default)]
pub(crate) struct ConversationBatch {
    /// Conversations to be judged.
    pub(crate) finished: Vec<FinishedConversation>,
    /// Summaries of conversations that the tracker forgot.
    pub(crate) forgotten: Vec<ConversationSummary>,
    /// Captures that were read to their end or to their damage.
    pub(crate) ended: Vec<EndedCapture>,
}

/// Number of finished conversations that make a batch.
const BATCH_CONVERSATIONS: usize = 64;
/// Octets of finished conversations that make a batch, if they are fewer.
const BATCH_OCTETS: usize = 1 << 20;

impl ConversationBatch {
    /// Takes the next batch from the tracker.
    fn next_from(tracker: &mut Tracker) -> ConversationBatch {
        let mut batch = ConversationBatch {
            finished: Vec::with_capacity(BATCH_CONVERSATIONS),
            forgotten: tracker.drain_forgotten().collect(),
            ended: Vec::new(),
        };
        let mut octets = 0;
        while batch.finished.len() < BATCH_CONVERSATIONS
            && octets < BATCH_OCTETS
            && let Some(one) = tracker.pop_finished()
        {
            octets += one.flow.as_ref().map_or(0, Flow::heap_octets);
            batch.finished.push(one);
        }
        batch
    }
}

/// Consumer of batches. It may return flows to the tracker, for their buffers.
pub(crate) type BatchHandler<'h> =
    dyn FnMut(&mut Tracker, ConversationBatch) -> anyhow::Result<()> + 'h;

/// Reads captures to their ends or to their damage, and hands over conversations as they finish.
///
/// # Errors
/// If `handler` fails. A damaged capture is no error here: the damage is handed over.
pub(crate) fn read(
    captures: MergedReader<'_>,
    options: &ReadOptions,
    handler: &mut BatchHandler<'_>,
) -> anyhow::Result<ReadOutcome> {
    let is_single = captures.captures() == 1;
    let dissector = Dissector::with_vxlan_ports(&options.vxlan_ports);
    let mut reader = FlowReader::of(captures, options.tracker, dissector);
    if let Some(filter) = &options.filter {
        reader.set_filter(filter.frames());
    }
    if options.traces {
        reader.keep_senders();
    }
    let conversations = if options.live { 1 } else { BATCH_CONVERSATIONS };
    loop {
        let more = reader.advance(conversations, BATCH_OCTETS);
        hand_over(&mut reader, handler)?;
        if !more {
            break;
        }
    }
    let counts = reader.counts();
    let mut lost_fragments = counts.skipped;
    // A single capture counts its own.
    lost_fragments.retain(|reason, _| !is_single && matches!(reason, SkipReason::LostFragment(_)));
    let senders = reader.take_senders();
    let (tracker, _) = reader.into_parts();
    Ok(ReadOutcome { copies: counts.copies, lost_fragments, senders, tracker })
}

/// Hands over all captures that have ended, and all conversations that the tracker has finished or
/// forgotten.
fn hand_over(reader: &mut FlowReader<'_>, handler: &mut BatchHandler<'_>) -> anyhow::Result<()> {
    let ended: Vec<EndedCapture> = reader.drain_ended().collect();
    let tracker = reader.tracker_mut();
    if !ended.is_empty() {
        handler(tracker, ConversationBatch { ended, ..ConversationBatch::default() })?;
    }
    while tracker.finished_count() + tracker.forgotten_count() > 0 {
        let batch = ConversationBatch::next_from(tracker);
        handler(tracker, batch)?;
    }
    Ok(())
}
