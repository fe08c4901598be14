//! What learners are given of a flow.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::Flags;

use super::ngram::{Symbol, symbols};
use super::trees::Row;
use crate::observe::{decades, decades_ns, flow_features};
use crate::options;

/// Packets that the early rows see.
pub(crate) const EARLY: usize = 8;
/// What stands where there is nothing.
const NONE: f64 = -1.0;

/// A flow as learners see it.
pub(crate) struct Seen {
    /// Behaviour and header fields, nothing that is drawn at random for each flow.
    pub(crate) behaviour: Row,
    /// The same, and identifiers that are drawn at random.
    pub(crate) with_identifiers: Row,
    /// The first [`EARLY`] packets, without ports.
    pub(crate) early: Row,
    /// Packet by packet.
    pub(crate) symbols: Vec<Symbol>,
    /// What [`Utility`](super::Utility) tells from the early packets.
    pub(crate) server_port: u16,
}

/// Looks at a flow.
pub(crate) fn see(flow: &Flow) -> Seen {
    let behaviour = behaviour(flow);
    let with_identifiers = behaviour.iter().copied().chain(identifiers(flow)).collect();
    Seen { behaviour, with_identifiers, early: early(flow), symbols: symbols(flow), server_port: flow.server.port }
}

const SIDES: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn of(flow: &Flow, d: Direction) -> impl Iterator<Item = &Packet> + Clone {
    flow.packets.iter().filter(move |p| p.direction == d)
}

fn share(n: usize, of: usize) -> f64 {
    n as f64 / of.max(1) as f64
}

fn behaviour(flow: &Flow) -> Row {
    let mut row = flow_features(flow).to_vec();
    row.extend([f64::from(flow.server.port), f64::from(u8::from(flow.client.addr.is_ipv6()))]);
    for d in SIDES {
        opening(flow, d, &mut row);
        headers(flow, d, &mut row);
        times(flow, d, &mut row);
        numbers(flow, d, &mut row);
    }
    let turns = flow.packets.windows(2).filter(|w| w[0].direction != w[1].direction).count();
    row.push(share(turns, flow.packets.len()));
    let payloads: Vec<&Packet> = flow.packets.iter().filter(|p| p.payload_len > 0).collect();
    row.extend((0..3).map(|i| payloads.get(i).map_or(0.0, |p| signed_len(p))));
    let closing = flow.packets.iter().position(|p| p.flags.has(Flags::FIN) || p.flags.has(Flags::RST));
    row.push(closing.map_or(NONE, |at| flow.packets[at].direction.index() as f64));
    row.push(closing.map_or(NONE, |at| (flow.packets.len() - at) as f64));
    row.push(flow.packets.last().map_or(NONE, |p| f64::from(p.flags.0)));
    row
}

fn signed_len(p: &Packet) -> f64 {
    let len = f64::from(p.payload_len);
    if p.direction == Direction::Forward { len } else { -len }
}

/// The SYN or SYN-ACK and its options.
fn opening(flow: &Flow, d: Direction, row: &mut Row) {
    let syn = of(flow, d).find(|p| p.flags.has(Flags::SYN));
    let octets = syn.map_or(&[][..], |p| flow.options_of(p));
    let number =
        |kind| options::find(octets, kind).map_or(NONE, |data| data.iter().fold(0.0, |n, &o| n * 256.0 + f64::from(o)));
    row.extend([number(2), number(3), octets.len() as f64, syn.map_or(NONE, |p| f64::from(p.window))]);
    row.push(octets.first().map_or(NONE, |&o| f64::from(o)));
    row.push(octets.last().map_or(NONE, |&o| f64::from(o)));
    row.push(f64::from(u8::from(options::find(octets, 8).is_some())));
}

