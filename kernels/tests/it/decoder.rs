use linformer_kernels::{
    BlockWeights, DecayWeights, Decoder, DecoderShape, DecoderWeights, LinearWeights, NormWeights,
    WeightKind,
};

pub(crate) const SHAPE: DecoderShape = DecoderShape {
    vocab: 37,
    hidden_size: 32,
    heads: 2,
    ffn_size: 48,
    norm_eps: 1e-5,
    attention_eps: 1e-6,
    rms: false,
    gated: true,
    conv_kernel: 3,
};

/// Returns `n` numbers by xorshift: the same on every machine.
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x as f32 / u32::MAX as f32 - 0.5) * 0.4
    };
    (0..n).map(|_| next()).collect()
}

/// Returns weights of a shape, with a gate and biases if it is one with LayerNorm. The second block
/// has its own decay.
pub(crate) fn weights(shape: &DecoderShape) -> DecoderWeights {
    let (w, f, v) = (shape.hidden_size, shape.ffn_size, shape.vocab);
    let up = if shape.gated { 2 * f } else { f };
    let bias = |o, seed| (!shape.rms).then(|| values(o, seed));
    let norm = || NormWeights { weight: vec![1.0; w], bias: bias(w, 3) };
    let linear =
        |i, o, seed| LinearWeights { weight: values(i * o, seed), bias: bias(o, seed + 1) };
    let block = |seed| BlockWeights {
        attention_norm: norm(),
        qkv: linear(w, 3 * w, seed),
        conv: (shape.conv_kernel > 0).then(|| values(shape.conv_kernel * 3 * w, seed + 8)),
        gate: (!shape.rms).then(|| linear(w, w, seed + 9)),
        out: linear(w, w, seed + 2),
        feed_norm: norm(),
        up: linear(w, up, seed + 4),
        down: linear(f, w, seed + 6),
        decay: (seed == 20).then(|| DecayWeights {
            proj: linear(w, shape.heads, seed + 10),
            rate: (0..shape.heads).map(|h| 0.1 + h as f32).collect(),
        }),
    };
    DecoderWeights {
        embed: values(v * w, 1),
        decay: (0..shape.heads).map(|h| if h == 0 { 0.9 } else { 1.0 }).collect(),
        blocks: vec![block(10), block(20)],
        norm: norm(),
        head: linear(w, v, 30),
    }
}

/// Returns the scores after each of `tokens`, run in `slot` while the other slots run other
/// sequences.
fn scores(decoder: &Decoder, tokens: &[u16], slot: usize, slots: usize) -> Vec<Vec<f32>> {
    let mut state = decoder.state(slots);
    let mut all = Vec::new();
    for (t, &token) in tokens.iter().enumerate() {
        for other in (0..slots).filter(|other| other + t % 3 != 5) {
            state.set_token(other, ((t * 7 + other * 3) % SHAPE.vocab) as u16);
        }
        state.set_token(slot, token);
        decoder.step(&mut state);
        all.push(decoder.logits(&state, slot).to_vec());
    }
    all
}

#[test]
fn a_slot_knows_nothing_of_the_others() {
    let decoder = Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap();
    let tokens = [1, 5, 36, 0, 9, 9, 2];
    let alone = scores(&decoder, &tokens, 0, 1);
    assert_eq!(alone, scores(&decoder, &tokens, 13, 21));
    assert_eq!(alone, scores(&decoder, &tokens, 63, 64));
}

#[test]
fn a_reset_slot_starts_afresh() {
    let decoder = Decoder::new(SHAPE, weights(&SHAPE), WeightKind::Float).unwrap();
    let mut state = decoder.state(3);
    let first = |decoder: &Decoder, state: &mut linformer_kernels::DecoderState| {
        state.set_token(1, 4);
        decoder.step(state);
        decoder.logits(state, 1).to_vec()
    };
    let fresh = first(&decoder, &mut state);
    let later = first(&decoder, &mut state);
    assert_ne!(fresh, later);
    decoder.reset(&mut state, 1);
    assert_eq!(fresh, first(&decoder, &mut state));
}

#[test]
fn weights_of_another_size_are_refused() {
    let mut wrong = weights(&SHAPE);
    wrong.blocks[1].down.weight.pop();
    let error = Decoder::new(SHAPE, wrong, WeightKind::Float).unwrap_err().to_string();
    assert_eq!(error, "blocks.1.down: expected 1536 values, found 1535 values");
}
