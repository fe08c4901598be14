//! State of one side of a flow, as a sender.

use std::collections::VecDeque;

use crate::field::options::Elements;
use crate::field::send_space::SendSpace;
use crate::field::ts_clock::TsClock;

/// Number of TSvals of a side that the other side may still echo.
const MAX_RECENT_TSVALS: usize = 1024;
/// Number of TSvals that a search for an echo compares.
const MAX_SEARCHED_TSVALS: usize = 256;
/// Number of TSvals kept until their packets are acknowledged.
const MAX_UNACKED_TSVALS: usize = 1024;

/// Options that the SYN of a side offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    /// Maximum segment size, in octets (RFC 9293, section 3.7.1).
    pub(crate) mss: Option<u16>,
    /// Shift of the window scale option (RFC 7323, section 2.2).
    pub(crate) scale: Option<u8>,
    /// Whether the timestamps option was present (RFC 7323, section 3.2).
    pub(crate) timestamps: bool,
    /// Whether the SACK permitted option was present (RFC 2018, section 2).
    pub(crate) sack: bool,
}

/// Manner in which a side chooses IPv4 identifications.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum IpIdMode {
    /// Each packet has the identification of the one before it plus 1.
    #[default]
    Incremental,
    /// Every packet has the same identification, which is not 0.
    Constant,
    /// Every packet has the identification 0.
    Zero,
}

/// Options that the packets of a side carry, other than its SYN and RST.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum OptionPattern {
    /// No packet has been seen: timestamps are expected if both sides offered them.
    #[default]
    Unknown,
    /// Packets that carry no options.
    Empty,
    /// `[NOP, NOP, timestamps]`, as RFC 7323, appendix A, recommends.
    PlainTimestamps,
    /// Any other list of elements.
    Other,
}

/// TSval of a packet that has not been acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnackedTsval {
    /// Sequence offset at which the packet begins.
    pub(super) seq: i64,
    /// Sequence offset at which the packet ends.
    pub(super) end: i64,
    /// TSval of the packet.
    pub(super) value: u32,
}

/// TSvals of a side in the order that they were sent, each run of equal values once. Values are
/// numbered from 0; the oldest are dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentTsvals {
    values: VecDeque<u32>,
    /// Number of values dropped.
    dropped: u64,
}

impl RecentTsvals {
    /// Appends a value, unless it equals the last one.
    pub(super) fn push(&mut self, value: u32) {
        if self.values.back() == Some(&value) {
            return;
        }
        if self.values.len() == MAX_RECENT_TSVALS {
            self.values.pop_front();
            self.dropped += 1;
        }
        self.values.push_back(value);
    }

    /// Iterates over the values from number `from` on.
    pub(super) fn iter_from(&self, from: u64) -> impl ExactSizeIterator<Item = u32> {
        let skip = from.saturating_sub(self.dropped).min(self.values.len() as u64) as usize;
        self.values.range(skip..).copied()
    }

    /// Returns the number of the first `value` among those from number `from` on.
    pub(super) fn find(&self, value: u32, from: u64) -> Option<u64> {
        let from = from.max(self.dropped);
        let skip = ((from - self.dropped) as usize).min(self.values.len());
        // Most echoes are of the next one.
        if self.values.get(skip) == Some(&value) {
            return Some(from);
        }
        // Searches both halves of the ring as slices, which is twice as fast as its iterator.
        let (front, back) = self.values.as_slices();
        let first = &front[skip.min(front.len())..];
        let second = &back[skip.saturating_sub(front.len())..];
        let first = &first[..first.len().min(MAX_SEARCHED_TSVALS)];
        let second = &second[..second.len().min(MAX_SEARCHED_TSVALS - first.len())];
        let at = |part: &[u32]| part.iter().position(|&v| v == value);
        let found = at(first).or_else(|| at(second).map(|i| first.len() + i))?;
        Some(from + found as u64)
    }

    fn clear(&mut self) {
        self.values.clear();
        self.dropped = 0;
    }
}

