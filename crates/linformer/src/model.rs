//! Embedding, pre-norm blocks, output. Names of the weights are those a PyTorch module would give
//! them.

use std::cell::RefCell;
use std::collections::HashMap;

use linformer_kernels::{
    BlockWeights, CuSeqlens, Decoder, DecoderShape, DecoderWeights, LinearWeights, NormWeights,
    Rotary, chunked, fused,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Reduction, Tensor};

use crate::config::{Activation, Decay, ModelConfig, NormKind};
use crate::memory::{self, CarriedStates, StateCarry};
use crate::{Batch, ModelError};

/// A model: its configuration and its weights on a device.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    device: Device,
    parameters: Vec<(String, Tensor)>,
    embed: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    rotary: RefCell<Rotary>,
    decay: Option<Tensor>,
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    qkv: Linear,
    conv: Option<Tensor>,
    gate: Option<Linear>,
    out: Linear,
    feed_norm: Norm,
    up: Linear,
    down: Linear,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Option<Tensor>,
    kind: NormKind,
    eps: f64,
}

/// The states of `B` sequences that are read one token at a time.
#[derive(Debug)]
pub struct RecurrentState {
    layers: Vec<LayerState>,
    position: i64,
}

#[derive(Debug)]
struct LayerState {
    s: Tensor,
    z: Tensor,
    /// `[B, taps - 1, 3 width]`: what the convolution still sees.
    past: Option<Tensor>,
}

