//! Features of a flow for classifiers.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, option_kind};

use super::ngram::{Symbol, symbols};
use super::trees::FeatureRow;
use crate::observe::{FEATURE_NAMES, decades, decades_ns, flow_features};
use crate::options;

/// Number of packets that the early rows cover.
pub(crate) const EARLY: usize = 8;
/// Value of a feature that a flow does not have.
const NONE: f64 = -1.0;

/// Features of one flow.
pub(crate) struct LearnerInput {
    /// Behaviour and header fields, without values that are drawn at random for each flow.
    pub(crate) behaviour: FeatureRow,
    /// Behaviour and header fields, then the identifiers that are drawn at random.
    pub(crate) with_identifiers: FeatureRow,
    /// Header fields of the first [`EARLY`] packets, without ports.
    pub(crate) early: FeatureRow,
    /// Symbols of the sequence model, one for each packet.
    pub(crate) symbols: Vec<Symbol>,
    /// Server port, the label that [`Utility`](super::Utility) predicts from the early packets.
    pub(crate) server_port: u16,
    /// Number of packets of the flow.
    pub(crate) packets: u32,
}

/// Computes the features of a flow.
pub(crate) fn learner_input(flow: &Flow) -> LearnerInput {
    let mut named = behaviour(flow);
    let behaviour = named.row.clone();
    identifiers(flow, &mut named);
    LearnerInput {
        behaviour,
        with_identifiers: named.row,
        early: early(flow),
        symbols: symbols(flow),
        server_port: flow.server.port,
        packets: flow.packets.len() as u32,
    }
}

/// Flags beyond the six of the first TCP (RFC 793): those of ECN, and the reserved bits.
const EXTENDED_FLAGS: Flags = Flags::ECE.union(Flags::CWR).union(Flags::AE).union(Flags::RESERVED);

/// Both directions, client first.
const SIDES: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn of(flow: &Flow, d: Direction) -> impl Iterator<Item = &Packet> + Clone {
    flow.packets.iter().filter(move |p| p.direction == d)
}

fn share(n: usize, of: usize) -> f64 {
    n as f64 / of.max(1) as f64
}

