//! The model: embedding, pre-norm blocks, output projection.

mod block;
mod export;
mod init;
mod recurrent;

use std::cell::RefCell;
use std::ops::Range;

use linformer_kernels::attention::{AttentionOptions, AttentionState, Decay, Qkv, chunked, fused};
use linformer_kernels::{CuSeqlens, Rotary, layers};
use tch::{Device, Kind, Tensor};

use block::{Block, Linear, Norm};
pub use recurrent::RecurrentState;

use super::Batch;
use super::carried::{CarriedStates, StateCarry};
use crate::{ModelConfig, ModelError};

/// Smallest number of positions that rotary tables are computed for.
const MIN_ROTARY_POSITIONS: usize = 1024;

/// Model: its configuration and its weights on a device. `V` is the vocabulary size, `W` the width.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    device: Device,
    /// All weights with their names, in the order of construction.
    parameters: Vec<(String, Tensor)>,
    /// Embedding matrix, `[V, W]`.
    embed: Tensor,
    blocks: Vec<Block>,
    /// Normalisation before the output projection.
    norm: Norm,
    /// Output projection to the scores, `[W, V]`.
    head: Linear,
    /// Rotary tables, which grow with the longest sequence so far.
    rotary: RefCell<Rotary>,
    /// Factor on each head's state per token, `[H]`, if it is fixed.
    decay: Option<Tensor>,
}

/// Sums of a model's hidden states over spans of its inputs.
#[derive(Debug)]
pub struct HiddenStates {
    values: Vec<f32>,
    width: usize,
}

impl HiddenStates {
    /// Iterates over the sums, in the order of the spans.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

impl Model {
    /// Returns the architecture of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the device that the weights are on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns the weights with their names, in order. Each shares its memory with the model.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Returns the number of values in all weights.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Computes the scores of each next token, `[N, V]`, for the token ids `[N]` of packed
    /// sequences.
    ///
    /// # Errors
    /// If a kernel refuses its input.
    pub fn forward(&self, tokens: &Tensor, cu_seqlens: &CuSeqlens) -> Result<Tensor, ModelError> {
        self.forward_with_state(tokens, cu_seqlens, &mut None)
    }

    /// Like [`Model::forward`], for pieces of sequences: reads the states before them from `carry`,
    /// and stores those after them there.
    fn forward_with_state(
        &self,
        tokens: &Tensor,
        cu_seqlens: &CuSeqlens,
        carry: &mut Option<StateCarry>,
    ) -> Result<Tensor, ModelError> {
        let x = self.residual_stream(tokens, cu_seqlens, carry)?;
        self.head.forward(&self.norm.forward(&x))
    }

    /// Computes the residual stream after the last block, `[N, W]`.
    fn residual_stream(
        &self,
        tokens: &Tensor,
        cu_seqlens: &CuSeqlens,
        carry: &mut Option<StateCarry>,
    ) -> Result<Tensor, ModelError> {
        self.grow_rotary(cu_seqlens.max_position() as usize);
        let mut x = Tensor::f_embedding(&self.embed, tokens, -1, false, false)?; // [N, W]
        for block in &self.blocks {
            let y = block.attention_norm.forward(&x);
            let attended = self.attend(block, &y, cu_seqlens, carry)?;
            x = block.add_attended(&x, attended, &y)?;
            x = block.feed_forward(&x)?;
        }
        Ok(x)
    }

