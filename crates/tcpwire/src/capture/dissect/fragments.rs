//! IP fragments into datagrams, in bounded space.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Octets of fragments that wait at most, before the oldest datagram is given up.
const MAX_WAITING_OCTETS: usize = 4 * 1024 * 1024;
/// Fragments of one datagram at most.
const MAX_PIECES: usize = 8192;
/// The longest IP payload: fragment offsets reach no further.
const MAX_DATAGRAM: u32 = 65_535 + 8;

/// Which datagram a fragment is of (RFC 791, section 3.2; RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PieceKey {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    pub(super) protocol: u8,
}

/// One fragment, captured whole.
pub(super) struct Piece<'a> {
    pub(super) key: PieceKey,
    pub(super) offset: u32,
    pub(super) more: bool,
    pub(super) octets: &'a [u8],
}

#[derive(Default)]
struct Datagram {
    pieces: Vec<(u32, Vec<u8>)>,
    octets: usize,
    /// Known once the last fragment is there.
    len: Option<u32>,
}

impl Datagram {
    fn add(&mut self, piece: &Piece<'_>) {
        let end = piece.offset + piece.octets.len() as u32;
        if !piece.more && self.len.is_none() {
            self.len = Some(end);
        }
        self.octets += piece.octets.len();
        self.pieces.push((piece.offset, piece.octets.to_vec()));
    }

    /// The whole datagram, where nothing is missing. Of octets that came twice the first stand.
    fn whole(&mut self) -> Option<Vec<u8>> {
        let len = self.len? as usize;
        if self.octets < len {
            return None;
        }
        self.pieces.sort_by_key(|(offset, _)| *offset);
        let mut octets = Vec::with_capacity(len);
        for (offset, piece) in &self.pieces {
            let repeated = octets.len().checked_sub(*offset as usize)?;
            octets.extend_from_slice(piece.get(repeated..).unwrap_or_default());
        }
        octets.truncate(len);
        (octets.len() == len).then_some(octets)
    }
}

/// Fragments that wait for others.
#[derive(Default)]
pub(super) struct Fragments {
    waiting: HashMap<PieceKey, Datagram>,
    oldest: VecDeque<PieceKey>,
    octets: usize,
}

impl Fragments {
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(|d| d.pieces.len()).sum()
    }

    /// Takes a fragment; gives the payload of the datagram where it is the one that was missing.
    pub(super) fn add(&mut self, piece: &Piece<'_>) -> Option<Vec<u8>> {
        if piece.offset + piece.octets.len() as u32 > MAX_DATAGRAM {
            return None;
        }
        let datagram = self.waiting.entry(piece.key).or_insert_with(|| {
            self.oldest.push_back(piece.key);
            Datagram::default()
        });
        if datagram.pieces.len() == MAX_PIECES {
            return None;
        }
        datagram.add(piece);
        self.octets += piece.octets.len();
        let whole = datagram.whole();
        if whole.is_some() {
            self.forget(&piece.key);
        }
        while self.octets > MAX_WAITING_OCTETS {
            let Some(key) = self.oldest.pop_front() else { break };
            self.drop_datagram(&key);
        }
        whole
    }

    fn forget(&mut self, key: &PieceKey) {
        self.drop_datagram(key);
        self.oldest.retain(|k| k != key);
    }

    fn drop_datagram(&mut self, key: &PieceKey) {
        if let Some(datagram) = self.waiting.remove(key) {
            self.octets -= datagram.octets;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u32) -> PieceKey {
        PieceKey { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), id, protocol: 6 }
    }

    proptest! {
        #[test]
        fn whole_in_any_order(cuts in prop::collection::btree_set(1u32..100, 0..8), order in any::<u64>()) {
            let octets: Vec<u8> = (0..800).map(|n| (n % 251) as u8).collect();
            let edges: Vec<u32> = [0].into_iter().chain(cuts.iter().map(|c| c * 8)).chain([800]).collect();
            let mut pieces: Vec<(u32, u32)> = edges.windows(2).map(|w| (w[0], w[1])).collect();
            let mut state = order;
            for i in (1..pieces.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut fragments = Fragments::default();
            for (i, &(from, to)) in pieces.iter().enumerate() {
                let piece = Piece { key: key(1), offset: from, more: to != 800, octets: &octets[from as usize..to as usize] };
                let whole = fragments.add(&piece);
                if i + 1 == pieces.len() {
                    prop_assert_eq!(whole.as_deref(), Some(octets.as_slice()));
                } else {
                    prop_assert_eq!(whole, None);
                }
            }
            prop_assert_eq!(fragments.len(), 0);
            prop_assert_eq!(fragments.octets, 0);
        }
    }

    #[test]
    fn space_is_bounded() {
        let octets = vec![0u8; 60_000];
        let mut fragments = Fragments::default();
        for id in 0..1000 {
            assert_eq!(
                fragments.add(&Piece { key: key(id), offset: 0, more: true, octets: &octets }),
                None
            );
        }
        assert!(fragments.octets <= MAX_WAITING_OCTETS);
        assert!(fragments.waiting.len() <= MAX_WAITING_OCTETS / 60_000);
    }
}
