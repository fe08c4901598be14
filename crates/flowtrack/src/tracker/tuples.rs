//! The latest conversation of each 4-tuple: two addresses and two ports.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use tcpwire::{IpRepr, Ipv4Repr, Ipv6Repr, Segment, Tags, TcpView};

use super::slab::{PER_FREE_PLACE, Slab};
use crate::Endpoint;

/// An IPv4 4-tuple, the lower endpoint first, so that both directions have the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tuple4 {
    addrs: [u32; 2],
    ports: u32,
}

impl Hash for Tuple4 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.addrs[0]) << 32 | u64::from(self.addrs[1]));
        state.write_u32(self.ports);
    }
}

/// An IPv6 4-tuple, the lower endpoint first, so that both directions have the same key.
#[derive(Clone, Copy, Eq)]
struct Tuple6 {
    addrs: [[u64; 2]; 2],
    ports: u32,
}

impl PartialEq for Tuple6 {
    /// Compares as numbers: a comparison of octets in memory would have to wait until the octets
    /// are stored there.
    #[inline]
    fn eq(&self, other: &Tuple6) -> bool {
        let ([[a, b], [c, d]], [[e, f], [g, h]]) = (self.addrs, other.addrs);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | u64::from(self.ports ^ other.ports) == 0
    }
}

impl Hash for Tuple6 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addrs.iter().flatten().for_each(|word| state.write_u64(*word));
        state.write_u32(self.ports);
    }
}

/// Map from 4-tuples of one IP version to the key of their latest conversation.
///
/// The hash is seeded at random for each map, so that no capture can be made to collide; no output
/// depends on the seed.
struct LatestMap<K> {
    latest: HashMap<K, u32, RandomState>,
    /// Last entry looked up, since packets of a conversation often follow one another.
    cached: Option<(K, u32)>,
}

impl<K> Default for LatestMap<K> {
    fn default() -> Self {
        LatestMap { latest: HashMap::default(), cached: None }
    }
}

impl<K: Hash + Eq + Copy> LatestMap<K> {
    /// Returns the latest conversation of a 4-tuple.
    #[inline]
    fn get(&mut self, tuple: K) -> Option<u32> {
        if let Some((cached, key)) = &self.cached
            && *cached == tuple
        {
            return Some(*key);
        }
        let key = *self.latest.get(&tuple)?;
        self.cached = Some((tuple, key));
        Some(key)
    }

    /// Makes `key` the latest conversation of a 4-tuple.
    fn set(&mut self, tuple: K, key: u32) {
        self.latest.insert(tuple, key);
        self.cached = Some((tuple, key));
    }

    /// Removes a 4-tuple whose latest conversation is `key`.
    fn remove(&mut self, tuple: K, key: u32) {
        if self.cached.is_some_and(|(_, cached)| cached == key) {
            self.cached = None;
        }
        if self.latest.get(&tuple) == Some(&key) {
            self.latest.remove(&tuple);
        }
    }
}

/// Returns both ports as one word, the lower endpoint's in the upper half.
fn joined(low: u16, high: u16) -> u32 {
    u32::from(low) << 16 | u32::from(high)
}

/// Returns the ports that [`joined`] put into one word.
fn separated(ports: u32) -> [u16; 2] {
    [(ports >> 16) as u16, ports as u16]
}

impl Tuple4 {
    /// Returns the 4-tuple of a segment, and whether the sender is the lower endpoint.
    #[inline]
    fn new(ip: &Ipv4Repr, tcp: &TcpView<'_>) -> (Tuple4, bool) {
        // Address and port as one number, so that a single comparison orders the endpoints.
        let end = |addr: Ipv4Addr, port| u64::from(addr.to_bits()) << 16 | u64::from(port);
        let (src, dst) = (end(ip.src, tcp.src_port), end(ip.dst, tcp.dst_port));
        let (low, high) = if src <= dst { (src, dst) } else { (dst, src) };
        let addrs = [(low >> 16) as u32, (high >> 16) as u32];
        (Tuple4 { addrs, ports: joined(low as u16, high as u16) }, src <= dst)
    }
}

