//! The conversations of a capture file.

use std::collections::BTreeMap;
use std::io::Read;

use tcpwire::{CaptureReader, Dissector, ReadError, SkipReason, TimestampResolution};

use super::{FinishedConversation, Tracker, TrackerOptions};

/// Number of frames and octets of a capture so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureCounts {
    /// Number of frames, with and without a segment.
    pub frames: u64,
    /// Number of octets of the capture, after decompression.
    pub octets: u64,
    /// Number of frames with a TCP segment.
    pub segments: u64,
    /// Number of these segments that are copies of another one, dropped or not.
    pub copies: u64,
    /// Number of frames whose timestamp is finer than a nanosecond.
    pub finer_times: u64,
    /// Number of frames without a segment, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
}

/// Reads a capture, dissects its frames and tracks their conversations.
///
/// The iterator gives each conversation once, in order of export. A capture that cannot be read to
/// its end gives the conversations before the damage, and then the error as the last item.
pub struct FlowReader<'r> {
    capture: CaptureReader<'r>,
    dissector: Dissector,
    tracker: Tracker,
    segments: u64,
    finer_times: u64,
    skipped: BTreeMap<SkipReason, u64>,
    state: State,
    damage: Option<ReadError>,
}

/// Progress of a [`FlowReader`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There may be more frames.
    Reading,
    /// All frames are read; conversations may be open.
    Finishing,
    /// All conversations are exported.
    Finished,
}

impl<'r> FlowReader<'r> {
    /// Begins to read a capture in any format of [`CaptureReader`].
    ///
    /// # Errors
    /// If the input does not begin as a capture does, or cannot be read.
    pub fn new(
        input: impl Read + Send + 'r,
        options: TrackerOptions,
    ) -> Result<FlowReader<'r>, ReadError> {
        FlowReader::with_dissector(input, options, Dissector::default())
    }

    /// Begins to read a capture, whose frames `dissector` reads.
    ///
    /// # Errors
    /// Like [`new`](Self::new).
    pub fn with_dissector(
        input: impl Read + Send + 'r,
        options: TrackerOptions,
        dissector: Dissector,
    ) -> Result<FlowReader<'r>, ReadError> {
        Ok(FlowReader {
            capture: CaptureReader::new(input)?,
            dissector,
            tracker: Tracker::new(options),
            segments: 0,
            finer_times: 0,
            skipped: BTreeMap::new(),
            state: State::Reading,
            damage: None,
        })
    }

    /// Reads frames until `conversations` finished ones wait in the tracker, or the flows of
    /// finished ones take `octets` octets of heap, or the capture ends; from then on exports up to
    /// `conversations` open ones. Returns whether there may be more. The caller is to take the
    /// finished conversations out of the [`tracker_mut`](Self::tracker_mut) between calls.
    ///
    /// The iterator does the same one by one; this is for callers that recycle flows or work on
    /// batches.
    pub fn advance(&mut self, conversations: usize, octets: usize) -> bool {
        if self.state == State::Reading {
            if self.read_frames(conversations, octets) {
                return true;
            }
            self.state = State::Finishing;
        }
        if !self.tracker.finish_until(conversations) {
            self.state = State::Finished;
        }
        self.state != State::Finished
    }

    /// Reads frames until a bound of [`advance`](Self::advance) is reached; `false` at the end.
    fn read_frames(&mut self, conversations: usize, octets: usize) -> bool {
        loop {
            match self.capture.advance() {
                Ok(true) => {}
                Ok(false) => return false,
                // Conversations before the damage are valid, and are exported before the error.
                Err(damage) => {
                    self.damage = Some(damage);
                    return false;
                }
            }
            let frame = self.capture.frame();
            self.finer_times += u64::from(frame.resolution == TimestampResolution::Finer);
            let tracked = self.dissector.dissect_with(&frame, |segment| {
                self.tracker.push(frame.time_ns, frame.number, segment)
            });
            match tracked {
                Ok(_) => {
                    self.segments += 1;
                    if self.tracker.finished_count() >= conversations
                        || self.tracker.finished_octets() >= octets
                    {
                        return true;
                    }
                }
                Err(reason) => *self.skipped.entry(reason).or_default() += 1,
            }
        }
    }

    /// Returns the number of frames and octets so far.
    #[must_use]
    pub fn counts(&self) -> CaptureCounts {
        CaptureCounts {
            frames: self.capture.frames(),
            octets: self.capture.offset(),
            segments: self.segments,
            copies: self.tracker.copies(),
            finer_times: self.finer_times,
            skipped: self.skipped(),
        }
    }

    /// Returns the number of frames without a segment, by reason. Fragments whose datagram is not
    /// complete so far count as lost.
    fn skipped(&self) -> BTreeMap<SkipReason, u64> {
        let mut skipped = self.skipped.clone();
        for (protocol, lost) in self.dissector.lost_fragments() {
            *skipped.entry(SkipReason::LostFragment(protocol)).or_default() += lost;
            *skipped.entry(SkipReason::Fragment).or_default() -= lost;
        }
        skipped.retain(|_, n| *n > 0);
        skipped
    }

    /// Returns whether octets after the end of a compressed capture were passed over.
    #[must_use]
    pub fn has_trailing_garbage(&self) -> bool {
        self.capture.has_trailing_garbage()
    }

    /// Returns the tracker, to take finished and forgotten conversations out and to recycle flows.
    pub fn tracker_mut(&mut self) -> &mut Tracker {
        &mut self.tracker
    }

    /// Returns the tracker and the error that ended the capture early, if one did.
    #[must_use]
    pub fn into_parts(self) -> (Tracker, Option<ReadError>) {
        (self.tracker, self.damage)
    }
}

impl Iterator for FlowReader<'_> {
    type Item = Result<FinishedConversation, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(conversation) = self.tracker.pop_finished() {
                return Some(Ok(conversation));
            }
            if self.state == State::Finished {
                return self.damage.take().map(Err);
            }
            self.advance(1, usize::MAX);
        }
    }
}
