//! A window of octets over a stream.

use std::io::{self, Read};

/// Number of octets that are read from the stream at a time.
const CHUNK: usize = 64 * 1024;

/// A window that slides over `source` and is contiguous in memory. Octets before the window stay
/// readable until the next [`fill`](Self::fill) that reads.
pub(super) struct Buffer<R> {
    source: R,
    octets: Vec<u8>,
    /// Index of the window's first octet.
    start: usize,
    /// Index one past the window's last octet.
    end: usize,
    /// Offset of the window in the stream.
    consumed: u64,
    /// Whether the stream has ended.
    at_end: bool,
}

impl<R: Read> Buffer<R> {
    pub(super) fn new(source: R) -> Self {
        Buffer { source, octets: vec![0; CHUNK], start: 0, end: 0, consumed: 0, at_end: false }
    }

    /// Returns the offset of the window in the stream, the number of octets consumed.
    pub(super) fn offset(&self) -> u64 {
        self.consumed
    }

    /// Reads until at least `octets` are in the window or the stream ends. Returns the length of
    /// the window.
    #[inline]
    pub(super) fn fill(&mut self, octets: usize) -> io::Result<usize> {
        if self.end - self.start >= octets {
            return Ok(self.end - self.start);
        }
        self.refill(octets)
    }

    /// Returns the window: the octets that the last [`fill`](Self::fill) asked for, or more.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Moves the start of the window ahead by `octets`, at most the window's length.
    #[inline]
    pub(super) fn consume(&mut self, octets: usize) {
        self.start += octets;
        self.consumed += octets as u64;
    }

    /// Returns the `octets` whose end lies `before` octets in front of the window. They must have
    /// been consumed since the window was last filled.
    #[inline]
    pub(super) fn consumed_before(&self, before: usize, octets: usize) -> &[u8] {
        let end = self.start - before;
        &self.octets[end - octets..end]
    }

    #[cold]
    fn refill(&mut self, octets: usize) -> io::Result<usize> {
        if self.start > 0 {
            self.octets.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end < octets && !self.at_end {
            if self.end == self.octets.len() {
                // The buffer grows with the octets that arrive, not with a length field, which may
                // be hostile.
                self.octets.resize(self.octets.len() * 2, 0);
            }
            match self.source.read(&mut self.octets[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.end - self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_over_chunk_edges() {
        let source: Vec<u8> = (0..=255u8).cycle().take(3 * CHUNK + 5).collect();
        let mut buffer = Buffer::new(source.as_slice());
        let mut got = Vec::new();
        loop {
            let n = buffer.fill(1000).expect("a slice reads");
            if n == 0 {
                break;
            }
            let n = n.min(1000);
            buffer.consume(n);
            got.extend_from_slice(buffer.consumed_before(0, n));
        }
        assert_eq!(got, source);
        assert_eq!(buffer.offset(), source.len() as u64);
    }

    #[test]
    fn fill_gives_what_there_is_at_the_end() {
        let mut buffer = Buffer::new([1u8, 2, 3].as_slice());
        assert_eq!(buffer.fill(10).expect("a slice reads"), 3);
        assert_eq!(buffer.window(), [1, 2, 3]);
    }
}
