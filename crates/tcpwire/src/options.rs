//! TCP options (RFC 9293, section 3.1): octets as a sequence of options.

/// Longest option field of a TCP header, in octets: the data offset counts at most fifteen 32-bit
/// words, of which the fixed header takes five.
pub const MAX_OPTION_OCTETS: usize = 40;

/// Numbers of TCP options as IANA assigns them, and those that are in use without an assignment.
pub mod option_kind {
    /// End of option list: one octet (RFC 9293, section 3.1).
    pub const END_OF_LIST: u8 = 0;
    /// No-operation, the padding between options: one octet (RFC 9293, section 3.1).
    pub const NOP: u8 = 1;
    /// Maximum segment size: two octets of data (RFC 9293, section 3.7.1).
    pub const MSS: u8 = 2;
    /// Window scale: one octet of data, the shift count (RFC 7323, section 2.2).
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK-permitted: no data (RFC 2018, section 2).
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK: one to four blocks of two 32-bit edges (RFC 2018, section 3).
    pub const SACK: u8 = 5;
    /// Timestamps: TSval and TSecr, 32 bits each (RFC 7323, section 3.2).
    pub const TIMESTAMPS: u8 = 8;
    /// Partial order connection permitted (RFC 1693, obsolete): the lowest kind above those of the
    /// options in common use.
    pub const PARTIAL_ORDER_PERMITTED: u8 = 9;
    /// MD5 signature (RFC 2385).
    pub const MD5_SIGNATURE: u8 = 19;
    /// SCPS capabilities (CCSDS 714.0).
    pub const SCPS_CAPABILITIES: u8 = 20;
    /// SCPS selective negative acknowledgment (CCSDS 714.0).
    pub const SCPS_SNACK: u8 = 21;
    /// SCPS record boundary (CCSDS 714.0).
    pub const SCPS_RECORD_BOUNDARY: u8 = 22;
    /// SCPS corruption experienced (CCSDS 714.0).
    pub const SCPS_CORRUPTION: u8 = 23;
    /// Quick-Start response (RFC 4782).
    pub const QUICK_START: u8 = 27;
    /// User time-out (RFC 5482).
    pub const USER_TIMEOUT: u8 = 28;
    /// TCP authentication option (RFC 5925).
    pub const AUTHENTICATION: u8 = 29;
    /// Multipath TCP (RFC 8684).
    pub const MULTIPATH: u8 = 30;
    /// Fast Open cookie (RFC 7413, section 2).
    pub const FAST_OPEN: u8 = 34;
    /// Riverbed's probe, not assigned by IANA.
    pub const RIVERBED_PROBE: u8 = 76;
    /// Riverbed's transparency option, not assigned by IANA.
    pub const RIVERBED_TRANSPARENCY: u8 = 78;
    /// Counters of Accurate ECN, ECT(0) first (RFC 9768, section 3.2.3).
    pub const ACCURATE_ECN_0: u8 = 172;
    /// Counters of Accurate ECN, ECT(1) first (RFC 9768, section 3.2.3).
    pub const ACCURATE_ECN_1: u8 = 174;
    /// First of the two kinds for experiments (RFC 6994).
    pub const EXPERIMENT_1: u8 = 253;
    /// Second of the two kinds for experiments (RFC 6994).
    pub const EXPERIMENT_2: u8 = 254;
}

/// One item of an option field. The items of [`options`] hold every octet of the field, so that it
/// can be written again bit for bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpOption<'a> {
    /// End of option list, the last item.
    EndOfList {
        /// Octets after the end, up to the header's: zeros from a conforming sender.
        padding: &'a [u8],
    },
    /// No-operation, a single octet of padding.
    Nop,
    /// Option of kind, length and data. The length is at least two and within the field; whether
    /// it is the one that the kind prescribes is for the reader to check.
    Tlv {
        /// Option kind, neither 0 nor 1; see [`option_kind`].
        kind: u8,
        /// Octets after kind and length.
        data: &'a [u8],
    },
    /// Octets whose length octet is absent, less than two or beyond the field: the last item.
    Malformed(&'a [u8]),
}

