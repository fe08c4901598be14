//! Observations of the hosts of one capture.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::flow::{ANSWER_FIELDS, Client, SideMarks, TraceFlow};
use crate::observe::decades_ns;

/// Measures with a number for each flow or host, in decades.
pub(super) const CONTINUOUS: [(&str, &str); 7] = [
    ("flows_per_client", "flows of a client"),
    ("servers_per_client", "servers of a client"),
    ("open_per_client", "open flows of the client at a start, the new one among them"),
    ("gap_per_client", "time between the starts of two flows of a client"),
    ("open_per_capture", "open flows of all clients at a start"),
    ("gap_per_capture", "time between the starts of two flows of a capture"),
    ("rtt_in_pair", "factor between the handshake times of two flows of a pair"),
];

/// Measures with a kind for each flow or host, in bits.
pub(super) const CATEGORICAL: [(&str, &str); 12] = [
    ("destination", "pair of a flow: that of the last one, of one before, a new port or server"),
    ("open_to_server", "whether a flow to the same server is open at a start"),
    ("port_step", "step of the client's port since its last flow, by size and parity"),
    ("port_step_in_pair", "the same since its last flow to the server"),
    ("syn_as_before", "whether the SYN's options have the layout of the client's last SYN"),
    ("answer_as_before", "fields of the SYN-ACK that differ from the pair's last one"),
    (
        "client_ids",
        "IP identifications that continue those of the client's last flow, or the pair's",
    ),
    ("client_clocks", "TSvals on the line of the client's last flow, or of the pair's"),
    (
        "server_ids",
        "IP identifications that continue those of the server's last flow, or the pair's",
    ),
    ("server_clocks", "TSvals on the line of the server's last flow, or of the pair's"),
    ("server_rank", "rank of a flow's server among those of its capture"),
    ("server_ttl", "hops between the TTLs of a server's flows"),
];

/// Fields of a SYN-ACK, in the order of [`TraceFlow::answer`].
const ANSWER: [&str; ANSWER_FIELDS] = ["layout", "MSS", "scale", "window", "TTL"];

/// Returns a kind of a categorical measure in words.
pub(super) fn kind_name(measure: &str, kind: usize) -> String {
    let of = |names: &[&str]| names.get(kind).map_or_else(|| kind.to_string(), |s| (*s).to_owned());
    match measure {
        "destination" => of(&DESTINATIONS),
        "open_to_server" => of(&["none open", "one open"]),
        "port_step" | "port_step_in_pair" => of(&PORT_STEPS),
        "syn_as_before" => of(&["another", "as before"]),
        "answer_as_before" => {
            let changed = ANSWER.iter().enumerate().filter(|(i, _)| kind >> i & 1 == 1);
            let changed: Vec<&str> = changed.map(|(_, field)| *field).collect();
            if changed.is_empty() { "as before".to_owned() } else { changed.join(", ") }
        }
        "server_rank" if kind < 2 => (kind + 1).to_string(),
        "server_rank" => format!("{} to {}", (1 << (kind - 1)) + 1, 1 << kind),
        "server_ttl" => of(&["the same", "up to 3", "more than 3"]),
        _ => of(&["none", "of the host", "of the pair", "of neither", "cannot be told"]),
    }
}

/// Scales of the burstiness curve, in nanoseconds.
pub(super) const SCALES_NS: [i64; 6] =
    [10_000_000, 100_000_000, 1_000_000_000, 3_000_000_000, 10_000_000_000, 100_000_000_000];
/// Least number of flows, and of bins, that a capture needs for a point of the curve.
const LEAST_FLOWS: usize = 50;
const LEAST_BINS: i64 = 20;

/// Observations of one capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Values of the continuous measures.
    pub(super) continuous: [Vec<f64>; CONTINUOUS.len()],
    /// Counts of the categorical measures, by kind.
    pub(super) categorical: [Vec<u64>; CATEGORICAL.len()],
    /// Index of dispersion of starts at each scale: variance over mean of the number in a bin.
    pub(super) dispersion: [Option<f64>; SCALES_NS.len()],
}

impl Observed {
    fn count(&mut self, measure: usize, kind: usize) {
        let counts = &mut self.categorical[measure];
        counts.resize(counts.len().max(kind + 1), 0);
        counts[kind] += 1;
    }
}

