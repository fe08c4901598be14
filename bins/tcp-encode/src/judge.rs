//! Judges the conversations of a task: which of them go into the dataset, and why not.

use std::net::IpAddr;

use flowtrack::{
    ConversationSummary, EndReason, FinishedConversation, Flow, Surplus, TagKinds, UNENCODABLE,
    Verdict,
};
use tcpwire::PacketQuirks;

use crate::capture::ReadOutcome;
use crate::counts::{EncodeCounts, TaskReport};
use crate::decision::Decision;
use crate::flow_log::{FlowLogEntry, FlowLogQueue};
use crate::open_ends::OpenEnds;
use crate::options::ReadOptions;
use crate::task::CaptureTask;

/// Flow of a conversation that `--keep` selects, with its verdict.
pub(crate) struct Wanted<'a> {
    /// Flow, with all packets of the conversation.
    pub(crate) flow: &'a Flow,
    /// Verdict on the conversation.
    pub(crate) verdict: &'a Verdict,
}

/// Encoder of a conversation. The inner error is the reason why tokens cannot represent it, the
/// outer one ends the run.
pub(crate) type EncodeFn<'e> = dyn FnMut(&Wanted<'_>) -> anyhow::Result<Result<(), String>> + 'e;

/// Judge of the conversations of one task. It counts them and queues them for the flow log.
pub(crate) struct ConversationJudge<'c> {
    /// Captures, with their names in the flow log.
    task: &'c CaptureTask,
    options: &'c ReadOptions,
    log: FlowLogQueue,
    counts: EncodeCounts,
    open_ends: OpenEnds,
}

impl<'c> ConversationJudge<'c> {
    /// Creates the judge of a task.
    pub(crate) fn new(task: &'c CaptureTask, options: &'c ReadOptions) -> Self {
        ConversationJudge {
            task,
            options,
            log: FlowLogQueue::default(),
            counts: EncodeCounts::default(),
            open_ends: OpenEnds::default(),
        }
    }

    /// Decides about a conversation, and encodes it if it is selected and can be encoded.
    pub(crate) fn judge(
        &mut self,
        one: &FinishedConversation,
        encode: &mut EncodeFn<'_>,
    ) -> anyhow::Result<()> {
        let decision = self.decide(one, encode)?;
        self.count(one, &decision);
        self.open_ends.add(one);
        if self.options.flow_log {
            self.log.push_decision(one.id, decision);
        }
        Ok(())
    }

    /// Adds the final summary of a conversation: no later packet is counted to it.
    pub(crate) fn settle(&mut self, summary: ConversationSummary) {
        self.counts.packets_after_export += summary.packets_after_export;
        if self.options.flow_log {
            self.log.push_summary(summary);
        }
    }

    /// Returns the next entry of the flow log, if its conversation is judged and settled.
    pub(crate) fn next_log_entry(&mut self) -> Option<FlowLogEntry> {
        let (decision, summary) = self.log.pop()?;
        let shown = |addr: IpAddr| self.options.shown(addr);
        let name = self.task.name_of(summary.first_frame);
        Some(FlowLogEntry::new(name, decision, &summary, shown))
    }

    /// Decides about a conversation. One that `--keep` selects is encoded on the way.
    fn decide(
        &mut self,
        one: &FinishedConversation,
        encode: &mut EncodeFn<'_>,
    ) -> anyhow::Result<Decision> {
        let verdict = &one.verdict;
        let mut decision = Decision {
            class: verdict.class,
            close: verdict.close.name(),
            client_evidence: verdict.client_evidence.name(),
            missing_octets: verdict.missing_octets,
            kept: false,
            reason: String::new(),
        };
        if !self.options.keep.matches(verdict) {
            let refusal = self.options.keep.refusal(verdict);
            decision.reason = with_all_missing(&refusal, verdict);
            *self.counts.left_out.entry(refusal).or_default() += 1;
            return Ok(decision);
        }
        let refused = match &one.flow {
            Some(flow) => encode(&Wanted { flow, verdict })?.err(),
            None => Some(unencodable(one.quirks)),
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

    /// Counts a conversation about which was decided.
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
        for surplus in &one.verdict.surplus {
            if let Surplus::Crossing(kinds) = surplus {
                *self.counts.crossed.entry(separating_option(*kinds)).or_default() += 1;
            }
        }
        if decision.kept {
            self.counts.kept += 1;
            self.counts.kept_packets += one.flow.as_ref().map_or(0, |f| f.packets.len() as u64);
            for name in one.quirks.descriptions() {
                *self.counts.stripped.entry(name).or_default() += 1;
            }
        }
    }

    /// Returns the report of the task, when all its conversations are judged and settled.
    pub(crate) fn into_report(self, read: ReadOutcome) -> TaskReport {
        let counts = EncodeCounts { copies: read.copies, ..self.counts };
        let (lost_fragments, open_ends) = (read.lost_fragments, self.open_ends);
        let senders = read.senders.into_iter();
        let senders = senders.map(|(addr, sender)| (self.options.shown(addr), sender)).collect();
        TaskReport { counts, lost_fragments, open_ends, senders }
    }
}

/// Returns why `--keep` does not select a conversation, with everything that its capture lacks or
/// has beyond one session.
fn with_all_missing(refusal: &str, verdict: &Verdict) -> String {
    let mut reason = refusal.to_owned();
    let missing = verdict.missing.iter().map(ToString::to_string);
    let surplus = verdict.surplus.iter().map(ToString::to_string);
    for (n, part) in missing.chain(surplus).enumerate() {
        reason.push_str(if n == 0 { ": " } else { "; " });
        reason.push_str(&part);
    }
    reason
}

/// Returns the value of `--separate` that separates conversations under tags of these kinds.
fn separating_option(kinds: TagKinds) -> &'static str {
    match (kinds.contains(TagKinds::VLAN), kinds.contains(TagKinds::VNI)) {
        (true, _) if kinds == TagKinds::VLAN => "vlan",
        (_, true) if kinds == TagKinds::VNI => "vni",
        (false, false) => "interface",
        (true, true) if kinds == TagKinds::VLAN | TagKinds::VNI => "vlan,vni",
        (true, false) => "vlan,interface",
        (false, true) => "vni,interface",
        (true, true) => "vlan,vni,interface",
    }
}

/// Returns the reason why a conversation cannot be encoded: headers that a flow does not hold.
fn unencodable(quirks: PacketQuirks) -> String {
    let names: Vec<&str> = quirks.intersection(UNENCODABLE).descriptions().collect();
    if names.is_empty() && quirks.intersects(PacketQuirks::QUOTED) {
        "no packets but those quoted in ICMP errors".to_owned()
    } else if names.is_empty() {
        "its packets were not held".to_owned()
    } else {
        format!("tokens do not hold: {}", names.join(", "))
    }
}