impl<'a> TcpOption<'a> {
    /// Returns the option kind; `None` if the item is malformed.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> Option<u8> {
        match self {
            TcpOption::EndOfList { .. } => Some(option_kind::END_OF_LIST),
            TcpOption::Nop => Some(option_kind::NOP),
            TcpOption::Tlv { kind, .. } => Some(kind),
            TcpOption::Malformed(_) => None,
        }
    }

    /// Returns the octets after kind and length; none for options of one octet and malformed items.
    #[inline]
    #[must_use]
    pub const fn data(self) -> &'a [u8] {
        match self {
            TcpOption::Tlv { data, .. } => data,
            TcpOption::EndOfList { .. } | TcpOption::Nop | TcpOption::Malformed(_) => &[],
        }
    }
}

/// Returns the options in the option field of a TCP header, in order. A field that does not parse
/// to its end gives [`TcpOption::Malformed`] as its last item.
///
/// ```
/// use tcpwire::{TcpOption, option_kind, options};
///
/// let mut syn = options(&[2, 4, 5, 180, 1, 3, 3, 7]);
/// assert_eq!(syn.next(), Some(TcpOption::Tlv { kind: option_kind::MSS, data: &[5, 180] }));
/// assert_eq!(syn.next(), Some(TcpOption::Nop));
/// assert_eq!(syn.next(), Some(TcpOption::Tlv { kind: option_kind::WINDOW_SCALE, data: &[7] }));
/// assert_eq!(syn.next(), None);
/// ```
#[inline]
#[must_use]
pub const fn options(octets: &[u8]) -> Options<'_> {
    Options { rest: octets }
}

/// Iterator over the options of a header; see [`options`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<TcpOption<'a>> {
        let (&kind, after_kind) = self.rest.split_first()?;
        // RFC 9293, section 3.1: kinds 0 and 1 are single octets, and the list ends at kind 0; all
        // others have a length octet, which counts kind and length too.
        match kind {
            option_kind::END_OF_LIST => {
                self.rest = &[];
                return Some(TcpOption::EndOfList { padding: after_kind });
            }
            option_kind::NOP => {
                self.rest = after_kind;
                return Some(TcpOption::Nop);
            }
            _ => {}
        }
        let len = after_kind.first().map_or(0, |len| usize::from(*len));
        let Some((option, later)) = self.rest.split_at_checked(len).filter(|_| len >= 2) else {
            return Some(TcpOption::Malformed(std::mem::take(&mut self.rest)));
        };
        self.rest = later;
        Some(TcpOption::Tlv { kind, data: &option[2..] })
    }
}

impl std::iter::FusedIterator for Options<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes the items of an option field as octets.
    fn written(items: &[TcpOption<'_>]) -> Vec<u8> {
        let mut octets = Vec::new();
        for item in items {
            match *item {
                TcpOption::EndOfList { padding } => octets.extend([&[0], padding].concat()),
                TcpOption::Nop => octets.push(1),
                TcpOption::Tlv { kind, data } => {
                    octets.extend([&[kind, data.len() as u8 + 2], data].concat());
                }
                TcpOption::Malformed(rest) => octets.extend(rest),
            }
        }
        octets
    }

    proptest! {
        #[test]
        fn no_octet_is_lost(
            octets in prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..45),
        ) {
            let items: Vec<TcpOption<'_>> = options(&octets).collect();
            prop_assert_eq!(&written(&items), &octets);
            let last = items.len().saturating_sub(1);
            for item in &items[..last] {
                prop_assert!(matches!(item, TcpOption::Nop | TcpOption::Tlv { .. }), "{:?}", item);
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_malformed() {
        for octets in [&[8][..], &[8, 0], &[8, 1, 0], &[8, 10, 0, 0]] {
            let mut items = options(octets);
            assert_eq!(items.next(), Some(TcpOption::Malformed(octets)));
            assert_eq!(items.next(), None);
        }
    }

    #[test]
    fn nothing_is_read_after_the_end_of_the_list() {
        let items: Vec<_> = options(&[1, 0, 2, 4, 5, 180]).collect();
        assert_eq!(items, [TcpOption::Nop, TcpOption::EndOfList { padding: &[2, 4, 5, 180] }]);
    }
}