/// Observes the clients of a capture.
pub(super) fn observe(capture: &[Client]) -> Observed {
    let mut seen = Observed::default();
    for client in capture {
        observe_client(client, &mut seen);
    }
    let mut all: Vec<&TraceFlow> = capture.iter().flatten().collect();
    all.sort_by_key(|flow| flow.start_ns);
    seen.continuous[4] = open_at_starts(&all).into_iter().map(log_count).collect();
    seen.continuous[5] = gaps(&all);
    observe_servers(&all, &mut seen);
    let starts: Vec<i64> = all.iter().map(|flow| flow.start_ns).collect();
    seen.dispersion = SCALES_NS.map(|scale| dispersion(&starts, scale));
    seen
}

/// Counts the relations between a client's flows.
fn observe_client(client: &Client, seen: &mut Observed) {
    let all: Vec<&TraceFlow> = client.iter().collect();
    let related = relate(client);
    seen.continuous[0].push(log_count(client.len()));
    let mut servers: Vec<IpAddr> = client.iter().map(|flow| flow.server).collect();
    servers.sort_unstable();
    servers.dedup();
    seen.continuous[1].push(log_count(servers.len()));
    seen.continuous[2].extend(open_at_starts(&all).into_iter().map(log_count));
    seen.continuous[3].extend(gaps(&all));
    for relation in related.iter().flatten() {
        seen.continuous[6].extend(relation.rtt_step);
        seen.count(0, relation.destination);
        seen.count(1, usize::from(relation.is_server_open));
        seen.count(2, relation.port_step);
        relation.port_step_in_pair.into_iter().for_each(|kind| seen.count(3, kind));
        seen.count(4, usize::from(relation.is_same_syn));
        relation.answer_changes.into_iter().for_each(|kind| seen.count(5, kind));
        seen.count(6, relation.ids as usize);
        seen.count(7, relation.clock as usize);
    }
}

/// Counts the relations between a server's flows.
fn observe_servers(all: &[&TraceFlow], seen: &mut Observed) {
    let mut servers: BTreeMap<IpAddr, Vec<&TraceFlow>> = BTreeMap::new();
    for flow in all {
        servers.entry(flow.server).or_default().push(flow);
    }
    let mut sizes: Vec<usize> = servers.values().map(Vec::len).collect();
    sizes.sort_unstable_by_key(|size| Reverse(*size));
    for (rank, size) in sizes.into_iter().enumerate() {
        // Ranks 1, 2, 3 and 4, 5 to 8, ...
        let kind = (rank + 1).next_power_of_two().ilog2() as usize;
        (0..size).for_each(|_| seen.count(10, kind));
    }
    for flows in servers.values() {
        let mut last: Option<&TraceFlow> = None;
        let mut by_client: FxHashMap<IpAddr, &TraceFlow> = FxHashMap::default();
        for flow in flows {
            let pair = by_client.insert(flow.client, flow);
            if let Some(last) = last.replace(flow) {
                let [marks, last, pair] =
                    [Some(*flow), Some(last), pair].map(|flow| flow.map(|flow| flow.sides[1]));
                let (Some(marks), Some(last)) = (marks, last) else { continue };
                seen.count(8, ids_relation(&marks, &last, pair.as_ref()) as usize);
                seen.count(9, clock_relation(&marks, &last, pair.as_ref()) as usize);
            }
        }
        if flows.len() > 1 {
            let ttls = || flows.iter().map(|flow| flow.answer.map_or(0, |answer| answer[4]));
            let answered = || ttls().filter(|ttl| *ttl > 0);
            let spread = answered().max().unwrap_or(0) - answered().min().unwrap_or(0);
            seen.count(11, [0, 1, 4].iter().rposition(|least| *least <= spread).unwrap_or(0));
        }
    }
}

/// Extent of a counter or clock, as two flows show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extent {
    /// The flows have none.
    Absent,
    /// The host's last flow is continued.
    Host,
    /// The host's last flow with the same peer is continued, and not the last one of all.
    Pair,
    /// Neither of them is continued.
    Connection,
    /// The host had no flow with the peer, and its last flow is not continued.
    Unknown,
}

impl Extent {
    /// Number of different extents.
    pub(super) const COUNT: usize = 5;
}

/// Greatest step between identifications of one counter.
const MOST_ID_STEP: u16 = 64;