impl Model {
    /// A model with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// Where the configuration makes no model.
    pub fn new(config: &ModelConfig, seed: u64, device: Device) -> Result<Model, ModelError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Model::build(config, device, |_, shape, deviation| {
            Ok(init_normal(&mut rng, shape, deviation))
        })
    }

    /// A model with the weights given by name.
    ///
    /// # Errors
    /// With what is missing or of another shape.
    pub(crate) fn from_weights(
        config: &ModelConfig,
        mut weights: HashMap<String, Tensor>,
        device: Device,
    ) -> Result<Model, String> {
        let mut problem = None;
        let built = Model::build(config, device, |name, shape, _| match weights.remove(name) {
            Some(tensor) if tensor.size() == shape => Ok(tensor),
            Some(tensor) => {
                problem = Some(format!("{name}: expected {shape:?}, found {:?}", tensor.size()));
                Err(ModelError::Torch(String::new()))
            }
            None => {
                problem = Some(format!("no tensor {name}"));
                Err(ModelError::Torch(String::new()))
            }
        });
        built.map_err(|error| problem.unwrap_or_else(|| error.to_string()))
    }

    /// `source` answers a weight's name, shape and standard deviation (below zero: ones, or
    /// `LAST_ALONE`) with its values.
    fn build(
        config: &ModelConfig,
        device: Device,
        source: impl FnMut(&str, &[i64], f64) -> Result<Tensor, ModelError>,
    ) -> Result<Model, ModelError> {
        config.check()?;
        let mut b = Builder { config, device, source, parameters: Vec::new() };
        let [vocab, width, feed] =
            [config.vocab_size, config.hidden_size, config.ffn_size].map(|n| n as i64);
        let up = if config.activation == Activation::Swiglu { 2 * feed } else { feed };
        let residual = 1.0 / (2.0 * config.layers as f64).sqrt();
        let embed = b.tensor("embed.weight", &[vocab, width], 0.5 / (width as f64).sqrt())?;
        let mut blocks = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blocks.{i}.{part}");
            blocks.push(Block {
                attention_norm: b.norm(&name("attention_norm"))?,
                qkv: b.linear(&name("attention.qkv"), width, 3 * width, 1.0)?,
                conv: b.convolution(&name("attention.conv"), 3 * width)?,
                gate: if config.gate {
                    Some(b.linear(&name("attention.gate"), width, width, 1.0)?)
                } else {
                    None
                },
                out: b.linear(&name("attention.out"), width, width, residual)?,
                feed_norm: b.norm(&name("feed_norm"))?,
                up: b.linear(&name("feed.up"), width, up, 1.0)?,
                down: b.linear(&name("feed.down"), feed, width, residual)?,
            });
        }
        let norm = b.norm("norm")?;
        let head = if config.tied {
            Linear { weight: embed.shallow_clone(), bias: None }
        } else {
            b.linear("head", width, vocab, 1.0)?
        };
        let rotary = RefCell::new(Rotary::new(0, config.head_dim(), Kind::Float, device));
        let decay = (config.decay != Decay::None)
            .then(|| Tensor::from_slice(&config.decays()).to_kind(Kind::Float).to_device(device));
        Ok(Model {
            config: config.clone(),
            device,
            parameters: b.parameters,
            embed,
            blocks,
            norm,
            head,
            rotary,
            decay,
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where its weights are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Its weights by name, in order. Each shares its memory with the model.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Number of weights.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Scores of the next token, `[N, V]`, for token ids `[N]` of sequences laid end to end.
    ///
    /// # Errors
    /// Where a kernel refuses.
    pub fn forward(&self, tokens: &Tensor, bounds: &CuSeqlens) -> Result<Tensor, ModelError> {
        self.forward_with_state(tokens, bounds, &mut None)
    }

    /// [`Model::forward`] of pieces.
    fn forward_with_state(
        &self,
        tokens: &Tensor,
        bounds: &CuSeqlens,
        carry: &mut Option<StateCarry>,
    ) -> Result<Tensor, ModelError> {
        self.grow_rotary(bounds.max_position() as usize);
        let mut x = Tensor::f_embedding(&self.embed, tokens, -1, false, false)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let y = block.attention_norm.forward(&x);
            let mixed = self.mix((layer, block), block.qkv.forward(&y), bounds, carry)?;
            let mixed = block.gated(mixed, &y);
            x = added(x, &block.out.forward(&mixed));
            x = self.feed_forward(block, x);
        }
        Ok(self.head.forward(&self.norm.forward(&x)))
    }

    /// Mean loss in nats per token.
    ///
    /// # Errors
    /// Where a kernel refuses.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        Ok(self.token_losses(batch, &CarriedStates::new())?.0.mean(Kind::Float))
    }

    /// Loss in nats of each token that `batch` predicts, `[N]`, in order, and what is to be
    /// remembered of its pieces.
    pub(crate) fn token_losses(
        &self,
        batch: &Batch,
        carried: &CarriedStates,
    ) -> Result<(Tensor, CarriedStates), ModelError> {
        let mut carry = StateCarry::new(batch, carried)?;
        let [inputs, targets] = [&batch.inputs, &batch.targets]
            .map(|ids| Tensor::from_slice(ids).to_device(self.device));
        let scores =
            self.forward_with_state(&inputs, &batch.bounds, &mut carry)?.to_kind(Kind::Float);
        let losses =
            scores.f_cross_entropy_loss::<Tensor>(&targets, None, Reduction::None, -100, 0.0)?;
        Ok((losses, carry.map_or_else(CarriedStates::new, StateCarry::finish)))
    }

    /// Loss in nats of each token that `batch` predicts, in order; no gradient.
    ///
    /// # Errors
    /// Where a kernel refuses, or the batch holds the later part of a sequence.
    pub fn losses(&self, batch: &Batch) -> Result<Vec<f32>, ModelError> {
        self.losses_with_state(batch, &mut CarriedStates::new())
    }

    /// The same where sequences come in pieces, each in a batch of its own; `carried` is carried
    /// from one to the next.
    ///
    /// # Errors
    /// Where a kernel refuses, or nothing is remembered of a sequence that goes on.
    pub fn losses_with_state(
        &self,
        batch: &Batch,
        carried: &mut CarriedStates,
    ) -> Result<Vec<f32>, ModelError> {
        let _guard = tch::no_grad_guard();
        let (losses, after) = self.token_losses(batch, carried)?;
        carried.take(batch, after);
        Ok(Vec::try_from(&losses.to_device(Device::Cpu))?)
    }

    /// States of `sequences` sequences, all at their start.
    #[must_use]
    pub fn recurrent_state(&self, sequences: i64) -> RecurrentState {
        let (heads, size) = (self.config.heads as i64, self.config.head_dim() as i64);
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, self.device));
        let past =
            [sequences, self.config.conv_kernel as i64 - 1, 3 * self.config.hidden_size as i64];
        let layer = |_| LayerState {
            s: zeros(&[sequences, heads, size, size]),
            z: zeros(&[sequences, heads, size]),
            past: (self.config.conv_kernel > 0).then(|| zeros(&past)),
        };
        RecurrentState { layers: (0..self.config.layers).map(layer).collect(), position: 0 }
    }

    /// Scores of the next token, `[B, V]`, after the next token of each sequence, `[B]`:
    /// [`Model::forward`] in recurrent form, in plain libtorch operations.
    pub fn step(&self, tokens: &Tensor, state: &mut RecurrentState) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.grow_rotary(state.position as usize + 1);
        let (heads, size) = (self.config.heads as i64, self.config.head_dim() as i64);
        let positions = Tensor::full_like(tokens, state.position);
        let mut x = Tensor::embedding(&self.embed, tokens, -1, false, false);
        for (block, layer) in self.blocks.iter().zip(&mut state.layers) {
            let y = block.attention_norm.forward(&x);
            let qkv = block.convolve_step(block.qkv.forward(&y), layer).view([-1, 3, heads, size]);
            let [q, k] =
                [0, 1].map(|i| self.rotary.borrow().apply_at(&qkv.select(1, i), &positions));
            let states = (&mut layer.s, &mut layer.z);
            let eps = self.config.attention_eps;
            let mixed =
                chunked::step((&q, &k, &qkv.select(1, 2)), states, self.decay.as_ref(), eps);
            x = added(x, &block.out.forward(&block.gated(mixed.flatten(1, 2), &y)));
            x = self.feed_forward(block, x);
        }
        state.position += 1;
        self.head.forward(&self.norm.forward(&x))
    }

    /// The same model as a decoder for the CPU.
    ///
    /// # Errors
    /// Where the kernels do not have this architecture.
    pub fn decoder(&self) -> Result<Decoder, ModelError> {
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
            embed: values(&self.embed)?,
            decay: self.config.decays().into_iter().map(|left| left as f32).collect(),
            blocks: self.blocks.iter().map(Block::weights).collect::<Result<_, _>>()?,
            norm: self.norm.weights()?,
            head: self.head.weights()?,
        };
        Ok(Decoder::new(shape, weights)?)
    }

    /// What a layer's convolution and attention make of queries, keys and values, `[N, width]`.
    fn mix(
        &self,
        (layer, block): (usize, &Block),
        qkv: Tensor,
        bounds: &CuSeqlens,
        carry: &mut Option<StateCarry>,
    ) -> Result<Tensor, ModelError> {
        let convolved = match &block.conv {
            Some(weight) => {
                let alone = memory::convolve(&qkv, weight, bounds)?;
                carry.as_ref().map_or(alone.shallow_clone(), |c| {
                    c.convolved(layer, &qkv, alone, weight, bounds)
                })
            }
            None => qkv.shallow_clone(),
        };
        let Some(carry) = carry else { return self.attend(&convolved, bounds) };
        let (mixed, last) =
            self.attend_with_state(&convolved, carry.states(layer).as_ref(), bounds)?;
        carry.keep(layer, &qkv, self.config.conv_kernel.saturating_sub(1), &last, bounds);
        Ok(mixed)
    }

    /// Chooses the attention's form: fused where there is a kernel, libtorch operations elsewhere.
    fn attend(&self, qkv: &Tensor, bounds: &CuSeqlens) -> Result<Tensor, ModelError> {
        if !fused::runs_on(self.device, self.config.head_dim()) {
            return Ok(self.attend_with_state(qkv, None, bounds)?.0);
        }
        let (rotary, heads) = (self.rotary.borrow(), self.config.heads as i64);
        let options = self.options(&rotary);
        Ok(fused::attention_packed(&qkv.to_kind(Kind::Float), heads, bounds, &options)?
            .flatten(1, 2))
    }

    /// The same where sequences go on: from each one's state to its next.
    fn attend_with_state(
        &self,
        qkv: &Tensor,
        states: Option<&fused::State>,
        bounds: &CuSeqlens,
    ) -> Result<(Tensor, fused::State), ModelError> {
        let (rotary, heads) = (self.rotary.borrow(), self.config.heads as i64);
        let options = self.options(&rotary);
        if fused::runs_on(self.device, self.config.head_dim()) {
            let qkv = &qkv.to_kind(Kind::Float);
            let (mixed, last) =
                fused::attention_packed_with_state(qkv, heads, states, bounds, &options)?;
            return Ok((mixed.flatten(1, 2), last));
        }
        let parts = qkv.view([-1, 3, heads, self.config.head_dim() as i64]);
        let [q, k] = [0, 1].map(|i| rotary.apply(&parts.select(1, i), bounds));
        let v = &parts.select(1, 2);
        let (mixed, last) =
            chunked::decayed_with_state((&q, &k, v), states, bounds, options.decay, options.eps);
        Ok((mixed.reshape([-1, self.config.hidden_size as i64]), last))
    }

    fn options<'a>(&'a self, rotary: &'a Rotary) -> fused::AttentionOptions<'a> {
        fused::AttentionOptions {
            eps: self.config.attention_eps,
            rotary: Some(rotary),
            decay: self.decay.as_ref(),
        }
    }

    fn feed_forward(&self, block: &Block, x: Tensor) -> Tensor {
        let up = block.up.forward(&block.feed_norm.forward(&x));
        let active = match self.config.activation {
            Activation::Gelu => up.gelu("none"),
            Activation::Swiglu => {
                let halves = up.chunk(2, -1);
                halves[0].silu() * &halves[1]
            }
        };
        added(x, &block.down.forward(&active))
    }

    fn grow_rotary(&self, positions: usize) {
        if self.rotary.borrow().positions() < positions {
            let positions = positions.next_power_of_two().max(1024);
            *self.rotary.borrow_mut() =
                Rotary::new(positions, self.config.head_dim(), Kind::Float, self.device);
        }
    }
}

