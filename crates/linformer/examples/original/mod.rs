//! The original model, tcpflowgen's, in libtorch operations: 8 layers, 256 wide, 8 heads, 16-bit
//! words as tokens (65,546 ids), untied embedding and output, attention as cumulative sums over the
//! context.

use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};

/// Number of token ids of the 16-bit word code.
pub(crate) const VOCAB: i64 = 65_546;
const WIDTH: i64 = 256;
const HEADS: i64 = 8;
const LAYERS: usize = 8;
const FEED: i64 = 1024;

/// The original model, with weights of its own.
#[derive(Debug)]
pub(crate) struct Original {
    embed: nn::Embedding,
    blocks: Vec<Block>,
    norm: nn::LayerNorm,
    head: nn::Linear,
}

#[derive(Debug)]
struct Block {
    norms: [nn::LayerNorm; 2],
    qkv: nn::Linear,
    out: nn::Linear,
    up: nn::Linear,
    down: nn::Linear,
}

impl Original {
    /// Creates the model with fresh weights.
    pub(crate) fn new(vs: &nn::Path) -> Original {
        let linear = |name: String, i, o| nn::linear(vs / name, i, o, nn::LinearConfig::default());
        let norm =
            |name: String| nn::layer_norm(vs / name, vec![WIDTH], nn::LayerNormConfig::default());
        let block = |i: usize| Block {
            norms: [norm(format!("a{i}")), norm(format!("b{i}"))],
            qkv: linear(format!("qkv{i}"), WIDTH, 3 * WIDTH),
            out: linear(format!("out{i}"), WIDTH, WIDTH),
            up: linear(format!("up{i}"), WIDTH, FEED),
            down: linear(format!("down{i}"), FEED, WIDTH),
        };
        Original {
            embed: nn::embedding(vs / "embed", VOCAB, WIDTH, nn::EmbeddingConfig::default()),
            blocks: (0..LAYERS).map(block).collect(),
            norm: norm("norm".to_owned()),
            head: linear("head".to_owned(), WIDTH, VOCAB),
        }
    }

    /// Computes the scores `[B, T, V]` for token ids `[B, T]`.
    pub(crate) fn forward(&self, tokens: &Tensor) -> Tensor {
        let mut x = self.embed.forward(tokens);
        for block in &self.blocks {
            x = &x
                + block
                    .out
                    .forward(&attention(&block.qkv.forward(&block.norms[0].forward_t(&x, true))));
            x = &x
                + block
                    .down
                    .forward(&block.up.forward(&block.norms[1].forward_t(&x, true)).gelu("none"));
        }
        self.head.forward(&self.norm.forward_t(&x, true))
    }
}

/// Computes the attention of `qkv` `[B, T, 3 W]`: rotary positions, `elu(x) + 1`, and a state for
/// every token, `[B, T, H, D, D]`, by cumulative sums.
fn attention(qkv: &Tensor) -> Tensor {
    let (b, t) = (qkv.size()[0], qkv.size()[1]);
    let parts = qkv.view([b, t, 3, HEADS, WIDTH / HEADS]);
    let [q, k] = [0, 1].map(|i| rotated(&parts.select(2, i)).elu() + 1.0); // [B, T, H, D]
    let v = parts.select(2, 2);
    let states = (k.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(1, None::<Kind>); // [B, T, H, D, D]
    let sums = (q.unsqueeze(-2).matmul(&states)).squeeze_dim(-2);
    let total =
        (&q * k.cumsum(1, None::<Kind>)).sum_dim_intlist([-1].as_slice(), true, None::<Kind>)
            + 1e-6;
    (sums / total).reshape([b, t, WIDTH])
}

fn rotated(x: &Tensor) -> Tensor {
    let (t, half) = (x.size()[1], x.size()[3] / 2);
    let turns = (Tensor::arange(half, (Kind::Float, x.device()))
        * (-(10_000_f64.ln()) / half as f64))
        .exp();
    let angles = Tensor::arange(t, (Kind::Float, x.device())).unsqueeze(-1) * turns;
    let (cos, sin) = (angles.cos().unsqueeze(1), angles.sin().unsqueeze(1));
    let halves = x.chunk(2, -1);
    Tensor::cat(&[&halves[0] * &cos - &halves[1] * &sin, &halves[1] * &cos + &halves[0] * &sin], -1)
}
