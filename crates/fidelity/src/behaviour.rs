//! Behaviour that hosts show seldom or never, though the checks of validity allow it.
//!
//! Real flows show some of it too, where captures lose or reorder packets: compare a rate with that
//! of the real flows, not with zero.

use std::collections::VecDeque;

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, SeqNum, SeqUnwrapper, option_kind};

use crate::long_flows::{LONG, longest_repetition, packets_in_probe_runs};
use crate::options;
use crate::validity::shifts;
use crate::verdicts::{VerdictCounts, VerdictRate, rate_of_one};

/// Behaviour whose rate is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Behaviour {
    /// Name of the behaviour in reports and metrics.json.
    pub name: &'static str,
    /// Unit that its rate counts.
    pub per: &'static str,
    /// Meaning of the behaviour in words.
    pub meaning: &'static str,
}

/// All behaviours, in the order of the reports.
pub const BEHAVIOURS: [Behaviour; 11] = [
    Behaviour {
        name: "early_ack_of_client",
        per: "flow whose SYN is answered after more than 5 ms, with three samples",
        meaning: "data of the client acknowledged in under half of that time",
    },
    Behaviour {
        name: "early_ack_of_server",
        per: "flow whose SYN-ACK is answered after more than 5 ms, with three samples",
        meaning: "data of the server acknowledged in under half of that time",
    },
    Behaviour {
        name: "window_taken_back",
        per: "flow",
        meaning: "right edge of the window moved left by a unit of its scale or more (RFC 9293, \
                  section 3.8.6; RFC 7323, section 2.4)",
    },
    Behaviour {
        name: "reset_after_fins",
        per: "flow",
        meaning: "RST after the FINs of both sides",
    },
    Behaviour {
        name: "packets_after_close",
        per: "flow",
        meaning: "packets other than RSTs after the FINs of both sides are acknowledged",
    },
    Behaviour { name: "d_sack", per: "flow", meaning: "SACK of a duplicate (RFC 2883, section 4)" },
    Behaviour {
        name: "ip_id_repeated",
        per: "pair of IPv4 packets in a row of one side",
        meaning: "the same IP ID on both, other than 0",
    },
    Behaviour {
        name: "reset_with_window",
        per: "RST without ACK",
        meaning: "a window other than 0",
    },
    Behaviour {
        name: REPETITION,
        per: "packet",
        meaning: "in the longest repetition of its flow: three rounds or more of 1 to 16 packets, \
                  alike in direction, flags, length class and decade of the gap, and 16 packets \
                  or more",
    },
    Behaviour {
        name: "probe_run",
        per: "packet",
        meaning: "in a run of three or more keep-alives or probes of a window, with their answers \
                  (RFC 9293, sections 3.8.4 and 3.8.6.1)",
    },
    Behaviour { name: LONG_FLOW, per: "packet", meaning: "in a flow of 1,024 packets or more" },
];

/// Name of the behaviour that shows loops.
pub(crate) const REPETITION: &str = "repetition";
/// Name of the behaviour that shows the share of long flows.
pub(crate) const LONG_FLOW: &str = "long_flow";

/// How often one flow could have shown a behaviour, and how often it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BehaviourCount {
    /// Number of units of [`Behaviour::per`] in the flow.
    pub units: u32,
    /// Number of these units that show the behaviour.
    pub shown: u32,
}

impl BehaviourCount {
    /// Counts one more unit, and whether it shows the behaviour.
    fn count(&mut self, is_shown: bool) {
        self.units += 1;
        self.shown += u32::from(is_shown);
    }

    /// Returns the count of a flow's packets.
    fn of_packets(flow: &Flow, shown: usize) -> BehaviourCount {
        BehaviourCount { units: flow.packets.len() as u32, shown: shown as u32 }
    }

    /// Returns the count of a single unit.
    fn of_flow(is_shown: bool) -> BehaviourCount {
        BehaviourCount { units: 1, shown: u32::from(is_shown) }
    }
}

