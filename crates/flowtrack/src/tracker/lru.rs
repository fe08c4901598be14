//! Conversations in order of their last packets: two lists, least recently used first.

/// Lists that a conversation may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum List {
    /// Conversations that are open.
    Open,
    /// Conversations that were exported, and whose further packets are only counted.
    Exported,
}

/// Key in place of a neighbour that does not exist.
const NONE: u32 = u32::MAX;

/// Neighbours of a key in its list.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Next key towards the front, the one used less recently.
    before: u32,
    /// Next key towards the back, the one used more recently.
    after: u32,
}

/// Link without neighbours, also the ends of an empty list.
const EMPTY: Link = Link { before: NONE, after: NONE };

/// Doubly linked lists over the keys of conversations, each key in one list at most. Every
/// operation takes constant time.
#[derive(Debug)]
pub(crate) struct LruLists {
    links: Vec<Link>,
    /// Ends of each list: its first key in `after` and its last one in `before`, as if the list
    /// were a ring through this link.
    ends: [Link; 2],
}

/// Heap octets that the lists cost for each key.
pub(crate) const PER_LINK: usize = size_of::<Link>();

impl Default for LruLists {
    fn default() -> Self {
        LruLists { links: Vec::new(), ends: [EMPTY; 2] }
    }
}

impl LruLists {
    /// Returns the least recently used key of a list.
    pub(crate) fn first(&self, list: List) -> Option<u32> {
        let first = self.ends[list as usize].after;
        (first != NONE).then_some(first)
    }

    /// Appends a key that is in no list.
    pub(crate) fn push(&mut self, list: List, key: u32) {
        if self.links.len() <= key as usize {
            self.links.resize(key as usize + 1, EMPTY);
        }
        let last = std::mem::replace(&mut self.ends[list as usize].before, key);
        self.links[key as usize] = Link { before: last, after: NONE };
        *self.after(list, last) = key;
    }

    /// Removes a key from the list that holds it.
    pub(crate) fn remove(&mut self, list: List, key: u32) {
        let Link { before, after } = self.links[key as usize];
        *self.after(list, before) = after;
        *self.before(list, after) = before;
    }

    /// Moves a key to the back of the list that holds it.
    #[inline]
    pub(crate) fn touch(&mut self, list: List, key: u32) {
        // Packets of a conversation often follow one another: the key is at the back already.
        if self.ends[list as usize].before != key {
            self.remove(list, key);
            self.push(list, key);
        }
    }

    /// Returns the `after` of a key, or of the list's ends for [`NONE`].
    fn after(&mut self, list: List, key: u32) -> &mut u32 {
        let link =
            if key == NONE { &mut self.ends[list as usize] } else { &mut self.links[key as usize] };
        &mut link.after
    }

    /// Returns the `before` of a key, or of the list's ends for [`NONE`].
    fn before(&mut self, list: List, key: u32) -> &mut u32 {
        let link =
            if key == NONE { &mut self.ends[list as usize] } else { &mut self.links[key as usize] };
        &mut link.before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTS: [List; 2] = [List::Open, List::Exported];

    impl LruLists {
        fn drain(mut self, list: List) -> Vec<u32> {
            std::iter::from_fn(|| self.first(list).inspect(|key| self.remove(list, *key))).collect()
        }
    }

    proptest! {
        #[test]
        fn agrees_with_two_vectors(steps in prop::collection::vec((0u32..12, 0u8..3), 0..80)) {
            let mut lru = LruLists::default();
            let mut plain = [Vec::<u32>::new(), Vec::new()];
            for (at, what) in steps {
                let held = LISTS.into_iter().find(|list| plain[*list as usize].contains(&at));
                if let Some(list) = held {
                    plain[list as usize].retain(|other| *other != at);
                }
                match (held, what) {
                    (None, _) => lru.push(LISTS[usize::from(what == 0)], at),
                    (Some(list), 0) => {
                        lru.remove(list, at);
                        continue;
                    }
                    (Some(list), 1) => {
                        lru.remove(list, at);
                        lru.push(LISTS[1 - list as usize], at);
                    }
                    (Some(list), _) => lru.touch(list, at),
                }
                let list = match (held, what) {
                    (None, _) => usize::from(what == 0),
                    (Some(list), 1) => 1 - list as usize,
                    (Some(list), _) => list as usize,
                };
                plain[list].push(at);
            }
            for list in LISTS {
                prop_assert_eq!(lru.first(list), plain[list as usize].first().copied());
            }
            let [open, exported] = plain;
            let copy = LruLists { links: lru.links.clone(), ends: lru.ends };
            prop_assert_eq!(copy.drain(List::Open), open);
            prop_assert_eq!(lru.drain(List::Exported), exported);
        }
    }
}
