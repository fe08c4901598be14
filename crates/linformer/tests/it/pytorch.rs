use std::path::Path;
use std::process::Command;

use linformer::{Activation, Decay, ModelConfig, NormKind};

use crate::model::{config, model, parallel, tokens};

/// Returns the Python interpreter to try: PYTHON, or python3.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// `docs/read_model.py` reads our files and computes our scores.
#[test]
#[expect(clippy::print_stdout, reason = "says what it skipped")]
fn pytorch_reads_a_model_and_scores_alike() {
    let has_torch = Command::new(python()).args(["-c", "import torch, safetensors"]).output();
    if !has_torch.is_ok_and(|done| done.status.success()) {
        println!("skipped: {} has no torch or no safetensors", python());
        return;
    }
    let all = ModelConfig {
        norm: NormKind::Rms,
        activation: Activation::Swiglu,
        conv_kernel: 4,
        gate: true,
        decay: Decay::Fixed,
        tied: false,
        bias: false,
        ..config()
    };
    let selective = ModelConfig { decay: Decay::Selective, ..config() };
    for config in [config(), all, selective] {
        let folder = tempfile::tempdir().unwrap();
        let model = model(&config);
        model.save(&folder.path().join("model.safetensors")).unwrap();
        let settings = serde_json::json!({ "settings": { "model": config } });
        std::fs::write(folder.path().join("config.json"), settings.to_string()).unwrap();
        let tokens = tokens(50);
        let script = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../../docs/read_model.py");
        let ids = tokens.iter().map(u16::to_string);
        let done =
            Command::new(python()).arg(script).arg(folder.path()).args(ids).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        let found: Vec<f32> = text.split_whitespace().map(|x| x.parse().unwrap()).collect();
        let expected: Vec<f32> = Vec::try_from(&parallel(&model, &tokens).view([-1])).unwrap();
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{config:?}: {a} for {b}");
        }
    }
}
