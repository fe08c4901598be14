//! One block of the model and its layers.

use linformer_kernels::CuSeqlens;
use linformer_kernels::attention::fused;
use linformer_kernels::{conv1d, layers};
use tch::{Kind, Tensor};

use crate::ModelError;
use crate::config::{Activation, NormKind};

/// Block of the model: attention, then a feed-forward layer, each after a normalisation and added
/// to the residual stream. `W` is the width of the stream.
#[derive(Debug)]
pub(super) struct Block {
    /// Index of the block, from 0.
    pub(super) index: usize,
    pub(super) attention_norm: Norm,
    /// Projection to queries, keys and values, `[W, 3 W]`.
    pub(super) qkv: Linear,
    /// Taps of the convolution over queries, keys and values, `[3 W, 1, conv_kernel]`.
    pub(super) conv: Option<Tensor>,
    /// Gate projection, `[W, W]`.
    pub(super) gate: Option<Linear>,
    /// Decay of each token, if it is selective.
    pub(super) decay: Option<SelectiveDecay>,
    /// Output projection of the attention, `[W, W]`.
    pub(super) out: Linear,
    pub(super) feed_norm: Norm,
    /// First matrix of the feed-forward layer.
    pub(super) up: Linear,
    /// Second matrix of the feed-forward layer.
    pub(super) down: Linear,
    pub(super) activation: Activation,
}

/// Weights of the decay that each token chooses ([`Decay::Selective`](crate::Decay::Selective)).
#[derive(Debug)]
pub(super) struct SelectiveDecay {
    /// Projection of the block's input, `[H, W]`.
    pub(super) dt_proj: Tensor,
    /// Added to the projection, `[H]`.
    pub(super) dt_bias: Tensor,
    /// Logarithm of each head's factor, `[H]`.
    pub(super) a_log: Tensor,
}

/// Linear layer: `weight` is `[outputs, inputs]`, as in PyTorch.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

/// Normalisation over the width.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) kind: NormKind,
    pub(super) eps: f64,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(layers::linear(x, &self.weight, self.bias.as_ref(), None)?)
    }

    /// Computes the layer of `x` and adds it to `residual`.
    pub(super) fn forward_to(&self, residual: &Tensor, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(layers::linear(x, &self.weight, self.bias.as_ref(), Some(residual))?)
    }
}

impl SelectiveDecay {
    /// Computes the logarithms of the decay of inputs `[N, W]`, each below 0: `[N, H]`.
    fn log(&self, x: &Tensor) -> Tensor {
        // In 32 bits, whatever the kind of the product.
        let dt = x.linear(&self.dt_proj, None::<Tensor>).to_kind(Kind::Float) + &self.dt_bias;
        -self.a_log.exp() * dt.softplus()
    }
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let width = self.weight.size();
        match self.kind {
            NormKind::Layer => {
                x.layer_norm(&width, Some(&self.weight), self.bias.as_ref(), self.eps, false)
            }
            NormKind::Rms => {
                let square = x.square().mean_dim([-1].as_slice(), true, Kind::Float);
                x * (square + self.eps).rsqrt() * &self.weight
            }
        }
    }
}

impl Block {
    /// Computes the logarithms of the decay of the block's inputs `[N, W]`, `[N, H]`; none unless
    /// it is selective.
    pub(super) fn log_decay(&self, x: &Tensor) -> Option<Tensor> {
        self.decay.as_ref().map(|decay| decay.log(x))
    }

    /// Multiplies the attention output by `silu(gate(x))` of the block's input, if there is a gate.
    fn apply_gate(&self, attended: Tensor, x: &Tensor) -> Result<Tensor, ModelError> {
        match &self.gate {
            Some(gate) => Ok(attended * gate.forward(x)?.silu()),
            None => Ok(attended),
        }
    }

    /// Convolves queries, keys and values, `[N, 3 W]`, as if each sequence started here. `None`
    /// without a convolution.
    pub(super) fn convolve(
        &self,
        qkv: &Tensor,
        cu_seqlens: &CuSeqlens,
    ) -> Result<Option<Tensor>, ModelError> {
        let Some(weight) = &self.conv else { return Ok(None) };
        if !conv1d::is_supported(qkv.device()) {
            return Ok(Some(conv1d::causal_conv1d_ref(qkv, weight, cu_seqlens)));
        }
        let x = qkv.to_kind(fused::input_kind(qkv.device(), qkv.kind()));
        Ok(Some(conv1d::causal_conv1d(&x, weight, cu_seqlens)?))
    }

    /// Convolves the next input of `B` sequences, `[B, 3 W]`, and appends it to `past`, `[B,
    /// conv_kernel - 1, 3 W]`.
    pub(super) fn convolve_step(&self, qkv: Tensor, past: &mut Tensor) -> Tensor {
        let Some(weight) = &self.conv else { return qkv };
        let window = Tensor::cat(&[&*past, &qkv.unsqueeze(1)], 1); // [B, taps, channels]
        *past = window.narrow(1, 1, window.size()[1] - 1);
        (window * weight.select(1, 0).tr()).sum_dim_intlist([1].as_slice(), false, Kind::Float)
    }

    /// Computes the residual stream after the attention: `x`, `[N, W]`, and the output projection
    /// of what was attended for the block's input `y`.
    pub(super) fn add_attended(
        &self,
        x: &Tensor,
        attended: Tensor,
        y: &Tensor,
    ) -> Result<Tensor, ModelError> {
        self.out.forward_to(x, &self.apply_gate(attended, y)?)
    }

    /// Computes the residual stream after the feed-forward layer of `x`, `[N, W]`.
    pub(super) fn feed_forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let up = self.up.forward(&self.feed_norm.forward(x))?;
        let active = match self.activation {
            Activation::Gelu => up.gelu("none"),
            Activation::Swiglu => layers::swiglu(&up)?,
        };
        self.down.forward_to(x, &active)
    }
}
