//! The conversations of a capture file, or of several that are read as one.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::IpAddr;

use tcpwire::{
    CaptureEnd, CaptureReader, Dissector, Flags, Frame, MergedReader, ReadError, SkipReason,
    TimestampResolution,
};

use super::{FinishedConversation, Tracker, TrackerOptions};
use crate::FrameId;

/// Number of frames and octets of a capture so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureCounts {
    /// Number of frames, with and without a segment.
    pub frames: u64,
    /// Number of octets of the capture, after decompression.
    pub octets: u64,
    /// Number of frames that the filter does not take.
    pub filtered: u64,
    /// Number of frames with a TCP segment.
    pub segments: u64,
    /// Number of these segments that are copies of another one, dropped or not.
    pub copies: u64,
    /// Number of frames whose timestamp is finer than a nanosecond.
    pub finer_times: u64,
    /// Number of frames without a segment, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
}

impl CaptureCounts {
    /// Adds the counts of another capture.
    fn add(&mut self, other: &CaptureCounts) {
        self.frames += other.frames;
        self.octets += other.octets;
        self.filtered += other.filtered;
        self.segments += other.segments;
        self.finer_times += other.finer_times;
        for (reason, n) in &other.skipped {
            *self.skipped.entry(*reason).or_default() += n;
        }
    }
}

/// Capture that a [`FlowReader`] has read to its end or to its damage.
#[derive(Debug)]
pub struct EndedCapture {
    /// Number of the capture, from 0.
    pub capture: usize,
    /// Counts of the capture. Copies are counted for all captures together.
    pub counts: CaptureCounts,
    /// Error that ended the reading early, if one did.
    pub damage: Option<ReadError>,
    /// Whether octets after the end of a compressed capture were passed over.
    pub has_trailing_garbage: bool,
}

/// Reads a capture, or several as one, dissects the frames and tracks their conversations.
///
/// The iterator gives each conversation once, in order of export. A capture that cannot be read to
/// its end gives the conversations before the damage, and then the error as the last item.
pub struct FlowReader<'r> {
    captures: MergedReader<'r>,
    filter: Option<FrameFilter<'r>>,
    dissector: Dissector,
    tracker: Tracker,
    /// Counts of the captures that are open, by place.
    open: Vec<CaptureCounts>,
    ended: VecDeque<EndedCapture>,
    /// Sum of the counts of all captures that have ended.
    ended_counts: CaptureCounts,
    /// Link-layer addresses of the addresses that sent a SYN, if they are asked for. `None`: an
    /// address has several.
    senders: Option<BTreeMap<IpAddr, Option<[u8; 6]>>>,
    state: State,
}

