//! Ephemeral ports of generated clients: operating systems differ, and the SYN shows which system
//! sent it.

use std::ops::RangeInclusive;

use flowtrack::Flow;
use rand::{Rng, RngExt};
use tcpwire::{option_kind, options};

/// Linux's default of `net.ipv4.ip_local_port_range`.
const LINUX_RANGE: RangeInclusive<u16> = 32_768..=60_999;
/// Dynamic ports (RFC 6335, section 6), which Windows, Apple's systems and others use.
const DYNAMIC_RANGE: RangeInclusive<u16> = 49_152..=65_535;

/// Way in which a client's operating system picks an ephemeral port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EphemeralPorts {
    /// Linux: `connect` prefers even ports and leaves the odd ones to `bind`. Of 11,278 Linux
    /// clients in captures 25 % had an odd port, of other clients half.
    Linux,
    /// Any other system: all dynamic ports, each with the same probability.
    Dynamic,
}

impl EphemeralPorts {
    /// Guesses the client's system from the first packet of `opening`. Without a packet it is
    /// Linux.
    pub(crate) fn from_opening(opening: &Flow) -> EphemeralPorts {
        let Some(syn) = opening.packets.first() else { return EphemeralPorts::Linux };
        let offers = options(opening.options_of(syn))
            .filter_map(|option| option.kind())
            .find(|kind| [option_kind::WINDOW_SCALE, option_kind::SACK_PERMITTED].contains(kind));
        // Linux starts with a TTL of 64 and offers SACK before window scaling. Apple's systems have
        // the same TTL and offer window scaling first.
        if syn.ttl <= 64 && offers != Some(option_kind::WINDOW_SCALE) {
            EphemeralPorts::Linux
        } else {
            EphemeralPorts::Dynamic
        }
    }

    /// Returns the range of ports that the system picks from.
    pub(crate) fn range(self) -> RangeInclusive<u16> {
        match self {
            EphemeralPorts::Linux => LINUX_RANGE,
            EphemeralPorts::Dynamic => DYNAMIC_RANGE,
        }
    }

    /// Returns the port `step` behind one, in the range; of its end the first port is next.
    pub(crate) fn after(self, port: u16, step: u16) -> u16 {
        let (first, last) = (u32::from(*self.range().start()), u32::from(*self.range().end()));
        let at = u32::from(port).saturating_sub(first) + u32::from(step);
        (first + at % (last - first + 1)) as u16
    }

    /// Draws a port as the system would pick it.
    pub(crate) fn sample(self, random: &mut impl Rng) -> u16 {
        let port = random.random_range(self.range());
        // Half of all ports are rounded down to even ones, and half of the rest is odd: 25 %.
        let is_even = self == EphemeralPorts::Linux && random.random_bool(0.5);
        if is_even { port & !1 } else { port }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Draws 20,000 ports of a client with this TTL and these options, and returns the share of odd
    /// ports, the lowest port and the highest.
    fn sampled(ttl: u8, options: &[u8]) -> (f64, u16, u16) {
        let mut flow = Flow::empty();
        flow.options = options.to_vec();
        flow.packets.push(packet(ttl, options.len()));
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let ports: Vec<u16> =
            (0..20_000).map(|_| EphemeralPorts::from_opening(&flow).sample(&mut random)).collect();
        let odd = ports.iter().filter(|port| *port % 2 == 1).count() as f64 / ports.len() as f64;
        (odd, *ports.iter().min().unwrap(), *ports.iter().max().unwrap())
    }

    fn packet(ttl: u8, options: usize) -> flowtrack::Packet {
        flowtrack::Packet {
            time_ns: 0,
            seq: tcpwire::SeqNum(0),
            ack: tcpwire::SeqNum(0),
            payload_len: 0,
            flow_label: 0,
            options: flowtrack::OptionsRef { start: 0, len: options as u8 },
            flags: tcpwire::Flags::SYN,
            window: 64_240,
            urgent: 0,
            ip_id: 0,
            ttl,
            traffic_class: 0,
            dont_fragment: true,
            direction: flowtrack::Direction::Forward,
        }
    }

    #[test]
    fn the_first_port_comes_after_the_last_one() {
        let after = |port, step| EphemeralPorts::Linux.after(port, step);
        assert_eq!(
            [after(40_000, 2), after(60_999, 1), after(60_998, 4)],
            [40_002, 32_768, 32_770]
        );
        // A port that a hosts table gives may lie elsewhere.
        assert_eq!(after(1_024, 2), 32_770);
        assert_eq!(EphemeralPorts::Dynamic.after(65_535, 1), 49_152);
    }

    #[test]
    fn each_system_gives_its_own_ports() {
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        let apple = [2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 4, 2, 0, 0];
        let windows = [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
        for (ttl, options) in
            [(64, &linux[..]), (57, &linux), (64, &[]), (64, &[1, 1, 4, 2]), (64, &[2, 0, 3, 3])]
        {
            let (odd, least, most) = sampled(ttl, options);
            assert!((0.23..0.27).contains(&odd), "{odd}");
            assert!(
                (32_768..32_800).contains(&least) && (60_970..=60_999).contains(&most),
                "{least} {most}"
            );
        }
        for (ttl, options) in
            [(64, &apple[..]), (128, &windows), (117, &windows), (128, &linux), (255, &[])]
        {
            let (odd, least, most) = sampled(ttl, options);
            assert!((0.48..0.52).contains(&odd), "{odd}");
            assert!((49_152..49_180).contains(&least) && most > 65_500, "{least} {most}");
        }
    }
}
