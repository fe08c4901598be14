//! The Internet checksum (RFC 1071).

/// A running ones' complement sum of 16-bit words, kept wide: carries are folded at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds octets. An odd octet at the end counts as if a zero followed.
    ///
    /// ```
    /// use tcpwire::Checksum;
    ///
    /// // The example of RFC 1071, section 3.
    /// let sum = Checksum::default().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    /// assert_eq!(sum.finish(), !0xddf2);
    /// ```
    #[must_use]
    pub fn with(self, octets: &[u8]) -> Checksum {
        // RFC 1071, section 2: addition is associative, so 32 bits are added at a time and folded
        // at the end ("parallel summation").
        let (words, rest) = octets.as_chunks::<4>();
        let sum: u64 = words.iter().map(|w| u64::from(u32::from_be_bytes(*w))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Checksum(self.0 + sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds a 32-bit number, as two words.
    #[must_use]
    pub fn with_u32(self, number: u32) -> Checksum {
        Checksum(self.0 + u64::from(number))
    }

    /// Adds `len` octets of one value. An odd octet at the end counts as if a zero followed.
    #[must_use]
    pub fn with_repeated(self, octet: u8, len: u32) -> Checksum {
        let word = u64::from(u16::from_be_bytes([octet; 2]));
        let last = u64::from(len % 2) * u64::from(u16::from_be_bytes([octet, 0]));
        Checksum(self.0 + word * u64::from(len / 2) + last)
    }

    /// Returns the checksum, the complement of the sum.
    #[must_use]
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}
