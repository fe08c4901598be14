//! TCP timestamp clocks (RFC 7323, section 5.4): the TSval to expect at a time.

use super::vocab;
use crate::TokenId;

/// Rate of a timestamp clock, as an index into [`vocab::TICKS_NS`]; by default a tick every
/// millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockId(u8);

impl ClockId {
    /// Returns the clock that ticks every `TICKS_NS[index]` nanoseconds, or `None` beyond the list.
    #[must_use]
    pub fn from_index(index: usize) -> Option<ClockId> {
        (index < vocab::TICKS_NS.len()).then_some(ClockId(index as u8))
    }

    /// Returns the side (0: client, 1: server) and the clock that `token` of [`vocab::TS_CLOCK`]
    /// gives to it.
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

/// Number of ticks that a TSval in a session may be ahead of the last one that observers have
/// noted: less than 2^31, from which on it would seem to lie behind (RFC 7323, section 5.2), by the
/// number of ticks that a packet may be ahead of its clock.
const MAX_UNNOTED_TICKS: u32 = (1 << 31) - (1 << 24);

/// Timestamp clock of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct TsClock {
    /// Time between two ticks, in nanoseconds.
    tick_ns: i64,
    /// Whether the clock has a first value.
    is_bound: bool,
    /// Whether a packet has carried a value of the clock.
    is_running: bool,
    /// Last value that a packet has carried, or the first value.
    last: u32,
    /// Last value that passive observers have noted: they read packets without payload only.
    noted: u32,
    /// Earliest time at which the clock may have turned to `last`, in nanoseconds.
    turned_from_ns: i64,
    /// Latest time at which the clock may have turned to `last`, in nanoseconds.
    turned_to_ns: i64,
}

impl TsClock {
    /// Creates a clock with a tick every `tick_ns` nanoseconds, and without a first value.
    pub(crate) fn new(tick_ns: i64) -> TsClock {
        TsClock { tick_ns, ..TsClock::default() }
    }

    /// Returns whether the clock has a first value.
    pub(crate) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Sets the first value of a clock that no packet has shown.
    pub(crate) fn bind(&mut self, base: u32) {
        self.is_bound = true;
        self.last = base;
        self.noted = base;
    }

    /// Returns the value of the last packet, or the first value.
    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// Returns whether a packet has carried a value of the clock.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Returns the middle of the interval in which the clock turned to its last value.
    fn turned_ns(&self) -> i64 {
        self.turned_from_ns + (self.turned_to_ns - self.turned_from_ns) / 2
    }

    /// Returns the expected value at `time_ns`; never behind the last one.
    pub(crate) fn expected(&self, time_ns: i64) -> u32 {
        if !self.is_running {
            return self.last;
        }
        let since = time_ns.saturating_sub(self.turned_ns());
        // Most packets come within a tick, and division is slow.
        let ticks = if since < self.tick_ns { 0 } else { since / self.tick_ns };
        // RFC 7323, section 5.4: the clock counts ticks, modulo 2^32.
        self.last.wrapping_add(ticks as u32)
    }

    /// Returns the time from which on a value `ticks` behind the expected one is not behind the
    /// last one, in nanoseconds. The clock must run.
    pub(crate) fn catches_up_ns(&self, ticks: i64) -> i64 {
        self.turned_ns().saturating_add(self.tick_ns.saturating_mul(ticks))
    }

    /// Returns the time in nanoseconds from `time_ns` on in which no value of the clock seems to
    /// lie behind an earlier one; `u64::MAX` for a clock that does not run.
    pub(crate) fn room_ns(&self, time_ns: i64) -> u64 {
        if !self.is_running {
            return u64::MAX;
        }
        // RFC 7323, section 5.2: of two values modulo 2^32, the one less than 2^31 ahead is later.
        // Half of that, from the last value on, leaves room for every delta.
        let unnoted = self.last.wrapping_sub(self.noted);
        let ticks = MAX_UNNOTED_TICKS.saturating_sub(unnoted).min(1 << 30);
        let full = self.turned_from_ns.saturating_add(self.tick_ns.saturating_mul(ticks.into()));
        full.saturating_sub(time_ns).max(1) as u64
    }

    /// Updates the clock with the value of a packet, which narrows down the time of its ticks.
    /// `is_noted`: passive observers note the value.
    pub(crate) fn update(&mut self, value: u32, time_ns: i64, is_noted: bool) {
        let ahead = i64::from(value.wrapping_sub(self.last) as i32);
        let shift = ahead.saturating_mul(self.tick_ns);
        // The clock turned to `value` less than a tick ago, and `ahead` ticks after it turned to
        // the last value. Where the two intervals do not meet, the clock has another tick or was
        // set: the newer one counts.
        let (from, to) = (time_ns.saturating_sub(self.tick_ns).saturating_add(1), time_ns);
        let old_from = self.turned_from_ns.saturating_add(shift);
        let old_to = self.turned_to_ns.saturating_add(shift);
        let (both_from, both_to) = (from.max(old_from), to.min(old_to));
        let agrees = self.is_running && both_from <= both_to;
        (self.turned_from_ns, self.turned_to_ns) =
            if agrees { (both_from, both_to) } else { (from, to) };
        if is_noted || !self.is_running {
            self.noted = value;
        }
        self.is_running = true;
        self.is_bound = true;
        self.last = value;
    }
}
