//! The model in recurrent form: one token of each sequence at a time, in libtorch operations.

use linformer_kernels::attention::{Qkv, chunked};
use tch::Tensor;

use super::Model;
use crate::ModelError;
use crate::torch::state::LayerState;

/// Recurrent states of `B` sequences that are read one token at a time.
#[derive(Debug)]
pub struct RecurrentState {
    layers: Vec<LayerState>,
    /// Position of the next token.
    position: i64,
}

impl Model {
    /// Returns the states of `sequences` sequences, all at their start.
    #[must_use]
    pub fn recurrent_state(&self, sequences: i64) -> RecurrentState {
        let layers = LayerState::zeros_of_layers(&self.config, &[sequences], self.device);
        RecurrentState { layers, position: 0 }
    }

    /// Reads the next token of each sequence, `[B]`, and returns the scores of the one after it,
    /// `[B, V]`: [`Model::forward`] in recurrent form, without a gradient.
    ///
    /// # Errors
    /// If a kernel refuses its input.
    pub fn step(&self, tokens: &Tensor, state: &mut RecurrentState) -> Result<Tensor, ModelError> {
        let _guard = tch::no_grad_guard();
        self.grow_rotary(state.position as usize + 1);
        let (heads, dim) = (self.config.heads as i64, self.config.head_dim() as i64);
        let positions = Tensor::full_like(tokens, state.position);
        let mut x = Tensor::embedding(&self.embed, tokens, -1, false, false); // [B, W]
        for (block, layer) in self.blocks.iter().zip(&mut state.layers) {
            let y = block.attention_norm.forward(&x);
            let qkv = block.convolve_step(block.qkv.forward(&y)?, &mut layer.past);
            let qkv = qkv.view([-1, 3, heads, dim]);
            let [q, k] =
                [0, 1].map(|i| self.rotary.borrow().apply_at(&qkv.select(1, i), &positions));
            let qkv = Qkv { q: &q, k: &k, v: &qkv.select(1, 2) };
            let log_decay = block.log_decay(&y);
            let (decay, eps) = (self.decay(log_decay.as_ref()), self.config.attention_eps);
            let attended = chunked::step(qkv, &mut layer.attention, decay, eps).flatten(1, 2);
            x = block.add_attended(&x, attended, &y)?;
            x = block.feed_forward(&x)?;
        }
        state.position += 1;
        self.head.forward(&self.norm.forward(&x))
    }
}
