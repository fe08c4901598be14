//! Export of a model to the CPU decoder of the kernels.

use linformer_kernels::{
    BlockWeights, DecayWeights, Decoder, DecoderShape, DecoderWeights, LinearWeights, NormWeights,
    WeightKind,
};
use tch::{Device, Tensor};

use super::Model;
use super::block::{Block, Linear, Norm, SelectiveDecay};
use crate::ModelError;
use crate::config::{Activation, NormKind, Precision};

impl Model {
    /// Copies the model into a decoder for the CPU, with matrices of this precision.
    ///
    /// # Errors
    /// If the decoder does not support the architecture, or this processor not the precision.
    pub fn decoder(&self, precision: Precision) -> Result<Decoder, ModelError> {
        let shape = DecoderShape {
            vocab: self.config.vocab_size,
            hidden_size: self.config.hidden_size,
            heads: self.config.heads,
            ffn_size: self.config.ffn_size,
            norm_eps: self.config.norm_eps as f32,
            attention_eps: self.config.attention_eps as f32,
            rms: self.config.norm == NormKind::Rms,
            gated: self.config.activation == Activation::Swiglu,
            conv_kernel: self.config.conv_kernel,
        };
        let weights = DecoderWeights {
            embed: to_vec_f32(&self.embed)?,
            decay: self.config.decays().into_iter().map(|decay| decay as f32).collect(),
            blocks: self.blocks.iter().map(block_weights).collect::<Result<_, _>>()?,
            norm: norm_weights(&self.norm)?,
            head: linear_weights(&self.head)?,
        };
        let kind = match precision {
            Precision::F32 => WeightKind::Float,
            Precision::Bf16 => WeightKind::Bf16,
        };
        Ok(Decoder::new(shape, weights, kind)?)
    }
}

fn block_weights(block: &Block) -> Result<BlockWeights, ModelError> {
    // [3 W, 1, taps] to [taps, 3 W].
    let taps_first = |weight: &Tensor| to_vec_f32(&weight.select(1, 0).tr());
    Ok(BlockWeights {
        attention_norm: norm_weights(&block.attention_norm)?,
        qkv: linear_weights(&block.qkv)?,
        conv: block.conv.as_ref().map(taps_first).transpose()?,
        gate: block.gate.as_ref().map(linear_weights).transpose()?,
        out: linear_weights(&block.out)?,
        feed_norm: norm_weights(&block.feed_norm)?,
        up: linear_weights(&block.up)?,
        down: linear_weights(&block.down)?,
        decay: block.decay.as_ref().map(decay_weights).transpose()?,
    })
}

fn decay_weights(decay: &SelectiveDecay) -> Result<DecayWeights, ModelError> {
    Ok(DecayWeights {
        proj: LinearWeights {
            weight: to_vec_f32(&decay.dt_proj.tr())?,
            bias: Some(to_vec_f32(&decay.dt_bias)?),
        },
        rate: to_vec_f32(&decay.a_log.exp())?,
    })
}

fn linear_weights(linear: &Linear) -> Result<LinearWeights, ModelError> {
    let bias = linear.bias.as_ref().map(to_vec_f32).transpose()?;
    Ok(LinearWeights { weight: to_vec_f32(&linear.weight.tr())?, bias })
}

fn norm_weights(norm: &Norm) -> Result<NormWeights, ModelError> {
    let bias = norm.bias.as_ref().map(to_vec_f32).transpose()?;
    Ok(NormWeights { weight: to_vec_f32(&norm.weight)?, bias })
}

/// Copies a tensor's values in row-major order.
fn to_vec_f32(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(Vec::try_from(&tensor.detach().to_device(Device::Cpu).contiguous().view([-1]))?)
}
