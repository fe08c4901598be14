//! Sequence numbers (RFC 9293, section 3.4).

/// A 32-bit sequence number. It has no order: numbers wrap around, so only a signed
/// [`distance`](SeqNum::distance) between two of them means something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// Returns the signed distance from `earlier` to `self`, in octets, modulo 2^32: positive where
    /// `self` is later.
    #[inline]
    #[must_use]
    pub const fn distance(self, earlier: SeqNum) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Returns the number `octets` later.
    #[inline]
    #[must_use]
    pub const fn add(self, octets: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(octets))
    }
}

/// Conversion of the sequence numbers of one direction into 64-bit stream offsets, which do not
/// wrap around. Offset 0 is the base: the first number seen, unless [`bind`](Self::bind) sets
/// another.
///
/// ```
/// use tcpwire::{SeqNum, SeqUnwrapper};
///
/// let mut space = SeqUnwrapper::default();
/// assert_eq!(space.bind_and_unwrap(SeqNum(u32::MAX)), 0);
/// assert_eq!(space.unwrap(SeqNum(9)), 10);
/// space.advance(5_000_000_000);
/// assert_eq!(space.unwrap(space.wrap(4_999_999_999)), 4_999_999_999);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SeqUnwrapper {
    base: Option<SeqNum>,
    high: i64,
}

impl SeqUnwrapper {
    /// Returns the number at offset 0; `None` before it is known.
    #[inline]
    #[must_use]
    pub const fn base(&self) -> Option<SeqNum> {
        self.base
    }

    /// Sets the number at offset 0.
    #[inline]
    pub const fn bind(&mut self, base: SeqNum) {
        self.base = Some(base);
    }

    /// Returns the highest offset so far, the reference of [`unwrap`](Self::unwrap).
    #[inline]
    #[must_use]
    pub const fn high(&self) -> i64 {
        self.high
    }

    /// Raises the highest offset to `offset`, where that is higher.
    #[inline]
    pub fn advance(&mut self, offset: i64) {
        self.high = self.high.max(offset);
    }

    /// Returns the offset of `seq`: of all that are congruent modulo 2^32, the one nearest to the
    /// highest offset so far. An unknown base counts as 0.
    #[inline]
    #[must_use]
    pub fn unwrap(&self, seq: SeqNum) -> i64 {
        self.high + i64::from(seq.distance(self.wrap(self.high)))
    }

    /// Like [`unwrap`](Self::unwrap), with `seq` as the base where that is unknown.
    #[inline]
    pub fn bind_and_unwrap(&mut self, seq: SeqNum) -> i64 {
        self.base.get_or_insert(seq);
        self.unwrap(seq)
    }

    /// Returns the sequence number at an offset. An unknown base counts as 0.
    #[inline]
    #[must_use]
    pub fn wrap(&self, offset: i64) -> SeqNum {
        self.base.unwrap_or_default().add(offset as u32)
    }
}
