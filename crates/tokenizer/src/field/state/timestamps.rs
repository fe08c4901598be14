//! TSval and TSecr (RFC 7323, section 3).

use flowtrack::Direction;

use super::FlowState;
use super::sender::UnackedTsval;
use crate::field::delta::{PacketDelta, TsecrDelta, TsvalDelta};
use crate::field::options::Timestamps;
use crate::field::vocab;

impl FlowState {
    /// Returns the time in nanoseconds until a timestamp clock has advanced so far beyond its
    /// side's last TSval that a value would seem to lie behind it.
    pub(crate) fn clock_room_ns(&self) -> u64 {
        self.sides.iter().map(|s| s.clock.room_ns(self.time_ns)).min().unwrap_or(u64::MAX)
    }

    /// Returns the time in nanoseconds until the TSval of a packet is not less than its side's last
    /// one and `more` ticks: 0 unless the TSval is behind its clock or `more` is positive.
    pub(crate) fn catch_up_ns(&self, delta: &PacketDelta, more: i64) -> u64 {
        let ticks = match delta.ts_val {
            TsvalDelta::Expected => more,
            TsvalDelta::Offset(by) => more - i64::from(by),
            _ => 0,
        };
        if ticks <= 0 || !self.will_carry_timestamps(delta) {
            return 0;
        }
        self.wait_ns(delta.kind.direction, ticks)
    }

    /// Returns the time in nanoseconds until a TSval `ticks` behind its clock is not behind the
    /// last TSval of side `d`.
    fn wait_ns(&self, d: Direction, ticks: i64) -> u64 {
        let clock = &self.sides[d.index()].clock;
        clock.catches_up_ns(ticks).saturating_sub(self.time_ns).max(0).unsigned_abs()
    }

    /// Returns the greatest number of ticks that a TSval of side `d` may be behind its clock if the
    /// wait until it is `more` ticks beyond the last one is to be shorter than `room_ns`.
    pub(crate) fn ticks_behind(&self, d: Direction, more: u32, room_ns: u64) -> usize {
        // Every value behind a clock that has not started is behind the last TSval.
        let most = if self.sides[d.index()].clock.is_running() {
            vocab::TSVAL.count() as i64 / 2
        } else {
            0
        };
        let is_soon = |&ticks: &i64| self.wait_ns(d, ticks + i64::from(more)) < room_ns;
        (1..=most).rev().find(is_soon).unwrap_or(0) as usize
    }

    /// Returns the number of TSvals of the other side that side `d` may echo: from the one that it
    /// echoed last.
    pub(crate) fn echo_candidates(&self, d: Direction) -> usize {
        let (side, peer) = self.pair(d);
        peer.recent_tsvals.iter_from(side.echoed).len()
    }

    /// Updates TS.Recent of side `d` with the packets that it acknowledges now.
    pub(super) fn update_ts_recent(&mut self, d: Direction, ack: i64) {
        let last_ack = self.sides[d.index()].last_ack;
        let peer = &mut self.sides[d.reversed().index()];
        while let Some(&UnackedTsval { seq, end, value }) = peer.unacked_tsvals.front() {
            if end > ack {
                break;
            }
            // RFC 7323, section 4.3: a TSval is recorded if SEG.SEQ <= Last.ACK.sent, so that of
            // several segments that one acknowledgment covers the earliest counts.
            if seq <= last_ack || peer.ts_recent.is_none() {
                peer.ts_recent = Some(value);
            }
            peer.unacked_tsvals.pop_front();
        }
    }

    /// Returns the TSecr of a packet of side `d` with this acknowledgment and without a TSecr
    /// token.
    fn expected_echo(&self, d: Direction, ack: i64) -> u32 {
        let (side, peer) = self.pair(d);
        // Where nothing new is acknowledged, nothing new is echoed: RFC 7323, section 4.3, lets a
        // segment change TS.Recent only if it begins at the last acknowledgment sent.
        match side.last_echo {
            Some(echo) if ack == side.last_ack && !self.is_version_1 => echo,
            _ => peer.ts_recent.unwrap_or(0),
        }
    }