/// Function that tells whether a frame is read.
type FrameFilter<'r> = Box<dyn FnMut(&Frame<'_>) -> bool + Send + 'r>;

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
        let captures = MergedReader::from(CaptureReader::new(input)?);
        Ok(FlowReader::of(captures, options, Dissector::default()))
    }

    /// Begins to read captures as one, whose frames `dissector` reads. The first frame of a flow is
    /// a [`FrameId`].
    #[must_use]
    pub fn of(
        captures: MergedReader<'r>,
        options: TrackerOptions,
        dissector: Dissector,
    ) -> FlowReader<'r> {
        FlowReader {
            captures,
            filter: None,
            dissector,
            tracker: Tracker::new(options),
            open: Vec::new(),
            ended: VecDeque::new(),
            ended_counts: CaptureCounts::default(),
            senders: None,
            state: State::Reading,
        }
    }

    /// Passes over the frames that `filter` does not take, from the next one on.
    pub fn set_filter(&mut self, filter: impl FnMut(&Frame<'_>) -> bool + Send + 'r) {
        self.filter = Some(Box::new(filter));
    }

    /// Keeps the link-layer address of each IP address that opens a conversation, from the next
    /// frame on.
    pub fn keep_senders(&mut self) {
        self.senders = Some(BTreeMap::new());
    }

    /// Returns the link-layer addresses of the IP addresses that opened conversations and sent from
    /// one of them alone; none without [`keep_senders`](Self::keep_senders).
    pub fn take_senders(&mut self) -> BTreeMap<IpAddr, [u8; 6]> {
        let senders = self.senders.take().unwrap_or_default();
        senders.into_iter().filter_map(|(addr, sender)| Some((addr, sender?))).collect()
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
            let more = self.read_frames(conversations, octets);
            if more {
                return true;
            }
            self.collect_ended();
            if let [only] = self.ended.make_contiguous()
                && self.captures.captures() == 1
            {
                name_lost_fragments(&self.dissector, &mut only.counts.skipped);
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
        while self.captures.advance() {
            if self.captures.has_ended() {
                self.collect_ended();
            }
            let place = self.captures.place();
            if place >= self.open.len() {
                self.open.resize_with(place + 1, CaptureCounts::default);
            }
            let Some(current) = self.captures.current() else { return false };
            let frame = current.frame();
            let counts = &mut self.open[place];
            if let Some(filter) = &mut self.filter
                && !filter(&frame)
            {
                counts.filtered += 1;
                continue;
            }
            counts.finer_times += u64::from(frame.resolution == TimestampResolution::Finer);
            let id = FrameId::new(current.capture(), frame.number);
            let tracked = self.dissector.dissect_with(&frame, |segment| {
                if let Some(senders) = &mut self.senders
                    && segment.tcp.flags & (Flags::SYN | Flags::ACK) == Flags::SYN
                {
                    let sender = frame.sender();
                    let known = senders.entry(segment.ip.src()).or_insert(sender);
                    *known = known.filter(|known| Some(*known) == sender);
                }
                self.tracker.push(frame.time_ns, id.bits(), segment)
            });
            match tracked {
                Ok(_) => {
                    counts.segments += 1;
                    if self.tracker.finished_count() >= conversations
                        || self.tracker.finished_octets() >= octets
                    {
                        return true;
                    }
                }
                Err(reason) => *counts.skipped.entry(reason).or_default() += 1,
            }
        }
        false
    }

    /// Takes the captures that have ended, with their counts.
    #[cold]
    fn collect_ended(&mut self) {
        while let Some(end) = self.captures.pop_ended() {
            let CaptureEnd { capture, place, frames, octets, damage, has_trailing_garbage } = end;
            let open = self.open.get_mut(place).map(std::mem::take).unwrap_or_default();
            let counts = CaptureCounts { frames, octets, ..open };
            self.ended_counts.add(&counts);
            self.ended.push_back(EndedCapture { capture, counts, damage, has_trailing_garbage });
        }
    }

    /// Returns the counts of the captures that have ended. Fragments whose datagram is not complete
    /// so far count as lost.
    #[must_use]
    pub fn counts(&self) -> CaptureCounts {
        let mut counts =
            CaptureCounts { copies: self.tracker.copies(), ..self.ended_counts.clone() };
        name_lost_fragments(&self.dissector, &mut counts.skipped);
        counts
    }

    /// Removes and returns the captures that have ended since the last call. A single capture has
    /// the fragments among its counts whose datagram was never complete; of several, these are in
    /// [`counts`](Self::counts) alone, since a datagram may go on in the next one.
    pub fn drain_ended(&mut self) -> std::collections::vec_deque::Drain<'_, EndedCapture> {
        self.ended.drain(..)
    }

    /// Returns the tracker, to take finished and forgotten conversations out and to recycle flows.
    pub fn tracker_mut(&mut self) -> &mut Tracker {
        &mut self.tracker
    }

    /// Returns the tracker and the error that ended a capture early, if one did.
    #[must_use]
    pub fn into_parts(mut self) -> (Tracker, Option<ReadError>) {
        let damage = self.pop_damage();
        (self.tracker, damage)
    }

    fn pop_damage(&mut self) -> Option<ReadError> {
        while let Some(ended) = self.ended.pop_front() {
            if ended.damage.is_some() {
                return ended.damage;
            }
        }
        None
    }
}

/// Counts fragments whose datagram is not complete as lost.
fn name_lost_fragments(dissector: &Dissector, skipped: &mut BTreeMap<SkipReason, u64>) {
    for (protocol, lost) in dissector.lost_fragments() {
        *skipped.entry(SkipReason::LostFragment(protocol)).or_default() += lost;
        *skipped.entry(SkipReason::Fragment).or_default() -= lost;
    }
    skipped.retain(|_, n| *n > 0);
}

impl Iterator for FlowReader<'_> {
    type Item = Result<FinishedConversation, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(conversation) = self.tracker.pop_finished() {
                return Some(Ok(conversation));
            }
            if self.state == State::Finished {
                return self.pop_damage().map(Err);
            }
            self.advance(1, usize::MAX);
        }
    }
}
