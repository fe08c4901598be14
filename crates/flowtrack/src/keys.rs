//! Which conversation is the latest on a 4-tuple.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use tcpwire::{IpRepr, Ipv4Repr, Ipv6Repr, Segment, TcpView};

use crate::Endpoint;

/// Both ends, the lower one first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key4 {
    addrs: [u32; 2],
    ports: u32,
}

impl Hash for Key4 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.addrs[0]) << 32 | u64::from(self.addrs[1]));
        state.write_u32(self.ports);
    }
}

/// Both ends, the lower one first.
#[derive(Clone, Copy, Eq)]
struct Key6 {
    addrs: [[u64; 2]; 2],
    ports: u32,
}

impl PartialEq for Key6 {
    /// As numbers: a comparison of octets in memory would have to wait until they are stored there.
    #[inline]
    fn eq(&self, other: &Key6) -> bool {
        let ([[a, b], [c, d]], [[e, f], [g, h]]) = (self.addrs, other.addrs);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | u64::from(self.ports ^ other.ports) == 0
    }
}

impl Hash for Key6 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addrs.iter().flatten().for_each(|word| state.write_u64(*word));
        state.write_u32(self.ports);
    }
}

/// A key's conversation. Hashes are keyed anew in each table, so that no capture can be made to collide; nothing that
/// comes out depends on them.
struct Table<K> {
    ids: HashMap<K, u32, RandomState>,
    last: Option<(K, u32)>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table { ids: HashMap::default(), last: None }
    }
}

impl<K: Hash + Eq + Copy> Table<K> {
    /// The key's conversation; packets often come in a row.
    #[inline]
    fn get(&mut self, key: K) -> Option<u32> {
        if let Some((last, id)) = &self.last
            && *last == key
        {
            return Some(*id);
        }
        let id = *self.ids.get(&key)?;
        self.last = Some((key, id));
        Some(id)
    }

    fn set(&mut self, key: K, id: u32) {
        self.ids.insert(key, id);
        self.last = Some((key, id));
    }
}

fn joined(low: u16, high: u16) -> u32 {
    u32::from(low) << 16 | u32::from(high)
}

fn apart(ports: u32) -> [u16; 2] {
    [(ports >> 16) as u16, ports as u16]
}

impl Key4 {
    /// The key, and whether the sender is the lower end.
    #[inline]
    fn of(ip: &Ipv4Repr, tcp: &TcpView<'_>) -> (Key4, bool) {
        let end = |addr: Ipv4Addr, port| u64::from(addr.to_bits()) << 16 | u64::from(port);
        let (src, dst) = (end(ip.src, tcp.src_port), end(ip.dst, tcp.dst_port));
        let (low, high) = if src <= dst { (src, dst) } else { (dst, src) };
        let addrs = [(low >> 16) as u32, (high >> 16) as u32];
        (Key4 { addrs, ports: joined(low as u16, high as u16) }, src <= dst)
    }
}

impl Key6 {
    /// The key, and whether the sender is the lower end.
    #[inline]
    fn of(ip: &Ipv6Repr, tcp: &TcpView<'_>) -> (Key6, bool) {
        let (src, dst) = ((halves(ip.src), tcp.src_port), (halves(ip.dst), tcp.dst_port));
        let (low, high) = if src <= dst { (src, dst) } else { (dst, src) };
        (Key6 { addrs: [low.0, high.0], ports: joined(low.1, high.1) }, src <= dst)
    }
}

fn halves(addr: Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn whole([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

/// Where the ends of a conversation are kept: 12 octets with IPv4, 40 with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndsRef {
    V4(u32),
    V6(u32),
}

/// The latest conversation of each 4-tuple, and the ends of all conversations.
#[derive(Default)]
pub(crate) struct Keys {
    table4: Table<Key4>,
    table6: Table<Key6>,
    ends4: Vec<Key4>,
    ends6: Vec<Key6>,
}

impl Keys {
    /// The latest conversation of a segment's ends, and whether its sender is the lower one.
    #[inline]
    pub(crate) fn latest(&mut self, segment: &Segment<'_>) -> (Option<u32>, bool) {
        // A key is made and used in one place: handed on as one of two kinds it would be copied in memory.
        match &segment.ip {
            IpRepr::V4(ip) => {
                let (key, from_lower) = Key4::of(ip, &segment.tcp);
                (self.table4.get(key), from_lower)
            }
            IpRepr::V6(ip) => {
                let (key, from_lower) = Key6::of(ip, &segment.tcp);
                (self.table6.get(key), from_lower)
            }
        }
    }

    /// Makes `id` the latest conversation of a segment's ends.
    pub(crate) fn begin(&mut self, segment: &Segment<'_>, id: u32) -> EndsRef {
        match &segment.ip {
            IpRepr::V4(ip) => {
                let (key, _) = Key4::of(ip, &segment.tcp);
                self.table4.set(key, id);
                self.ends4.push(key);
                EndsRef::V4(self.ends4.len() as u32 - 1)
            }
            IpRepr::V6(ip) => {
                let (key, _) = Key6::of(ip, &segment.tcp);
                self.table6.set(key, id);
                self.ends6.push(key);
                EndsRef::V6(self.ends6.len() as u32 - 1)
            }
        }
    }

    /// The ends, the lower one first.
    pub(crate) fn ends(&self, at: EndsRef) -> [Endpoint; 2] {
        let end = |addr: IpAddr, port| Endpoint { addr, port };
        match at {
            EndsRef::V4(at) => {
                let Key4 { addrs, ports } = self.ends4[at as usize];
                [0, 1].map(|n| end(Ipv4Addr::from_bits(addrs[n]).into(), apart(ports)[n]))
            }
            EndsRef::V6(at) => {
                let Key6 { addrs, ports } = self.ends6[at as usize];
                [0, 1].map(|n| end(whole(addrs[n]).into(), apart(ports)[n]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_with_ipv4_costs_28_octets_of_keys() {
        assert_eq!(size_of::<(Key4, u32)>() + size_of::<Key4>(), 28);
        assert_eq!(size_of::<EndsRef>(), 8);
    }
}
