//! Validity of flows as TCP, by arithmetic of RFC 9293 and RFC 7323.
//!
//! The checks share no code with the token code. Real captures fail some checks too: segments that
//! the capture lost, offload, middleboxes. Compare a rate with the rate of real flows, not with
//! zero.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, SeqUnwrapper, TcpOption, option_kind};

use crate::options;

/// Check that a valid flow passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Check {
    /// Name of the check in reports and metrics.json.
    pub name: &'static str,
    /// Property of a flow that passes, in words.
    pub meaning: &'static str,
}

/// All checks, in the order of the reports.
pub const CHECKS: [Check; 10] = [
    Check {
        name: "handshake",
        meaning: "SYN, SYN-ACK of its number + 1, ACK of that one's + 1 (RFC 9293, section 3.5)",
    },
    Check { name: "time", meaning: "time never goes back" },
    Check { name: "octets", meaning: "every octet of both streams is there, once or repeated" },
    Check {
        name: "acknowledgments",
        meaning: "nothing is acknowledged that the other side has not sent (3.10.7.4)",
    },
    Check {
        name: "window",
        meaning: "no payload beyond the offered window, but for one octet as a probe (3.8.6)",
    },
    Check { name: "after_fin", meaning: "no new octets after the FIN (3.6)" },
    Check { name: "options", meaning: "options parse to the octet (3.2)" },
    Check { name: "tsval", meaning: "TSval of new segments never goes back (RFC 7323, section 5)" },
    Check {
        name: "tsecr",
        meaning: "TSecr is 0 or a TSval that the other side has sent (RFC 7323, section 3)",
    },
    Check { name: "close", meaning: "closed by FIN from both sides, or by RST" },
];

/// Result of a flow for each of [`CHECKS`].
pub(crate) type Passed = [bool; CHECKS.len()];

/// Number of flows that pass, check by check.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct Validity {
    /// Number of flows that were checked.
    pub flows: u64,
    /// Number of flows that pass each of [`CHECKS`].
    pub passed: [u64; CHECKS.len()],
    /// Number of flows that pass all checks.
    pub all: u64,
}

impl Validity {
    /// Returns the share of flows that pass check `i`.
    #[must_use]
    pub fn share(&self, i: usize) -> f64 {
        self.passed[i] as f64 / self.flows.max(1) as f64
    }

    /// Returns the share of flows that pass all checks.
    #[must_use]
    pub fn share_all(&self) -> f64 {
        self.all as f64 / self.flows.max(1) as f64
    }

    /// Counts the flows that pass, from the result of each.
    pub(crate) fn from_passed(flows: impl Iterator<Item = Passed>) -> Validity {
        let mut sum = Validity::default();
        for passed in flows {
            sum.flows += 1;
            for (n, ok) in sum.passed.iter_mut().zip(passed) {
                *n += u64::from(ok);
            }
            sum.all += u64::from(passed.iter().all(|&ok| ok));
        }
        sum
    }
}

/// State of one sender, as its peer sees it; numbers are offsets from its first sequence number.
#[derive(Default)]
struct SenderState {
    /// Unwraps sequence numbers to offsets; its highest offset is one past the last octet sent.
    space: SeqUnwrapper,
    /// Offset one past the FIN; `None` before a FIN.
    fin: Option<i64>,
    /// Largest right edge offered, as an offset of the peer's space (RFC 9293, section 3.8.6);
    /// `None` before the first ACK.
    edge: Option<i64>,
    /// Shift count of the sender's windows (RFC 7323, section 2.2).
    shift: u32,
    /// TSval of the last segment that had new octets.
    last_tsval: Option<u32>,
    /// TSvals that this side has sent.
    tsvals: rustc_hash::FxHashSet<u32>,
}

/// Checks of one flow under way.
struct FlowCheck {
    passed: Passed,
    /// States of client and server.
    senders: [SenderState; 2],
}

/// Checks one flow and returns the result of each of [`CHECKS`].
#[must_use]
pub fn validity(flow: &Flow) -> Passed {
    let senders = shifts(flow).map(|shift| SenderState { shift, ..SenderState::default() });
    let mut check = FlowCheck { passed: [true; CHECKS.len()], senders };
    check.require("handshake", handshake(flow));
    check.require("time", flow.packets.is_sorted_by_key(|p| p.time_ns));
    let verdict = flow.verdict().map(|(verdict, _)| verdict);
    check.require("octets", verdict.as_ref().is_some_and(|v| v.missing_octets == [0; 2]));
    check.require("close", verdict.is_some_and(|v| v.class.is_complete()));
    for packet in &flow.packets {
        check.packet(packet, flow.options_of(packet));
    }
    check.passed
}

impl FlowCheck {
    /// Fails the check `name` unless `holds`.
    fn require(&mut self, name: &str, holds: bool) {
        if let Some(i) = CHECKS.iter().position(|c| c.name == name) {
            self.passed[i] &= holds;
        }
    }

    /// Returns the sender of a packet and its peer.
    fn pair(&mut self, p: &Packet) -> (&mut SenderState, &mut SenderState) {
        let [client, server] = &mut self.senders;
        match p.direction {
            Direction::Forward => (client, server),
            Direction::Reverse => (server, client),
        }
    }

