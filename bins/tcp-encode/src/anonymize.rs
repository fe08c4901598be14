//! Prefix-preserving anonymization of addresses, Crypto-PAn (`--anonymize`).
//!
//! J. Fan, J. Xu, M. H. Ammar, S. B. Moon: "Prefix-preserving IP address anonymization:
//! measurement-based security evaluation and a new cryptography-based scheme", Computer Networks 46
//! (2004). IPv4 is anonymized as in the authors' own code, IPv6 in the same way over 128 bits, as
//! later implementations do it.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use anyhow::{Context, bail};
use tcpwire::{TcpOption, option_kind, options};

/// Octets of a key: 16 for AES-128, then 16 from which the padding is derived.
const KEY_LEN: usize = 32;
/// Hint in error messages about keys.
const KEY_HINT: &str = "make one with: head -c 32 /dev/urandom > FILE";

/// Permutation of all addresses of an IP version. The images of two addresses share exactly as many
/// leading bits as the addresses do.
#[derive(Clone)]
pub(crate) struct CryptoPan {
    cipher: Aes128,
    pad: u128,
}

impl std::fmt::Debug for CryptoPan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CryptoPan")
    }
}

impl CryptoPan {
    /// Creates the permutation of a key.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> CryptoPan {
        let (aes, pad) = key.split_at(KEY_LEN / 2);
        let cipher = Aes128::new(aes.into());
        let mut block = pad.to_vec();
        cipher.encrypt_block(block.as_mut_slice().into());
        let pad = block.iter().fold(0, |pad, octet| pad << 8 | u128::from(*octet));
        CryptoPan { cipher, pad }
    }

    /// Reads the key from a file: 32 octets, or 64 hexadecimal digits on a line.
    ///
    /// # Errors
    /// If the file cannot be read or does not hold a key.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<CryptoPan> {
        let shown = path.display();
        let file = File::open(path)
            .with_context(|| format!("{shown}: no key for --anonymize; {KEY_HINT}"))?;
        warn_if_shared(&file, path);
        let mut text = Vec::new();
        file.take(1024).read_to_end(&mut text).with_context(|| shown.to_string())?;
        let Some(key) = key(&text) else {
            bail!(
                "{shown}: expected 32 random octets or 64 hexadecimal digits as a key; {KEY_HINT}"
            );
        };
        Ok(CryptoPan::new(&key))
    }

    /// Returns the image of an address.
    pub(crate) fn anonymize(&self, addr: IpAddr) -> IpAddr {
        match addr {
            IpAddr::V4(v4) => {
                let bits = self.permute(u128::from(u32::from(v4)) << 96, 32);
                Ipv4Addr::from((bits >> 96) as u32).into()
            }
            IpAddr::V6(v6) => Ipv6Addr::from(self.permute(u128::from(v6), 128)).into(),
        }
    }

    /// Anonymizes the first `n` bits. Each is flipped or not, by a pseudo-random function of the
    /// bits before it: the first bit of AES over these bits and the rest of the padding.
    fn permute(&self, addr: u128, n: u32) -> u128 {
        let mut flipped = 0;
        for at in 0..n {
            let before = !u128::MAX.checked_shr(at).unwrap_or(0);
            let mut block = (addr & before | self.pad & !before).to_be_bytes();
            self.cipher.encrypt_block((&mut block).into());
            flipped |= u128::from(block[0] >> 7) << (127 - at);
        }
        addr ^ flipped
    }
}

/// Parses a key; returns `None` if the octets are not one.
fn key(text: &[u8]) -> Option<[u8; KEY_LEN]> {
    let key: [u8; KEY_LEN] = match text.try_into() {
        Ok(key) => key,
        Err(_) => from_hex(text.trim_ascii_end())?,
    };
    // 32 random octets have fewer than 12 different values with a probability far below 2^-64: such
    // a file is one of zeros, or of a word that is repeated.
    let mut different = key;
    different.sort_unstable();
    (different.chunk_by(|a, b| a == b).count() >= 12).then_some(key)
}

/// Parses 64 hexadecimal digits.
fn from_hex(text: &[u8]) -> Option<[u8; KEY_LEN]> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let octets: Option<Vec<u8>> =
        text.chunks(2).map(|c| Some(digit(c[0])? << 4 | digit(*c.get(1)?)?)).collect();
    octets?.try_into().ok()
}

/// Warns if the file mode lets other users read the key.
#[cfg(unix)]
fn warn_if_shared(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o077 != 0);
    if open {
        tracing::warn!(
            "{}: others can read this key: chmod 600 keeps them from it",
            path.display()
        );
    }
}

/// Does nothing: file modes are Unix's.
#[cfg(not(unix))]
fn warn_if_shared(_file: &File, _path: &Path) {}

/// Reason why a flow is left out: its options may hold an address or identify a host.
pub(crate) const OPTIONS: &str = "options that may hold an address";

