//! Which conversation has been quiet for longest: two lists in order of last packets.

/// The lists that a conversation may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum List {
    /// Those that wait for more packets.
    Open,
    /// Those that were given out, and whose late packets are counted.
    Exported,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// The first and the last of a list, as the two ends of a chain.
const EMPTY: Link = Link { before: NONE, after: NONE };

/// Doubly linked lists over numbers from 0 on, each in one list at most: every step takes the same
/// time.
#[derive(Debug)]
pub(crate) struct LruLists {
    links: Vec<Link>,
    /// Of each list the first in `after`, the last in `before`: what a number without neighbours
    /// would have.
    ends: [Link; 2],
}

/// What a number takes in here.
pub(crate) const PER_LINK: usize = size_of::<Link>();

impl Default for LruLists {
    fn default() -> Self {
        LruLists { links: Vec::new(), ends: [EMPTY; 2] }
    }
}

impl LruLists {
    /// The one quiet for longest.
    pub(crate) fn first(&self, list: List) -> Option<u32> {
        let first = self.ends[list as usize].after;
        (first != NONE).then_some(first)
    }

    /// Puts a number that is in no list at the end of one.
    pub(crate) fn push(&mut self, list: List, at: u32) {
        if self.links.len() <= at as usize {
            self.links.resize(at as usize + 1, EMPTY);
        }
        let last = std::mem::replace(&mut self.ends[list as usize].before, at);
        self.links[at as usize] = Link { before: last, after: NONE };
        *self.after(list, last) = at;
    }

    /// Takes a number out of the list that it is in.
    pub(crate) fn remove(&mut self, list: List, at: u32) {
        let Link { before, after } = self.links[at as usize];
        *self.after(list, before) = after;
        *self.before(list, after) = before;
    }

    /// Puts a number at the end of the list that it is in.
    #[inline]
    pub(crate) fn touch(&mut self, list: List, at: u32) {
        if self.ends[list as usize].before != at {
            self.remove(list, at);
            self.push(list, at);
        }
    }

    fn after(&mut self, list: List, at: u32) -> &mut u32 {
        let link =
            if at == NONE { &mut self.ends[list as usize] } else { &mut self.links[at as usize] };
        &mut link.after
    }

    fn before(&mut self, list: List, at: u32) -> &mut u32 {
        let link =
            if at == NONE { &mut self.ends[list as usize] } else { &mut self.links[at as usize] };
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
            std::iter::from_fn(|| self.first(list).inspect(|at| self.remove(list, *at))).collect()
        }
    }

    proptest! {
        #[test]
        fn agrees_with_two_vectors(steps in prop::collection::vec((0u32..12, 0u8..3), 0..80)) {
            let mut recency = LruLists::default();
            let mut plain = [Vec::<u32>::new(), Vec::new()];
            for (at, what) in steps {
                let held = LISTS.into_iter().find(|list| plain[*list as usize].contains(&at));
                if let Some(list) = held {
                    plain[list as usize].retain(|other| *other != at);
                }
                match (held, what) {
                    (None, _) => recency.push(LISTS[usize::from(what == 0)], at),
                    (Some(list), 0) => {
                        recency.remove(list, at);
                        continue;
                    }
                    (Some(list), 1) => {
                        recency.remove(list, at);
                        recency.push(LISTS[1 - list as usize], at);
                    }
                    (Some(list), _) => recency.touch(list, at),
                }
                let list = match (held, what) {
                    (None, _) => usize::from(what == 0),
                    (Some(list), 1) => 1 - list as usize,
                    (Some(list), _) => list as usize,
                };
                plain[list].push(at);
            }
            for list in LISTS {
                prop_assert_eq!(recency.first(list), plain[list as usize].first().copied());
            }
            let [open, given] = plain;
            let copy = LruLists { links: recency.links.clone(), ends: recency.ends };
            prop_assert_eq!(copy.drain(List::Open), open);
            prop_assert_eq!(recency.drain(List::Exported), given);
        }
    }
}