/// State of one side of a flow, as a sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct SenderState {
    /// Sequence space of the octets that the side sends.
    pub(crate) space: SendSpace,
    /// Last acknowledgment that the side has sent, as an offset in the other side's space.
    pub(crate) last_ack: i64,
    /// Options that its SYN offered.
    pub(crate) offer: Offer,
    /// Least time from a packet of the other side to the side's acknowledgment of it, as the
    /// capture sees it, in nanoseconds.
    pub(super) answer_floor_ns: Option<i64>,
    /// Number of packets sent.
    pub(crate) packets: u64,
    /// Whether its last packet carried SYN.
    pub(super) last_was_syn: bool,
    /// Window field of its last packet, unscaled.
    pub(super) last_window: u16,
    /// Greatest window field since its last SYN, unscaled.
    pub(super) max_window: u16,
    /// Payload of a full segment, in octets, if the traffic has shown it.
    pub(super) full_segment: Option<u32>,
    /// Payload of its last packet with payload, in octets.
    pub(super) last_len: u32,
    /// Options of its last SYN, without timestamps. Empty if it carried SACK.
    pub(super) syn_options: Elements,
    /// Options of its last packet without payload, and of its last one with payload, other than SYN
    /// and RST, without SACK and values.
    pub(super) layouts: [Elements; 2],
    /// Pattern that its last packet follows, for comparison without its elements.
    pub(super) option_pattern: OptionPattern,
    /// Counter of Accurate ECN that its next packet is expected to hold, as flag bits.
    pub(super) ace: u16,
    /// Octets of payload that it has received with each ECN codepoint.
    pub(super) ecn_octets: [u32; 4],
    /// Clock that its TSvals come from.
    pub(super) clock: TsClock,
    /// TSvals of its packets that the other side has not acknowledged.
    pub(super) unacked_tsvals: VecDeque<UnackedTsval>,
    /// TS.Recent of the other side (RFC 7323, section 4.3): the TSval of this side to echo next.
    pub(super) ts_recent: Option<u32>,
    /// TSvals of its last packets, for the other side to echo.
    pub(super) recent_tsvals: RecentTsvals,
    /// TSecr of its last packet with timestamps.
    pub(super) last_echo: Option<u32>,
    /// Number of the other side's TSval that the side echoed last.
    pub(super) echoed: u64,
    /// DSCP and ECN of its last packet without payload, and of its last one with payload.
    pub(super) traffic_class: [u8; 2],
    /// TTL or hop limit of its last packet.
    pub(super) ttl: Option<u8>,
    /// IPv4 don't-fragment bit of its last packet.
    pub(super) dont_fragment: Option<bool>,
    /// Last IPv4 identification other than 0.
    pub(super) last_ip_id: Option<u16>,
    /// Manner in which it chooses IPv4 identifications.
    pub(super) ip_id_mode: IpIdMode,
    /// Step from one of its IPv4 identifications to the next.
    pub(super) ip_id_step: u16,
    /// IPv6 flow label of its last packet.
    pub(super) last_flow_label: Option<u32>,
    /// Whether a flow label other than 0 has been seen.
    pub(super) has_flow_label_base: bool,
}

impl SenderState {
    /// Returns the last IPv4 identification other than 0.
    pub(crate) fn last_ip_id(&self) -> Option<u16> {
        self.last_ip_id
    }

    /// Returns the last TSval.
    pub(crate) fn last_tsval(&self) -> u32 {
        self.clock.last()
    }

    /// Iterates over the last TSvals, oldest first.
    pub(crate) fn tsvals(&self) -> impl Iterator<Item = u32> {
        self.recent_tsvals.iter_from(0)
    }

    /// Returns the TTL or hop limit of the last packet.
    pub(crate) fn ttl(&self) -> Option<u8> {
        self.ttl
    }

    /// Returns the greatest window field since the last SYN, unscaled.
    pub(crate) fn max_window(&self) -> u16 {
        self.max_window
    }

    /// Returns whether the side has sent a FIN that is acknowledged.
    pub(crate) fn is_fin_acked(&self) -> bool {
        self.space.fin().is_some_and(|fin| self.space.snd_una() >= fin)
    }

    /// Resets the state to that before the first packet; keeps its buffers.
    pub(super) fn restart(&mut self, tick_ns: i64) {
        let fresh =
            SenderState { clock: TsClock::new(tick_ns), ip_id_step: 1, ..SenderState::default() };
        let mut old = std::mem::replace(self, fresh);
        old.space.restart();
        old.syn_options.clear();
        old.unacked_tsvals.clear();
        old.layouts.iter_mut().for_each(Elements::clear);
        old.recent_tsvals.clear();
        (self.space, self.syn_options, self.layouts) = (old.space, old.syn_options, old.layouts);
        (self.unacked_tsvals, self.recent_tsvals) = (old.unacked_tsvals, old.recent_tsvals);
    }

    /// Keeps the TSval of a packet until it is acknowledged.
    pub(super) fn push_unacked_tsval(&mut self, tsval: UnackedTsval) {
        if self.unacked_tsvals.len() == MAX_UNACKED_TSVALS {
            self.unacked_tsvals.pop_front();
        }
        self.unacked_tsvals.push_back(tsval);
    }
}