    /// Checks the next packet, with the octets of its options.
    fn packet(&mut self, p: &Packet, octets: &[u8]) {
        let is_malformed = |option| matches!(option, TcpOption::Malformed(_));
        self.require("options", !tcpwire::options(octets).any(is_malformed));
        let is_reset = p.flags.contains(Flags::RST);
        let (sender, _) = self.pair(p);
        let start = sender.space.bind_and_unwrap(p.seq);
        let data_end = start + i64::from(p.flags.contains(Flags::SYN)) + i64::from(p.payload_len);
        let end = start + i64::from(p.flags.seq_len()) + i64::from(p.payload_len);
        let is_new = end > sender.space.high();
        if let Some(timestamps) = options::timestamps(octets).filter(|_| !is_reset) {
            self.timestamps(p, timestamps, is_new);
        }
        if p.flags.contains(Flags::ACK) {
            self.acknowledgment(p);
        }
        // RFC 9293, section 3.8.6.1: a zero-window probe carries one octet beyond the right edge.
        let probe = i64::from(p.payload_len == 1);
        let (_, peer) = self.pair(p);
        let is_beyond = peer.edge.is_some_and(|edge| data_end > edge + probe);
        self.require("window", !(is_new && p.payload_len > 0 && is_beyond));
        // A side sends nothing above its FIN; a RST may still follow (RFC 9293, section 3.5.2).
        if !is_reset {
            let (sender, _) = self.pair(p);
            let is_after_fin = sender.fin.is_some_and(|fin| end > fin);
            if p.flags.contains(Flags::FIN) {
                sender.fin = Some(end);
            }
            sender.space.advance(end);
            self.require("after_fin", !is_after_fin);
        }
    }

    /// Checks TSval and TSecr of a packet.
    fn timestamps(&mut self, p: &Packet, (value, echo): (u32, u32), is_new: bool) {
        let (sender, peer) = self.pair(p);
        let goes_back = sender.last_tsval.is_some_and(|last| (value.wrapping_sub(last) as i32) < 0);
        if is_new || sender.last_tsval.is_none() {
            sender.last_tsval = Some(value);
        }
        sender.tsvals.insert(value);
        // RFC 7323, section 3.2: TSecr is valid only with ACK, and echoes a TSval of the peer.
        let is_unknown = echo != 0 && p.flags.contains(Flags::ACK) && !peer.tsvals.contains(&echo);
        // A retransmission may be captured late, so only segments with new octets are held to a
        // timestamp clock that does not go back (RFC 7323, section 5.4).
        self.require("tsval", !(is_new && goes_back));
        self.require("tsecr", !is_unknown);
    }

    /// Checks the acknowledgment number of a packet, and records the right edge of its window.
    fn acknowledgment(&mut self, p: &Packet) {
        let (sender, peer) = self.pair(p);
        let ack = peer.space.bind_and_unwrap(p.ack);
        // RFC 9293, section 3.10.7.4: SEG.ACK above SND.NXT acknowledges something not yet sent.
        let is_unsent = ack > peer.space.high() && peer.space.high() > 0;
        // RFC 7323, section 2.2: the window of a SYN or SYN-ACK is never scaled.
        let shift = if p.flags.contains(Flags::SYN) { 0 } else { sender.shift };
        let edge = ack + (i64::from(p.window) << shift);
        sender.edge = Some(sender.edge.map_or(edge, |e| e.max(edge)));
        self.require("acknowledgments", !is_unsent);
    }
}

/// Returns whether the flow begins with SYN, SYN-ACK and the ACK of both.
fn handshake(flow: &Flow) -> bool {
    let syn_ack = Flags::SYN | Flags::ACK;
    let Some(first) = flow.packets.first() else { return false };
    if !first.flags.contains(Flags::SYN)
        || first.flags.contains(Flags::ACK)
        || first.direction != Direction::Forward
    {
        return false;
    }
    let Some(reply) = flow
        .packets
        .iter()
        .find(|p| p.direction == Direction::Reverse && p.flags.contains(syn_ack))
    else {
        return false;
    };
    // Of a SYN that was sent again, any number will do; data in the SYN may be acknowledged too
    // (RFC 7413).
    let syns = flow
        .packets
        .iter()
        .filter(|p| p.direction == Direction::Forward && p.flags.contains(Flags::SYN));
    let answered = syns
        .clone()
        .any(|s| reply.ack == s.seq.add(1) || reply.ack == s.seq.add(1 + s.payload_len));
    let third = flow.packets.iter().find(|p| {
        p.direction == Direction::Forward
            && !p.flags.contains(Flags::SYN)
            && p.flags.contains(Flags::ACK)
    });
    answered && third.is_some_and(|t| (0..1 << 30).contains(&t.ack.distance(reply.seq.add(1))))
}

/// Returns the window shifts of both sides: 0 unless both SYNs offer one (RFC 7323, section 2.2).
pub(crate) fn shifts(flow: &Flow) -> [u32; 2] {
    let offered = |d: Direction| {
        let syn = flow.packets.iter().find(|p| p.direction == d && p.flags.contains(Flags::SYN))?;
        options::find(flow.options_of(syn), option_kind::WINDOW_SCALE)?
            .first()
            .map(|&s| u32::from(s.min(14)))
    };
    match (offered(Direction::Forward), offered(Direction::Reverse)) {
        (Some(client), Some(server)) => [client, server],
        _ => [0; 2],
    }
}