/// In place of a standard deviation: ones in the last column, zeros elsewhere.
const LAST_ALONE: f64 = f64::NEG_INFINITY;

/// Never in place: the gradient needs `x` as it was.
fn added(x: Tensor, more: &Tensor) -> Tensor {
    x + more
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    fn weights(&self) -> Result<LinearWeights, ModelError> {
        let bias = self.bias.as_ref().map(values).transpose()?;
        Ok(LinearWeights { weight: values(&self.weight.tr())?, bias })
    }
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Tensor {
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

    fn weights(&self) -> Result<NormWeights, ModelError> {
        Ok(NormWeights {
            weight: values(&self.weight)?,
            bias: self.bias.as_ref().map(values).transpose()?,
        })
    }
}

impl Block {
    /// What the attention answers, times the gate that the block's input opens.
    fn gated(&self, mixed: Tensor, input: &Tensor) -> Tensor {
        self.gate.as_ref().map_or(mixed.shallow_clone(), |gate| mixed * gate.forward(input).silu())
    }

    /// The convolution's answer to its newest input, `[B, 3 width]`.
    fn convolve_step(&self, qkv: Tensor, layer: &mut LayerState) -> Tensor {
        let (Some(weight), Some(past)) = (&self.conv, &mut layer.past) else { return qkv };
        let window = Tensor::cat(&[&*past, &qkv.unsqueeze(1)], 1); // [B, taps, channels]
        *past = window.narrow(1, 1, window.size()[1] - 1);
        (window * weight.select(1, 0).tr()).sum_dim_intlist([1].as_slice(), false, Kind::Float)
    }

    fn weights(&self) -> Result<BlockWeights, ModelError> {
        Ok(BlockWeights {
            attention_norm: self.attention_norm.weights()?,
            qkv: self.qkv.weights()?,
            conv: self.conv.as_ref().map(|weight| values(&weight.select(1, 0).tr())).transpose()?,
            gate: self.gate.as_ref().map(Linear::weights).transpose()?,
            out: self.out.weights()?,
            feed_norm: self.feed_norm.weights()?,
            up: self.up.weights()?,
            down: self.down.weights()?,
        })
    }
}

struct Builder<'a, F> {
    config: &'a ModelConfig,
    device: Device,
    source: F,
    parameters: Vec<(String, Tensor)>,
}

