//! Repetition, and packets that say nothing new: the marks of flows that a model cannot end.

use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, SeqUnwrapper};

use crate::observe::{decades_ns, length_class};

/// Number of packets from which on a flow is long.
pub(crate) const LONG: usize = 1_024;
/// Largest period of a repetition, in packets.
const MAX_PERIOD: usize = 16;
/// Smallest number of rounds that make a repetition.
const MIN_ROUNDS: usize = 3;
/// Smallest number of packets that make a repetition.
const MIN_REPEATED: usize = 16;
/// Smallest number of probes that make a run of them.
const MIN_PROBES: usize = 3;

/// Returns the number of packets in the longest repetition of a flow; 0 if it has none.
///
/// A repetition is a row of packets that equal those a period before, for a period of 1 to 16
/// packets, in three rounds or more. Packets are equal in direction, flags, length class and the
/// decade of the gap to the packet before.
pub(crate) fn longest_repetition(flow: &Flow) -> usize {
    let mut before = flow.packets.first().map_or(0, |p| p.time_ns);
    let step = |p: &Packet| {
        let gap = p.time_ns - std::mem::replace(&mut before, p.time_ns);
        let decade = decades_ns(gap) as u64;
        let shape = u64::from(p.flags.bits()) << 1 | p.direction.index() as u64;
        decade << 32 | shape << 2 | length_class(p.payload_len)
    };
    let symbols: Vec<u64> = flow.packets.iter().map(step).collect();
    let mut longest = 0;
    for period in 1..=MAX_PERIOD {
        let mut run = 0;
        for (symbol, earlier) in symbols.iter().skip(period).zip(&symbols) {
            run = if symbol == earlier { run + 1 } else { 0 };
            let repeated = run + period;
            if repeated >= (MIN_ROUNDS * period).max(MIN_REPEATED) {
                longest = longest.max(repeated);
            }
        }
    }
    longest
}

/// Returns the number of packets in runs of keep-alives (RFC 9293, section 3.8.4) and of probes of
/// a window (section 3.8.6.1), with their answers.
///
/// A probe is a segment of at most one octet that ends where its side's stream ends already. A run
/// ends where a side sends or acknowledges anything new, and has three probes or more.
pub(crate) fn packets_in_probe_runs(flow: &Flow) -> usize {
    let mut sides = [Side::default(), Side::default()];
    let (mut packets, mut probes, mut all) = (0, 0, 0);
    let mut finish = |packets: &mut usize, probes: &mut usize| {
        if std::mem::take(probes) >= MIN_PROBES {
            all += *packets;
        }
        *packets = 0;
    };
    for p in &flow.packets {
        let [own, peer] = match (p.direction, &mut sides) {
            (Direction::Forward, [client, server]) => [client, server],
            (Direction::Reverse, [client, server]) => [server, client],
        };
        let start = own.sent.bind_and_unwrap(p.seq);
        let end = start + i64::from(p.flags.seq_len()) + i64::from(p.payload_len);
        let closes = p.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        let is_probe = !closes && p.payload_len <= 1 && start == own.sent.high() - 1;
        let acknowledges = p.flags.contains(Flags::ACK) && {
            let ack = peer.acked.bind_and_unwrap(p.ack);
            let is_new = ack > peer.acked.high();
            peer.acked.advance(ack);
            is_new
        };
        let is_silent = is_probe || (p.payload_len == 0 && start == own.sent.high());
        own.sent.advance(end);
        if closes || acknowledges || !is_silent {
            finish(&mut packets, &mut probes);
        } else if is_probe || packets > 0 {
            packets += 1;
            probes += usize::from(is_probe);
        }
    }
    finish(&mut packets, &mut probes);
    all
}

/// Stream of one side.
#[derive(Default)]
struct Side {
    sent: SeqUnwrapper,
    /// Offsets that the other side has acknowledged.
    acked: SeqUnwrapper,
}
