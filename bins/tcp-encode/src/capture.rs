//! One capture: read, dissected, tracked, judged.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use flowtrack::{
    CaptureCounts, Class, ConversationSummary, EndReason, FinishedConversation, Flow, FlowReader,
    Tracker, TrackerOptions, UNENCODABLE, Verdict,
};
use tcpwire::{PacketQuirks, ReadError, SkipReason};

use crate::anonymize::CryptoPan;
use crate::args::TokenCode;
use crate::flow_log::{Line, Pending};
use crate::keep::KeepSet;

/// How captures are read.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) keep: KeepSet,
    pub(crate) tracker: TrackerOptions,
    pub(crate) flow_log: bool,
    pub(crate) tokens: TokenCode,
    pub(crate) anonymize: Option<CryptoPan>,
}

impl Options {
    /// An address as it may be written.
    pub(crate) fn shown(&self, addr: IpAddr) -> IpAddr {
        self.anonymize.as_ref().map_or(addr, |pan| pan.replace(addr))
    }
}

/// A conversation to be encoded: wanted, and held whole.
pub(crate) struct Wanted<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) verdict: &'a Verdict,
}

/// What a capture gave, in figures.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    pub(crate) frames: u64,
    pub(crate) octets: u64,
    pub(crate) segments: u64,
    pub(crate) conversations: u64,
    pub(crate) packets_after_export: u64,
    pub(crate) classes: BTreeMap<&'static str, u64>,
    pub(crate) strict: u64,
    pub(crate) kept: u64,
    pub(crate) kept_packets: u64,
    /// Frames without a segment, by reason.
    pub(crate) not_read: BTreeMap<SkipReason, u64>,
    /// Conversations not kept, by reason.
    pub(crate) left_out: BTreeMap<String, u64>,
    /// Wanted conversations that could not be kept: a part of `left_out`.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Kept conversations that lost what stood around them, by what it was.
    pub(crate) stripped: BTreeMap<&'static str, u64>,
    /// Conversations ended early, by cause.
    pub(crate) ended_early: BTreeMap<&'static str, u64>,
    /// Frames whose clock was finer than a nanosecond.
    pub(crate) finer_times: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.frames += other.frames;
        self.octets += other.octets;
        self.segments += other.segments;
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
    }
}

fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, n) in from {
        *into.entry(key).or_default() += n;
    }
}

/// What a capture gave.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    /// What stopped the reading before the end.
    pub(crate) damage: Option<ReadError>,
}

/// What the reading of a capture leaves behind.
pub(crate) struct Read {
    counts: Counts,
    pub(crate) tracker: Tracker,
    damage: Option<ReadError>,
}

/// Conversations that ended, to be judged, and what is known of those that were forgotten.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ended: Vec<FinishedConversation>,
    pub(crate) forgotten: Vec<ConversationSummary>,
}

/// Conversations are handed on when there are so many, and so many at a time unless they hold more
/// octets than that.
const ENDED_AT_A_TIME: usize = 64;
const OCTETS_AT_A_TIME: usize = 1 << 20;

impl Batch {
    /// The next batch: what the tracker has, or as much of it as is handed on at a time.
    fn of(tracker: &mut Tracker) -> Batch {
        let mut batch = Batch {
            ended: Vec::with_capacity(ENDED_AT_A_TIME),
            forgotten: tracker.drain_forgotten().collect(),
        };
        let mut octets = 0;
        while batch.ended.len() < ENDED_AT_A_TIME
            && octets < OCTETS_AT_A_TIME
            && let Some(one) = tracker.pop_finished()
        {
            octets += one.flow.as_ref().map_or(0, Flow::heap_octets);
            batch.ended.push(one);
        }
        batch
    }
}

/// Takes a batch, and may give buffers back.
pub(crate) type Hand<'h> = dyn FnMut(&mut Tracker, Batch) -> anyhow::Result<()> + 'h;

/// Reads a capture to its end or to where it is damaged, and hands on the conversations as they
/// end.
pub(crate) fn read(
    input: impl io::Read + Send,
    options: &Options,
    hand: &mut Hand<'_>,
) -> anyhow::Result<Read> {
    let mut reader = match FlowReader::new(input, options.tracker) {
        Ok(reader) => reader,
        Err(damage) => {
            let tracker = Tracker::new(options.tracker);
            return Ok(Read { counts: Counts::default(), tracker, damage: Some(damage) });
        }
    };
    loop {
        let more = reader.advance(ENDED_AT_A_TIME, OCTETS_AT_A_TIME);
        hand_all(reader.tracker_mut(), hand)?;
        if !more {
            break;
        }
    }
    let CaptureCounts { frames, octets, segments, finer_times, skipped } = reader.counts();
    let not_read = SkipReason::ALL.into_iter().zip(skipped).filter(|(_, n)| *n > 0).collect();
    let counts = Counts { frames, octets, segments, finer_times, not_read, ..Counts::default() };
    let (tracker, damage) = reader.into_parts();
    Ok(Read { counts, tracker, damage })
}

