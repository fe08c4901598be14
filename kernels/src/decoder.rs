//! A whole model on the CPU, one token at a time: no tensor, no allocation per step, no state
//! shared between threads.
//!
//! A slot holds one sequence. Its scores depend on its own tokens alone: they have the same bits
//! for any number of slots, any order of them and any number of threads.

use std::sync::Arc;

use crate::ffi::{self, CBlock, CLinear, CModel, CNorm};
use crate::rows::Rows;
use crate::{KernelError, Rotary, layers};

/// Architecture of a model: sizes and kinds of layers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DecoderShape {
    /// Number of token ids, `V`.
    pub vocab: usize,
    /// Width of the residual stream, `W`, a multiple of 16.
    pub hidden_size: usize,
    /// Number of heads; `W` divided by it is even.
    pub heads: usize,
    /// Width of the feed-forward layer, `F`, a multiple of 16.
    pub ffn_size: usize,
    /// Added to the variance in each normalisation.
    pub norm_eps: f32,
    /// Added to the sum of a token's scores in the attention.
    pub attention_eps: f32,
    /// Whether normalisations are RMSNorm; else LayerNorm.
    pub rms: bool,
    /// Whether the activation is SwiGLU; else GELU.
    pub gated: bool,
    /// Taps of the causal convolution over queries, keys and values; 0: no convolution.
    pub conv_kernel: usize,
}

/// Weights of a normalisation, each `[W]`.
#[derive(Debug)]
pub struct NormWeights {
    /// Scale of each channel.
    pub weight: Vec<f32>,
    /// Shift of each channel; absent in RMSNorm.
    pub bias: Option<Vec<f32>>,
}

/// Weights of a linear layer.
#[derive(Debug)]
pub struct LinearWeights {
    /// Matrix `[inputs, outputs]`: the transpose of PyTorch's `weight`.
    pub weight: Vec<f32>,
    /// Added to the product, `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

/// Weights of a block: attention, then a feed-forward layer, each after a normalisation.
#[derive(Debug)]
pub struct BlockWeights {
    /// Normalisation before the attention.
    pub attention_norm: NormWeights,
    /// Projection to queries, keys and values, `[W, 3 W]`.
    pub qkv: LinearWeights,
    /// Taps of the convolution of each channel, `[conv_kernel, 3 W]`; the last one weighs the token
    /// itself. Absent if the shape has no convolution.
    pub conv: Option<Vec<f32>>,
    /// Gate projection, `[W, W]`: the attention output is multiplied by `silu(gate(x))`.
    pub gate: Option<LinearWeights>,
    /// Output projection of the attention, `[W, W]`.
    pub out: LinearWeights,
    /// Normalisation before the feed-forward layer.
    pub feed_norm: NormWeights,
    /// First matrix of the feed-forward layer, `[W, F]`; `[W, 2 F]` for SwiGLU: gates, then values.
    pub up: LinearWeights,
    /// Second matrix of the feed-forward layer, `[F, W]`.
    pub down: LinearWeights,
    /// Decay of each token by the block's input; absent: that of the model.
    pub decay: Option<DecayWeights>,
}

/// Weights of a token's decay in a head, `exp(-rate softplus(proj x))`.
#[derive(Debug)]
pub struct DecayWeights {
    /// Projection of the block's input, `[W, H]`.
    pub proj: LinearWeights,
    /// Factor of each head, `[H]`, above 0.
    pub rate: Vec<f32>,
}

/// Weights of a model.
#[derive(Debug)]
pub struct DecoderWeights {
    /// Embedding of each token id, `[V, W]`.
    pub embed: Vec<f32>,
    /// Factor on each head's state per token, `[H]`; 1 without decay. Blocks with a decay of their
    /// own do not use it.
    pub decay: Vec<f32>,
    /// Blocks, from first to last.
    pub blocks: Vec<BlockWeights>,
    /// Normalisation after the last block.
    pub norm: NormWeights,
    /// Output projection to the scores, `[W, V]`.
    pub head: LinearWeights,
}

/// Kind of a decoder's matrices. Everything else is float: sums, states, normalisations and biases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WeightKind {
    /// Floats of 32 bits.
    #[default]
    Float,
    /// bfloat16, to which the other factor of each product is rounded too.
    Bf16,
}

