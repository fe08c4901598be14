//! Where each sequence of a packed row begins.

use tch::{Kind, Tensor};

/// Sequences laid end to end: 0, then the end of each (`cu_seqlens` elsewhere). The state restarts
/// at each.
#[derive(Debug)]
pub struct CuSeqlens {
    offsets: Vec<i64>,
    tensor: Tensor,
    /// Where some do not start at 0: `[S]`, the position of each one's first token.
    starts: Option<(Vec<i64>, Tensor)>,
}

impl CuSeqlens {
    /// From the length of each sequence, in tokens. Empty sequences are allowed.
    #[must_use]
    pub fn from_lengths(lengths: &[usize]) -> CuSeqlens {
        let mut offsets = vec![0];
        for &length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length as i64);
        }
        let tensor = Tensor::from_slice(&offsets);
        CuSeqlens { offsets, tensor, starts: None }
    }

    /// The same where so many tokens of each sequence came before.
    ///
    /// # Panics
    /// Where there are not as many numbers as sequences.
    #[must_use]
    pub fn starting_at(mut self, starts: &[usize]) -> CuSeqlens {
        assert_eq!(starts.len(), self.sequences(), "one start for each sequence");
        let starts: Vec<i64> = starts.iter().map(|&start| start as i64).collect();
        let tensor = Tensor::from_slice(&starts);
        self.starts = starts.iter().any(|&start| start > 0).then_some((starts, tensor));
        self
    }

    /// One sequence of `tokens`.
    #[must_use]
    pub fn single(tokens: usize) -> CuSeqlens {
        CuSeqlens::from_lengths(&[tokens])
    }

    /// 0, then the end of each sequence.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tokens in all sequences together.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.offsets[self.offsets.len() - 1]
    }

    /// Tokens in the longest sequence.
    #[must_use]
    pub fn longest(&self) -> i64 {
        self.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// The position of a sequence's first token.
    #[must_use]
    pub fn start_of(&self, sequence: usize) -> i64 {
        self.starts.as_ref().map_or(0, |starts| starts.0[sequence])
    }

    /// All positions are below this.
    #[must_use]
    pub fn max_position(&self) -> i64 {
        let each = self.offsets.windows(2).enumerate();
        each.map(|(i, pair)| self.start_of(i) + pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// `[N]`: the index of the sequence that each token is in.
    pub fn sequence_of(&self) -> Tensor {
        let each = self.offsets.windows(2).enumerate();
        let all: Vec<i64> =
            each.flat_map(|(i, pair)| (pair[0]..pair[1]).map(move |_| i as i64)).collect();
        Tensor::from_slice(&all)
    }

    /// `[N]`: each token's position in its sequence.
    pub fn position_of(&self) -> Tensor {
        self.counted(|sequence| self.start_of(sequence))
    }

    /// `[N]`: how many tokens of its sequence stand before each in the row.
    pub(crate) fn before(&self) -> Tensor {
        self.counted(|_| 0)
    }

    fn counted(&self, first: impl Fn(usize) -> i64) -> Tensor {
        let each = self.offsets.windows(2).enumerate();
        let all: Vec<i64> =
            each.flat_map(|(i, pair)| first(i)..first(i) + pair[1] - pair[0]).collect();
        Tensor::from_slice(&all).to_kind(Kind::Int64)
    }

    /// `[S]`, int64, on the CPU; none where all start at 0.
    pub(crate) fn starts(&self) -> Option<&Tensor> {
        self.starts.as_ref().map(|starts| &starts.1)
    }

    /// `[S + 1]`, int64, on the CPU.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}
