//! Networks that the addresses of generated flows are drawn from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::Context;

/// Default networks of generated clients: private use (RFC 1918) and documentation (RFC 3849).
pub(crate) const CLIENT_NETS: &str = "192.168.0.0/16,2001:db8:c::/64";
/// Default networks of generated servers: benchmarking (RFC 2544) and documentation (RFC 3849).
pub(crate) const SERVER_NETS: &str = "198.18.0.0/24,2001:db8:5::/120";

/// IP network in CIDR notation: an address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Network {
    /// Any address of the network. Its host bits are ignored.
    pub(crate) addr: IpAddr,
    /// Length of the prefix in bits, at most 32 for IPv4 and 128 for IPv6.
    pub(crate) prefix: u8,
}

impl Network {
    /// Returns the number of bits of an address: 32 or 128.
    fn address_bits(self) -> u8 {
        if self.addr.is_ipv6() { 128 } else { 32 }
    }

    /// Returns the address whose host part is `random` modulo the number of hosts.
    ///
    /// A host part of all zeros (the network's own address) or all ones (broadcast) is never
    /// returned, unless the network has at most two addresses (RFC 3021 for /31).
    pub(crate) fn host(self, random: u128) -> IpAddr {
        let host_bits = u32::from(self.address_bits() - self.prefix);
        let mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let host = if host_bits < 2 { random & mask } else { 1 + random % (mask - 1) };
        match self.addr {
            IpAddr::V4(addr) => {
                IpAddr::V4(Ipv4Addr::from_bits((addr.to_bits() & !(mask as u32)) | host as u32))
            }
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits((addr.to_bits() & !mask) | host)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let refuse =
            || format!("expected a network such as 10.0.0.0/8 or 2001:db8::/32, found '{text}'");
        let (addr, prefix) =
            text.split_once('/').map_or((text, None), |(addr, prefix)| (addr, Some(prefix)));
        let addr: IpAddr = addr.trim().parse().map_err(|_| refuse())?;
        let mut network = Network { addr, prefix: 0 };
        // An address without a prefix is a network of that address alone.
        network.prefix = prefix
            .map_or(Ok(network.address_bits()), |p| p.trim().parse())
            .map_err(|_| refuse())?;
        if network.prefix > network.address_bits() { Err(refuse()) } else { Ok(network) }
    }
}

/// One network for each IP version.
pub(crate) struct NetworkPair {
    v4: Network,
    v6: Network,
}

impl NetworkPair {
    /// Creates the pair from the values of a flag; `defaults`, a list with commas, fills in the IP
    /// version that is not among them.
    ///
    /// # Errors
    /// If two networks have the same IP version.
    pub(crate) fn new(
        networks: &[Network],
        defaults: &str,
        flag: &str,
    ) -> anyhow::Result<NetworkPair> {
        let of_version = |v6: bool| {
            let mut given = networks.iter().copied().filter(|net| net.addr.is_ipv6() == v6);
            let first = given.next();
            anyhow::ensure!(
                given.next().is_none(),
                "{flag}: expected one network per IP version, found two"
            );
            let default = || {
                let mut all = defaults.split(',').filter_map(|net| net.parse().ok());
                all.find(|net: &Network| net.addr.is_ipv6() == v6)
            };
            first.or_else(default).with_context(|| format!("{flag}: no default network"))
        };
        Ok(NetworkPair { v4: of_version(false)?, v6: of_version(true)? })
    }

    /// Returns the network of an IP version, 4 or 6.
    pub(crate) fn of_version(&self, ip_version: u8) -> Network {
        if ip_version == 4 { self.v4 } else { self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lie_in_their_network() {
        let net: Network = "10.1.2.0/30".parse().unwrap();
        let hosts: Vec<_> = (0..4).map(|r| net.host(r).to_string()).collect();
        assert_eq!(hosts, ["10.1.2.1", "10.1.2.2", "10.1.2.1", "10.1.2.2"]);
        let one: Network = "192.0.2.7/32".parse().unwrap();
        assert_eq!(one.host(u128::MAX), one.addr);
        let v6: Network = "2001:db8::/64".parse().unwrap();
        assert_eq!(v6.host(4).to_string(), "2001:db8::5");
        let all: Network = "::/0".parse().unwrap();
        assert!(all.host(u128::MAX).is_ipv6());
    }

    #[test]
    fn wrong_networks_are_refused() {
        for text in ["10.0.0.0/33", "x/8", "10.0.0.0/-1", "2001:db8::/129", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
