//! A whole model, one token at a time, on the CPU: no tensor, no allocation, no shared state
//! between threads.
//!
//! What a slot computes depends on its own tokens alone: the same bits whatever the number of
//! slots, their order or the number of threads.

use std::sync::Arc;

use crate::ffi::{self, CBlock, CLinear, CModel, CNorm};
use crate::{KernelError, Rotary};

/// The sizes of a model.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DecoderShape {
    /// Number of token ids.
    pub vocab: usize,
    /// Width, a multiple of 16.
    pub hidden_size: usize,
    /// Heads: the width divided by them is even.
    pub heads: usize,
    /// Width of the feed-forward layer, a multiple of 16.
    pub ffn_size: usize,
    /// Added to the variance.
    pub norm_eps: f32,
    /// Added to the sum of the scores.
    pub attention_eps: f32,
    /// RMSNorm, else LayerNorm.
    pub rms: bool,
    /// SwiGLU, else GELU.
    pub gated: bool,
    /// Taps of the convolution over queries, keys and values; 0: none.
    pub conv_kernel: usize,
}

/// A normalisation's weights, each `[width]`.
#[derive(Debug)]
pub struct NormWeights {
    /// Scale.
    pub weight: Vec<f32>,
    /// Shift.
    pub bias: Option<Vec<f32>>,
}

/// A linear layer's weights.
#[derive(Debug)]
pub struct LinearWeights {
    /// `[inputs, outputs]`: the transpose of what PyTorch keeps.
    pub weight: Vec<f32>,
    /// `[outputs]`
    pub bias: Option<Vec<f32>>,
}

/// A block's weights.
#[derive(Debug)]
pub struct BlockWeights {
    /// Before the attention.
    pub attention_norm: NormWeights,
    /// `[width, 3 width]`: queries, keys, values.
    pub qkv: LinearWeights,
    /// `[taps, 3 width]`, where there is a convolution: the last tap is for the token itself.
    pub conv: Option<Vec<f32>>,
    /// `[width, width]`: what SiLU of it multiplies the attention's answer by.
    pub gate: Option<LinearWeights>,
    /// `[width, width]`
    pub out: LinearWeights,
    /// Before the feed-forward layer.
    pub feed_norm: NormWeights,
    /// `[width, feed]`, or `[width, 2 feed]` where gated: gates, then values.
    pub up: LinearWeights,
    /// `[feed, width]`
    pub down: LinearWeights,
}

/// A model's weights.
#[derive(Debug)]
pub struct DecoderWeights {
    /// `[vocab, width]`
    pub embed: Vec<f32>,
    /// `[heads]`: what is left of a head's state after a token.
    pub decay: Vec<f32>,
    /// From first to last.
    pub blocks: Vec<BlockWeights>,
    /// After the last block.
    pub norm: NormWeights,
    /// `[width, vocab]`
    pub head: LinearWeights,
}

/// A model ready to run. Cheap to clone; clones share the weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    shape: DecoderShape,
    weights: Arc<DecoderWeights>,
    frequencies: Arc<Vec<f64>>,
}

/// Vectors are of 16 floats.
const LANES: usize = 16;
/// Rows of a register block.
const ROWS: usize = 8;
/// Columns of a matrix that lie together.
const PANEL: usize = 32;

impl Decoder {
    /// Checks that the weights have the sizes of `shape`.
    ///
    /// # Errors
    /// Where one has not.
    pub fn new(shape: DecoderShape, mut weights: DecoderWeights) -> Result<Decoder, KernelError> {
        check_shape(&shape)?;
        check_weights(&shape, &weights)?;
        pad_head(&shape, &mut weights.head);
        pack_all(&shape, &mut weights);
        let frequencies = Rotary::frequencies(shape.hidden_size / shape.heads);
        Ok(Decoder { shape, weights: Arc::new(weights), frequencies: Arc::new(frequencies) })
    }

