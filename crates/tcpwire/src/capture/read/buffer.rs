//! A window of octets that slides over a stream.

use std::io::{self, Read};

/// Octets asked of the stream at a time.
const CHUNK: usize = 256 * 1024;

/// A sliding window over `source`: what is needed next is contiguous in memory.
pub(super) struct Buffer<R> {
    source: R,
    octets: Vec<u8>,
    start: usize,
    end: usize,
    consumed: u64,
    at_end: bool,
}

impl<R: Read> Buffer<R> {
    pub(super) fn new(source: R) -> Self {
        Buffer { source, octets: vec![0; CHUNK], start: 0, end: 0, consumed: 0, at_end: false }
    }

    /// Octets consumed so far: the offset of the window in the stream.
    pub(super) fn offset(&self) -> u64 {
        self.consumed
    }

    /// Reads until at least `octets` are in the window or the stream ends. Returns how many there
    /// are.
    #[inline]
    pub(super) fn fill(&mut self, octets: usize) -> io::Result<usize> {
        if self.end - self.start >= octets {
            return Ok(self.end - self.start);
        }
        self.refill(octets)
    }

    /// The window: what the last [`fill`](Self::fill) made sure of, and perhaps more.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Moves the window `octets` ahead, which must be within it.
    #[inline]
    pub(super) fn consume(&mut self, octets: usize) {
        self.start += octets;
        self.consumed += octets as u64;
    }

    /// The `octets` that end `before` the window: they were consumed since it was last filled.
    #[inline]
    pub(super) fn passed(&self, before: usize, octets: usize) -> &[u8] {
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
                // Grow with what really comes, not with what a length field promises.
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
            got.extend_from_slice(buffer.passed(0, n));
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
