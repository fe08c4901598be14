use linformer::{
    Activation, Batch, CarriedStates, Decay, Device, Model, ModelConfig, NormKind, Precision,
    SequencePiece,
};
use tch::{Kind, Tensor};

pub(crate) fn config() -> ModelConfig {
    let sizes = ModelConfig {
        vocab_size: 23,
        hidden_size: 32,
        heads: 2,
        layers: 2,
        ffn_size: 64,
        ..ModelConfig::original()
    };
    ModelConfig { tied: true, ..sizes }
}

fn variants() -> [ModelConfig; 10] {
    [
        config(),
        ModelConfig { vocab_size: 23, hidden_size: 64, layers: 2, ..ModelConfig::tiny() },
        ModelConfig {
            norm: NormKind::Rms,
            activation: Activation::Swiglu,
            bias: false,
            ..config()
        },
        ModelConfig { tied: false, heads: 1, ..config() },
        ModelConfig { conv_kernel: 4, ..config() },
        ModelConfig { gate: true, ..config() },
        ModelConfig { decay: Decay::Fixed, heads: 4, ..config() },
        ModelConfig { decay: Decay::Selective, ..config() },
        ModelConfig { decay: Decay::Selective, heads: 4, conv_kernel: 3, bias: false, ..config() },
        ModelConfig {
            conv_kernel: 1,
            gate: true,
            decay: Decay::Fixed,
            norm: NormKind::Rms,
            bias: false,
            ..config()
        },
    ]
}

/// Returns a model whose weights all differ from their initial values, so that a weight left out of
/// a computation shows.
pub(crate) fn model(config: &ModelConfig) -> Model {
    let model = Model::new(config, 3, Device::Cpu).unwrap();
    let _guard = tch::no_grad_guard();
    tch::manual_seed(4);
    for (_, p) in model.parameters() {
        let _ = p.shallow_clone().g_add_(&(p.rand_like() * 0.2 - 0.1));
    }
    model
}

pub(crate) fn tokens(n: usize) -> Vec<u16> {
    (0..n).map(|i| ((i * 7 + i * i * 3) % 23) as u16).collect()
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    a.allclose(b, 1e-4, 1e-5, false)
}

/// Returns the scores of each next token, computed for the whole sequence at once.
pub(crate) fn parallel(model: &Model, tokens: &[u16]) -> Tensor {
    let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
    let _guard = tch::no_grad_guard();
    model
        .forward(&Tensor::from_slice(&ids), &linformer_kernels::CuSeqlens::single(tokens.len()))
        .unwrap()
}

#[test]
fn recurrent_equals_parallel() {
    for config in variants() {
        let model = model(&config);
        let tokens = tokens(70);
        let expected = parallel(&model, &tokens);
        let mut state = model.recurrent_state(1);
        for (t, &token) in tokens.iter().enumerate() {
            let found = model.step(&Tensor::from_slice(&[i64::from(token)]), &mut state).unwrap();
            assert!(close(&found, &expected.narrow(0, t as i64, 1)), "{config:?}: token {t}");
        }
    }
}

#[test]
fn decoder_equals_parallel() {
    for config in variants() {
        let model = model(&config);
        let tokens = tokens(70);
        let expected = parallel(&model, &tokens);
        let decoder = model.decoder(Precision::F32).unwrap();
        let mut state = decoder.state(1);
        for (t, &token) in tokens.iter().enumerate() {
            state.set_token(0, token);
            decoder.step(&mut state);
            let found = Tensor::from_slice(decoder.logits(&state, 0));
            assert!(close(&found, &expected.get(t as i64)), "{config:?}: token {t}");
        }
    }
}

#[test]
fn sequences_of_a_row_do_not_see_each_other() {
    for config in variants() {
        let model = model(&config);
        let (a, b) = (tokens(40), tokens(17));
        let alone: Vec<f32> = [&a, &b]
            .into_iter()
            .flat_map(|x| model.losses(&Batch::pack([x.as_slice()])).unwrap())
            .collect();
        let together = model.losses(&Batch::pack([a.as_slice(), &b])).unwrap();
        assert!(close(&Tensor::from_slice(&together), &Tensor::from_slice(&alone)), "{config:?}");
    }
}

/// Returns the losses of one sequence cut before each of `cuts`. Each piece is in a batch with a
/// whole sequence, which leaves no state.
fn in_pieces(model: &Model, tokens: &[u16], cuts: &[usize]) -> Vec<f32> {
    let ends = || cuts.iter().copied().chain([tokens.len() - 1]);
    let whole = tokens_from(5, 9);
    let (mut carried, mut losses) = (CarriedStates::new(), Vec::new());
    for (start, end) in [0].into_iter().chain(cuts.iter().copied()).zip(ends()) {
        let continues = end + 1 < tokens.len();
        let piece = SequencePiece { sequence: 7, start, tokens: &tokens[start..=end], continues };
        let other = SequencePiece { sequence: 8, start: 0, tokens: &whole, continues: false };
        let batch = Batch::pack_pieces([piece, other]);
        losses.extend(&model.losses_with_state(&batch, &mut carried).unwrap()[..end - start]);
        assert_eq!(
            carried.sequences().collect::<Vec<_>>(),
            if continues { vec![7] } else { vec![] }
        );
    }
    losses
}

