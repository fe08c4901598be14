//! Option octets that no token holds: keys, digests, cookies, counters.

use flowtrack::{Direction, Packet};
use tcpwire::option_kind;

use super::FlowState;
use crate::DecodeError;

/// Codepoints in the order of the counters of Accurate ECN, ECT(0) first, as bits of the traffic
/// class (RFC 3168, section 5), and the first value of each counter (RFC 9768, section 3.2.3).
const ECN_COUNTERS: [(usize, u32); 3] = [(2, 1), (3, 0), (1, 1)];

impl FlowState {
    /// Appends `count` option octets of a packet of side `d` that no token holds, the first of them
    /// number `at` of the flow: those of the identity. Where it has none, counters of Accurate ECN
    /// follow from the packets, and all others are drawn from the bases of the identity.
    pub(super) fn push_option_digits(
        &self,
        d: Direction,
        kind: u8,
        at: usize,
        count: usize,
        out: &mut Vec<u8>,
    ) {
        let end = out.len() + count;
        match (&self.identity.option_digits, kind) {
            // Those that are missing are found at the end of the flow.
            (Some(digits), _) => out.extend(digits.iter().skip(at).take(count)),
            (None, option_kind::ACCURATE_ECN_0) => self.push_ecn_counters(d, [0, 1, 2], out),
            (None, option_kind::ACCURATE_ECN_1) => self.push_ecn_counters(d, [2, 1, 0], out),
            (None, _) => out.extend((at..at + count).map(|index| self.drawn_octet(index as u64))),
        }
        out.resize(end, 0);
    }

    /// Appends the counters of Accurate ECN of side `d`, 24 bits each.
    fn push_ecn_counters(&self, d: Direction, order: [usize; 3], out: &mut Vec<u8>) {
        for (codepoint, first) in order.map(|i| ECN_COUNTERS[i]) {
            let counter = self.sides[d.index()].ecn_octets[codepoint].wrapping_add(first);
            out.extend_from_slice(&counter.to_be_bytes()[1..]);
        }
    }

    /// Returns octet `index` of those that the bases of the identity draw, by `SplitMix64` (Steele
    /// et al., 2014).
    fn drawn_octet(&self, index: u64) -> u8 {
        let base = |base: Option<u32>| u64::from(base.unwrap_or(0));
        let (client, server) = (&self.identity.client, &self.identity.server);
        let seed = base(client.seq_base) << 32 | base(server.seq_base);
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index + 1));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    }

    /// Counts the payload of a decoded packet that its receiver has received with its codepoint.
    pub(super) fn count_ecn_octets(&mut self, packet: &Packet) {
        let codepoint = usize::from(packet.traffic_class & 3);
        if codepoint > 0 {
            let octets = &mut self.sides[packet.direction.reversed().index()].ecn_octets[codepoint];
            *octets = octets.wrapping_add(packet.payload_len);
        }
    }

    /// Checks that the identity has as many option octets as the packets took.
    ///
    /// # Errors
    /// If it has more or fewer.
    pub(crate) fn check_option_digits(&self) -> Result<(), DecodeError> {
        let expected = self.option_digits;
        match &self.identity.option_digits {
            Some(digits) if digits.len() != expected => {
                Err(DecodeError::OptionDigits { expected, found: digits.len() })
            }
            _ => Ok(()),
        }
    }
}
