//! A set of token ids.

use crate::TokenId;
use crate::field::vocab::{TokenRange, VOCAB_SIZE};

/// Number of 64-bit words in a mask.
const WORDS: usize = VOCAB_SIZE.div_ceil(64);

/// A set of token ids: bit `t % 64` of word `t / 64` for token `t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mask([u64; WORDS]);

impl Mask {
    /// Returns the words, lowest ids first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Returns whether `token` is in the set.
    #[must_use]
    pub fn contains(&self, token: TokenId) -> bool {
        self.0.get(usize::from(token) / 64).is_some_and(|w| w >> (token % 64) & 1 == 1)
    }

    /// Returns the number of tokens in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    /// Returns the token with `n` tokens of the set below it.
    #[must_use]
    pub fn nth(&self, n: usize) -> Option<TokenId> {
        let mut below = n as u32;
        for (i, &word) in self.0.iter().enumerate() {
            if below < word.count_ones() {
                // Clears the lowest bits that are set.
                let left = (0..below).fold(word, |left, _| left & (left - 1));
                return Some((i * 64) as TokenId + left.trailing_zeros() as TokenId);
            }
            below -= word.count_ones();
        }
        None
    }

    /// Iterates over the tokens of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                (left != 0).then(|| {
                    // Clears the lowest bit that is set.
                    left &= left - 1;
                    (i * 64) as TokenId + bit as TokenId
                })
            })
        })
    }

    /// Inserts one token into the set.
    pub(crate) fn set(&mut self, token: TokenId) {
        self.0[usize::from(token) / 64] |= 1 << (token % 64);
    }

    /// Removes one token from the set.
    pub(super) fn clear(&mut self, token: TokenId) {
        self.0[usize::from(token) / 64] &= !(1 << (token % 64));
    }

    /// Removes every token of `range`.
    pub(super) fn clear_all(&mut self, range: TokenRange) {
        self.clear_through(range, range);
    }

    /// Removes every token from the first one of `first` to the last one of `last`.
    pub(super) fn clear_through(&mut self, first: TokenRange, last: TokenRange) {
        let count = usize::from(last.first + last.len - first.first);
        for_each_word(first.first, count, |word, bits| self.0[word] &= !bits);
    }

    /// Inserts the first `count` tokens of `range`, or all of them if it has fewer.
    pub(crate) fn set_first(&mut self, range: TokenRange, count: usize) {
        self.set_run(range.first, count.min(range.count()));
    }

    /// Inserts every token of `range`.
    pub(super) fn set_all(&mut self, range: TokenRange) {
        self.set_run(range.first, range.count());
    }

    /// Inserts every token from the first one of `first` to the last one of `last`.
    pub(super) fn set_through(&mut self, first: TokenRange, last: TokenRange) {
        self.set_run(first.first, usize::from(last.first + last.len - first.first));
    }

    /// Inserts `count` tokens from `first` on.
    pub(super) fn set_run(&mut self, first: TokenId, count: usize) {
        for_each_word(first, count, |word, bits| self.0[word] |= bits);
    }

    /// Inserts those of `count` tokens from `first` on that `other` holds.
    pub(super) fn set_run_of(&mut self, other: &Mask, first: TokenId, count: usize) {
        for_each_word(first, count, |word, bits| self.0[word] |= bits & other.0[word]);
    }

    /// Inserts every token of `other`.
    pub(super) fn set_mask(&mut self, other: &Mask) {
        for (word, bits) in self.0.iter_mut().zip(other.0) {
            *word |= bits;
        }
    }
}

/// Calls `each` with the index of every word that holds some of the `count` ids from `first` on,
/// and with their bits in it.
fn for_each_word(first: TokenId, count: usize, mut each: impl FnMut(usize, u64)) {
    let (mut at, end) = (usize::from(first), usize::from(first) + count);
    while at < end {
        let (word, bit) = (at / 64, at % 64);
        let n = (64 - bit).min(end - at);
        each(word, (u64::MAX >> (64 - n)) << bit);
        at += n;
    }
}
