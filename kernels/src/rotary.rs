//! Rotary positions (Su et al., RoFormer, arXiv 2104.09864), counted from each sequence's start.

use tch::{Device, Kind, Tensor};

use crate::CuSeqlens;

/// Cosines and sines for positions from 0: each `[P, D / 2]`. Pair `i` of a head is its elements
/// `i` and `i + D / 2`.
#[derive(Debug)]
pub struct Rotary {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl Rotary {
    /// Turn of each pair from one position to the next, in radians: `10000^(-i / (D / 2))`.
    #[must_use]
    pub fn frequencies(head_dim: usize) -> Vec<f64> {
        let half = head_dim / 2;
        (0..half).map(|i| 10_000_f64.powf(-(i as f64) / half as f64)).collect()
    }

    /// Tables for `positions` positions of heads of `head_dim`.
    #[must_use]
    pub fn new(positions: usize, head_dim: usize, kind: Kind, device: Device) -> Rotary {
        let turns = Tensor::from_slice(&Rotary::frequencies(head_dim));
        let places = Tensor::arange(positions as i64, (Kind::Double, Device::Cpu));
        let angles = places.unsqueeze(1) * turns.unsqueeze(0);
        Rotary {
            cos: angles.cos().to_kind(kind).to_device(device),
            sin: angles.sin().to_kind(kind).to_device(device),
        }
    }

    /// Number of positions.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.size()[0] as usize
    }

    /// Cosines and sines, each `[P, D / 2]`.
    pub fn tables(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }

    /// The same numbers in float64.
    #[must_use]
    pub fn doubled(&self) -> Rotary {
        Rotary { cos: self.cos.to_kind(Kind::Double), sin: self.sin.to_kind(Kind::Double) }
    }

    /// `x` `[N, H, D]` rotated by each token's place in its sequence, in plain libtorch operations.
    pub fn apply(&self, x: &Tensor, bounds: &CuSeqlens) -> Tensor {
        self.apply_at(x, &bounds.position_of().to_device(x.device()))
    }

    /// `x` `[N, H, D]` rotated by `positions` `[N]`.
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