/// Counts each of [`BEHAVIOURS`] in one flow.
#[must_use]
pub fn behaviours(flow: &Flow) -> BehaviourCounts {
    let (reset_after_fins, packets_after_close) = after_fins(flow);
    let packets = flow.packets.len();
    [
        early_ack(flow, Direction::Forward),
        early_ack(flow, Direction::Reverse),
        BehaviourCount::of_flow(takes_window_back(flow)),
        BehaviourCount::of_flow(reset_after_fins),
        BehaviourCount::of_flow(packets_after_close),
        BehaviourCount::of_flow(has_d_sack(flow)),
        repeated_ids(flow),
        resets_with_window(flow),
        BehaviourCount::of_packets(flow, longest_repetition(flow)),
        BehaviourCount::of_packets(flow, packets_in_probe_runs(flow)),
        BehaviourCount::of_packets(flow, if packets >= LONG { packets } else { 0 }),
    ]
}

/// Counts of one flow for each of [`BEHAVIOURS`].
pub type BehaviourCounts = [BehaviourCount; BEHAVIOURS.len()];

/// Returns the rates of behaviours among real and among generated flows, in the order of
/// [`BEHAVIOURS`]; `wanted` chooses these.
pub(crate) fn behaviour_rates(
    sides: [&[BehaviourCounts]; 2],
    wanted: impl Fn(&Behaviour) -> bool,
    seed: u64,
) -> Vec<VerdictRate> {
    let chosen = BEHAVIOURS.iter().enumerate().filter(|(_, behaviour)| wanted(behaviour));
    let rate = |(i, behaviour): (usize, &Behaviour)| {
        let [real, generated] = sides.map(|flows| {
            let mut counts = VerdictCounts::default();
            for (flow, found) in flows.iter().enumerate() {
                counts.units.push(found[i].units);
                if found[i].shown > 0 {
                    counts.add_many(behaviour.name, flow as u32, found[i].shown);
                }
            }
            counts
        });
        rate_of_one(behaviour.name, [&real, &generated], seed)
    };
    chosen.map(rate).collect()
}

/// Returns the packets of one side.
fn sent(flow: &Flow, side: Direction) -> impl Iterator<Item = &Packet> {
    flow.packets.iter().filter(move |p| p.direction == side)
}

/// Returns how long the peer of `side` took to answer its SYN or SYN-ACK, in nanoseconds; `None` if
/// that was sent more than once.
fn handshake_answer(flow: &Flow, side: Direction) -> Option<i64> {
    let mut syns = sent(flow, side).filter(|p| p.flags.contains(Flags::SYN));
    let (syn, None) = (syns.next()?, syns.next()) else { return None };
    let answer = sent(flow, side.reversed()).find(|p| {
        p.time_ns >= syn.time_ns
            && p.flags.contains(Flags::ACK)
            && !p.flags.contains(Flags::RST)
            && p.ack.distance(syn.seq) > 0
    })?;
    Some(answer.time_ns - syn.time_ns)
}

/// Segment with data that its peer has not acknowledged yet.
struct Outstanding {
    end: i64,
    sent_ns: i64,
    /// Whether it, or a part of it, was sent again: its round trip is ambiguous (RFC 6298, section
    /// 3).
    is_repeated: bool,
}

/// Returns whether data of a side was acknowledged in under half of the time that the answer to its
/// SYN took.
fn early_ack(flow: &Flow, side: Direction) -> BehaviourCount {
    const LEAST_ANSWER_NS: i64 = 5_000_000;
    const LEAST_SAMPLES: u32 = 3;
    let none = BehaviourCount::default();
    let Some(answer) = handshake_answer(flow, side).filter(|&ns| ns > LEAST_ANSWER_NS) else {
        return none;
    };
    let (mut space, mut samples, mut least) = (SeqUnwrapper::default(), 0, i64::MAX);
    let mut outstanding = VecDeque::<Outstanding>::new();
    for p in &flow.packets {
        if p.direction == side {
            let start = space.bind_and_unwrap(p.seq);
            let end = start + i64::from(p.flags.seq_len()) + i64::from(p.payload_len);
            if p.payload_len > 0 && start >= space.high() {
                outstanding.push_back(Outstanding { end, sent_ns: p.time_ns, is_repeated: false });
            } else if p.payload_len > 0 {
                let again = outstanding.iter_mut().filter(|s| s.end > start);
                again.for_each(|s| s.is_repeated = true);
            }
            space.advance(end);
        } else if p.flags.contains(Flags::ACK) && space.base().is_some() {
            let ack = space.unwrap(p.ack);
            let mut newest = None;
            let mut is_repeated = false;
            let count = outstanding.iter().take_while(|s| s.end <= ack).count();
            for segment in outstanding.drain(..count) {
                is_repeated |= segment.is_repeated;
                newest = Some(segment.sent_ns);
            }
            if let Some(sent_ns) = newest.filter(|_| !is_repeated) {
                samples += 1;
                least = least.min(p.time_ns - sent_ns);
            }
        }
    }
    if samples < LEAST_SAMPLES { none } else { BehaviourCount::of_flow(least < answer / 2) }
}

