//! Configurations of models and of the optimizer, written as JSON next to the weights.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// Fields whose key in a file has another name, as `(field, key)`. The key is written; both are
/// read.
pub const KEY_ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "width"),
    ("ffn_size", "feed"),
    ("conv_kernel", "conv"),
    ("max_grad_norm", "clip"),
];

/// Normalisation before each layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// LayerNorm: zero mean and unit variance (Ba et al., arXiv 1607.06450).
    Layer,
    /// RMSNorm: unit mean square (Zhang and Sennrich, arXiv 1910.07467).
    Rms,
}

/// Activation between the two matrices of the feed-forward layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// GELU by the error function, not by its tanh approximation.
    Gelu,
    /// SwiGLU: the first matrix is twice as wide, and `silu` of one half multiplies the other
    /// (Shazeer, arXiv 2002.05202).
    Swiglu,
}

/// Decay of the heads' states from one token to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// No decay: every earlier token counts alike.
    #[default]
    None,
    /// Per-head decay `1 - 2^-n`, with `n` spaced evenly from 2 to 8; the last head does not decay.
    /// As in RetNet (Sun et al., arXiv 2307.08621), with shorter horizons: 4 to 256 tokens.
    Fixed,
    /// Decay that each token chooses: `exp(-exp(A_log) softplus(dt_proj x + dt_bias))` for the
    /// input `x` of the block, with weights of each head (Mamba-2, arXiv 2405.21060). An input of
    /// zeros gives a fresh model the fixed decays, but `1 - 2^-14` in the last head.
    Selective,
}

/// Architecture of a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Number of token ids, 1 to 65,536.
    pub vocab_size: usize,
    /// Width of the residual stream, a multiple of 16.
    #[serde(rename = "width", alias = "hidden_size")]
    pub hidden_size: usize,
    /// Number of attention heads; it divides half the width.
    pub heads: usize,
    /// Number of blocks: attention, then feed-forward layer.
    pub layers: usize,
    /// Width of the feed-forward layer, a multiple of 16.
    #[serde(rename = "feed", alias = "ffn_size")]
    pub ffn_size: usize,
    /// Kind of normalisation before each layer and before the output.
    pub norm: NormKind,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Taps of a causal convolution of each channel of queries, keys and values (H3, arXiv
    /// 2212.14052); 0: no convolution.
    #[serde(default, rename = "conv", alias = "conv_kernel")]
    pub conv_kernel: usize,
    /// Whether the attention output is multiplied by `silu(gate(x))`, with a projection `gate` of
    /// the block's input (GLA, arXiv 2312.06635).
    #[serde(default)]
    pub gate: bool,
    /// Decay of the heads' states.
    #[serde(default)]
    pub decay: Decay,
    /// Whether the output projection is the embedding matrix (tied weights).
    pub tied: bool,
    /// Whether linear layers and LayerNorm have biases.
    pub bias: bool,
    /// Added to the variance in each normalisation.
    pub norm_eps: f64,
    /// Added to the sum of a token's scores in the attention.
    pub attention_eps: f64,
}

impl ModelConfig {
    /// Returns the preset of 0.9 million parameters: minutes on a laptop. It has the parts that
    /// improve the loss in docs/results.md.
    #[must_use]
    pub fn tiny() -> ModelConfig {
        ModelConfig {
            vocab_size: 1024,
            hidden_size: 128,
            heads: 4,
            layers: 4,
            ffn_size: 336,
            norm: NormKind::Layer,
            activation: Activation::Swiglu,
            conv_kernel: 0,
            gate: false,
            decay: Decay::Fixed,
            tied: true,
            bias: true,
            norm_eps: 1e-5,
            attention_eps: 1e-6,
        }
    }

    /// Returns the preset of 5.0 million parameters: an hour on a workstation.
    #[must_use]
    pub fn small() -> ModelConfig {
        ModelConfig { hidden_size: 256, heads: 8, layers: 6, ffn_size: 688, ..ModelConfig::tiny() }
    }

    /// Returns the preset of 26 million parameters: for a GPU.
    #[must_use]
    pub fn base() -> ModelConfig {
        ModelConfig { hidden_size: 512, heads: 8, layers: 8, ffn_size: 1360, ..ModelConfig::tiny() }
    }