/// Model that runs one token at a time. Clones share the weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    shape: DecoderShape,
    kind: WeightKind,
    weights: Arc<DecoderWeights>,
    frequencies: Arc<Vec<f64>>,
}

/// Floats that sizes are padded to a multiple of: the widest vector, one of AVX-512.
const LANES: usize = 16;
/// Rows that `lf_decode` computes together: its number of rows is a multiple of this.
const ROWS: usize = 8;
/// Columns of a panel in the layout that `lf::linear` reads; `PANEL` of `csrc/cpu_decode.inl`.
const PANEL: usize = 32;

impl Decoder {
    /// Creates a decoder, after checking that the weights have the sizes of `shape`.
    ///
    /// # Errors
    /// With the first size that differs, or if this processor has no products of the kind.
    pub fn new(
        shape: DecoderShape,
        mut weights: DecoderWeights,
        kind: WeightKind,
    ) -> Result<Decoder, KernelError> {
        if kind == WeightKind::Bf16 && !layers::has_bf16() {
            return Err(KernelError::Refused {
                operator: "decoder",
                message: "weights in bfloat16 need a processor with AVX512_BF16".to_owned(),
            });
        }
        check_shape(&shape)?;
        check_weights(&shape, &weights)?;
        pad_columns(&mut weights.head, shape.vocab);
        for decay in weights.blocks.iter_mut().filter_map(|block| block.decay.as_mut()) {
            pad_columns(&mut decay.proj, shape.heads);
        }
        pack_all(&shape, &mut weights, kind);
        let frequencies = Rotary::frequencies(shape.hidden_size / shape.heads);
        Ok(Decoder { shape, kind, weights: Arc::new(weights), frequencies: Arc::new(frequencies) })
    }

    /// Allocates the memory of `slots` sequences, each at its start and without a token.
    #[must_use]
    pub fn state(&self, slots: usize) -> DecoderState {
        let rows = slots.next_multiple_of(ROWS);
        let size = self.shape.hidden_size / self.shape.heads;
        let lines = self.weights.blocks.len() * (slots + 1) * self.shape.heads;
        let scratch = self.with_model(|model| {
            // SAFETY: the model's pointers are to memory that `self` holds.
            unsafe { ffi::lf_decode_scratch(model, rows as i64) }
        });
        DecoderState {
            rows: Rows::new(slots, rows),
            s: vec![0.0; lines * size * size],
            z: vec![0.0; lines * size],
            past: vec![0.0; self.weights.blocks.len() * (slots + 1) * self.past_len()],
            logits: vec![0.0; rows * self.padded_vocab()],
            scratch: vec![0.0; scratch as usize],
        }
    }

    /// Runs the model on the token of every slot that has one. [`Decoder::logits`] then returns the
    /// scores of the slot's next token.
    ///
    /// # Panics
    /// If a token is no id of the vocabulary, or `state` belongs to another model.
    pub fn step(&self, state: &mut DecoderState) {
        assert_eq!(
            state.logits.len(),
            state.rows.slots().next_multiple_of(ROWS) * self.padded_vocab(),
            "the state belongs to another model"
        );
        state.rows.collect(self.shape.vocab);
        state.rows.fill_up(ROWS);
        self.with_model(|model| {
            // SAFETY: the model's pointers are to memory that `self` holds and whose sizes `new`
            // has checked; the state's buffers were made by `state` for as many rows and slots as
            // `collect` and `fill_up` name, and this model.
            unsafe {
                ffi::lf_decode(
                    model,
                    state.rows.slot_of_row().len() as i64,
                    state.rows.slots() as i64 + 1,
                    state.rows.slot_of_row().as_ptr(),
                    state.rows.tokens().as_ptr(),
                    state.rows.positions().as_ptr(),
                    state.s.as_mut_ptr(),
                    state.z.as_mut_ptr(),
                    state.past.as_mut_ptr(),
                    state.logits.as_mut_ptr(),
                    state.scratch.as_mut_ptr(),
                );
            }
        });
    }