    /// Returns the sums of the hidden states over spans of a batch's inputs. The hidden state of an
    /// input is the residual stream after the last block, with zero mean and unit variance.
    /// `carried` is as in [`Model::losses_with_state`].
    ///
    /// # Errors
    /// If a kernel refuses its input, or `carried` lacks the state of a sequence that continues.
    ///
    /// # Panics
    /// If a span ends after the inputs.
    pub fn hidden_sums(
        &self,
        batch: &Batch,
        spans: &[Range<usize>],
        carried: &mut CarriedStates,
    ) -> Result<HiddenStates, ModelError> {
        let _guard = tch::no_grad_guard();
        let mut carry = StateCarry::new(batch, carried)?;
        let tokens = self.on_device(&batch.inputs);
        let x = self.residual_stream(&tokens, &batch.cu_seqlens, &mut carry)?;
        carried.update(batch, carry.map_or_else(CarriedStates::new, StateCarry::finish));
        let width = self.config.hidden_size;
        let shape = [width as i64];
        let x = x.to_kind(Kind::Float).layer_norm::<Tensor>(
            &shape,
            None,
            None,
            self.config.norm_eps,
            false,
        );
        let states: Vec<f32> = Vec::try_from(&x.to_device(Device::Cpu).flatten(0, 1))?;
        let mut values = vec![0.0; spans.len() * width];
        for (span, sum) in spans.iter().zip(values.chunks_exact_mut(width)) {
            for state in states[span.start * width..span.end * width].chunks_exact(width) {
                sum.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(HiddenStates { values, width })
    }

    /// Computes the mean loss in nats per target, with its gradient.
    ///
    /// # Errors
    /// If a kernel refuses its input.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        Ok(self.token_losses(batch, &CarriedStates::new())?.0.mean(Kind::Float))
    }

    /// Computes the loss of each target in nats, `[N]`, and the states after the batch's pieces.
    pub(crate) fn token_losses(
        &self,
        batch: &Batch,
        carried: &CarriedStates,
    ) -> Result<(Tensor, CarriedStates), ModelError> {
        let mut carry = StateCarry::new(batch, carried)?;
        let [inputs, targets] = [&batch.inputs, &batch.targets].map(|ids| self.on_device(ids));
        let scores = self.forward_with_state(&inputs, &batch.cu_seqlens, &mut carry)?;
        let losses = layers::cross_entropy(&scores, &targets)?;
        Ok((losses, carry.map_or_else(CarriedStates::new, StateCarry::finish)))
    }

    /// Returns token ids on the model's device. A GPU's copy is queued from pinned memory: other
    /// memory would make it wait for all that was queued before.
    fn on_device(&self, ids: &[i64]) -> Tensor {
        let ids = Tensor::from_slice(ids);
        match self.device {
            Device::Cuda(_) => {
                // `pin_memory` itself warns of the device that tch hands to it.
                let pinned = ids.internal_pin_memory(self.device);
                pinned.to_device_(self.device, Kind::Int64, true, false)
            }
            _ => ids.to_device(self.device),
        }
    }

    /// Returns the loss of each target in nats, in order, without a gradient.
    ///
    /// # Errors
    /// If a kernel refuses its input, or the batch has a later piece of a sequence.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<f32>, ModelError> {
        self.losses_with_state(batch, &mut CarriedStates::new())
    }

    /// Like [`Model::losses`], for pieces of sequences, each in a batch of its own. `carried` has
    /// their states before the batch, and then those after it.
    ///
    /// # Errors
    /// If a kernel refuses its input, or `carried` lacks the state of a sequence that continues.
    pub fn losses_with_state(
        &self,
        batch: &Batch,
        carried: &mut CarriedStates,
    ) -> Result<Vec<f32>, ModelError> {
        let _guard = tch::no_grad_guard();
        let (losses, after) = self.token_losses(batch, carried)?;
        carried.update(batch, after);
        Ok(Vec::try_from(&losses.to_device(Device::Cpu))?)
    }

