//! Validity of flows as TCP, by arithmetic of RFC 9293 and RFC 7323.
//!
//! The checks share no code with the token code. Real captures fail some checks too: segments that
//! the capture lost, offload, middleboxes. Compare a rate with the rate of real flows, not with
//! zero.

use flowtrack::{Class, Direction, Flow};
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

    /// Checks all flows and counts those that pass.
    #[must_use]
    pub fn of(flows: &[Flow]) -> Validity {
        let mut sum = Validity { flows: flows.len() as u64, ..Validity::default() };
        for flow in flows {
            let passed = validity(flow);
            for (n, ok) in sum.passed.iter_mut().zip(passed) {
                *n += u64::from(ok);
            }
            sum.all += u64::from(passed.iter().all(|&ok| ok));
        }
        sum
    }
}

/// State of one side, as its peer sees it; numbers are offsets from its first sequence number.
#[derive(Default)]
struct Side {
    /// Unwraps sequence numbers to offsets; its highest offset is one past the last octet sent.
    space: SeqUnwrapper,
    /// Offset one past the FIN; `None` before a FIN.
    fin: Option<i64>,
    /// Largest right edge offered, as an offset of the peer's space (RFC 9293, section 3.8.6);
    /// `None` before the first ACK.
    edge: Option<i64>,
    shift: u32,
    last_tsval: Option<u32>,
    tsvals: rustc_hash::FxHashSet<u32>,
}

/// Checks one flow and returns the result of each of [`CHECKS`].
#[must_use]
pub fn validity(flow: &Flow) -> Passed {
    let mut passed = [true; CHECKS.len()];
    let mut fail = |name: &str| {
        if let Some(i) = CHECKS.iter().position(|c| c.name == name) {
            passed[i] = false;
        }
    };
    if !handshake(flow) {
        fail("handshake");
    }
    if flow.packets.windows(2).any(|w| w[1].time_ns < w[0].time_ns) {
        fail("time");
    }
    match flow.verdict() {
        Some((verdict, _)) => {
            if verdict.missing_octets != [0; 2] {
                fail("octets");
            }
            if !matches!(verdict.class, Class::Graceful | Class::Reset) {
                fail("close");
            }
        }
        None => {
            fail("octets");
            fail("close");
        }
    }
    let mut sides = [Side::default(), Side::default()];
    for (side, shift) in sides.iter_mut().zip(shifts(flow)) {
        side.shift = shift;
    }
    for p in &flow.packets {
        let (d, o) = (p.direction.index(), p.direction.reversed().index());
        let octets = flow.options_of(p);
        if tcpwire::options(octets).any(|option| matches!(option, TcpOption::Malformed(_))) {
            fail("options");
        }
        let reset = p.flags.contains(Flags::RST);
        let start = sides[d].space.bind_and_unwrap(p.seq);
        let data_end = start + i64::from(p.flags.contains(Flags::SYN)) + i64::from(p.payload_len);
        let end = start + i64::from(p.flags.seq_len()) + i64::from(p.payload_len);
        // A retransmission may be captured late, so only segments with new octets are held to a
        // timestamp clock that does not go back (RFC 7323, section 5.4).
        let is_new = end > sides[d].space.high();
        if let Some((value, echo)) = options::timestamps(octets).filter(|_| !reset) {
            let back =
                sides[d].last_tsval.is_some_and(|last| (value.wrapping_sub(last) as i32) < 0);
            if is_new && back {
                fail("tsval");
            }
            if is_new || sides[d].last_tsval.is_none() {
                sides[d].last_tsval = Some(value);
            }
            sides[d].tsvals.insert(value);
            // RFC 7323, section 3.2: TSecr is valid only with ACK, and echoes a TSval of the peer.
            if echo != 0 && p.flags.contains(Flags::ACK) && !sides[o].tsvals.contains(&echo) {
                fail("tsecr");
            }
        }
        if p.flags.contains(Flags::ACK) {
            let ack = sides[o].space.bind_and_unwrap(p.ack);
            // RFC 9293, section 3.10.7.4: SEG.ACK above SND.NXT acknowledges something not yet sent.
            if ack > sides[o].space.high() && sides[o].space.high() > 0 {
                fail("acknowledgments");
            }
            // RFC 7323, section 2.2: the window of a SYN or SYN-ACK is never scaled.
            let shift = if p.flags.contains(Flags::SYN) { 0 } else { sides[d].shift };
            let edge = ack + (i64::from(p.window) << shift);
            sides[d].edge = Some(sides[d].edge.map_or(edge, |e| e.max(edge)));
        }
        // RFC 9293, section 3.8.6.1: a zero-window probe carries one octet beyond the right edge.
        let probe = i64::from(p.payload_len == 1);
        if is_new && p.payload_len > 0 && sides[o].edge.is_some_and(|edge| data_end > edge + probe)
        {
            fail("window");
        }
        // A side sends nothing above its FIN; a RST may still follow (RFC 9293, section 3.5.2).
        if !reset {
            if sides[d].fin.is_some_and(|fin| end > fin) {
                fail("after_fin");
            }
            if p.flags.contains(Flags::FIN) {
                sides[d].fin = Some(end);
            }
            sides[d].space.advance(end);
        }
    }
    passed
}

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
fn shifts(flow: &Flow) -> [u32; 2] {
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
