//! Sequence numbers (RFC 9293, section 3.4).

/// A 32-bit sequence number. It has no order: numbers wrap, so only a signed
/// [`distance`](SeqNum::distance) between two of them means something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// The signed distance from `earlier` to `self`, in octets, modulo 2^32: positive where `self`
    /// is later.
    #[must_use]
    pub fn distance(self, earlier: SeqNum) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// The number `octets` later.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "what is added is a count of octets, not a number of its kind"
    )]
    pub fn add(self, octets: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(octets))
    }
}