/// Returns whether a side moved the right edge of its window left by a unit of its scale or more.
/// Acknowledgments that were overtaken do not count.
fn takes_window_back(flow: &Flow) -> bool {
    let shifts = shifts(flow);
    let mut acked = [SeqUnwrapper::default(); 2];
    let mut edges = [None::<i64>; 2];
    let mut is_taken_back = false;
    for p in flow.packets.iter().filter(|p| p.flags.contains(Flags::ACK)) {
        let side = p.direction.index();
        if p.flags.contains(Flags::RST) {
            continue;
        }
        let ack = acked[side].bind_and_unwrap(p.ack);
        if ack < acked[side].high() {
            continue;
        }
        acked[side].advance(ack);
        // RFC 7323, section 2.2: the window of a SYN-ACK is not scaled.
        let shift = if p.flags.contains(Flags::SYN) { 0 } else { shifts[side] };
        let edge = ack + (i64::from(p.window) << shift);
        let furthest = edges[side].map_or(edge, |e: i64| e.max(edge));
        is_taken_back |= edge + (1 << shift) <= furthest;
        edges[side] = Some(furthest);
    }
    is_taken_back
}

/// Returns whether a RST follows the FINs of both sides, and whether other packets follow their
/// acknowledgments.
fn after_fins(flow: &Flow) -> (bool, bool) {
    let mut fins = [None::<SeqNum>; 2];
    let mut is_acked = [false; 2];
    let (mut resets, mut others) = (false, false);
    for p in &flow.packets {
        let side = p.direction.index();
        let is_reset = p.flags.contains(Flags::RST);
        resets |= is_reset && fins.iter().all(Option::is_some);
        others |= !is_reset && is_acked == [true; 2];
        if p.flags.contains(Flags::FIN) && !is_reset {
            fins[side] = Some(p.seq.add(p.payload_len).add(1));
        }
        if let Some(fin) = fins[1 - side].filter(|_| p.flags.contains(Flags::ACK) && !is_reset) {
            is_acked[1 - side] |= p.ack.distance(fin) >= 0;
        }
    }
    (resets, others)
}

/// Returns whether a first SACK block is below the acknowledgment, or inside the second block (RFC
/// 2883, section 4).
fn has_d_sack(flow: &Flow) -> bool {
    flow.packets.iter().filter(|p| p.flags.contains(Flags::ACK)).any(|p| {
        let Some(data) = options::find(flow.options_of(p), option_kind::SACK) else {
            return false;
        };
        let mut blocks = data.as_chunks::<8>().0.iter().map(|block| {
            let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| block[at + i]));
            [SeqNum(number(0)), SeqNum(number(4))]
        });
        let (Some([left, right]), second) = (blocks.next(), blocks.next()) else { return false };
        p.ack.distance(right) >= 0
            || second
                .is_some_and(|[low, high]| left.distance(low) >= 0 && high.distance(right) >= 0)
    })
}

fn repeated_ids(flow: &Flow) -> BehaviourCount {
    let mut found = BehaviourCount::default();
    if !flow.client.addr.is_ipv4() {
        return found;
    }
    for side in [Direction::Forward, Direction::Reverse] {
        let mut before = None;
        for p in sent(flow, side) {
            if let Some(before) = before.replace(p.ip_id) {
                found.count(p.ip_id != 0 && p.ip_id == before);
            }
        }
    }
    found
}

fn resets_with_window(flow: &Flow) -> BehaviourCount {
    let mut found = BehaviourCount::default();
    let bare = |p: &&Packet| p.flags.contains(Flags::RST) && !p.flags.contains(Flags::ACK);
    flow.packets.iter().filter(bare).for_each(|p| found.count(p.window != 0));
    found
}