fn ids_relation(marks: &SideMarks, last: &SideMarks, pair: Option<&SideMarks>) -> Extent {
    let Some((first, _)) = marks.ids else { return Extent::Absent };
    let follows = |before: &SideMarks| {
        // A flow that is still open may count on after the new one has begun.
        let near = |id: u16| (1..=MOST_ID_STEP).contains(&first.wrapping_sub(id));
        before.ids.map(|(first, last)| near(first) || near(last))
    };
    extent(follows(last), pair.map(|pair| follows(pair) == Some(true)))
}

/// Ticks of timestamp clocks, in nanoseconds.
const TICKS_NS: [i64; 5] = [1_000_000, 4_000_000, 5_000_000, 10_000_000, 2_000_000];
/// Distance of a TSval from its line: time in nanoseconds, and parts in a thousand of the time
/// since.
const NEAR_LINE: (i64, i64) = (100_000_000, 1);

fn clock_relation(marks: &SideMarks, last: &SideMarks, pair: Option<&SideMarks>) -> Extent {
    let Some(tsval) = marks.tsval else { return Extent::Absent };
    let follows = |before: &SideMarks| before.tsval.map(|before| is_on_line(before, tsval));
    extent(follows(last), pair.map(|pair| follows(pair) == Some(true)))
}

/// Returns whether two TSvals can be of one clock.
fn is_on_line(before: (u32, i64), after: (u32, i64)) -> bool {
    let (ticks, elapsed_ns) = (after.0.wrapping_sub(before.0) as i32, after.1 - before.1);
    let near_ns = NEAR_LINE.0 + elapsed_ns.saturating_abs() / 1_000 * NEAR_LINE.1;
    TICKS_NS.iter().any(|tick_ns| {
        let shown_ns = i64::from(ticks).saturating_mul(*tick_ns);
        shown_ns.saturating_sub(elapsed_ns).saturating_abs() <= near_ns
    })
}

fn extent(host: Option<bool>, pair: Option<bool>) -> Extent {
    match (host, pair) {
        (Some(true), _) => Extent::Host,
        (_, Some(true)) => Extent::Pair,
        (_, Some(false)) => Extent::Connection,
        (_, None) => Extent::Unknown,
    }
}

/// Relation of a flow to the client's flows before it.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Time since the start of the flow before, in decades.
    pub(super) gap: f64,
    /// Whether the flow before had ended.
    pub(super) is_after: bool,
    /// Kind of destination: see [`DESTINATIONS`].
    pub(super) destination: usize,
    pub(super) is_server_open: bool,
    pub(super) is_same_syn: bool,
    pub(super) port_step: usize,
    pub(super) port_step_in_pair: Option<usize>,
    /// Fields of the SYN-ACK that differ from the pair's last one, a bit each.
    pub(super) answer_changes: Option<usize>,
    /// Factor between the handshake times of the pair, in decades.
    pub(super) rtt_step: Option<f64>,
    pub(super) ids: Extent,
    pub(super) clock: Extent,
}

/// Kinds of destinations of a flow.
pub(super) const DESTINATIONS: [&str; 7] = [
    "the last pair",
    "the pair before",
    "the third or fourth pair",
    "up to the eighth pair",
    "a pair further back",
    "a new port of a known server",
    "a new server",
];

/// Returns the relation of each flow of a client to those before it; `None` for the first one.
pub(super) fn relate(client: &Client) -> Vec<Option<Relation>> {
    // Pairs in order of last use, the last one at the end.
    let mut pairs: Vec<(IpAddr, u16)> = Vec::new();
    let mut last_of: FxHashMap<(IpAddr, u16), &TraceFlow> = FxHashMap::default();
    let mut last_to: FxHashMap<IpAddr, &TraceFlow> = FxHashMap::default();
    let mut server_ends: FxHashMap<IpAddr, i64> = FxHashMap::default();
    let mut before: Option<&TraceFlow> = None;
    let mut related = Vec::with_capacity(client.len());
    for flow in client {
        let end = flow.server_end();
        let place = pairs.iter().rev().position(|pair| *pair == end);
        let (of_pair, to_server) = (last_of.insert(end, flow), last_to.insert(flow.server, flow));
        let open_until = server_ends.entry(flow.server).or_insert(i64::MIN);
        related.push(before.map(|before| Relation {
            gap: decades_ns(flow.start_ns - before.start_ns),
            is_after: before.end_ns() <= flow.start_ns,
            destination: match place {
                Some(place) => ((place + 1).next_power_of_two().ilog2() as usize).min(4),
                None if to_server.is_some() => 5,
                None => 6,
            },
            is_server_open: *open_until > flow.start_ns,
            is_same_syn: flow.syn == before.syn,
            port_step: port_step(before, flow),
            port_step_in_pair: to_server.map(|last| port_step(last, flow)),
            answer_changes: of_pair.and_then(|last| answer_changes(last, flow)),
            rtt_step: of_pair.and_then(|last| rtt_step(last, flow)),
            ids: ids_relation(&flow.sides[0], &before.sides[0], to_server.map(|f| &f.sides[0])),
            clock: clock_relation(&flow.sides[0], &before.sides[0], to_server.map(|f| &f.sides[0])),
        }));
        *open_until = (*open_until).max(flow.end_ns());
        if let Some(place) = place {
            pairs.remove(pairs.len() - 1 - place);
        }
        pairs.push(end);
        before = Some(flow);
    }
    related
}

