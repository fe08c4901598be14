//! Hash of token sequences, and of the fingerprints that checkpoints store.

/// Computes FNV-1a over 64-bit words instead of octets.
///
/// The result is the same on every machine and in every version, since checkpoints store
/// fingerprints computed with it. The hash is no defence against chosen input: constructed
/// collisions cost the corpus comparisons of tokens, and nothing else.
pub(crate) fn fnv1a(words: impl Iterator<Item = u64>) -> u64 {
    // Offset basis and prime of 64-bit FNV (Fowler, Noll, Vo).
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