    /// Encodes the timestamps of a packet into `delta`.
    pub(super) fn encode_timestamps(
        &mut self,
        d: Direction,
        ts: Timestamps,
        time_ns: i64,
        ack: i64,
        delta: &mut PacketDelta,
    ) {
        let peer = d.reversed();
        if !self.sides[d.index()].clock.is_bound() {
            self.bind_clock(d, Some(ts.value));
        }
        let clock = &self.sides[d.index()].clock;
        let offset = ts.value.wrapping_sub(clock.expected(time_ns)) as i32;
        let forward = ts.value.wrapping_sub(clock.last());
        let max_offset = vocab::TSVAL.count() as u32 / 2;
        delta.ts_val = match offset {
            0 => TsvalDelta::Expected,
            _ if offset.unsigned_abs() <= max_offset => TsvalDelta::Offset(offset as i8),
            _ => u16::try_from(forward).map_or(TsvalDelta::Raw(forward), TsvalDelta::Forward),
        };
        if ts.echo == self.expected_echo(d, ack) {
            return;
        }
        let echoed = self.sides[d.index()].echoed;
        let known = self.sides[peer.index()]
            .recent_tsvals
            .iter_from(echoed)
            .take(vocab::TSECR.count())
            .position(|v| v == ts.echo);
        if let Some(k) = known {
            delta.ts_ecr = TsecrDelta::Later(k as u8);
        } else if ts.echo == 0 {
            delta.ts_ecr = TsecrDelta::Zero;
        } else if !self.sides[peer.index()].clock.is_bound() {
            // The capture begins in the middle of a connection: the echo is the first value of the
            // other side's clock to be seen.
            self.bind_clock(peer, Some(ts.echo));
            delta.ts_ecr = TsecrDelta::Base;
        } else {
            delta.ts_ecr =
                TsecrDelta::Raw(ts.echo.wrapping_sub(self.sides[peer.index()].clock.last()));
        }
    }

    /// Returns the timestamps of a packet.
    pub(super) fn decode_timestamps(
        &mut self,
        delta: &PacketDelta,
        ack: i64,
        time_ns: i64,
    ) -> Timestamps {
        let d = delta.kind.direction;
        let peer = d.reversed();
        if !self.sides[d.index()].clock.is_bound() {
            self.bind_clock(d, None);
        }
        if delta.ts_ecr == TsecrDelta::Base && !self.sides[peer.index()].clock.is_bound() {
            self.bind_clock(peer, None);
        }
        let clock = &self.sides[d.index()].clock;
        let value = match delta.ts_val {
            TsvalDelta::Expected => clock.expected(time_ns),
            TsvalDelta::Offset(by) => clock.expected(time_ns).wrapping_add(i32::from(by) as u32),
            TsvalDelta::Forward(by) => clock.last().wrapping_add(by.into()),
            TsvalDelta::Raw(by) => clock.last().wrapping_add(by),
        };
        let other = &self.sides[peer.index()];
        let echo = match delta.ts_ecr {
            TsecrDelta::Expected => self.expected_echo(d, ack),
            TsecrDelta::Later(k) => {
                let echoed = self.sides[d.index()].echoed;
                let later = other.recent_tsvals.iter_from(echoed).nth(k.into());
                later.unwrap_or_else(|| other.clock.last())
            }
            TsecrDelta::Zero => 0,
            TsecrDelta::Base => other.clock.last(),
            TsecrDelta::Raw(by) => other.clock.last().wrapping_add(by),
        };
        Timestamps { value, echo }
    }

    /// Binds the clock of side `d` to its first value: `first` in the encoder, that of the identity
    /// in the decoder.
    fn bind_clock(&mut self, d: Direction, first: Option<u32>) {
        let identity = self.identity_of(d);
        if first.is_some() {
            identity.ts_base = first;
        }
        let base = identity.ts_base.unwrap_or(0);
        self.sides[d.index()].clock.bind(base);
    }

    /// Records the number of the TSval that side `d` echoes, if it is among the recent ones.
    pub(super) fn update_echoed(&mut self, d: Direction, echo: u32) {
        let echoed = self.sides[d.index()].echoed;
        if let Some(at) = self.sides[d.reversed().index()].recent_tsvals.find(echo, echoed) {
            self.sides[d.index()].echoed = at;
        }
    }
}
