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

/// A key's conversation, by the place of its mark. Hashes are keyed anew in each table, so that no
/// capture can be made to collide; nothing that comes out depends on them.
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

    /// Forgets the key where `id` is its conversation.
    fn forget(&mut self, key: K, id: u32) {
        if self.last.is_some_and(|(_, last)| last == id) {
            self.last = None;
        }
        if self.ids.get(&key) == Some(&id) {
            self.ids.remove(&key);
        }
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

/// Tuples at places that do not change. Places are used again.
struct Tuples<K> {
    kept: Vec<K>,
    free: Vec<u32>,
}

impl<K> Default for Tuples<K> {
    fn default() -> Self {
        Tuples { kept: Vec::new(), free: Vec::new() }
    }
}

impl<K> Tuples<K> {
    fn keep(&mut self, key: K) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.kept[at as usize] = key;
                at
            }
            None => {
                self.kept.push(key);
                self.kept.len() as u32 - 1
            }
        }
    }
}

/// Where the ends of a conversation are kept: 12 octets with IPv4, 40 with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TupleRef(u32);

impl TupleRef {
    /// Set where the ends are of IPv6.
    const V6: u32 = 1 << 31;

    fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }

    fn at(self) -> usize {
        (self.0 & !Self::V6) as usize
    }

    /// What the ends take, in the table of keys too: that doubles when it is full to seven eighths,
    /// and keeps an octet for each place.
    pub(crate) fn octets(self) -> usize {
        let of = |ends: usize, place: usize| ends + size_of::<u32>() + (place + 1) * 16 / 7;
        if self.is_v6() {
            of(size_of::<Key6>(), size_of::<(Key6, u32)>())
        } else {
            of(size_of::<Key4>(), size_of::<(Key4, u32)>())
        }
    }
}

/// The latest conversation of each 4-tuple, and the ends of all conversations that are not
/// forgotten.
#[derive(Default)]
pub(crate) struct TupleMap {
    table4: Table<Key4>,
    table6: Table<Key6>,
    ends4: Tuples<Key4>,
    ends6: Tuples<Key6>,
}

impl TupleMap {
    /// The latest conversation of a segment's ends, and whether its sender is the lower one.
    #[inline]
    pub(crate) fn latest(&mut self, segment: &Segment<'_>) -> (Option<u32>, bool) {
        // A key is made and used in one place: handed on as one of two kinds it would be copied in
        // memory.
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

    /// Keeps a segment's ends. Their latest conversation is to be [`set`](Self::set).
    pub(crate) fn keep(&mut self, segment: &Segment<'_>) -> TupleRef {
        match &segment.ip {
            IpRepr::V4(ip) => TupleRef(self.ends4.keep(Key4::of(ip, &segment.tcp).0)),
            IpRepr::V6(ip) => {
                TupleRef(self.ends6.keep(Key6::of(ip, &segment.tcp).0) | TupleRef::V6)
            }
        }
    }

    /// Makes `id` the latest conversation of its ends.
    pub(crate) fn set(&mut self, ends: TupleRef, id: u32) {
        if ends.is_v6() {
            self.table6.set(self.ends6.kept[ends.at()], id);
        } else {
            self.table4.set(self.ends4.kept[ends.at()], id);
        }
    }

    /// Forgets the ends of conversation `id`: the next packet between them finds none, but where a
    /// later one is there.
    pub(crate) fn forget(&mut self, ends: TupleRef, id: u32) {
        if ends.is_v6() {
            self.table6.forget(self.ends6.kept[ends.at()], id);
            self.ends6.free.push(ends.at() as u32);
        } else {
            self.table4.forget(self.ends4.kept[ends.at()], id);
            self.ends4.free.push(ends.at() as u32);
        }
    }

    /// The ends, the lower one first.
    pub(crate) fn ends(&self, at: TupleRef) -> [Endpoint; 2] {
        let end = |addr: IpAddr, port| Endpoint { addr, port };
        if at.is_v6() {
            let Key6 { addrs, ports } = self.ends6.kept[at.at()];
            [0, 1].map(|n| end(whole(addrs[n]).into(), apart(ports)[n]))
        } else {
            let Key4 { addrs, ports } = self.ends4.kept[at.at()];
            [0, 1].map(|n| end(Ipv4Addr::from_bits(addrs[n]).into(), apart(ports)[n]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_take_is_known() {
        assert_eq!(TupleRef(0).octets(), 12 + 4 + 38);
        assert_eq!(TupleRef(TupleRef::V6).octets(), 40 + 4 + 112);
    }
}
