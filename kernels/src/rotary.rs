//! Rotary positions (Su et al., RoFormer, arXiv 2104.09864), counted from each sequence's start.

use tch::{Device, Kind, Tensor};

use crate::CuSeqlens;

/// Cosines and sines of rotary angles for the positions from 0, each `[P, D / 2]`. Pair `i` of a
/// head is its elements `i` and `i + D / 2`.
#[derive(Debug)]
pub struct Rotary {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl Rotary {
    /// Returns the angle by which each pair turns from one position to the next, in radians:
    /// `10000^(-i / (D / 2))`.
    #[must_use]
    pub fn frequencies(head_dim: usize) -> Vec<f64> {
        let half = head_dim / 2;
        (0..half).map(|i| 10_000_f64.powf(-(i as f64) / half as f64)).collect()
    }

    /// Computes the tables of `positions` positions for heads of `head_dim` elements.
    #[must_use]
    pub fn new(positions: usize, head_dim: usize, kind: Kind, device: Device) -> Rotary {
        let frequencies = Tensor::from_slice(&Rotary::frequencies(head_dim));
        let positions = Tensor::arange(positions as i64, (Kind::Double, Device::Cpu));
        let angles = positions.unsqueeze(1) * frequencies.unsqueeze(0);
        Rotary {
            cos: angles.cos().to_kind(kind).to_device(device),
            sin: angles.sin().to_kind(kind).to_device(device),
        }
    }

    /// Returns the number of positions in the tables, `P`.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.size()[0] as usize
    }

    /// Returns the cosines and the sines, each `[P, D / 2]`.
    pub fn tables(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }

    /// Converts the tables to float64; their values stay rounded to the old kind.
    #[must_use]
    pub fn to_double(&self) -> Rotary {
        Rotary { cos: self.cos.to_kind(Kind::Double), sin: self.sin.to_kind(Kind::Double) }
    }

    /// Rotates `x` `[N, H, D]` by each token's position in its sequence, in libtorch operations.
    pub fn apply(&self, x: &Tensor, cu_seqlens: &CuSeqlens) -> Tensor {
        self.apply_at(x, &cu_seqlens.position_of().to_device(x.device()))
    }

    /// Rotates `x` `[N, H, D]` by the given `positions` `[N]`.
    pub fn apply_at(&self, x: &Tensor, positions: &Tensor) -> Tensor {
        let cos = self.cos.index_select(0, positions).unsqueeze(1);
        let sin = self.sin.index_select(0, positions).unsqueeze(1);
        let halves = x.chunk(2, -1);
        Tensor::cat(
            &[&halves[0] * &cos - &halves[1] * &sin, &halves[1] * &cos + &halves[0] * &sin],
            -1,
        )
    }
}
