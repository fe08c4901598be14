//! Octets of which more may have been on the wire than were captured.

/// Captured octets, and how many there were on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    /// What was captured: never more than `wire_len`.
    pub(crate) data: &'a [u8],
    /// Octets on the wire.
    pub(crate) wire_len: u32,
}

impl<'a> Span<'a> {
    /// Where more was captured than the capture says there was, there was what was captured.
    #[inline]
    pub(crate) fn new(data: &'a [u8], wire_len: u32) -> Self {
        Span { data, wire_len: wire_len.max(data.len() as u32) }
    }

    /// Drops `octets` at the front; `None` where they were not captured.
    #[inline]
    pub(crate) fn skip(self, octets: usize) -> Option<Span<'a>> {
        let data = self.data.get(octets..)?;
        Some(Span { data, wire_len: self.wire_len - octets as u32 })
    }

    /// Shortens to `octets` on the wire, where it is longer.
    #[inline]
    pub(crate) fn cap(&mut self, octets: u32) {
        if octets < self.wire_len {
            self.wire_len = octets;
        }
        if self.data.len() > self.wire_len as usize {
            self.data = &self.data[..self.wire_len as usize];
        }
    }

    /// Whether all octets were captured.
    pub(crate) fn is_whole(&self) -> bool {
        self.data.len() == self.wire_len as usize
    }

    /// The 16-bit number at `at`; `None` where it was not captured.
    #[inline]
    pub(crate) fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.data.get(at..at + 2)?.try_into().ok()?))
    }

    /// The octet at `at`; `None` where it was not captured.
    #[inline]
    pub(crate) fn octet(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }
}