impl Tuple6 {
    /// Returns the 4-tuple of a segment, and whether the sender is the lower endpoint.
    #[inline]
    fn new(ip: &Ipv6Repr, tcp: &TcpView<'_>) -> (Tuple6, bool) {
        let (src, dst) = ((halves(ip.src), tcp.src_port), (halves(ip.dst), tcp.dst_port));
        let (low, high) = if src <= dst { (src, dst) } else { (dst, src) };
        (Tuple6 { addrs: [low.0, high.0], ports: joined(low.1, high.1) }, src <= dst)
    }
}

/// Returns an address as two words, the network's half first.
fn halves(addr: Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// Returns the address that [`halves`] split.
fn whole([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

/// Key of a 4-tuple in the [`TupleMap`], which stores 12 octets for IPv4 and 40 for IPv6, and 12
/// for tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TupleRef(u32);

impl TupleRef {
    /// Bit that marks a 4-tuple of IPv6.
    const V6: u32 = 1 << 31;
    /// Bit that marks a 4-tuple with tags that separate it.
    const TAGGED: u32 = 1 << 30;

    fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }

    fn is_tagged(self) -> bool {
        self.0 & Self::TAGGED != 0
    }

    /// Returns the key in the slab of its IP version.
    fn key(self) -> u32 {
        self.0 & !(Self::V6 | Self::TAGGED)
    }

    /// Returns the heap octets of the 4-tuple, here and in the map of latest conversations. The map
    /// doubles when it is seven eighths full, and stores a control octet for each bucket: on
    /// average 16/7 buckets for each entry.
    pub(crate) fn heap_octets(self) -> usize {
        let of = |tuple: usize, bucket: usize| tuple + PER_FREE_PLACE + (bucket + 1) * 16 / 7;
        match (self.is_v6(), self.is_tagged()) {
            (false, false) => of(size_of::<Tuple4>(), size_of::<(Tuple4, u32)>()),
            (true, false) => of(size_of::<Tuple6>(), size_of::<(Tuple6, u32)>()),
            (false, true) => of(size_of::<(Tuple4, Tags)>(), size_of::<((Tuple4, Tags), u32)>()),
            (true, true) => of(size_of::<(Tuple6, Tags)>(), size_of::<((Tuple6, Tags), u32)>()),
        }
    }
}

/// Latest conversation of each 4-tuple, and the 4-tuples of all conversations that are not
/// forgotten.
#[derive(Default)]
pub(crate) struct TupleMap {
    latest4: LatestMap<Tuple4>,
    latest6: LatestMap<Tuple6>,
    tuples4: Slab<Tuple4>,
    tuples6: Slab<Tuple6>,
    tagged: TaggedTuples,
}

/// Latest conversations and 4-tuples like those of [`TupleMap`], under tags that separate them.
#[derive(Default)]
struct TaggedTuples {
    latest4: LatestMap<(Tuple4, Tags)>,
    latest6: LatestMap<(Tuple6, Tags)>,
    tuples4: Slab<(Tuple4, Tags)>,
    tuples6: Slab<(Tuple6, Tags)>,
}

impl TupleMap {
    /// Returns the latest conversation on a segment's 4-tuple under `tags`, and whether the
    /// segment's sender is the lower endpoint.
    #[inline]
    pub(crate) fn latest(&mut self, segment: &Segment<'_>, tags: Tags) -> (Option<u32>, bool) {
        if tags != Tags::default() {
            return self.tagged.latest(segment, tags);
        }
        // A tuple is made and used in one arm: passed on as one of two kinds, the tuple would be
        // copied in memory.
        match &segment.ip {
            IpRepr::V4(ip) => {
                let (tuple, from_lower) = Tuple4::new(ip, &segment.tcp);
                (self.latest4.get(tuple), from_lower)
            }
            IpRepr::V6(ip) => {
                let (tuple, from_lower) = Tuple6::new(ip, &segment.tcp);
                (self.latest6.get(tuple), from_lower)
            }
        }
    }

    /// Stores a segment's 4-tuple under `tags`. The caller is to [`set`](Self::set) its latest
    /// conversation.
    pub(crate) fn insert(&mut self, segment: &Segment<'_>, tags: Tags) -> TupleRef {
        let is_tagged = tags != Tags::default();
        match &segment.ip {
            IpRepr::V4(ip) => {
                let tuple = Tuple4::new(ip, &segment.tcp).0;
                if is_tagged {
                    TupleRef(self.tagged.tuples4.insert((tuple, tags)) | TupleRef::TAGGED)
                } else {
                    TupleRef(self.tuples4.insert(tuple))
                }
            }
            IpRepr::V6(ip) => {
                let tuple = Tuple6::new(ip, &segment.tcp).0;
                let key = if is_tagged {
                    self.tagged.tuples6.insert((tuple, tags)) | TupleRef::TAGGED
                } else {
                    self.tuples6.insert(tuple)
                };
                TupleRef(key | TupleRef::V6)
            }
        }
    }

    /// Makes `key` the latest conversation of a 4-tuple.
    pub(crate) fn set(&mut self, tuple: TupleRef, key: u32) {
        let (at, tagged) = (tuple.key(), &mut self.tagged);
        match (tuple.is_v6(), tuple.is_tagged()) {
            (false, false) => self.latest4.set(self.tuples4[at], key),
            (true, false) => self.latest6.set(self.tuples6[at], key),
            (false, true) => tagged.latest4.set(tagged.tuples4[at], key),
            (true, true) => tagged.latest6.set(tagged.tuples6[at], key),
        }
    }

    /// Removes the 4-tuple of conversation `key`. The next packet on the 4-tuple finds no
    /// conversation, unless a later one is the latest by then.
    pub(crate) fn remove(&mut self, tuple: TupleRef, key: u32) {
        let (at, tagged) = (tuple.key(), &mut self.tagged);
        match (tuple.is_v6(), tuple.is_tagged()) {
            (false, false) => {
                self.latest4.remove(self.tuples4[at], key);
                self.tuples4.release(at);
            }
            (true, false) => {
                self.latest6.remove(self.tuples6[at], key);
                self.tuples6.release(at);
            }
            (false, true) => {
                tagged.latest4.remove(tagged.tuples4[at], key);
                tagged.tuples4.release(at);
            }
            (true, true) => {
                tagged.latest6.remove(tagged.tuples6[at], key);
                tagged.tuples6.release(at);
            }
        }
    }

    /// Returns both endpoints of a 4-tuple, the lower one first.
    pub(crate) fn endpoints(&self, tuple: TupleRef) -> [Endpoint; 2] {
        let end = |addr: IpAddr, port| Endpoint { addr, port };
        let at = tuple.key();
        if tuple.is_v6() {
            let Tuple6 { addrs, ports } =
                if tuple.is_tagged() { self.tagged.tuples6[at].0 } else { self.tuples6[at] };
            [0, 1].map(|n| end(whole(addrs[n]).into(), separated(ports)[n]))
        } else {
            let Tuple4 { addrs, ports } =
                if tuple.is_tagged() { self.tagged.tuples4[at].0 } else { self.tuples4[at] };
            [0, 1].map(|n| end(Ipv4Addr::from_bits(addrs[n]).into(), separated(ports)[n]))
        }
    }
}

impl TaggedTuples {
    /// Returns what [`TupleMap::latest`] does.
    #[cold]
    fn latest(&mut self, segment: &Segment<'_>, tags: Tags) -> (Option<u32>, bool) {
        match &segment.ip {
            IpRepr::V4(ip) => {
                let (tuple, from_lower) = Tuple4::new(ip, &segment.tcp);
                (self.latest4.get((tuple, tags)), from_lower)
            }
            IpRepr::V6(ip) => {
                let (tuple, from_lower) = Tuple6::new(ip, &segment.tcp);
                (self.latest6.get((tuple, tags)), from_lower)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_octets_of_a_tuple_are_known() {
        assert_eq!(TupleRef(0).heap_octets(), 12 + 4 + 38);
        assert_eq!(TupleRef(TupleRef::V6).heap_octets(), 40 + 4 + 112);
    }
}
