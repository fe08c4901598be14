//! Octets that were captured in whole or in part.

/// A header and what follows it: the octets captured, and their length on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    /// Octets that were captured, at most `wire_len`.
    pub(crate) data: &'a [u8],
    /// Length on the wire, in octets.
    pub(crate) wire_len: u32,
}

impl<'a> Span<'a> {
    /// Creates a span. A length on the wire below that captured is wrong, and raised.
    #[inline]
    pub(crate) fn new(data: &'a [u8], wire_len: u32) -> Self {
        Span { data, wire_len: wire_len.max(data.len() as u32) }
    }

    /// Returns the span after its first `octets`; `None` if they were not captured.
    #[inline]
    pub(crate) fn skip(self, octets: usize) -> Option<Span<'a>> {
        let data = self.data.get(octets..)?;
        Some(Span { data, wire_len: self.wire_len - octets as u32 })
    }

    /// Shortens the span to at most `octets` on the wire.
    #[inline]
    pub(crate) fn cap(&mut self, octets: u32) {
        if octets < self.wire_len {
            self.wire_len = octets;
        }
        if self.data.len() > self.wire_len as usize {
            self.data = &self.data[..self.wire_len as usize];
        }
    }

    /// Reports whether all octets were captured.
    pub(crate) fn is_whole(&self) -> bool {
        self.data.len() == self.wire_len as usize
    }

    /// Returns the big-endian 16-bit number at `at`; `None` if it was not captured.
    #[inline]
    pub(crate) fn u16_at(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.data.get(at..at + 2)?.try_into().ok()?))
    }

    /// Returns the octet at `at`; `None` if it was not captured.
    #[inline]
    pub(crate) fn u8_at(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }
}