    /// Memory for `slots` sequences, all idle.
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
            slots: vec![Slot::default(); slots],
            slot: Vec::with_capacity(rows),
            tokens: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
            s: vec![0.0; lines * size * size],
            z: vec![0.0; lines * size],
            past: vec![0.0; self.weights.blocks.len() * (slots + 1) * self.past()],
            logits: vec![0.0; rows * self.padded_vocab()],
            scratch: vec![0.0; scratch as usize],
        }
    }

    /// Every slot that has a token takes it; afterwards [`Decoder::logits`] has the scores of its
    /// next one.
    ///
    /// # Panics
    /// Where a token is no id of the vocabulary, or `state` is of another model.
    pub fn step(&self, state: &mut DecoderState) {
        assert_eq!(
            state.logits.len(),
            state.slots.len().next_multiple_of(ROWS) * self.padded_vocab(),
            "its own state"
        );
        state.gather();
        assert!(
            state.tokens.iter().all(|&t| (t as usize) < self.shape.vocab),
            "tokens are ids of the vocabulary"
        );
        self.with_model(|model| {
            // SAFETY: the model's pointers are to memory that `self` holds and whose sizes `new`
            // has checked; the state's buffers were made by `state` for as many rows and slots as
            // `gather` names, and this model.
            unsafe {
                ffi::lf_decode(
                    model,
                    state.slot.len() as i64,
                    state.slots.len() as i64 + 1,
                    state.slot.as_ptr(),
                    state.tokens.as_ptr(),
                    state.positions.as_ptr(),
                    state.s.as_mut_ptr(),
                    state.z.as_mut_ptr(),
                    state.past.as_mut_ptr(),
                    state.logits.as_mut_ptr(),
                    state.scratch.as_mut_ptr(),
                );
            }
        });
    }

    /// The scores of a slot's next token, one per id, after a step in which it had a token.
    #[must_use]
    pub fn logits<'a>(&self, state: &'a DecoderState, slot: usize) -> &'a [f32] {
        &state.logits[state.slots[slot].row * self.padded_vocab()..][..self.shape.vocab]
    }

    /// Puts a slot back to a sequence's start.
    pub fn reset(&self, state: &mut DecoderState, slot: usize) {
        let size = self.shape.hidden_size / self.shape.heads;
        let line = self.shape.heads * size;
        for layer in 0..self.weights.blocks.len() {
            let row = layer * (state.slots.len() + 1) + slot;
            state.s[row * line * size..][..line * size].fill(0.0);
            state.z[row * line..][..line].fill(0.0);
            state.past[row * self.past()..][..self.past()].fill(0.0);
        }
        state.slots[slot] = Slot::default();
    }

    /// Numbers that a slot's convolution remembers in a layer.
    fn past(&self) -> usize {
        self.shape.conv_kernel.saturating_sub(1) * 3 * self.shape.hidden_size
    }

    fn padded_vocab(&self) -> usize {
        self.shape.vocab.next_multiple_of(LANES)
    }

    fn with_model<R>(&self, run: impl FnOnce(&CModel) -> R) -> R {
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
        })
    }
}

/// Memory of a number of sequences that run side by side.
#[derive(Debug)]
pub struct DecoderState {
    slots: Vec<Slot>,
    slot: Vec<i32>,
    tokens: Vec<i32>,
    positions: Vec<i64>,
    s: Vec<f32>,
    z: Vec<f32>,
    past: Vec<f32>,
    logits: Vec<f32>,
    scratch: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    token: Option<u16>,
    position: i64,
    row: usize,
}

impl DecoderState {
    /// Sets the token that a slot takes in the next step. A slot without one costs nothing.
    pub fn set_token(&mut self, slot: usize, token: u16) {
        self.slots[slot].token = Some(token);
    }

    /// Rows for the slots that have a token, then rows of a slot that nobody reads, up to whole
    /// register blocks.
    fn gather(&mut self) {
        self.slot.clear();
        self.tokens.clear();
        self.positions.clear();
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Some(token) = slot.token.take() {
                slot.row = self.slot.len();
                self.slot.push(i as i32);
                self.tokens.push(i32::from(token));
                self.positions.push(slot.position);
                slot.position += 1;
            }
        }
        let rows = self.slot.len().next_multiple_of(ROWS);
        self.slot.resize(rows, self.slots.len() as i32);
        self.tokens.resize(rows, 0);
        self.positions.resize(rows, 0);
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
        gate: block
            .gate
            .as_ref()
            .map_or(CLinear { weight: std::ptr::null(), bias: std::ptr::null() }, c_linear),
        out: c_linear(&block.out),
        up: c_linear(&block.up),
        down: c_linear(&block.down),
        conv: optional(block.conv.as_ref()),
    }
}

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

/// Adds columns of zeros up to whole vectors.
fn pad_head(shape: &DecoderShape, head: &mut LinearWeights) {
    let padded = shape.vocab.next_multiple_of(LANES);
    let widen = |row: &[f32]| {
        row.iter()
            .copied()
            .chain(std::iter::repeat_n(0.0, padded - shape.vocab))
            .collect::<Vec<_>>()
    };
    head.weight = head.weight.chunks(shape.vocab).flat_map(widen).collect();
    head.bias = head.bias.take().map(|bias| widen(&bias));
}

/// Lays each matrix out as the kernel reads it.
fn pack_all(shape: &DecoderShape, weights: &mut DecoderWeights) {
    for block in &mut weights.blocks {
        pack(&mut block.qkv, shape.hidden_size);
        block.gate.iter_mut().for_each(|gate| pack(gate, shape.hidden_size));
        pack(&mut block.out, shape.hidden_size);
        pack(&mut block.up, shape.hidden_size);
        pack(&mut block.down, shape.ffn_size);
    }
    pack(&mut weights.head, shape.hidden_size);
}

/// From `[inputs, outputs]` to panels of columns, each `[inputs, 32]`; the last one may be
/// narrower.
fn pack(linear: &mut LinearWeights, inputs: usize) {
    let outputs = linear.weight.len() / inputs;
    let mut packed = Vec::with_capacity(linear.weight.len());
    for start in (0..outputs).step_by(PANEL) {
        let end = (start + PANEL).min(outputs);
        linear.weight.chunks(outputs).for_each(|row| packed.extend_from_slice(&row[start..end]));
    }
    linear.weight = packed;
}
