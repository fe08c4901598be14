//! Units of time that gaps are counted in.

use super::vocab;

/// Unit in which the times of a flow are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeUnit {
    /// A nanosecond: 10^-9 seconds.
    #[default]
    Nanosecond,
    /// A microsecond: 10^-6 seconds.
    Microsecond,
    /// A millisecond: 10^-3 seconds.
    Millisecond,
    /// A second, the unit of the SI.
    Second,
}

impl TimeUnit {
    /// Every unit, in the order of [`vocab::UNITS_NS`].
    pub const ALL: [TimeUnit; vocab::UNITS_NS.len()] =
        [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];

    /// Returns the length of the unit in nanoseconds.
    #[inline]
    #[must_use]
    pub const fn ns(self) -> i64 {
        vocab::UNITS_NS[self as usize]
    }
}