/// Header fields over the packets of a side.
fn headers(flow: &Flow, d: Direction, row: &mut Row) {
    let n = of(flow, d).count();
    let first = of(flow, d).next();
    row.push(first.map_or(NONE, |p| f64::from(p.ttl)));
    row.push(first.map_or(NONE, |p| f64::from(p.traffic_class)));
    row.push(share(of(flow, d).filter(|p| p.dont_fragment).count(), n));
    row.push(share(of(flow, d).filter(|p| p.flags.has(Flags::PSH)).count(), n));
    row.push(share(of(flow, d).filter(|p| p.flags.0 & !0x3f != 0).count(), n));
    row.push(of(flow, d).filter(|p| p.flags.has(Flags::RST)).count() as f64);
    let windows = of(flow, d).map(|p| p.window);
    row.push(windows.clone().max().map_or(NONE, f64::from));
    row.push(windows.min().map_or(NONE, f64::from));
    let mut lens: Vec<u32> = of(flow, d).map(|p| p.payload_len).filter(|&l| l > 0).collect();
    lens.sort_unstable();
    row.push(lens.last().map_or(NONE, |&l| f64::from(l)));
    lens.dedup();
    row.push(decades(lens.len() as u64));
}

/// Gaps before the packets of a side, and the rate of its timestamp clock.
fn times(flow: &Flow, d: Direction, row: &mut Row) {
    let mut gaps: Vec<f64> = flow
        .packets
        .windows(2)
        .filter(|w| w[1].direction == d)
        .map(|w| decades_ns(w[1].time_ns - w[0].time_ns))
        .collect();
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| gaps.get(((gaps.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(NONE);
    row.extend([at(0.0), at(0.5), at(0.9)]);
    let stamp = |p: &Packet| options::timestamps(flow.options_of(p)).map(|(value, _)| (p.time_ns, value));
    let (first, last) = (of(flow, d).find_map(stamp), of(flow, d).filter_map(stamp).last());
    row.push(match (first, last) {
        (Some((t0, v0)), Some((t1, v1))) if t1 > t0 => {
            (f64::from(v1.wrapping_sub(v0) as i32) / ((t1 - t0) as f64 / 1e6)).clamp(-10.0, 1e4)
        }
        _ => NONE,
    });
}

/// Repeats, and steps of the IP identification.
fn numbers(flow: &Flow, d: Direction, row: &mut Row) {
    let (mut top, mut again) = (None, 0_u32);
    for p in of(flow, d).filter(|p| p.payload_len > 0) {
        let end = p.seq.add(p.payload_len);
        match top {
            Some(t) if end.distance(t) <= 0 => again += 1,
            _ => top = Some(end),
        }
    }
    row.push(f64::from(again));
    let mut acks: Vec<_> = of(flow, d).filter(|p| p.flags.has(Flags::ACK)).map(|p| (p.ack.0, p.payload_len)).collect();
    let all = acks.len();
    acks.dedup_by(|a, b| a.0 == b.0 && a.1 == 0 && b.1 == 0);
    row.push(share(all - acks.len(), all));
    let ids: Vec<u16> = of(flow, d).map(|p| p.ip_id).collect();
    row.push(share(ids.iter().filter(|&&id| id == 0).count(), ids.len()));
    row.push(share(ids.windows(2).filter(|w| w[1].wrapping_sub(w[0]) == 1).count(), ids.len().saturating_sub(1)));
}

/// What each flow draws at random.
fn identifiers(flow: &Flow) -> Row {
    let mut row = vec![f64::from(flow.client.port)];
    for d in SIDES {
        let first = of(flow, d).next();
        row.push(first.map_or(NONE, |p| f64::from(p.seq.0)));
        row.push(first.map_or(NONE, |p| f64::from(p.seq.0 & 0xffff)));
        row.push(of(flow, d).map(|p| p.ip_id).find(|&id| id != 0).map_or(NONE, f64::from));
        row.push(first.map_or(NONE, |p| f64::from(p.flow_label)));
        let stamp = of(flow, d).find_map(|p| options::timestamps(flow.options_of(p)));
        row.push(stamp.map_or(NONE, |(value, _)| f64::from(value)));
    }
    row
}

/// The first packets, and what SYN and SYN-ACK offer; no port.
fn early(flow: &Flow) -> Row {
    let mut row = Row::new();
    SIDES.into_iter().for_each(|d| opening(flow, d, &mut row));
    for i in 0..EARLY {
        let Some(p) = flow.packets.get(i) else {
            row.extend([0.0, NONE, NONE, NONE]);
            continue;
        };
        let gap = i.checked_sub(1).map_or(NONE, |before| decades_ns(p.time_ns - flow.packets[before].time_ns));
        let side = if p.direction == Direction::Forward { 1.0 } else { -1.0 };
        row.extend([side * (f64::from(p.payload_len) + 1.0), f64::from(p.flags.0), gap, f64::from(p.window)]);
    }
    row
}
