//! A TCP timestamp clock (RFC 7323, section 5): what TSval to expect at a time.

use super::vocab;
use crate::TokenId;

/// Tick of a timestamp clock, as an index into [`vocab::TICKS_NS`]; the default is 1 ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockId(u8);

impl ClockId {
    /// Returns the clock that ticks every `TICKS_NS[index]` nanoseconds, or `None` beyond the list.
    #[must_use]
    pub fn from_index(index: usize) -> Option<ClockId> {
        (index < vocab::TICKS_NS.len()).then_some(ClockId(index as u8))
    }

    /// Returns the side (0: client, 1: server) and the clock that `token` of [`vocab::TS_CLOCK`] gives
    /// to it.
    #[must_use]
    pub fn from_token(token: TokenId) -> Option<(usize, ClockId)> {
        let ticks = vocab::TICKS_NS.len();
        vocab::TS_CLOCK.arg(token).map(|i| (i / ticks, ClockId((i % ticks) as u8)))
    }

    /// Returns the token that gives this clock to `side` (0: client, 1: server).
    #[must_use]
    pub const fn token(self, side: usize) -> TokenId {
        vocab::TS_CLOCK.at(side * vocab::TICKS_NS.len() + self.0 as usize)
    }

    /// Returns whether this is the clock of a flow whose header has no token for it.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.0 == 0
    }

    /// Returns the time between two ticks, in nanoseconds.
    #[must_use]
    pub const fn tick_ns(self) -> i64 {
        vocab::TICKS_NS[self.0 as usize]
    }
}

/// Ticks that a value in a session may be past the last one that everyone has noted: short of 2^31,
/// from which on it would seem to lie before it, by what a packet may say beyond its clock.
const NOTED_TICKS: u32 = (1 << 31) - (1 << 24);

/// The timestamp clock of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct TsClock {
    tick_ns: i64,
    bound: bool,
    running: bool,
    last: u32,
    /// The last value that everyone has noted: those who only watch go by packets without payload.
    noted: u32,
    /// The moment at which the clock turned to `last` lies in `from..=to`.
    from: i64,
    to: i64,
}

impl TsClock {
    pub(crate) fn new(tick_ns: i64) -> TsClock {
        TsClock { tick_ns, ..TsClock::default() }
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.bound
    }

    /// Gives the clock its first value, before a packet shows it running.
    pub(crate) fn bind(&mut self, base: u32) {
        self.bound = true;
        self.last = base;
        self.noted = base;
    }

    /// The last value.
    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// The value to expect at `time_ns`; never behind the last one.
    pub(crate) fn expected(&self, time_ns: i64) -> u32 {
        if !self.running {
            return self.last;
        }
        let turned = self.from + (self.to - self.from) / 2;
        let since = time_ns.saturating_sub(turned);
        // Most packets come within a tick, and division is slow.
        let ticks = if since < self.tick_ns { 0 } else { since / self.tick_ns };
        self.last.wrapping_add(ticks as u32)
    }

    /// Whether a packet has shown it running.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// The moment from which on a value `ticks` behind what is expected is not behind the last one,
    /// once it runs.
    pub(crate) fn catches_up(&self, ticks: u8) -> i64 {
        let turned = self.from + (self.to - self.from) / 2;
        turned.saturating_add(self.tick_ns.saturating_mul(ticks.into()))
    }

    /// Nanoseconds from `time_ns` until the clock is 2^30 ticks past its last value, or close to
    /// 2^31 ticks past the last one that everyone has noted; no end before it runs.
    pub(crate) fn room_ns(&self, time_ns: i64) -> u64 {
        if !self.running {
            return u64::MAX;
        }
        let ticks = NOTED_TICKS.saturating_sub(self.last.wrapping_sub(self.noted)).min(1 << 30);
        let full = self.from.saturating_add(self.tick_ns.saturating_mul(ticks.into()));
        full.saturating_sub(time_ns).max(1) as u64
    }

    /// Takes in the value of a packet, which narrows down when the clock turns. `is_noted` says
    /// that everyone notes it.
    pub(crate) fn update(&mut self, value: u32, time_ns: i64, is_noted: bool) {
        let ahead = i64::from(value.wrapping_sub(self.last) as i32);
        let shift = ahead.saturating_mul(self.tick_ns);
        let (from, to) = (time_ns.saturating_sub(self.tick_ns).saturating_add(1), time_ns);
        let (old_from, old_to) = (self.from.saturating_add(shift), self.to.saturating_add(shift));
        let (both_from, both_to) = (from.max(old_from), to.min(old_to));
        let agrees = self.running && both_from <= both_to;
        (self.from, self.to) = if agrees { (both_from, both_to) } else { (from, to) };
        if is_noted || !self.running {
            self.noted = value;
        }
        self.running = true;
        self.bound = true;
        self.last = value;
    }
}
