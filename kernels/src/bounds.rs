//! Where each sequence of a packed row begins.

use tch::{Kind, Tensor};

/// Sequences laid end to end: 0, then the end of each (`cu_seqlens` elsewhere). The state restarts at each.
#[derive(Debug)]
pub struct Bounds {
    ends: Vec<i64>,
    tensor: Tensor,
}

impl Bounds {
    /// From the length of each sequence, in tokens. Empty sequences are allowed.
    #[must_use]
    pub fn from_lengths(lengths: &[usize]) -> Bounds {
        let mut ends = vec![0];
        for &length in lengths {
            ends.push(ends[ends.len() - 1] + length as i64);
        }
        let tensor = Tensor::from_slice(&ends);
        Bounds { ends, tensor }
    }

    /// One sequence of `tokens`.
    #[must_use]
    pub fn single(tokens: usize) -> Bounds {
        Bounds::from_lengths(&[tokens])
    }

    /// 0, then the end of each sequence.
    #[must_use]
    pub fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// Number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.ends.len() - 1
    }

    /// Tokens in all sequences together.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.ends[self.ends.len() - 1]
    }

    /// Tokens in the longest sequence.
    #[must_use]
    pub fn longest(&self) -> i64 {
        self.ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// `[N]`: the index of the sequence that each token is in.
    pub fn sequence_of(&self) -> Tensor {
        let each = self.ends.windows(2).enumerate();
        let all: Vec<i64> = each.flat_map(|(i, pair)| (pair[0]..pair[1]).map(move |_| i as i64)).collect();
        Tensor::from_slice(&all)
    }

    /// `[N]`: each token's place in its sequence, from 0.
    pub fn position_of(&self) -> Tensor {
        let all: Vec<i64> = self.ends.windows(2).flat_map(|pair| 0..pair[1] - pair[0]).collect();
        Tensor::from_slice(&all).to_kind(Kind::Int64)
    }

    /// `[S + 1]`, int64, on the CPU.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}