    /// Computes queries, keys and values, their convolution and the attention of a block's inputs
    /// `[N, W]`: `[N, W]`.
    fn attend(
        &self,
        block: &Block,
        x: &Tensor,
        cu_seqlens: &CuSeqlens,
        carry: &mut Option<StateCarry>,
    ) -> Result<Tensor, ModelError> {
        let (qkv, log_decay) = (block.qkv.forward(x)?, block.log_decay(x));
        let decay = self.decay(log_decay.as_ref());
        let kind = fused::input_kind(self.device, qkv.kind());
        let mut convolved = qkv.shallow_clone();
        if let (Some(weight), Some(alone)) = (&block.conv, block.convolve(&qkv, cu_seqlens)?) {
            convolved = match carry {
                Some(carry) => carry.add_past(block.index, &qkv, alone, weight, cu_seqlens),
                None => alone,
            };
        }
        let convolved = convolved.to_kind(kind);
        let Some(carry) = carry else { return self.attention(&convolved, decay, cu_seqlens) };
        let initial = carry.initial_states(block.index);
        let (attended, last) =
            self.attention_with_state(&convolved, decay, initial.as_ref(), cu_seqlens)?;
        let past = self.config.conv_kernel.saturating_sub(1);
        carry.keep(block.index, &qkv, past, &last, cu_seqlens);
        Ok(attended)
    }

    /// Computes the attention of whole sequences, in the kind of `qkv`: by the fused kernel if the
    /// device has one, else in libtorch operations.
    fn attention(
        &self,
        qkv: &Tensor,
        decay: Option<Decay>,
        cu_seqlens: &CuSeqlens,
    ) -> Result<Tensor, ModelError> {
        if !fused::is_supported(self.device, self.config.head_dim(), decay) {
            return Ok(self.attention_with_state(qkv, decay, None, cu_seqlens)?.0);
        }
        let (rotary, heads) = (self.rotary.borrow(), self.config.heads as i64);
        let options = self.attention_options(decay, &rotary);
        Ok(fused::attention_packed(qkv, heads, cu_seqlens, &options)?.flatten(1, 2))
    }

    /// Like [`Model::attention`], from each sequence's state before the row to the one after it.
    fn attention_with_state(
        &self,
        qkv: &Tensor,
        decay: Option<Decay>,
        initial: Option<&AttentionState>,
        cu_seqlens: &CuSeqlens,
    ) -> Result<(Tensor, AttentionState), ModelError> {
        let (rotary, heads) = (self.rotary.borrow(), self.config.heads as i64);
        let options = self.attention_options(decay, &rotary);
        if fused::is_supported(self.device, self.config.head_dim(), decay) {
            let (attended, last) =
                fused::attention_packed_with_state(qkv, heads, initial, cu_seqlens, &options)?;
            return Ok((attended.flatten(1, 2), last));
        }
        // In 32 bits, since libtorch's operations would round each sum to the kind of `qkv`.
        let parts = qkv.to_kind(Kind::Float).view([-1, 3, heads, self.config.head_dim() as i64]);
        let [q, k, v] = [0, 1, 2].map(|i| parts.select(1, i)); // each [N, H, D]
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let (attended, last) = chunked::attention_with_state(qkv, initial, cu_seqlens, &options);
        Ok((attended.reshape([-1, self.config.hidden_size as i64]), last))
    }

    fn attention_options<'a>(
        &self,
        decay: Option<Decay<'a>>,
        rotary: &'a Rotary,
    ) -> AttentionOptions<'a> {
        AttentionOptions { eps: self.config.attention_eps, rotary: Some(rotary), decay }
    }

    /// Returns the decay of tokens with these logarithms, or else that of the model.
    fn decay<'a>(&'a self, log_decay: Option<&'a Tensor>) -> Option<Decay<'a>> {
        log_decay.map(Decay::Log).or(self.decay.as_ref().map(Decay::Fixed))
    }

    /// Computes larger rotary tables if they have fewer positions. Sizes are powers of two, so that
    /// this seldom happens.
    fn grow_rotary(&self, positions: usize) {
        if self.rotary.borrow().positions() < positions {
            let positions = positions.next_power_of_two().max(MIN_ROTARY_POSITIONS);
            *self.rotary.borrow_mut() =
                Rotary::new(positions, self.config.head_dim(), Kind::Float, self.device);
        }
    }
}