/// Kinds of port steps, by size and parity.
pub(super) const PORT_STEPS: [&str; 15] = [
    "the same",
    "+1",
    "+2",
    "+3 to +16, even",
    "+3 to +16, odd",
    "+17 to +64, even",
    "+17 to +64, odd",
    "+65 to +1,024, even",
    "+65 to +1,024, odd",
    "up by more",
    "-1 or -2",
    "-3 to -16",
    "-17 to -64",
    "-65 to -1,024",
    "down by more",
];

/// Returns the kind of a port step, as a place in [`PORT_STEPS`].
fn port_step(before: &TraceFlow, flow: &TraceFlow) -> usize {
    let step = i32::from(flow.client_port) - i32::from(before.client_port);
    let odd = usize::from(step % 2 != 0);
    match step {
        0..=2 => step as usize,
        3..=16 => 3 + odd,
        17..=64 => 5 + odd,
        65..=1024 => 7 + odd,
        1025.. => 9,
        -2..=-1 => 10,
        -16..=-3 => 11,
        -64..=-17 => 12,
        -1024..=-65 => 13,
        _ => 14,
    }
}

fn answer_changes(last: &TraceFlow, flow: &TraceFlow) -> Option<usize> {
    let (last, now) = (last.answer?, flow.answer?);
    Some((0..ANSWER_FIELDS).filter(|&i| last[i] != now[i]).map(|i| 1 << i).sum())
}

fn rtt_step(last: &TraceFlow, flow: &TraceFlow) -> Option<f64> {
    Some((decades_ns(flow.handshake_ns?) - decades_ns(last.handshake_ns?)).abs())
}

/// Returns the number of open flows at each start, the new one among them. `flows` are in order of
/// their starts.
pub(super) fn open_at_starts(flows: &[&TraceFlow]) -> Vec<usize> {
    let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    let open = |flow: &&TraceFlow| {
        while ends.peek().is_some_and(|Reverse(end)| *end <= flow.start_ns) {
            ends.pop();
        }
        ends.push(Reverse(flow.end_ns().max(flow.start_ns + 1)));
        ends.len()
    };
    flows.iter().map(open).collect()
}

/// Returns the times between starts, in decades.
fn gaps(flows: &[&TraceFlow]) -> Vec<f64> {
    flows.windows(2).map(|pair| decades_ns(pair[1].start_ns - pair[0].start_ns)).collect()
}

fn log_count(count: usize) -> f64 {
    (count.max(1) as f64).log10()
}

/// Returns the variance over the mean of the number of starts in a bin; `None` for too few.
fn dispersion(starts: &[i64], scale_ns: i64) -> Option<f64> {
    let (first, last) = (*starts.first()?, *starts.last()?);
    let bins = last.saturating_sub(first) / scale_ns;
    if starts.len() < LEAST_FLOWS || bins < LEAST_BINS {
        return None;
    }
    let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
    for start in starts {
        // The last bin may be cut off: it does not count.
        let bin = (start - first) / scale_ns;
        if bin < bins {
            *counts.entry(bin).or_default() += 1.0;
        }
    }
    let mean = counts.values().sum::<f64>() / bins as f64;
    let squares = counts.values().map(|n| n * n).sum::<f64>() / bins as f64;
    (mean > 0.0).then(|| (squares - mean * mean) / mean)
}
