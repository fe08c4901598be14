//! Construction of a model: fresh weights from a seed, or named weights.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;

use linformer_kernels::Rotary;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::Model;
use super::block::{Block, Linear, Norm, SelectiveDecay};
use crate::ModelError;
use crate::config::{Activation, Decay, ModelConfig, NormKind};

/// Initial values of a weight.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Init<'a> {
    /// Normal distribution with mean 0.
    Normal {
        /// Standard deviation, above 0.
        std: f64,
    },
    /// Zeros, used for biases.
    Zeros,
    /// Ones, used for the scales of normalisations.
    Ones,
    /// One for the last tap of a convolution and zeros for the others: output equals input.
    LastTap,
    /// Given numbers, in row-major order.
    Values(&'a [f64]),
}

impl Model {
    /// Creates a model with fresh weights from `seed`.
    ///
    /// # Errors
    /// If the configuration is out of range.
    pub fn new(config: &ModelConfig, seed: u64, device: Device) -> Result<Model, ModelError> {
        config.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let Ok(model) = Model::build::<Infallible>(config, device, |_, shape, init| {
            Ok(init.draw(&mut rng, shape))
        });
        Ok(model)
    }

    /// Creates a model with the weights of the given names.
    ///
    /// # Errors
    /// With the first weight that is missing or has another shape, or if the configuration is out
    /// of range.
    pub(crate) fn from_weights(
        config: &ModelConfig,
        mut weights: HashMap<String, Tensor>,
        device: Device,
    ) -> Result<Model, String> {
        config.check().map_err(|error| error.to_string())?;
        Model::build(config, device, |name, shape, _| match weights.remove(name) {
            Some(tensor) if tensor.size() == shape => Ok(tensor),
            Some(tensor) => Err(format!("{name}: expected {shape:?}, found {:?}", tensor.size())),
            None => Err(format!("no tensor {name}")),
        })
    }

    /// Builds the model of a checked configuration. `source` returns the values of a weight by its
    /// name and shape; fresh ones have the given initial values.
    fn build<E>(
        config: &ModelConfig,
        device: Device,
        source: impl FnMut(&str, &[i64], Init) -> Result<Tensor, E>,
    ) -> Result<Model, E> {
        let mut b = Builder { config, device, source, parameters: Vec::new() };
        let [vocab, width] = [config.vocab_size, config.hidden_size].map(|n| n as i64);
        let std = 0.5 / (width as f64).sqrt();
        let embed = b.tensor("embed.weight", &[vocab, width], Init::Normal { std })?;
        let blocks = (0..config.layers).map(|i| b.block(i)).collect::<Result<_, _>>()?;
        let norm = b.norm("norm")?;
        let head = if config.tied {
            Linear { weight: embed.shallow_clone(), bias: None }
        } else {
            b.linear("head", width, vocab, 1.0)?
        };
        let rotary = RefCell::new(Rotary::new(0, config.head_dim(), Kind::Float, device));
        let decay = (config.decay == Decay::Fixed)
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
}

/// Parameters of a model in construction, in the order in which they are made: fresh weights come
/// from one stream of random numbers, so another order gives a seed other weights.
struct Builder<'a, F> {
    config: &'a ModelConfig,
    device: Device,
    source: F,
    parameters: Vec<(String, Tensor)>,
}