/// Returns whether all options have known content that is no address: MSS, window scale, SACK,
/// timestamps. Other options may hold an address (MPTCP's ADD_ADDR, a load balancer's client
/// address) or identify a host (a Fast Open cookie).
pub(crate) fn options_are_known(octets: &[u8]) -> bool {
    use option_kind::{MSS, SACK, SACK_PERMITTED, TIMESTAMPS, WINDOW_SCALE};
    options(octets).all(|option| match option {
        TcpOption::Nop => true,
        TcpOption::EndOfList { padding } => padding.iter().all(|octet| *octet == 0),
        TcpOption::Malformed(_) => false,
        TcpOption::Tlv { kind, data } => matches!(
            (kind, data.len()),
            (MSS, 2)
                | (WINDOW_SCALE, 1)
                | (SACK_PERMITTED, 0)
                | (SACK, 8 | 16 | 24 | 32)
                | (TIMESTAMPS, 8)
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Key of the sample that the authors published with their code.
    const SAMPLE: [u8; KEY_LEN] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131,
        121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
    ];

    fn check(addr: &str, expected: &str) {
        let found = CryptoPan::new(&SAMPLE).anonymize(addr.parse().unwrap());
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{addr}");
    }

    #[test]
    fn the_authors_sample() {
        for (addr, expected) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("152.163.225.39", "151.140.114.167"),
            ("166.107.77.190", "160.132.178.185"),
            ("192.102.249.13", "252.138.62.131"),
            ("192.41.57.43", "252.222.221.184"),
            ("24.5.0.80", "100.9.15.210"),
            ("4.3.88.225", "124.60.155.63"),
            ("64.39.15.238", "0.219.7.41"),
            ("10.185.25.118", "117.161.29.118"),
        ] {
            check(addr, expected);
        }
    }

    #[test]
    fn version_6_as_others_have_it() {
        check("::1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed");
        check("::2", "78ff:f001:9fc0:20df:8380:b1f1:704:ef");
        check("::ffff", "78ff:f001:9fc0:20df:8380:b1f1:704:f838");
        check("2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e");
        check("2001:db8::2", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c");
    }

    proptest! {
        #[test]
        fn prefixes_stay(key: [u8; KEY_LEN], a: u128, shared in 0u32..128, noise: u128) {
            let pan = CryptoPan::new(&key);
            let b = a ^ (1 << 127 | noise >> 1) >> shared;
            let as_v6 = |bits: u128| match pan.anonymize(Ipv6Addr::from(bits).into()) {
                IpAddr::V6(v6) => u128::from(v6),
                IpAddr::V4(_) => unreachable!(),
            };
            prop_assert_eq!((as_v6(a) ^ as_v6(b)).leading_zeros(), shared);
            let v4 = |bits: u128| IpAddr::from(Ipv4Addr::from((bits >> 96) as u32));
            let as_v4 = |bits: u128| match pan.anonymize(v4(bits)) {
                IpAddr::V4(v4) => u32::from(v4),
                IpAddr::V6(_) => unreachable!(),
            };
            prop_assert_eq!((as_v4(a) ^ as_v4(b)).leading_zeros(), shared.min(32));
        }

        #[test]
        fn another_key_is_another_mapping(a: [u8; KEY_LEN], b: [u8; KEY_LEN], addr: u128) {
            prop_assume!(a != b);
            let with = |key| CryptoPan::new(&key).anonymize(Ipv6Addr::from(addr).into());
            prop_assert_ne!(with(a), with(b));
        }

        #[test]
        fn options_of_any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            options_are_known(&octets);
        }
    }

    #[test]
    fn keys() {
        let hex: String = SAMPLE.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(key(&SAMPLE), Some(SAMPLE));
        assert_eq!(key(hex.as_bytes()), Some(SAMPLE));
        assert_eq!(key(format!("{}\n", hex.to_uppercase()).as_bytes()), Some(SAMPLE));
        for bad in [
            &b""[..],
            &SAMPLE[..31],
            &[0; 32],
            &[b'0'; 64],
            &hex.as_bytes()[..63],
            "é".repeat(32).as_bytes(),
        ] {
            assert_eq!(key(bad), None);
        }
    }

    #[test]
    fn options() {
        for known in [
            &[][..],
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
            &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
            &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            &[2, 4, 5, 180, 0, 0, 0, 0],
        ] {
            assert!(options_are_known(known), "{known:?}");
        }
        for other in [
            &[30, 8, 0x30, 1, 192, 0, 2, 1][..],
            &[254, 8, 0, 80, 192, 0, 2, 1],
            &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 192, 0, 2],
            &[8, 10, 0, 0, 0],
            &[2, 6, 192, 0, 2, 1],
            &[5, 2],
        ] {
            assert!(!options_are_known(other), "{other:?}");
        }
    }
}
