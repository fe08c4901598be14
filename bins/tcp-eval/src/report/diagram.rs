//! Sequence diagrams of flows: two lines in time, and an arrow for each packet.

use clikit::text::count;
use flowtrack::{Direction, Flow, Packet};
use minijinja::{Value, context};

/// Maximum number of packets in a diagram.
const SHOWN_PACKETS: usize = 18;
/// Number of pairs of flows.
const PAIRS: usize = 3;
/// Lengths of the flows, in packets.
const LENGTHS: std::ops::RangeInclusive<usize> = 7..=40;
/// Height of a packet's row, in pixels.
const ROW: usize = 18;
/// Top of the first row, in pixels.
const TOP: usize = 30;

/// Returns pairs of diagrams: a real flow, and the generated flow that is most like it, first by
/// server port, then by length.
pub(super) fn pairs(real: &[Flow], generated: &[Flow]) -> Vec<Value> {
    let fits = |f: &&Flow| LENGTHS.contains(&f.packets.len());
    let candidates: Vec<&Flow> = real.iter().filter(fits).collect();
    let mut shown: Vec<(&Flow, &Flow)> = Vec::new();
    for i in 0..PAIRS {
        let Some(flow) = candidates.get(candidates.len() * (2 * i + 1) / (2 * PAIRS)) else {
            break;
        };
        let distance = |g: &&Flow| {
            (g.server.port != flow.server.port, g.packets.len().abs_diff(flow.packets.len()))
        };
        let taken = |g: &&Flow| shown.iter().any(|(_, other)| std::ptr::eq(*other, *g));
        let partner = generated.iter().filter(fits).filter(|g| !taken(g)).min_by_key(distance);
        let Some(partner) = partner else { break };
        shown.push((flow, partner));
    }
    shown
        .into_iter()
        .map(|(r, g)| context! { real => diagram(r), generated => diagram(g) })
        .collect()
}

/// Returns the values of a diagram.
fn diagram(flow: &Flow) -> Value {
    let first = flow.packets.first().map_or(0, |p| p.time_ns);
    let arrows: Vec<Value> = flow
        .packets
        .iter()
        .take(SHOWN_PACKETS)
        .enumerate()
        .map(|(i, p)| {
            context! {
                y => TOP + i * ROW,
                is_client => p.direction == Direction::Forward,
                text => text(p),
                time => elapsed(p.time_ns - first),
            }
        })
        .collect();
    context! {
        height => TOP + arrows.len() * ROW + 4,
        arrows,
        port => flow.server.port,
        more => flow.packets.len().saturating_sub(SHOWN_PACKETS),
        packets => count(flow.packets.len() as u64),
    }
}

/// Returns the label of an arrow: flags and payload length.
fn text(p: &Packet) -> String {
    let flags = fidelity::flag_letters(p.flags);
    if p.payload_len > 0 { format!("{flags} {}", p.payload_len) } else { flags }
}

/// Formats the time since the first packet.
fn elapsed(ns: i64) -> String {
    match ns {
        ..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}
