//! Observed fields of a flow, categorical and continuous.

use flowtrack::{Direction, Flow, Packet};
use rustc_hash::FxHashMap;
use tcpwire::{Flags, option_kind};

use crate::label::label;
use crate::options;

/// Categorical fields: name and meaning of each.
pub const CATEGORICAL: [(&str, &str); 14] = [
    ("direction", "of each packet"),
    ("flags", "of each packet, with the reserved bits and the direction"),
    ("flag_bigram", "direction and flags of each packet and of the one before it"),
    (
        "trigram",
        "direction, flags and length class (none, below 100, below 1,000, more) of three packets \
         in a row",
    ),
    ("server_port", "of each flow"),
    ("syn_options", "kinds of the options of each SYN and SYN-ACK, in order"),
    ("options", "kinds of the options of each other packet, in order"),
    ("mss", "of each SYN and SYN-ACK"),
    ("window_scale", "of each SYN and SYN-ACK"),
    ("ttl", "TTL or hop limit of each side's first packet"),
    ("dsfield", "DSCP and ECN of each packet"),
    ("dont_fragment", "of each IPv4 packet"),
    ("window", "power of two of each window, unscaled"),
    ("payload_len", "of each packet"),
];

/// Unit of a continuous field's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldUnit {
    /// `log10` of microseconds + 1: a difference of 1 is a factor of ten.
    Decades,
    /// `log10` of a count + 1.
    CountDecades,
}

/// Continuous fields: name, unit and meaning of each.
pub const CONTINUOUS: [(&str, FieldUnit, &str); 11] = [
    (
        "gap_client",
        FieldUnit::Decades,
        "time from a flow's packet before to each packet of the client",
    ),
    (
        "gap_server",
        FieldUnit::Decades,
        "time from a flow's packet before to each packet of the server",
    ),
    ("handshake_rtt", FieldUnit::Decades, "time from the last SYN before the first SYN-ACK to it"),
    ("duration", FieldUnit::Decades, "time from a flow's first packet to its last"),
    ("packets_client", FieldUnit::CountDecades, "packets of the client in each flow"),
    ("packets_server", FieldUnit::CountDecades, "packets of the server in each flow"),
    ("octets_client", FieldUnit::CountDecades, "payload octets of the client in each flow"),
    ("octets_server", FieldUnit::CountDecades, "payload octets of the server in each flow"),
    ("burst_client", FieldUnit::CountDecades, "packets of the client in a row"),
    ("burst_server", FieldUnit::CountDecades, "packets of the server in a row"),
    (
        "first_payload",
        FieldUnit::CountDecades,
        "payload octets of the first packet of a flow that has any",
    ),
];

/// Number of entries of a flow's feature vector, [`Observed::features`].
pub(crate) const FEATURES: usize = 16;
/// Names of the entries of a flow's feature vector.
pub(crate) const FEATURE_NAMES: [&str; FEATURES] = [
    "packets_client",
    "packets_server",
    "octets_client",
    "octets_server",
    "duration",
    "handshake_rtt",
    "gap_mean_client",
    "gap_mean_server",
    "gap_max",
    "data_share_client",
    "data_share_server",
    "payload_mean_client",
    "payload_mean_server",
    "psh_share",
    "pure_ack_share",
    "window_mean",
];

/// Categorical fields with one value per flow, for [`dependence`](crate::dependence).
pub(crate) const FLOW_FIELDS: [&str; 10] = [
    "server_port",
    "syn_options_client",
    "syn_options_server",
    "mss_client",
    "mss_server",
    "window_scale_client",
    "window_scale_server",
    "ttl_client",
    "ttl_server",
    "last_flags",
];

/// Observations of one flow.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Values of the categorical fields, as ids of a [`ValueIds`].
    pub(crate) categorical: [Vec<u32>; CATEGORICAL.len()],
    /// Values of the continuous fields, in the unit of each.
    pub(crate) continuous: [Vec<f64>; CONTINUOUS.len()],
    /// The flow as a point, for distances between flows.
    pub(crate) features: [f64; FEATURES],
    /// One value for each of [`FLOW_FIELDS`].
    pub(crate) single_values: [u64; FLOW_FIELDS.len()],
}

/// Ids of categorical values, so that counts are lists.
#[derive(Default)]
pub(crate) struct ValueIds {
    ids: [FxHashMap<u64, u32>; CATEGORICAL.len()],
    labels: [Vec<String>; CATEGORICAL.len()],
}

impl ValueIds {
    /// Returns the number of different values of a field.
    pub(crate) fn count(&self, field: usize) -> usize {
        self.ids[field].len()
    }