impl<F: FnMut(&str, &[i64], f64) -> Result<Tensor, ModelError>> Builder<'_, F> {
    fn tensor(&mut self, name: &str, shape: &[i64], deviation: f64) -> Result<Tensor, ModelError> {
        let values = (self.source)(name, shape, deviation)?;
        let tensor = values.to_kind(Kind::Float).to_device(self.device).set_requires_grad(true);
        self.parameters.push((name.to_owned(), tensor.shallow_clone()));
        Ok(tensor)
    }

    /// Deviation `scale / sqrt(3 inputs)`, as PyTorch's own; biases zero.
    fn linear(
        &mut self,
        name: &str,
        inputs: i64,
        outputs: i64,
        scale: f64,
    ) -> Result<Linear, ModelError> {
        let weight = self.tensor(
            &format!("{name}.weight"),
            &[outputs, inputs],
            scale / (3.0 * inputs as f64).sqrt(),
        )?;
        let bias = self.bias(name, outputs)?;
        Ok(Linear { weight, bias })
    }

    /// At first, what comes in goes out.
    fn convolution(&mut self, name: &str, channels: i64) -> Result<Option<Tensor>, ModelError> {
        let taps = self.config.conv_kernel as i64;
        if taps == 0 {
            return Ok(None);
        }
        let name = format!("{name}.weight");
        let tensor = self.tensor(&name, &[channels, 1, taps], LAST_ALONE)?;
        Ok(Some(tensor))
    }

    fn norm(&mut self, name: &str) -> Result<Norm, ModelError> {
        let width = self.config.hidden_size as i64;
        let weight = self.tensor(&format!("{name}.weight"), &[width], -1.0)?;
        let bias = if self.config.norm == NormKind::Layer { self.bias(name, width)? } else { None };
        Ok(Norm { weight, bias, kind: self.config.norm, eps: self.config.norm_eps })
    }

    fn bias(&mut self, name: &str, size: i64) -> Result<Option<Tensor>, ModelError> {
        if !self.config.bias {
            return Ok(None);
        }
        self.tensor(&format!("{name}.bias"), &[size], 0.0).map(Some)
    }
}

/// Normal values by the method of Box and Muller: the same for a seed on every machine and
/// libtorch.
fn init_normal(rng: &mut ChaCha8Rng, shape: &[i64], deviation: f64) -> Tensor {
    let size = shape.iter().product::<i64>() as usize;
    if deviation == LAST_ALONE {
        let all = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let _ = all.select(-1, -1).fill_(1.0);
        return all;
    }
    if deviation <= 0.0 {
        return Tensor::full(
            shape,
            if deviation < 0.0 { 1.0 } else { 0.0 },
            (Kind::Float, Device::Cpu),
        );
    }
    let mut normal = || {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos() * deviation) as f32
    };
    let all: Vec<f32> = (0..size).map(|_| normal()).collect();
    Tensor::from_slice(&all).view(shape)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(Vec::try_from(&tensor.detach().to_device(Device::Cpu).contiguous().view([-1]))?)
}