    /// Returns the kind of the matrices.
    #[must_use]
    pub fn kind(&self) -> WeightKind {
        self.kind
    }

    /// Returns the number of token ids.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.shape.vocab
    }

    /// Returns the scores of a slot's next token, `[V]`, after a step in which it had a token.
    #[must_use]
    pub fn logits<'a>(&self, state: &'a DecoderState, slot: usize) -> &'a [f32] {
        &state.logits[state.rows.row_of(slot) * self.padded_vocab()..][..self.shape.vocab]
    }

    /// Resets a slot to the start of a sequence.
    pub fn reset(&self, state: &mut DecoderState, slot: usize) {
        let size = self.shape.hidden_size / self.shape.heads;
        let line = self.shape.heads * size;
        for layer in 0..self.weights.blocks.len() {
            let row = layer * (state.rows.slots() + 1) + slot;
            state.s[row * line * size..][..line * size].fill(0.0);
            state.z[row * line..][..line].fill(0.0);
            state.past[row * self.past_len()..][..self.past_len()].fill(0.0);
        }
        state.rows.reset(slot);
    }

    /// Returns how many earlier inputs the convolution of one layer keeps for a slot, times their
    /// width.
    fn past_len(&self) -> usize {
        self.shape.conv_kernel.saturating_sub(1) * 3 * self.shape.hidden_size
    }

    /// Returns the number of columns of the output projection: whole vectors.
    pub(crate) fn padded_vocab(&self) -> usize {
        self.shape.vocab.next_multiple_of(LANES)
    }

    /// Calls `run` with the C view of the model, which lives as long as the call.
    pub(crate) fn with_model<R>(&self, run: impl FnOnce(&CModel) -> R) -> R {
        let blocks: Vec<CBlock> = self.weights.blocks.iter().map(c_block).collect();
        run(&CModel {
            vocab: self.padded_vocab() as i64,
            hidden_size: self.shape.hidden_size as i64,
            heads: self.shape.heads as i64,
            ffn_size: self.shape.ffn_size as i64,
            layers: blocks.len() as i64,
            conv_kernel: self.shape.conv_kernel as i64,
            norm_eps: self.shape.norm_eps,
            attention_eps: self.shape.attention_eps,
            rms: i32::from(self.shape.rms),
            gated: i32::from(self.shape.gated),
            decay: self.weights.decay.as_ptr(),
            frequency: self.frequencies.as_ptr(),
            embed: self.weights.embed.as_ptr(),
            blocks: blocks.as_ptr(),
            norm: c_norm(&self.weights.norm),
            head: c_linear(&self.weights.head),
            products: match self.kind {
                WeightKind::Float => std::ptr::null(),
                // SAFETY: plain numbers.
                WeightKind::Bf16 => unsafe { ffi::lf_bf16_products() },
            },
        })
    }
}

/// Recurrent states and scratch memory of a number of slots, which advance together.
///
/// Buffers have one slot more than there are: the rows that fill up the last register block use it.
#[derive(Debug)]
pub struct DecoderState {
    rows: Rows,
    /// Sum of `phi(k) v^T`, `[layers, slots + 1, H, D, D]`.
    s: Vec<f32>,
    /// Sum of `phi(k)`, `[layers, slots + 1, H, D]`.
    z: Vec<f32>,
    /// Earlier inputs of the convolution, `[layers, slots + 1, conv_kernel - 1, 3 W]`.
    past: Vec<f32>,
    /// Scores of each row of the last step, `[rows, padded vocabulary]`.
    logits: Vec<f32>,
    scratch: Vec<f32>,
}