    /// Returns the architecture of tcpflowgen's model: 256 wide, 8 heads, 8 layers, 1,024
    /// feed-forward, GELU, LayerNorm, untied.
    #[must_use]
    pub fn original() -> ModelConfig {
        ModelConfig {
            vocab_size: 1024,
            hidden_size: 256,
            heads: 8,
            layers: 8,
            ffn_size: 1024,
            norm: NormKind::Layer,
            activation: Activation::Gelu,
            conv_kernel: 0,
            gate: false,
            decay: Decay::None,
            tied: false,
            bias: true,
            norm_eps: 1e-5,
            attention_eps: 1e-6,
        }
    }

    /// Returns the number of elements of a head, `D`.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// Returns the factor on each head's state per token, `[H]`. With [`Decay::Selective`], it is
    /// that of a fresh model for an input of zeros.
    #[must_use]
    pub fn decays(&self) -> Vec<f64> {
        let last = self.heads.saturating_sub(1);
        let horizon = |h: usize| 1.0 - (-2.0 - 6.0 * h as f64 / last as f64).exp2();
        let of_last = if self.decay == Decay::Selective { 1.0 - (-14_f64).exp2() } else { 1.0 };
        let decay = |h: usize| match self.decay {
            Decay::None => 1.0,
            _ if h == last => of_last,
            _ => horizon(h),
        };
        (0..self.heads).map(decay).collect()
    }

    /// Checks that the sizes make a model.
    ///
    /// # Errors
    /// With the first field that is out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        let multiple = |n: usize, of: usize| n > 0 && of > 0 && n.is_multiple_of(of);
        let rules = [
            ("vocab_size", "1 to 65536", self.vocab_size, (1..=65_536).contains(&self.vocab_size)),
            (
                "width",
                "a multiple of 16, at most 65536",
                self.hidden_size,
                multiple(self.hidden_size, 16) && self.hidden_size <= 65_536,
            ),
            (
                "feed",
                "a multiple of 16, at most 262144",
                self.ffn_size,
                multiple(self.ffn_size, 16) && self.ffn_size <= 262_144,
            ),
            (
                "heads",
                "a number that divides half the width",
                self.heads,
                multiple(self.hidden_size, 2 * self.heads),
            ),
            ("layers", "1 to 1024", self.layers, (1..=1024).contains(&self.layers)),
            ("conv", "0 to 64", self.conv_kernel, self.conv_kernel <= 64),
        ];
        match rules.into_iter().find(|rule| !rule.3) {
            Some((field, expected, found, _)) => {
                Err(ModelError::Config { field, expected, found: found.to_string() })
            }
            None => Ok(()),
        }
    }
}

/// Constants of AdamW and of gradient clipping.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Decay of the running average of gradients.
    pub beta1: f64,
    /// Decay of the running average of squared gradients.
    pub beta2: f64,
    /// Added to the root of the average of squared gradients.
    pub eps: f64,
    /// Weight decay of matrices. Vectors (biases and normalisations) do not decay.
    pub weight_decay: f64,
    /// Largest total norm of all gradients; larger ones are scaled down to it.
    #[serde(rename = "clip", alias = "max_grad_norm")]
    pub max_grad_norm: f64,
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.05, max_grad_norm: 1.0 }
    }
}

/// Precision of matrix products. Weights, moments, sums and losses have 32 bits in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE 754 binary32, on every device.
    #[default]
    F32,
    /// bfloat16, which is faster on GPUs and processors that have it.
    Bf16,
}

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{KEY_ALIASES, ModelConfig, Optimizer};

    #[test]
    fn each_alias_is_read_and_its_key_is_written() {
        let written = json!([ModelConfig::tiny(), Optimizer::default()]);
        let mut renamed = written.clone();
        for table in renamed.as_array_mut().unwrap().iter_mut().filter_map(Value::as_object_mut) {
            for (alias, key) in KEY_ALIASES {
                assert!(!table.contains_key(alias), "{alias} is not written");
                table.remove(key).map(|value| table.insert(alias.to_owned(), value));
            }
        }
        let text = renamed.to_string();
        assert!(KEY_ALIASES.iter().all(|(alias, _)| text.contains(alias)), "{text}");
        let read: (ModelConfig, Optimizer) = serde_json::from_str(&text).unwrap();
        assert_eq!(read, (ModelConfig::tiny(), Optimizer::default()));
    }
}
