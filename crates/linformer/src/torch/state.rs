//! Recurrent state of a model between two tokens of a sequence.

use linformer_kernels::attention::AttentionState;
use tch::{Device, Kind, Tensor};

use crate::ModelConfig;

/// Recurrent state of one layer: of `B` sequences, or of one sequence without the first dimension.
#[derive(Debug)]
pub(crate) struct LayerState {
    /// Sums of the attention: `s` `[B, H, D, D]`, `z` `[B, H, D]`.
    pub(crate) attention: AttentionState,
    /// Latest inputs of the convolution, `[B, conv_kernel - 1, 3 W]`; `[B, 0, 3 W]` without one.
    pub(crate) past: Tensor,
}

impl LayerState {
    /// Names of the tensors in files, in the order of [`LayerState::tensors`].
    pub(crate) const NAMES: [&str; 3] = ["s", "z", "past"];

    /// Returns the state at a sequence's start. `batch` is empty, or the number of sequences.
    fn zeros(config: &ModelConfig, batch: &[i64], device: Device) -> LayerState {
        let (heads, dim) = (config.heads as i64, config.head_dim() as i64);
        let past = [config.conv_kernel.saturating_sub(1) as i64, 3 * config.hidden_size as i64];
        let zeros = |shape: &[i64]| {
            Tensor::zeros([batch, shape].concat().as_slice(), (Kind::Float, device))
        };
        LayerState {
            attention: AttentionState { s: zeros(&[heads, dim, dim]), z: zeros(&[heads, dim]) },
            past: zeros(&past),
        }
    }

    /// Returns the state of every layer at a sequence's start. `batch` is empty, or the number of
    /// sequences.
    pub(crate) fn zeros_of_layers(
        config: &ModelConfig,
        batch: &[i64],
        device: Device,
    ) -> Vec<LayerState> {
        (0..config.layers).map(|_| LayerState::zeros(config, batch, device)).collect()
    }

    /// Returns handles on the tensors: `s`, `z` and `past`.
    pub(crate) fn tensors(&self) -> [Tensor; 3] {
        [&self.attention.s, &self.attention.z, &self.past].map(Tensor::shallow_clone)
    }

    /// Returns the places of the tensors: `s`, `z` and `past`.
    pub(crate) fn tensors_mut(&mut self) -> [&mut Tensor; 3] {
        [&mut self.attention.s, &mut self.attention.z, &mut self.past]
    }
}