impl DecoderState {
    /// Sets the token that a slot reads in the next step. A slot without a token costs nothing.
    pub fn set_token(&mut self, slot: usize, token: u16) {
        self.rows.set_token(slot, token);
    }
}

fn c_norm(norm: &NormWeights) -> CNorm {
    CNorm { weight: norm.weight.as_ptr(), bias: optional(norm.bias.as_ref()) }
}

fn c_linear(linear: &LinearWeights) -> CLinear {
    CLinear { weight: linear.weight.as_ptr(), bias: optional(linear.bias.as_ref()) }
}

fn optional(values: Option<&Vec<f32>>) -> *const f32 {
    values.map_or(std::ptr::null(), |values| values.as_ptr())
}

fn c_block(block: &BlockWeights) -> CBlock {
    CBlock {
        attention_norm: c_norm(&block.attention_norm),
        feed_norm: c_norm(&block.feed_norm),
        qkv: c_linear(&block.qkv),
        gate: block.gate.as_ref().map_or(NO_LINEAR, c_linear),
        out: c_linear(&block.out),
        up: c_linear(&block.up),
        down: c_linear(&block.down),
        conv: optional(block.conv.as_ref()),
        decay: block.decay.as_ref().map_or(NO_LINEAR, |decay| c_linear(&decay.proj)),
        rate: optional(block.decay.as_ref().map(|decay| &decay.rate)),
    }
}

const NO_LINEAR: CLinear = CLinear { weight: std::ptr::null(), bias: std::ptr::null() };

fn check_shape(shape: &DecoderShape) -> Result<(), KernelError> {
    let wrong = |what: &str, expected: &str, found: usize| {
        Err(KernelError::Shape {
            what: what.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
        })
    };
    if shape.hidden_size == 0 || !shape.hidden_size.is_multiple_of(LANES) {
        return wrong("hidden_size", "a multiple of 16", shape.hidden_size);
    }
    if shape.ffn_size == 0 || !shape.ffn_size.is_multiple_of(LANES) {
        return wrong("ffn_size", "a multiple of 16", shape.ffn_size);
    }
    if shape.heads == 0 || !shape.hidden_size.is_multiple_of(2 * shape.heads) {
        return wrong("heads", "a divisor of hidden_size / 2", shape.heads);
    }
    if shape.vocab == 0 {
        return wrong("vocab", "at least one id", shape.vocab);
    }
    Ok(())
}

fn check_weights(shape: &DecoderShape, weights: &DecoderWeights) -> Result<(), KernelError> {
    // [W, F], or gates and values side by side.
    let (width, up) =
        (shape.hidden_size, if shape.gated { 2 * shape.ffn_size } else { shape.ffn_size });
    check_size("embed", weights.embed.len(), shape.vocab * width)?;
    check_size("decay", weights.decay.len(), shape.heads)?;
    for (i, block) in weights.blocks.iter().enumerate() {
        let name = |part: &str| format!("blocks.{i}.{part}");
        check_norm(&name("attention_norm"), &block.attention_norm, width)?;
        check_linear(&name("qkv"), &block.qkv, width, 3 * width)?;
        check_size(
            &name("conv"),
            block.conv.as_ref().map_or(0, Vec::len),
            shape.conv_kernel * 3 * width,
        )?;
        block
            .gate
            .as_ref()
            .map_or(Ok(()), |gate| check_linear(&name("gate"), gate, width, width))?;
        check_linear(&name("out"), &block.out, width, width)?;
        check_norm(&name("feed_norm"), &block.feed_norm, width)?;
        check_linear(&name("up"), &block.up, width, up)?;
        check_linear(&name("down"), &block.down, shape.ffn_size, width)?;
        if let Some(decay) = &block.decay {
            check_linear(&name("decay.proj"), &decay.proj, width, shape.heads)?;
            check_size(&name("decay.rate"), decay.rate.len(), shape.heads)?;
        }
    }
    check_norm("norm", &weights.norm, width)?;
    check_linear("head", &weights.head, width, shape.vocab)
}