    /// Returns a value in words, for reports.
    pub(crate) fn label(&self, field: usize, id: usize) -> &str {
        &self.labels[field][id]
    }

    fn id(&mut self, field: usize, value: u64, options: &[u8]) -> u32 {
        let next = self.ids[field].len() as u32;
        *self.ids[field].entry(value).or_insert_with(|| {
            self.labels[field].push(label(CATEGORICAL[field].0, value, options));
            next
        })
    }

    /// Observes a flow: adds new values to the ids and returns what the flow shows.
    pub(crate) fn observe(&mut self, flow: &Flow) -> Observed {
        let mut observed = Observed {
            categorical: Default::default(),
            continuous: Default::default(),
            features: flow_features(flow),
            single_values: single_values(flow),
        };
        let mut note_with = |field: &str, value: u64, options: &[u8]| {
            if let Some(i) = CATEGORICAL.iter().position(|(name, _)| *name == field) {
                let id = self.id(i, value, options);
                observed.categorical[i].push(id);
            }
        };
        note_with("server_port", flow.server.port.into(), &[]);
        let mut seen = [false; 2];
        let (mut before, mut before_that) = (0, 0);
        for p in &flow.packets {
            let d = p.direction.index();
            let mut note = |field: &str, value: u64| note_with(field, value, &[]);
            let shape = u64::from(p.flags.bits()) << 1 | d as u64;
            note("direction", d as u64);
            note("flags", shape);
            let class = shape << 2 | length_class(p.payload_len);
            if before != 0 {
                note("flag_bigram", (before >> 2) << 20 | shape);
            }
            if before_that != 0 {
                note("trigram", before_that << 40 | before << 20 | class);
            }
            (before_that, before) = (before, class | 1 << 18);
            let octets = flow.options_of(p);
            note_with(
                if p.flags.contains(Flags::SYN) { "syn_options" } else { "options" },
                option_kinds(octets),
                octets,
            );
            let mut note = |field: &str, value: u64| note_with(field, value, &[]);
            if p.flags.contains(Flags::SYN) {
                note("mss", number(options::find(octets, option_kind::MSS)));
                note("window_scale", number(options::find(octets, option_kind::WINDOW_SCALE)));
            }
            if !seen[d] {
                seen[d] = true;
                note("ttl", (d as u64) << 8 | u64::from(p.ttl));
            }
            note("dsfield", p.traffic_class.into());
            if flow.client.addr.is_ipv4() {
                note("dont_fragment", p.dont_fragment.into());
            }
            note("window", u64::from(16 - p.window.leading_zeros()));
            note("payload_len", p.payload_len.into());
        }
        continuous(flow, &mut observed.continuous);
        observed
    }
}

/// Returns the values of [`FLOW_FIELDS`] of a flow.
fn single_values(flow: &Flow) -> [u64; FLOW_FIELDS.len()] {
    let side = |d: Direction| {
        let syn = flow.packets.iter().find(|p| p.direction == d && p.flags.contains(Flags::SYN));
        let octets = syn.map_or(&[][..], |p| flow.options_of(p));
        let ttl = flow.packets.iter().find(|p| p.direction == d).map_or(256, |p| p.ttl.into());
        [
            option_kinds(octets),
            number(options::find(octets, option_kind::MSS)),
            number(options::find(octets, option_kind::WINDOW_SCALE)),
            ttl,
        ]
    };
    let ([oc, mc, wc, tc], [os, ms, ws, ts]) = (side(Direction::Forward), side(Direction::Reverse));
    let last = flow
        .packets
        .last()
        .map_or(0, |p| u64::from(p.flags.bits()) << 1 | p.direction.index() as u64);
    [flow.server.port.into(), oc, os, mc, ms, wc, ws, tc, ts, last]
}

/// Returns the octets of an option as a number; `u64::MAX` where the option is absent.
fn number(data: Option<&[u8]>) -> u64 {
    data.map_or(u64::MAX, |d| d.iter().take(4).fold(0, |n, &o| n << 8 | u64::from(o)))
}

/// Returns the kinds of options in order, folded to a number by FNV-1a.
fn option_kinds(octets: &[u8]) -> u64 {
    let step = |hash: u64, kind: u64| (hash ^ kind).wrapping_mul(0x0100_0000_01b3);
    tcpwire::options(octets).fold(0xcbf2_9ce4_8422_2325, |hash, option| match option.kind() {
        Some(kind) => step(step(hash, kind.into()), option.data().len() as u64),
        None => step(hash, 256),
    })
}

/// Returns the length class of a payload: none, below 100, below 1,000, more.
pub(crate) fn length_class(len: u32) -> u64 {
    match len {
        0 => 0,
        1..100 => 1,
        100..1000 => 2,
        _ => 3,
    }
}

