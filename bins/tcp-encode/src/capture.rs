//! One capture: read, dissected, tracked.

use std::io;

use flowtrack::{
    CaptureCounts, ConversationSummary, FinishedConversation, Flow, FlowReader, Tracker,
};
use tcpwire::{Dissector, ReadError};

use crate::counts::EncodeCounts;
use crate::options::ReadOptions;

/// State after a capture is read to its end or to its damage.
pub(crate) struct ReadOutcome {
    /// Counts of frames and segments.
    pub(crate) counts: EncodeCounts,
    /// Tracker, with the summaries of conversations that are not forgotten.
    pub(crate) tracker: Tracker,
    /// Error that ended the reading before the end of the capture.
    pub(crate) damage: Option<ReadError>,
    /// Whether octets after the end of a compressed capture were passed over.
    pub(crate) has_trailing_garbage: bool,
}

/// Conversations that are handed over together.
#[derive(Default)]
pub(crate) struct ConversationBatch {
    /// Conversations to be judged.
    pub(crate) finished: Vec<FinishedConversation>,
    /// Summaries of conversations that the tracker forgot.
    pub(crate) forgotten: Vec<ConversationSummary>,
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

/// Reads a capture to its end or to its damage, and hands over conversations as they finish.
///
/// # Errors
/// If `handler` fails. A damaged capture is no error here: the damage is part of the outcome.
pub(crate) fn read(
    input: impl io::Read + Send,
    options: &ReadOptions,
    handler: &mut BatchHandler<'_>,
) -> anyhow::Result<ReadOutcome> {
    let dissector = Dissector::with_vxlan_ports(&options.vxlan_ports);
    let mut reader = match FlowReader::with_dissector(input, options.tracker, dissector) {
        Ok(reader) => reader,
        Err(damage) => {
            let tracker = Tracker::new(options.tracker);
            let counts = EncodeCounts::default();
            let damage = Some(damage);
            return Ok(ReadOutcome { counts, tracker, damage, has_trailing_garbage: false });
        }
    };
    loop {
        let more = reader.advance(BATCH_CONVERSATIONS, BATCH_OCTETS);
        hand_over(reader.tracker_mut(), handler)?;
        if !more {
            break;
        }
    }
    let CaptureCounts { frames, octets, segments, copies, finer_times, skipped: not_read } =
        reader.counts();
    let counts = EncodeCounts {
        frames,
        octets,
        segments,
        copies,
        finer_times,
        not_read,
        ..EncodeCounts::default()
    };
    let has_trailing_garbage = reader.has_trailing_garbage();
    let (tracker, damage) = reader.into_parts();
    Ok(ReadOutcome { counts, tracker, damage, has_trailing_garbage })
}

/// Hands over all conversations that the tracker has finished or forgotten.
fn hand_over(tracker: &mut Tracker, handler: &mut BatchHandler<'_>) -> anyhow::Result<()> {
    while tracker.finished_count() + tracker.forgotten_count() > 0 {
        let batch = ConversationBatch::next_from(tracker);
        handler(tracker, batch)?;
    }
    Ok(())
}
