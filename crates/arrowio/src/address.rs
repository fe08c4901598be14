//! Text of IP addresses.

use std::io::Write;
use std::net::IpAddr;

/// Appends the text of an address, the same octets as its `Display` form.
///
/// Each row holds two addresses. `Ipv6Addr`'s `Display` goes through the formatting machinery for
/// each of its eight groups; writing digits directly takes less time per row. The bench `dataset`
/// measures rows with IPv4 addresses, `just bench-datasets` those of `testdata/`.
pub(crate) fn write_addr(addr: IpAddr, to: &mut Vec<u8>) {
    match addr {
        IpAddr::V6(addr) if addr.segments()[0] != 0 => write_groups(addr.segments(), to),
        // RFC 5952, section 5: IPv4-mapped addresses (::ffff:0:0/96) end in dotted decimal, which
        // is left to `Display` with everything else that begins with a zero group.
        IpAddr::V6(addr) => {
            // Writing to a vector cannot fail.
            let _ = write!(to, "{addr}");
        }
        IpAddr::V4(addr) => {
            for (i, octet) in addr.octets().into_iter().enumerate() {
                if i > 0 {
                    to.push(b'.');
                }
                if octet >= 100 {
                    to.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    to.push(b'0' + octet / 10 % 10);
                }
                to.push(b'0' + octet % 10);
            }
        }
    }
}

/// Appends the eight groups of an IPv6 address as RFC 5952 has them.
fn write_groups(groups: [u16; 8], to: &mut Vec<u8>) {
    // RFC 5952, section 4.2: `::` shortens the longest run of zero groups, the first of them where
    // several are as long, and never a single group.
    let (mut start, mut end, mut run, mut i) = (8, 8, 0, 0);
    while i < 8 {
        run = if groups[i] == 0 { run + 1 } else { 0 };
        i += 1;
        if run > 1 && run > end - start {
            (start, end) = (i - run, i);
        }
    }
    i = 0;
    while i < 8 {
        if i == start {
            to.extend_from_slice(b"::");
            i = end;
            continue;
        }
        if i > 0 && i != end {
            to.push(b':');
        }
        let group = groups[i];
        i += 1;
        // RFC 5952, sections 4.1 and 4.3: no leading zeros, digits in lower case.
        for shift in [12, 8, 4, 0] {
            if shift == 0 || group >> shift != 0 {
                to.push(b"0123456789abcdef"[usize::from(group >> shift & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn check(addr: IpAddr) {
        let mut written = Vec::new();
        write_addr(addr, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), addr.to_string());
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_they_are_shown(
            v4 in any::<u32>(),
            v6 in any::<u128>(),
            zeros in any::<[bool; 8]>(),
        ) {
            check(Ipv4Addr::from_bits(v4).into());
            let mut groups = Ipv6Addr::from_bits(v6).segments();
            check(groups.into());
            let zeroed = groups.iter_mut().zip(zeros).filter(|(_, zero)| *zero);
            zeroed.for_each(|(group, _)| *group = 0);
            check(groups.into());
        }
    }
}
