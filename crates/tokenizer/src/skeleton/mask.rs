//! A set of token ids of the skeleton code.

use super::vocab::{self, VOCAB_SIZE};
use crate::TokenId;
use crate::field::vocab::TokenRange;

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

    /// Iterates over the tokens of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = TokenId> + '_ {
        (0..VOCAB_SIZE as TokenId).filter(|token| self.contains(*token))
    }

    /// Inserts one token into the set.
    pub(super) fn set(&mut self, token: TokenId) {
        self.0[usize::from(token) / 64] |= 1 << (token % 64);
    }

    /// Inserts the first `count` tokens of `range`, or all of them if it has fewer.
    pub(super) fn set_first(&mut self, range: TokenRange, count: usize) {
        (0..count.min(range.count())).for_each(|i| self.set(range.at(i)));
    }

    /// Inserts every token of a range of the flow code.
    pub(super) fn set_field(&mut self, range: TokenRange) {
        let ids = (0..range.count()).filter_map(|i| vocab::from_field(range.at(i)));
        ids.for_each(|id| self.set(id));
    }
}
