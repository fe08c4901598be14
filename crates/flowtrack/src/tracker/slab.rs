//! Values at places that do not change.

use std::ops::{Index, IndexMut};

/// A vector of values by key. A key stays valid until its value is released; the next value
/// inserted reuses its place. Keys are `u32`, half the size of a reference, since each conversation
/// stores several.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<T>,
    free: Vec<u32>,
}

/// Octets that the list of free places costs for each value.
pub(crate) const PER_FREE_PLACE: usize = size_of::<u32>();

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value and returns its key.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(key) => {
                self[key] = value;
                key
            }
            None => {
                self.places.push(value);
                self.places.len() as u32 - 1
            }
        }
    }

    /// Frees the place of a value. The value itself is dropped when its place is used again.
    pub(crate) fn release(&mut self, key: u32) {
        self.free.push(key);
    }

    /// Returns every key ever used, those of released values among them.
    pub(crate) fn keys(&self) -> std::ops::Range<u32> {
        0..self.places.len() as u32
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: u32) -> &T {
        &self.places[key as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, key: u32) -> &mut T {
        &mut self.places[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_place_is_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        slab.release(a);
        assert_eq!(slab.insert("c"), a);
        assert_eq!((slab[a], slab[b], slab.insert("d")), ("c", "b", 2));
        assert_eq!(slab.keys(), 0..3);
    }
}
