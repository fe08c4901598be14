//! The first pass of the encoder: checks every packet, and collects what the header needs.

use flowtrack::{Direction, Flow};
use tcpwire::{Flags, MAX_OPTION_OCTETS};

use super::header::{CloseKind, FlowHeader, SessionClass, length_class};
use super::options;
use super::time_unit::TimeUnit;
use super::ts_clock::ClockId;
use super::vocab;
use crate::EncodeError;

/// Properties of a whole flow that its header depends on.
#[derive(Default)]
pub(super) struct Survey {
    /// Union of all flags, by direction.
    flags: [u16; 2],
    /// Whether the server sent a SYN-ACK.
    has_syn_ack: bool,
    /// Whether a RST came before both sides had sent a FIN.
    is_reset: bool,
    /// Least time of the packets, in nanoseconds since the Unix epoch.
    start_ns: i64,
    /// Whether every time is a whole number of microseconds.
    is_micros: bool,
    /// Indices of the first and the last packet with room for timestamps among its options, by
    /// direction.
    stamped: [Option<(usize, usize)>; 2],
}

impl Survey {
    /// Checks and surveys every packet.
    pub(super) fn new(flow: &Flow, v6: bool) -> Result<Survey, EncodeError> {
        if flow.packets.is_empty() {
            return Err(EncodeError::Empty);
        }
        if flow.server.addr.is_ipv6() != v6 {
            return Err(EncodeError::MixedVersions);
        }
        let first_ns = flow.packets.first().map_or(0, |p| p.time_ns);
        let mut survey = Survey { is_micros: true, start_ns: first_ns, ..Survey::default() };
        let mut before = first_ns;
        for (index, p) in flow.packets.iter().enumerate() {
            check(flow, v6, index, before)?;
            before = p.time_ns;
            // Packets are in capture order, which times may contradict.
            if p.time_ns < survey.start_ns {
                survey.start_ns = p.time_ns;
            }
            survey.is_micros = survey.is_micros && p.time_ns % TimeUnit::Microsecond.ns() == 0;
            let d = p.direction.index();
            survey.flags[d] |= p.flags.bits();
            survey.is_reset |= p.flags.contains(Flags::RST) && !survey.has_both_fins();
            survey.has_syn_ack |=
                p.direction == Direction::Reverse && p.flags.contains(Flags::SYN | Flags::ACK);
            if p.options.len >= 12 {
                survey.stamped[d] =
                    Some((survey.stamped[d].map_or(index, |(first, _)| first), index));
            }
        }
        if first_ns.checked_sub(survey.start_ns).is_none() {
            let value = first_ns as u64;
            return Err(EncodeError::OutOfRange { index: 0, what: "time", value });
        }
        Ok(survey)
    }

    /// Returns the least time of the packets, in nanoseconds since the Unix epoch.
    pub(super) fn start_ns(&self) -> i64 {
        self.start_ns
    }

    /// Returns the header of the surveyed flow.
    pub(super) fn header(&self, flow: &Flow, v6: bool) -> FlowHeader {
        FlowHeader {
            version: vocab::VERSION,
            ip_version: if v6 { 6 } else { 4 },
            // Coarser captures are kept in microseconds too: a capture in milliseconds cannot be
            // told from a short flow whose times are whole milliseconds by chance.
            unit: if self.is_micros { TimeUnit::Microsecond } else { TimeUnit::Nanosecond },
            class: self.class(),
            length_class: length_class(flow.packets.len()),
            server_port: flow.server.port,
            ts_clocks: self.stamped.map(|stamped| estimate_clock(flow, stamped)),
        }
    }

    fn has_both_fins(&self) -> bool {
        let [client, server] = self.flags;
        Flags::from_bits_retain(client & server).contains(Flags::FIN)
    }

    fn class(&self) -> SessionClass {
        let [client, _] = self.flags;
        let close = if self.is_reset {
            CloseKind::Reset
        } else if self.has_both_fins() {
            CloseKind::Graceful
        } else {
            CloseKind::Open
        };
        SessionClass {
            close,
            has_handshake: Flags::from_bits_retain(client).contains(Flags::SYN) && self.has_syn_ack,
        }
    }
}

/// Fails if packet `index` holds a value that no header can. `before_ns` is the time of the packet
/// before it.
fn check(flow: &Flow, v6: bool, index: usize, before_ns: i64) -> Result<(), EncodeError> {
    let p = &flow.packets[index];
    let refuse = |what, value: u64| Err(EncodeError::OutOfRange { index, what, value });
    // RFC 9293, section 3.1: four reserved bits (one of them in use as AE) and eight control bits.
    if p.flags.bits() > 0xfff {
        return refuse("flags", p.flags.bits().into());
    }
    if !p.options.len.is_multiple_of(4) || usize::from(p.options.len) > MAX_OPTION_OCTETS {
        return refuse("options length", p.options.len.into());
    }
    if p.options.start as usize + usize::from(p.options.len) > flow.options.len() {
        return refuse("options start", p.options.start.into());
    }
    // RFC 8200, section 3: 20 bits. IPv4 has no flow label.
    if p.flow_label > if v6 { 0xf_ffff } else { 0 } {
        return refuse("flow label", p.flow_label.into());
    }
    if v6 && p.ip_id != 0 {
        return refuse("IPv6 identification", p.ip_id.into());
    }
    if v6 && p.dont_fragment {
        return refuse("IPv6 don't-fragment bit", 1);
    }
    if p.time_ns.checked_sub(before_ns).is_none_or(|gap| gap == i64::MIN) {
        return refuse("time", p.time_ns as u64);
    }
    Ok(())
}

/// Estimates the timestamp clock of one side from the first and the last of its packets that carry
/// a TSval. Returns the default clock if there are none, or if no known clock fits.
fn estimate_clock(flow: &Flow, stamped: Option<(usize, usize)>) -> ClockId {
    let Some((first, last)) = stamped.map(|(a, b)| (&flow.packets[a], &flow.packets[b])) else {
        return ClockId::default();
    };
    let value = |p| options::timestamp_value(flow.options_of(p));
    let (Some(v0), Some(v1)) = (value(first), value(last)) else { return ClockId::default() };
    // TSvals are compared modulo 2^32 (RFC 7323, section 5.2).
    let ticks = i64::from(v1.wrapping_sub(v0) as i32);
    let elapsed = last.time_ns.saturating_sub(first.time_ns);
    if ticks <= 0 || elapsed < 20_000_000 {
        return ClockId::default();
    }
    // Within a fifth of a known tick. Between two known ticks, or on a short flow, the default is
    // as good a guess as any.
    let near = |tick_ns: i64| {
        let (elapsed, known) = (5.0 * elapsed as f64, ticks as f64 * tick_ns as f64);
        elapsed > 4.0 * known && elapsed < 6.0 * known
    };
    let index = vocab::TICKS_NS.iter().position(|&tick_ns| near(tick_ns));
    index.and_then(ClockId::from_index).unwrap_or_default()
}