fn hand_all(tracker: &mut Tracker, hand: &mut Hand<'_>) -> anyhow::Result<()> {
    while tracker.finished_count() + tracker.forgotten_count() > 0 {
        let batch = Batch::of(tracker);
        hand(tracker, batch)?;
    }
    Ok(())
}

/// Why a conversation is in the dataset or not.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) class: Class,
    pub(crate) close: &'static str,
    pub(crate) missing_octets: [u64; 2],
    pub(crate) kept: bool,
    pub(crate) reason: String,
}

/// Takes a wanted conversation; gives back why, where it can not be encoded.
pub(crate) type Encode<'e> = dyn FnMut(&Wanted<'_>) -> anyhow::Result<Result<(), String>> + 'e;

/// Judges the conversations of a capture.
pub(crate) struct Judge<'c> {
    name: &'c str,
    options: &'c Options,
    log: Pending,
    counts: Counts,
}

impl<'c> Judge<'c> {
    pub(crate) fn new(name: &'c str, options: &'c Options) -> Self {
        Judge { name, options, log: Pending::default(), counts: Counts::default() }
    }

    /// Decides about a conversation, and has it encoded where it is wanted and can be.
    pub(crate) fn take(
        &mut self,
        one: &FinishedConversation,
        encode: &mut Encode<'_>,
    ) -> anyhow::Result<()> {
        let decision = self.decide(one, encode)?;
        self.count(one, &decision);
        if self.options.flow_log {
            self.log.decided(one.id, decision);
        }
        Ok(())
    }

    /// Takes in what is known of a conversation to which no packet is counted any more.
    pub(crate) fn settle(&mut self, record: ConversationSummary) {
        self.counts.packets_after_export += record.packets_after_export;
        if self.options.flow_log {
            self.log.settled(record);
        }
    }

    /// The next line of the flow log, if nothing more can come of that conversation.
    pub(crate) fn next_line(&mut self) -> Option<Line> {
        let (decision, record) = self.log.next()?;
        Some(Line::of(self.name, decision, &record, |addr| self.options.shown(addr)))
    }

    fn decide(
        &mut self,
        one: &FinishedConversation,
        encode: &mut Encode<'_>,
    ) -> anyhow::Result<Decision> {
        let verdict = &one.verdict;
        let mut decision = Decision {
            class: verdict.class,
            close: verdict.close.name(),
            missing_octets: verdict.missing_octets,
            kept: false,
            reason: String::new(),
        };
        if !self.options.keep.takes(verdict) {
            let refusal = self.options.keep.refusal(verdict);
            decision.reason = with_all_missing(&refusal, verdict);
            *self.counts.left_out.entry(refusal).or_default() += 1;
            return Ok(decision);
        }
        let refused = match &one.flow {
            Some(flow) => encode(&Wanted { flow, verdict })?.err(),
            None => Some(not_held(one.quirks)),
        };
        match refused {
            None => decision.kept = true,
            Some(reason) => {
                *self.counts.left_out.entry(reason.clone()).or_default() += 1;
                *self.counts.lost.entry(reason.clone()).or_default() += 1;
                decision.reason = reason;
            }
        }
        Ok(decision)
    }

    fn count(&mut self, one: &FinishedConversation, decision: &Decision) {
        self.counts.conversations += 1;
        *self.counts.classes.entry(one.verdict.class.name()).or_default() += 1;
        self.counts.strict += u64::from(one.verdict.strict);
        let early = match one.end_reason {
            EndReason::IdleTimeout => Some("idle"),
            EndReason::LackOfResources => Some("space"),
            EndReason::EndOfFlow | EndReason::PortReuse | EndReason::EndOfCapture => None,
        };
        if let Some(early) = early {
            *self.counts.ended_early.entry(early).or_default() += 1;
        }
        if decision.kept {
            self.counts.kept += 1;
            self.counts.kept_packets += one.flow.as_ref().map_or(0, |f| f.packets.len() as u64);
            for name in one.quirks.descriptions() {
                *self.counts.stripped.entry(name).or_default() += 1;
            }
        }
    }

    /// What there is to say of the capture, once it is read and all conversations are settled.
    pub(crate) fn report(mut self, read: Read) -> Report {
        self.counts.add(read.counts);
        Report { counts: self.counts, damage: read.damage }
    }
}

/// Why a conversation is not wanted, with every reason why it is not whole.
fn with_all_missing(refusal: &str, verdict: &Verdict) -> String {
    let mut reason = refusal.to_owned();
    for (n, missing) in verdict.missing.iter().enumerate() {
        reason.push_str(if n == 0 { ": " } else { "; " });
        reason.push_str(&missing.to_string());
    }
    reason
}

/// What a conversation carries that a flow does not hold.
fn not_held(quirks: PacketQuirks) -> String {
    let names: Vec<&str> = quirks.intersection(UNENCODABLE).descriptions().collect();
    if names.is_empty() {
        "its packets were not held".to_owned()
    } else {
        format!("tokens do not hold: {}", names.join(", "))
    }
}