/// Feature values with their names; a side's name is put in front.
#[derive(Default)]
struct Named {
    names: Vec<(&'static str, Option<Direction>)>,
    row: FeatureRow,
}

impl Named {
    fn put(&mut self, name: &'static str, of: Option<Direction>, value: f64) {
        self.names.push((name, of));
        self.row.push(value);
    }
}

/// Returns the names of [`LearnerInput::with_identifiers`]; [`LearnerInput::behaviour`] is its
/// beginning.
pub(crate) fn names() -> Vec<String> {
    let mut named = behaviour(&Flow::empty());
    identifiers(&Flow::empty(), &mut named);
    let side = |of| match of {
        None => "",
        Some(Direction::Forward) => "_client",
        Some(Direction::Reverse) => "_server",
    };
    named.names.into_iter().map(|(name, of)| format!("{name}{}", side(of))).collect()
}

fn behaviour(flow: &Flow) -> Named {
    let mut row = Named::default();
    for (name, value) in FEATURE_NAMES.into_iter().zip(flow_features(flow)) {
        row.put(name, None, value);
    }
    row.put("server_port", None, f64::from(flow.server.port));
    row.put("ipv6", None, f64::from(u8::from(flow.client.addr.is_ipv6())));
    for d in SIDES {
        opening(flow, d, &mut row);
        headers(flow, d, &mut row);
        times(flow, d, &mut row);
        numbers(flow, d, &mut row);
    }
    let turns = flow.packets.windows(2).filter(|w| w[0].direction != w[1].direction).count();
    row.put("turn_share", None, share(turns, flow.packets.len()));
    let payloads: Vec<&Packet> = flow.packets.iter().filter(|p| p.payload_len > 0).collect();
    for (i, name) in ["payload_1", "payload_2", "payload_3"].into_iter().enumerate() {
        row.put(name, None, payloads.get(i).map_or(0.0, |p| signed_len(p)));
    }
    let closing = flow
        .packets
        .iter()
        .position(|p| p.flags.contains(Flags::FIN) || p.flags.contains(Flags::RST));
    row.put(
        "closing_side",
        None,
        closing.map_or(NONE, |at| flow.packets[at].direction.index() as f64),
    );
    row.put(
        "packets_from_close",
        None,
        closing.map_or(NONE, |at| (flow.packets.len() - at) as f64),
    );
    row.put("last_flags", None, flow.packets.last().map_or(NONE, |p| f64::from(p.flags.bits())));
    row
}

fn signed_len(p: &Packet) -> f64 {
    let len = f64::from(p.payload_len);
    if p.direction == Direction::Forward { len } else { -len }
}

/// Adds the features of the SYN or SYN-ACK and its options.
fn opening(flow: &Flow, d: Direction, row: &mut Named) {
    let syn = of(flow, d).find(|p| p.flags.contains(Flags::SYN));
    let octets = syn.map_or(&[][..], |p| flow.options_of(p));
    let number = |kind| {
        options::find(octets, kind)
            .map_or(NONE, |data| data.iter().fold(0.0, |n, &o| n * 256.0 + f64::from(o)))
    };
    let mut put = |name, value| row.put(name, Some(d), value);
    put("mss", number(option_kind::MSS));
    put("window_scale", number(option_kind::WINDOW_SCALE));
    put("syn_options_len", octets.len() as f64);
    put("syn_window", syn.map_or(NONE, |p| f64::from(p.window)));
    put("syn_options_first", octets.first().map_or(NONE, |&o| f64::from(o)));
    put("syn_options_last", octets.last().map_or(NONE, |&o| f64::from(o)));
    put(
        "timestamps",
        f64::from(u8::from(options::find(octets, option_kind::TIMESTAMPS).is_some())),
    );
}

/// Adds header fields over the packets of a side.
fn headers(flow: &Flow, d: Direction, row: &mut Named) {
    let n = of(flow, d).count();
    let first = of(flow, d).next();
    let mut put = |name, value| row.put(name, Some(d), value);
    put("ttl", first.map_or(NONE, |p| f64::from(p.ttl)));
    put("dsfield", first.map_or(NONE, |p| f64::from(p.traffic_class)));
    put("df_share", share(of(flow, d).filter(|p| p.dont_fragment).count(), n));
    put("psh_share", share(of(flow, d).filter(|p| p.flags.contains(Flags::PSH)).count(), n));
    put("ecn_share", share(of(flow, d).filter(|p| p.flags.intersects(EXTENDED_FLAGS)).count(), n));
    put("rst_segments", of(flow, d).filter(|p| p.flags.contains(Flags::RST)).count() as f64);
    let windows = of(flow, d).map(|p| p.window);
    put("window_max", windows.clone().max().map_or(NONE, f64::from));
    put("window_min", windows.min().map_or(NONE, f64::from));
    let mut lens: Vec<u32> = of(flow, d).map(|p| p.payload_len).filter(|&l| l > 0).collect();
    lens.sort_unstable();
    put("payload_max", lens.last().map_or(NONE, |&l| f64::from(l)));
    lens.dedup();
    put("payload_lengths", decades(lens.len() as u64));
}

/// Adds the gaps before the packets of a side, and the rate of its timestamp clock.
fn times(flow: &Flow, d: Direction, row: &mut Named) {
    let mut gaps: Vec<f64> = flow
        .packets
        .windows(2)
        .filter(|w| w[1].direction == d)
        .map(|w| decades_ns(w[1].time_ns - w[0].time_ns))
        .collect();
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| {
        gaps.get(((gaps.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(NONE)
    };
    row.put("gap_min", Some(d), at(0.0));
    row.put("gap_median", Some(d), at(0.5));
    row.put("gap_p90", Some(d), at(0.9));
    let stamp =
        |p: &Packet| options::timestamps(flow.options_of(p)).map(|(value, _)| (p.time_ns, value));
    let (first, last) = (of(flow, d).find_map(stamp), of(flow, d).filter_map(stamp).last());
    let rate = match (first, last) {
        (Some((t0, v0)), Some((t1, v1))) if t1 > t0 => {
            (f64::from(v1.wrapping_sub(v0) as i32) / ((t1 - t0) as f64 / 1e6)).clamp(-10.0, 1e4)
        }
        _ => NONE,
    };
    row.put("timestamp_rate", Some(d), rate);
}

/// Adds retransmission counts and steps of the IP identification.
fn numbers(flow: &Flow, d: Direction, row: &mut Named) {
    let (mut top, mut again) = (None, 0_u32);
    for p in of(flow, d).filter(|p| p.payload_len > 0) {
        let end = p.seq.add(p.payload_len);
        match top {
            Some(t) if end.distance(t) <= 0 => again += 1,
            _ => top = Some(end),
        }
    }
    row.put("segments_again", Some(d), f64::from(again));
    let mut acks: Vec<_> = of(flow, d)
        .filter(|p| p.flags.contains(Flags::ACK))
        .map(|p| (p.ack.0, p.payload_len))
        .collect();
    let all = acks.len();
    acks.dedup_by(|a, b| a.0 == b.0 && a.1 == 0 && b.1 == 0);
    row.put("ack_again_share", Some(d), share(all - acks.len(), all));
    let ids: Vec<u16> = of(flow, d).map(|p| p.ip_id).collect();
    row.put(
        "ip_id_zero_share",
        Some(d),
        share(ids.iter().filter(|&&id| id == 0).count(), ids.len()),
    );
    let steps = ids.windows(2).filter(|w| w[1].wrapping_sub(w[0]) == 1).count();
    row.put("ip_id_step_share", Some(d), share(steps, ids.len().saturating_sub(1)));
}

/// Adds the identifiers that each flow draws at random.
fn identifiers(flow: &Flow, row: &mut Named) {
    row.put("client_port", None, f64::from(flow.client.port));
    for d in SIDES {
        let first = of(flow, d).next();
        let mut put = |name, value| row.put(name, Some(d), value);
        put("isn", first.map_or(NONE, |p| f64::from(p.seq.0)));
        put("isn_low", first.map_or(NONE, |p| f64::from(p.seq.0 & 0xffff)));
        put("ip_id", of(flow, d).map(|p| p.ip_id).find(|&id| id != 0).map_or(NONE, f64::from));
        put("flow_label", first.map_or(NONE, |p| f64::from(p.flow_label)));
        let stamp = of(flow, d).find_map(|p| options::timestamps(flow.options_of(p)));
        put("tsval", stamp.map_or(NONE, |(value, _)| f64::from(value)));
    }
}

/// Returns the first packets and the offers of SYN and SYN-ACK, without ports.
fn early(flow: &Flow) -> FeatureRow {
    let mut openings = Named::default();
    SIDES.into_iter().for_each(|d| opening(flow, d, &mut openings));
    let mut row = openings.row;
    for i in 0..EARLY {
        let Some(p) = flow.packets.get(i) else {
            row.extend([0.0, NONE, NONE, NONE]);
            continue;
        };
        let gap = i
            .checked_sub(1)
            .map_or(NONE, |before| decades_ns(p.time_ns - flow.packets[before].time_ns));
        let side = if p.direction == Direction::Forward { 1.0 } else { -1.0 };
        row.extend([
            side * (f64::from(p.payload_len) + 1.0),
            f64::from(p.flags.bits()),
            gap,
            f64::from(p.window),
        ]);
    }
    row
}
