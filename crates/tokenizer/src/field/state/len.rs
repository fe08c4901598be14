//! Payload lengths.

use flowtrack::Direction;

use super::FlowState;
use crate::field::delta::{LenDelta, PacketDelta, SeqDelta};
use crate::field::send_space::SeqRange;
use crate::field::vocab;

/// Maximum segment size, in octets, of a flow whose SYNs offered none or were not seen: that of
/// Ethernet over IPv4 (1,500 octets less 40 of headers).
const DEFAULT_MSS: u32 = 1460;
/// Greatest full segment that two equal lengths show while no SYN has offered an MSS, in octets:
/// that of a jumbo frame.
const MAX_GUESSED_SEGMENT: u32 = 9000;
/// Least length that shows a full segment when it comes twice in a row, in octets.
const MIN_FULL_SEGMENT: u32 = 400;

impl FlowState {
    /// Returns the payload of a full segment of side `d`, in octets: that which the traffic has
    /// shown, or that which the MSS options allow.
    pub(crate) fn full_segment(&self, d: Direction) -> u32 {
        self.sides[d.index()].full_segment.unwrap_or_else(|| self.max_segment()).max(1)
    }

    /// Returns the payload that the MSS options of both sides allow, in octets.
    fn max_segment(&self) -> u32 {
        let mss = |i: usize| self.sides[i].offer.mss.map(u32::from);
        let mss = match (mss(0), mss(1)) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => DEFAULT_MSS,
        };
        // RFC 9293, section 3.7.1: the MSS does not count options, so that a sender must deduct
        // them. Timestamps take 12 octets with their padding.
        let options = if self.agreed(|o| o.timestamps) { 12 } else { 0 };
        mss.saturating_sub(options).max(1)
    }

    /// Returns the payload of the last packet of side `d` that carried any, in octets; 0 before.
    pub(crate) fn last_len(&self, d: Direction) -> u32 {
        self.sides[d.index()].last_len
    }

    /// Returns the expected payload of a packet with payload, in octets.
    fn expected_len(&self, d: Direction, seq: SeqDelta) -> u32 {
        let space = &self.sides[d.index()].space;
        let full = self.full_segment(d);
        let len = |s: SeqRange| (s.end - s.start).clamp(1, u32::MAX.into()) as u32;
        match seq {
            SeqDelta::RetransmitOldest(k) => space.oldest(k.into()).map_or(full, len),
            SeqDelta::RetransmitNewest(k) => space.newest(k.into()).map_or(full, len),
            SeqDelta::FillHole(k) => space.hole(k.into()).map_or(full, |h| len(h).min(full)),
            // RFC 1122, section 4.2.3.6: a keep-alive may carry one octet.
            SeqDelta::KeepAlive => 1,
            _ => full,
        }
    }

    /// Returns the delta of a payload length.
    pub(super) fn encode_len(&self, d: Direction, seq: SeqDelta, len: u32) -> LenDelta {
        let full = self.full_segment(d);
        if len == 0 || len == self.expected_len(d, seq) {
            return LenDelta::Expected;
        }
        if len == self.sides[d.index()].last_len {
            return LenDelta::Same;
        }
        // Segmentation offload hands several full segments to the capture as one packet.
        let times = len / full;
        if len.is_multiple_of(full) && (2..2 + vocab::LEN_MULTIPLE.count() as u32).contains(&times)
        {
            return LenDelta::Multiple((times - 2) as u8);
        }
        u16::try_from(len).map_or(LenDelta::Raw(len), LenDelta::Octets)
    }

    /// Returns the payload of a packet in octets, as far as its fields are decoded.
    pub(crate) fn decoded_len(&self, delta: &PacketDelta) -> u32 {
        if !delta.kind.has_payload {
            return 0;
        }
        let d = delta.kind.direction;
        match delta.len {
            LenDelta::Expected => self.expected_len(d, delta.seq),
            LenDelta::Same => self.sides[d.index()].last_len,
            LenDelta::Multiple(k) => self.full_segment(d).saturating_mul(u32::from(k) + 2),
            LenDelta::Octets(n) => n.into(),
            LenDelta::Raw(n) => n,
        }
    }

    /// Updates the full segment and the last length of side `d` with a payload.
    pub(super) fn update_len(&mut self, d: Direction, len: u32) {
        if len == 0 {
            return;
        }
        let (full, max) = (self.full_segment(d), self.max_segment());
        let has_mss = self.sides.iter().any(|s| s.offer.mss.is_some());
        let limit = if has_mss { max } else { MAX_GUESSED_SEGMENT };
        let side = &mut self.sides[d.index()];
        let is_repeated = len == side.last_len && len >= MIN_FULL_SEGMENT;
        if len <= limit && (len > full || is_repeated) {
            side.full_segment = Some(len);
        }
        side.last_len = len;
    }
}
