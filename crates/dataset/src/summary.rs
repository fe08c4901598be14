//! Summary columns of a row, computed from a flow.

use arrowio::FlowSummary;
use flowtrack::{Class, ClientEvidence, Close, Completeness, Flow, FrameId, Verdict};

/// Class, close, evidence of the client and completeness of a conversation. Only [`summarize`]
/// turns the enums into the text of columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Class of the conversation.
    pub class: Class,
    /// Kind of its end.
    pub close: Close,
    /// Evidence of which endpoint is the client.
    pub client_evidence: ClientEvidence,
    /// Bits of Wireshark's field `tcp.completeness`.
    pub completeness: Completeness,
}

impl Outcome {
    /// Returns the outcome of a captured flow, whose verdict the tracker has given.
    #[must_use]
    pub fn of_captured(flow: &Flow, verdict: &Verdict) -> Outcome {
        let Verdict { class, close, client_evidence, .. } = *verdict;
        Outcome { class, close, client_evidence, completeness: flow.completeness }
    }

    /// Computes the outcome of a decoded flow, by the tracker that judges captured ones.
    ///
    /// A flow that the tracker does not take for a single conversation is [`Class::Partial`],
    /// [`Close::Open`] and of no completeness.
    #[must_use]
    pub fn of_decoded(flow: &Flow) -> Outcome {
        match flow.verdict() {
            Some((Verdict { class, close, client_evidence, .. }, completeness)) => {
                Outcome { class, close, client_evidence, completeness }
            }
            None => Outcome {
                class: Class::Partial,
                close: Close::Open,
                client_evidence: ClientEvidence::Unknown,
                completeness: Completeness::default(),
            },
        }
    }
}

/// Computes the summary of a flow. `source` is the name of its capture, empty for generated flows.
///
/// ```
/// use dataset::{Outcome, summarize};
///
/// let flow = tokenizer::field::doc::worked_flow();
/// let summary = summarize(&flow, Outcome::of_decoded(&flow), "");
/// assert_eq!((summary.class.as_str(), summary.close.as_str()), ("graceful", "fin"));
/// assert_eq!(summary.packets.iter().sum::<u64>(), flow.packets.len() as u64);
/// ```
#[must_use]
pub fn summarize(flow: &Flow, outcome: Outcome, source: &str) -> FlowSummary {
    let (mut first_ns, mut last_ns) = (i64::MAX, i64::MIN);
    let (mut packets, mut payload_octets) = ([0; 2], [0; 2]);
    for packet in &flow.packets {
        // Packets lie in capture order, which clock steps may contradict.
        first_ns = first_ns.min(packet.time_ns);
        last_ns = last_ns.max(packet.time_ns);
        packets[packet.direction.index()] += 1;
        payload_octets[packet.direction.index()] += u64::from(packet.payload_len);
    }
    FlowSummary {
        duration_ns: if flow.packets.is_empty() { 0 } else { last_ns.saturating_sub(first_ns) },
        server_port: flow.server.port,
        ip_version: if flow.server.addr.is_ipv4() { 4 } else { 6 },
        packets,
        payload_octets,
        completeness: outcome.completeness.bits(),
        close: outcome.close.name().to_owned(),
        class: outcome.class.name().to_owned(),
        direction: outcome.client_evidence.name().to_owned(),
        source: source.to_owned(),
        first_frame: FrameId::of(flow.first_frame).number(),
        label: None,
        group: None,
    }
}