fn check_norm(name: &str, norm: &NormWeights, width: usize) -> Result<(), KernelError> {
    check_size(name, norm.weight.len(), width)?;
    norm.bias.as_ref().map_or(Ok(()), |bias| check_size(&format!("{name}.bias"), bias.len(), width))
}

fn check_linear(
    name: &str,
    linear: &LinearWeights,
    inputs: usize,
    outputs: usize,
) -> Result<(), KernelError> {
    check_size(name, linear.weight.len(), inputs * outputs)?;
    linear
        .bias
        .as_ref()
        .map_or(Ok(()), |bias| check_size(&format!("{name}.bias"), bias.len(), outputs))
}

fn check_size(name: &str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected {
        return Ok(());
    }
    let values = |n: usize| format!("{n} values");
    Err(KernelError::Shape {
        what: name.to_owned(),
        expected: values(expected),
        found: values(found),
    })
}

/// Adds columns of zeros to a matrix with `outputs` of them, up to whole vectors.
fn pad_columns(linear: &mut LinearWeights, outputs: usize) {
    let padded = outputs.next_multiple_of(LANES);
    let widen = |row: &[f32]| {
        row.iter().copied().chain(std::iter::repeat_n(0.0, padded - outputs)).collect::<Vec<_>>()
    };
    linear.weight = linear.weight.chunks(outputs).flat_map(widen).collect();
    linear.bias = linear.bias.take().map(|bias| widen(&bias));
}

/// Lays out each matrix in the panels that the kernel reads.
fn pack_all(shape: &DecoderShape, weights: &mut DecoderWeights, kind: WeightKind) {
    let pack_product = |linear: &mut LinearWeights, inputs| match kind {
        WeightKind::Float => pack(linear, inputs),
        WeightKind::Bf16 => pack_bf16(linear, inputs),
    };
    for block in &mut weights.blocks {
        pack_product(&mut block.qkv, shape.hidden_size);
        block.gate.iter_mut().for_each(|gate| pack_product(gate, shape.hidden_size));
        pack_product(&mut block.out, shape.hidden_size);
        pack_product(&mut block.up, shape.hidden_size);
        pack_product(&mut block.down, shape.ffn_size);
        block.decay.iter_mut().for_each(|decay| pack(&mut decay.proj, shape.hidden_size));
    }
    pack_product(&mut weights.head, shape.hidden_size);
}

/// Rounds `[inputs, outputs]` to bfloat16, in the layout of the kernel's products.
fn pack_bf16(linear: &mut LinearWeights, inputs: usize) {
    let outputs = linear.weight.len() / inputs;
    let mut packed = vec![0.0; inputs.div_ceil(2) * outputs.next_multiple_of(PANEL)];
    // SAFETY: `new` has checked that the processor has the products; `packed` has a unit for each
    // pair of inputs and each output, rounded up to whole panels.
    unsafe {
        ffi::lf_pack_bf16(
            linear.weight.as_ptr(),
            inputs as i64,
            outputs as i64,
            packed.as_mut_ptr(),
        );
    }
    linear.weight = packed;
}

/// Converts `[inputs, outputs]` to panels of columns, each `[inputs, 32]` and contiguous; the last
/// one may be narrower. A register block of a product then reads its panel from start to end.
fn pack(linear: &mut LinearWeights, inputs: usize) {
    let outputs = linear.weight.len() / inputs;
    let mut packed = Vec::with_capacity(linear.weight.len());
    for start in (0..outputs).step_by(PANEL) {
        let end = (start + PANEL).min(outputs);
        linear.weight.chunks(outputs).for_each(|row| packed.extend_from_slice(&row[start..end]));
    }
    linear.weight = packed;
}