/// Returns `log10` of a duration in microseconds plus 1.
pub(crate) fn decades_ns(ns: i64) -> f64 {
    (ns.max(0) as f64 / 1e3 + 1.0).log10()
}

pub(crate) fn decades(count: u64) -> f64 {
    (count as f64 + 1.0).log10()
}

/// Returns the nanoseconds from the last SYN before the first SYN-ACK to that SYN-ACK.
fn handshake_ns(flow: &Flow) -> Option<i64> {
    let reply = flow.packets.iter().position(|p| {
        p.direction == Direction::Reverse && p.flags.contains(Flags::SYN | Flags::ACK)
    })?;
    let syn = flow.packets[..reply]
        .iter()
        .rev()
        .find(|p| p.direction == Direction::Forward && p.flags.contains(Flags::SYN))?;
    Some(flow.packets[reply].time_ns - syn.time_ns)
}

fn duration_ns(flow: &Flow) -> i64 {
    match (flow.packets.first(), flow.packets.last()) {
        (Some(first), Some(last)) => last.time_ns - first.time_ns,
        _ => 0,
    }
}

fn continuous(flow: &Flow, out: &mut [Vec<f64>; CONTINUOUS.len()]) {
    let mut put = |field: &str, value: f64| {
        if let Some(i) = CONTINUOUS.iter().position(|(name, ..)| *name == field) {
            out[i].push(value);
        }
    };
    for pair in flow.packets.windows(2) {
        let gap = decades_ns(pair[1].time_ns - pair[0].time_ns);
        put(if pair[1].direction == Direction::Forward { "gap_client" } else { "gap_server" }, gap);
    }
    if let Some(rtt) = handshake_ns(flow) {
        put("handshake_rtt", decades_ns(rtt));
    }
    put("duration", decades_ns(duration_ns(flow)));
    let of = |d: Direction| flow.packets.iter().filter(move |p| p.direction == d);
    let octets = |d| of(d).map(|p| u64::from(p.payload_len)).sum();
    put("packets_client", decades(of(Direction::Forward).count() as u64));
    put("packets_server", decades(of(Direction::Reverse).count() as u64));
    put("octets_client", decades(octets(Direction::Forward)));
    put("octets_server", decades(octets(Direction::Reverse)));
    for burst in flow.packets.chunk_by(|a, b| a.direction == b.direction) {
        let field =
            if burst[0].direction == Direction::Forward { "burst_client" } else { "burst_server" };
        put(field, decades(burst.len() as u64));
    }
    if let Some(first) = flow.packets.iter().find(|p| p.payload_len > 0) {
        put("first_payload", decades(first.payload_len.into()));
    }
}

/// Returns the flow as a point, in the order of [`FEATURE_NAMES`].
pub(crate) fn flow_features(flow: &Flow) -> [f64; FEATURES] {
    let of = |d: Direction| flow.packets.iter().filter(move |p| p.direction == d);
    let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
    let mean = |sum: f64, n: usize| sum / n.max(1) as f64;
    let gaps = |d: Direction| {
        let gaps = flow.packets.windows(2).filter(move |w| w[1].direction == d);
        let (sum, n) = gaps
            .fold((0.0, 0), |(sum, n), w| (sum + decades_ns(w[1].time_ns - w[0].time_ns), n + 1));
        mean(sum, n)
    };
    let data = |d: Direction| of(d).filter(|p| p.payload_len > 0);
    let payload = |d: Direction| data(d).map(|p| u64::from(p.payload_len)).sum::<u64>();
    let n = flow.packets.len();
    let longest = flow
        .packets
        .windows(2)
        .map(|w| decades_ns(w[1].time_ns - w[0].time_ns))
        .fold(0.0, f64::max);
    let count = |is: fn(&Packet) -> bool| flow.packets.iter().filter(|p| is(p)).count();
    let (c, s) = (Direction::Forward, Direction::Reverse);
    [
        decades(of(c).count() as u64),
        decades(of(s).count() as u64),
        decades(payload(c)),
        decades(payload(s)),
        decades_ns(duration_ns(flow)),
        decades_ns(handshake_ns(flow).unwrap_or(0)),
        gaps(c),
        gaps(s),
        longest,
        share(data(c).count(), of(c).count()),
        share(data(s).count(), of(s).count()),
        decades(payload(c) / data(c).count().max(1) as u64),
        decades(payload(s) / data(s).count().max(1) as u64),
        share(count(|p| p.flags.contains(Flags::PSH)), n),
        share(count(|p| p.payload_len == 0 && p.flags == Flags::ACK), n),
        mean(flow.packets.iter().map(|p| decades(p.window.into())).sum(), n),
    ]
}
