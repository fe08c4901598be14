//! What a model is made of, and how it is trained. Stands as JSON beside the weights.

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// Names of fields that differ from the key they are written under, as `(field, key)`. Both are
/// read.
pub const KEY_ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "width"),
    ("ffn_size", "feed"),
    ("conv_kernel", "conv"),
    ("max_grad_norm", "clip"),
];

/// How activations are normalised before each layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// LayerNorm (Ba et al., arXiv 1607.06450).
    Layer,
    /// RMSNorm (Zhang and Sennrich, arXiv 1910.07467).
    Rms,
}

/// What stands between the two matrices of the feed-forward layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// GELU, exact.
    Gelu,
    /// SwiGLU: the first matrix is twice as wide and gates itself (Shazeer, arXiv 2002.05202).
    Swiglu,
}

/// How much of its state a head keeps from one token to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// All of it.
    #[default]
    None,
    /// From head to head more: `1 - 2^-n`, n from 2 to 8 in equal steps, and the last head all of
    /// it. As in RetNet (Sun et al., arXiv 2307.08621), with nearer horizons: 4 tokens to 256.
    Fixed,
}

/// The architecture of a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    #[serde(rename = "width", alias = "hidden_size")]
    pub hidden_size: usize,
    /// Attention heads.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of the feed-forward layer.
    #[serde(rename = "feed", alias = "ffn_size")]
    pub ffn_size: usize,
    /// Normalisation.
    pub norm: NormKind,
    /// Activation.
    pub activation: Activation,
    /// Taps of a causal convolution of each channel of queries, keys and values (H3, arXiv
    /// 2212.14052); 0: none.
    #[serde(default, rename = "conv", alias = "conv_kernel")]
    pub conv_kernel: usize,
    /// Whether SiLU of a matrix of the block's input multiplies what the attention answers (GLA,
    /// arXiv 2312.06635).
    #[serde(default)]
    pub gate: bool,
    /// What each head forgets.
    #[serde(default)]
    pub decay: Decay,
    /// Whether the output matrix is the embedding's.
    pub tied: bool,
    /// Whether linear layers and LayerNorm have biases.
    pub bias: bool,
    /// Added to the variance.
    pub norm_eps: f64,
    /// Added to the sum of the scores.
    pub attention_eps: f64,
}

impl ModelConfig {
    /// 0.9 million parameters: minutes on a laptop. With the parts that docs/results.md shows to
    /// gain.
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

    /// 5.0 million parameters: an hour on a workstation.
    #[must_use]
    pub fn small() -> ModelConfig {
        ModelConfig { hidden_size: 256, heads: 8, layers: 6, ffn_size: 688, ..ModelConfig::tiny() }
    }

    /// 26 million parameters: a GPU.
    #[must_use]
    pub fn base() -> ModelConfig {
        ModelConfig { hidden_size: 512, heads: 8, layers: 8, ffn_size: 1360, ..ModelConfig::tiny() }
    }

    /// The original's architecture: 256 wide, 8 heads, 8 layers, 1,024 feed-forward, GELU,
    /// LayerNorm, untied.
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

    /// Elements of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// What is left of each head's state after a token.
    #[must_use]
    pub fn decays(&self) -> Vec<f64> {
        let last = self.heads.saturating_sub(1);
        let fixed = |h: usize| {
            if h == last { 1.0 } else { 1.0 - (-2.0 - 6.0 * h as f64 / last as f64).exp2() }
        };
        (0..self.heads).map(|h| if self.decay == Decay::Fixed { fixed(h) } else { 1.0 }).collect()
    }

    /// Refuses sizes that make no model.
    ///
    /// # Errors
    /// With the first field that is wrong.
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

/// The optimizer's constants.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of matrices; vectors do not decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together.
    #[serde(rename = "clip", alias = "max_grad_norm")]
    pub max_grad_norm: f64,
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.05, max_grad_norm: 1.0 }
    }
}

/// What a model's matrices are multiplied in. Weights, moments, sums and losses are of 32 bits in
/// any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16: faster on GPUs that have it.
    Bf16,
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
