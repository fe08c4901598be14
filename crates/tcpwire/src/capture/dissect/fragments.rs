//! Reassembly of IP datagrams, in bounded space.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Largest number of octets in fragments that wait; beyond it, the oldest datagram is discarded.
const MAX_WAITING_OCTETS: usize = 4 * 1024 * 1024;
/// Largest number of fragments of one datagram.
const MAX_FRAGMENTS: usize = 8192;
/// Largest end of a fragment, in octets: no offset reaches further.
const MAX_DATAGRAM: u32 = 65_535 + 8;

/// Datagram of a fragment: the fields that all its fragments share (RFC 791, section 3.2; RFC 8200,
/// section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct DatagramKey {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// Identification: 16 bits in IPv4, 32 bits in IPv6.
    pub(super) id: u32,
    pub(super) protocol: u8,
}

/// A fragment that was captured whole.
pub(super) struct Fragment<'a> {
    pub(super) key: DatagramKey,
    /// Offset of the fragment in the datagram, in octets.
    pub(super) offset: u32,
    /// Value of the more-fragments flag.
    pub(super) more: bool,
    pub(super) octets: &'a [u8],
}

/// Fragments of one datagram so far.
#[derive(Default)]
struct Datagram {
    /// Offset and octets of each fragment.
    fragments: Vec<(u32, Vec<u8>)>,
    /// Number of octets in all fragments, with those that overlap.
    octets: usize,
    /// Length of the payload, known once the last fragment is there.
    len: Option<u32>,
}

impl Datagram {
    fn add(&mut self, fragment: &Fragment<'_>) {
        // RFC 791, section 3.2: the fragment without the more-fragments flag is the last one, and
        // its end is that of the datagram.
        let end = fragment.offset + fragment.octets.len() as u32;
        if !fragment.more && self.len.is_none() {
            self.len = Some(end);
        }
        self.octets += fragment.octets.len();
        self.fragments.push((fragment.offset, fragment.octets.to_vec()));
    }

    /// Returns the payload if no octet is missing. Where fragments overlap, the one with the lower
    /// offset counts, and of two with the same offset the earlier one.
    fn payload(&mut self) -> Option<Vec<u8>> {
        let len = self.len? as usize;
        if self.octets < len {
            return None;
        }
        self.fragments.sort_by_key(|(offset, _)| *offset);
        let mut octets = Vec::with_capacity(len);
        for (offset, fragment) in &self.fragments {
            let repeated = octets.len().checked_sub(*offset as usize)?;
            octets.extend_from_slice(fragment.get(repeated..).unwrap_or_default());
        }
        octets.truncate(len);
        (octets.len() == len).then_some(octets)
    }
}

/// Fragments that wait for the rest of their datagram.
#[derive(Default)]
pub(super) struct FragmentTable {
    waiting: HashMap<DatagramKey, Datagram>,
    /// Keys in order of first fragments.
    oldest: VecDeque<DatagramKey>,
    /// Number of octets in all fragments.
    octets: usize,
    /// Fragments that were discarded, by protocol.
    discarded: BTreeMap<u8, u64>,
}

impl FragmentTable {
    /// Returns the number of fragments without the others: those that wait and those that were
    /// discarded, by protocol.
    pub(super) fn lost(&self) -> BTreeMap<u8, u64> {
        let mut lost = self.discarded.clone();
        for (key, datagram) in &self.waiting {
            *lost.entry(key.protocol).or_default() += datagram.fragments.len() as u64;
        }
        lost
    }

    /// Counts fragments of a protocol that wait no longer.
    fn discard(&mut self, protocol: u8, fragments: usize) {
        *self.discarded.entry(protocol).or_default() += fragments as u64;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(|d| d.fragments.len()).sum()
    }

    /// Adds a fragment. Returns the payload of the datagram if the fragment completes it.
    pub(super) fn insert(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        if fragment.offset + fragment.octets.len() as u32 > MAX_DATAGRAM {
            self.discard(fragment.key.protocol, 1);
            return None;
        }
        let datagram = self.waiting.entry(fragment.key).or_insert_with(|| {
            self.oldest.push_back(fragment.key);
            Datagram::default()
        });
        if datagram.fragments.len() == MAX_FRAGMENTS {
            self.discard(fragment.key.protocol, 1);
            return None;
        }
        datagram.add(fragment);
        self.octets += fragment.octets.len();
        let payload = datagram.payload();
        if payload.is_some() {
            self.remove(&fragment.key);
        }
        while self.octets > MAX_WAITING_OCTETS {
            let Some(key) = self.oldest.pop_front() else { break };
            if let Some(datagram) = self.free(&key) {
                self.discard(key.protocol, datagram.fragments.len());
            }
        }
        payload
    }

    fn remove(&mut self, key: &DatagramKey) {
        self.free(key);
        self.oldest.retain(|k| k != key);
    }

    fn free(&mut self, key: &DatagramKey) -> Option<Datagram> {
        let datagram = self.waiting.remove(key)?;
        self.octets -= datagram.octets;
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u32) -> DatagramKey {
        DatagramKey { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), id, protocol: 6 }
    }

    proptest! {
        #[test]
        fn whole_in_any_order(
            cuts in prop::collection::btree_set(1u32..100, 0..8),
            order in any::<u64>(),
        ) {
            let octets: Vec<u8> = (0..800).map(|n| (n % 251) as u8).collect();
            let inner = cuts.iter().map(|c| c * 8);
            let edges: Vec<u32> = [0].into_iter().chain(inner).chain([800]).collect();
            let mut fragments: Vec<(u32, u32)> = edges.windows(2).map(|w| (w[0], w[1])).collect();
            let mut state = order;
            for i in (1..fragments.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                fragments.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut table = FragmentTable::default();
            for (i, &(from, to)) in fragments.iter().enumerate() {
                let part = &octets[from as usize..to as usize];
                let more = to != 800;
                let fragment = Fragment { key: key(1), offset: from, more, octets: part };
                let payload = table.insert(&fragment);
                if i + 1 == fragments.len() {
                    prop_assert_eq!(payload.as_deref(), Some(octets.as_slice()));
                } else {
                    prop_assert_eq!(payload, None);
                }
            }
            prop_assert_eq!(table.len(), 0);
            prop_assert_eq!(table.octets, 0);
        }
    }

    #[test]
    fn space_is_bounded() {
        let octets = vec![0u8; 60_000];
        let mut table = FragmentTable::default();
        for id in 0..1000 {
            assert_eq!(
                table.insert(&Fragment { key: key(id), offset: 0, more: true, octets: &octets }),
                None
            );
        }
        assert!(table.octets <= MAX_WAITING_OCTETS);
        assert!(table.waiting.len() <= MAX_WAITING_OCTETS / 60_000);
    }
}