impl<E, F: FnMut(&str, &[i64], Init) -> Result<Tensor, E>> Builder<'_, F> {
    /// Adds a parameter. Names are those that a PyTorch module would give.
    fn tensor(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor, E> {
        let values = (self.source)(name, shape, init)?;
        let tensor = values.to_kind(Kind::Float).to_device(self.device).set_requires_grad(true);
        self.parameters.push((name.to_owned(), tensor.shallow_clone()));
        Ok(tensor)
    }

    fn block(&mut self, index: usize) -> Result<Block, E> {
        let config = self.config;
        let [width, ffn_size] = [config.hidden_size, config.ffn_size].map(|n| n as i64);
        let up = if config.activation == Activation::Swiglu { 2 * ffn_size } else { ffn_size };
        // 2 layers of each block add to the residual stream: this scale keeps its variance (GPT-2).
        let residual = 1.0 / (2.0 * config.layers as f64).sqrt();
        let name = |part: &str| format!("blocks.{index}.{part}");
        Ok(Block {
            index,
            attention_norm: self.norm(&name("attention_norm"))?,
            qkv: self.linear(&name("attention.qkv"), width, 3 * width, 1.0)?,
            conv: self.convolution(&name("attention.conv"), 3 * width)?,
            gate: if config.gate {
                Some(self.linear(&name("attention.gate"), width, width, 1.0)?)
            } else {
                None
            },
            decay: self.decay(&name("attention"), width)?,
            out: self.linear(&name("attention.out"), width, width, residual)?,
            feed_norm: self.norm(&name("feed_norm"))?,
            up: self.linear(&name("feed.up"), width, up, 1.0)?,
            down: self.linear(&name("feed.down"), ffn_size, width, residual)?,
            activation: config.activation,
        })
    }

    /// Adds a linear layer with standard deviation `scale / sqrt(3 inputs)`, PyTorch's own for a
    /// scale of 1, and a bias of zeros.
    fn linear(&mut self, name: &str, inputs: i64, outputs: i64, scale: f64) -> Result<Linear, E> {
        let std = scale / (3.0 * inputs as f64).sqrt();
        let weight =
            self.tensor(&format!("{name}.weight"), &[outputs, inputs], Init::Normal { std })?;
        let bias = self.bias(name, outputs)?;
        Ok(Linear { weight, bias })
    }

    /// Adds a convolution whose output at first equals its input, if the configuration has one.
    fn convolution(&mut self, name: &str, channels: i64) -> Result<Option<Tensor>, E> {
        let taps = self.config.conv_kernel as i64;
        if taps == 0 {
            return Ok(None);
        }
        self.tensor(&format!("{name}.weight"), &[channels, 1, taps], Init::LastTap).map(Some)
    }

    /// Adds the weights of a selective decay, if the configuration has one.
    fn decay(&mut self, name: &str, width: i64) -> Result<Option<SelectiveDecay>, E> {
        if self.config.decay != Decay::Selective {
            return Ok(None);
        }
        let heads = self.config.heads as i64;
        let std = 1.0 / (3.0 * width as f64).sqrt();
        let dt_proj =
            self.tensor(&format!("{name}.dt_proj.weight"), &[heads, width], Init::Normal { std })?;
        // softplus(dt_bias) = -ln(decay)
        let bias: Vec<f64> =
            self.config.decays().iter().map(|decay| (-decay.ln()).exp_m1().ln()).collect();
        let dt_bias = self.tensor(&format!("{name}.dt_bias"), &[heads], Init::Values(&bias))?;
        let a_log = self.tensor(&format!("{name}.A_log"), &[heads], Init::Zeros)?;
        Ok(Some(SelectiveDecay { dt_proj, dt_bias, a_log }))
    }

    fn norm(&mut self, name: &str) -> Result<Norm, E> {
        let width = self.config.hidden_size as i64;
        let weight = self.tensor(&format!("{name}.weight"), &[width], Init::Ones)?;
        let bias = if self.config.norm == NormKind::Layer { self.bias(name, width)? } else { None };
        Ok(Norm { weight, bias, kind: self.config.norm, eps: self.config.norm_eps })
    }

    fn bias(&mut self, name: &str, size: i64) -> Result<Option<Tensor>, E> {
        if !self.config.bias {
            return Ok(None);
        }
        self.tensor(&format!("{name}.bias"), &[size], Init::Zeros).map(Some)
    }
}

impl Init<'_> {
    /// Returns a tensor of these values.
    fn draw(self, rng: &mut ChaCha8Rng, shape: &[i64]) -> Tensor {
        let options = (Kind::Float, Device::Cpu);
        match self {
            Init::Normal { std } => init_normal(rng, shape, std),
            Init::Zeros => Tensor::zeros(shape, options),
            Init::Ones => Tensor::ones(shape, options),
            Init::LastTap => {
                let all = Tensor::zeros(shape, options);
                let _ = all.select(-1, -1).fill_(1.0);
                all
            }
            Init::Values(values) => Tensor::from_slice(values).view(shape),
        }
    }
}

/// Returns normal values by the Box-Muller transform.
///
/// Written out, and neither `rand_distr` nor libtorch's generator: fresh weights of a seed are
/// promised to have the same bits on every machine and with every version of these.
fn init_normal(rng: &mut ChaCha8Rng, shape: &[i64], std: f64) -> Tensor {
    let size = shape.iter().product::<i64>() as usize;
    let mut normal = || {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        // 1 - u is in (0, 1], so that its logarithm is finite.
        ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos() * std) as f32
    };
    let all: Vec<f32> = (0..size).map(|_| normal()).collect();
    Tensor::from_slice(&all).view(shape)
}