fn tokens_from(first: usize, n: usize) -> Vec<u16> {
    tokens(first + n)[first..].to_vec()
}

#[test]
fn a_sequence_in_pieces_has_the_loss_that_it_has_at_once() {
    for config in variants() {
        let model = model(&config);
        let tokens = tokens(200);
        let whole = model.losses(&Batch::pack([tokens.as_slice()])).unwrap();
        for cuts in [&[100][..], &[1, 2, 4, 70], &[64, 128], &[198]] {
            let pieces = in_pieces(&model, &tokens, cuts);
            assert_eq!(pieces.len(), whole.len());
            assert!(
                close(&Tensor::from_slice(&pieces), &Tensor::from_slice(&whole)),
                "{config:?}: {cuts:?}"
            );
        }
    }
}

#[test]
fn a_later_piece_needs_what_the_earlier_ones_left() {
    let model = model(&config());
    let batch = Batch::pack_pieces([SequencePiece {
        sequence: 3,
        start: 5,
        tokens: &tokens(9),
        continues: false,
    }]);
    let error = model.losses(&batch).unwrap_err().to_string();
    assert_eq!(error, "sequence 3: nothing is remembered of its beginning");
}

#[test]
fn the_mean_loss_is_the_mean_of_the_losses() {
    let model = Model::new(&config(), 1, Device::Cpu).unwrap();
    let (a, b) = (tokens(40), tokens(17));
    let batch = Batch::pack([a.as_slice(), &b, &[3]]);
    assert_eq!(batch.tokens(), 39 + 16);
    let mean = Tensor::from_slice(&model.losses(&batch).unwrap()).mean(Kind::Float);
    assert!(close(&mean, &model.loss(&batch).unwrap().detach()));
}

#[test]
fn saved_and_loaded_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = Model::new(&config(), 5, Device::Cpu).unwrap();
    model.save(&path).unwrap();
    let again = Model::load(&config(), &path, Device::Cpu).unwrap();
    for ((name, a), (other, b)) in model.parameters().iter().zip(again.parameters()) {
        assert_eq!(name, other);
        assert!(a.equal(b), "{name}");
    }
}

#[test]
fn weights_of_another_model_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Model::new(&config(), 5, Device::Cpu).unwrap().save(&path).unwrap();
    let wider = ModelConfig { ffn_size: 128, ..config() };
    let error = Model::load(&wider, &path, Device::Cpu).unwrap_err().to_string();
    assert!(
        error.ends_with("model.safetensors: configuration: feed: expected 128, found 64"),
        "{error}"
    );
    std::fs::write(&path, b"not a model").unwrap();
    let error = Model::load(&config(), &path, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("no safetensors file"), "{error}");
}

#[test]
fn impossible_sizes_are_refused() {
    let error =
        Model::new(&ModelConfig { heads: 3, ..config() }, 1, Device::Cpu).unwrap_err().to_string();
    assert_eq!(
        error,
        "model configuration: heads: expected a number that divides half the width, found 3"
    );
}

/// In bfloat16, the decoder and the layers round at the same places: the scores differ by the order
/// of sums alone.
#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn decoder_in_bfloat16_equals_parallel_in_bfloat16() {
    if !linformer_kernels::layers::has_bf16() {
        println!("skipped: this processor has no AVX512_BF16");
        return;
    }
    for config in variants() {
        let model = model(&config);
        let tokens = tokens(70);
        let exact = parallel(&model, &tokens);
        let expected = {
            let _bf16 = Precision::Bf16.enable(Device::Cpu).unwrap();
            parallel(&model, &tokens)
        };
        let size = exact.square().mean(Kind::Float).sqrt();
        let rounding = f64::try_from((&expected - &exact).abs().max() / &size).unwrap();
        assert!(rounding > 1e-4, "{config:?}: it is another precision, {rounding}");
        let decoder = model.decoder(Precision::Bf16).unwrap();
        let mut state = decoder.state(1);
        let mut mean = 0.0;
        for (t, &token) in tokens.iter().enumerate() {
            state.set_token(0, token);
            decoder.step(&mut state);
            let found = Tensor::from_slice(decoder.logits(&state, 0));
            let apart = (found - expected.get(t as i64)).square().mean(Kind::Float).sqrt();
            mean += f64::try_from(apart / &size).unwrap() / tokens.len() as f64;
        }
        assert!(mean < 5e-3, "{config:?}: {mean} of the scores");
    }
}
