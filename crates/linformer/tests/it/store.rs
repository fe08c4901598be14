use std::path::Path;

use linformer::{Device, Model, ModelError, Optimizer, Trainer, is_training_state};

use crate::model::config;

/// Calls `check` for copies of the file with one bit flipped: in each octet around the checksum,
/// and in some everywhere.
fn each_flipped(path: &Path, mut check: impl FnMut(usize, &Path)) {
    let octets = std::fs::read(path).unwrap();
    let some = (80..octets.len()).step_by(octets.len() / 200);
    for at in (0..80).chain(some).chain([octets.len() - 1]) {
        let mut flipped = octets.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(path, flipped).unwrap();
        check(at, path);
    }
    std::fs::write(path, octets).unwrap();
}

/// Asserts that reading failed with an error that names the file.
fn is_refused<T>(at: usize, path: &Path, outcome: Result<T, ModelError>) {
    let error =
        outcome.err().unwrap_or_else(|| panic!("octet {at} flipped, and it is read")).to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}

#[test]
fn a_model_with_one_octet_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Model::new(&config(), 5, Device::Cpu).unwrap().save(&path).unwrap();
    each_flipped(&path, |at, path| is_refused(at, path, Model::load(&config(), path, Device::Cpu)));
    Model::load(&config(), &path, Device::Cpu).unwrap();
    let mut octets = std::fs::read(&path).unwrap();
    let end = octets.len() - 1;
    octets[end] ^= 1;
    std::fs::write(&path, octets).unwrap();
    let error = Model::load(&config(), &path, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("checksum: expected \"") && error.ends_with("it is damaged"), "{error}");
}

#[test]
fn a_training_state_with_one_octet_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let trainer =
        Trainer::new(Model::new(&config(), 5, Device::Cpu).unwrap(), Optimizer::default());
    trainer.save(&path, &serde_json::json!({ "epoch": 4 })).unwrap();
    each_flipped(&path, |at, path| is_refused(at, path, Trainer::load(path, Device::Cpu)));
    assert!(is_training_state(&path).unwrap());
}

/// Earlier versions wrote files without a checksum.
#[test]
fn files_without_a_checksum_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Model::new(&config(), 5, Device::Cpu).unwrap().save(&path).unwrap();
    let octets = std::fs::read(&path).unwrap();
    let head = u64::from_le_bytes(octets[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(octets[8..8 + head].to_vec()).unwrap();
    let (before, after) = text.split_once(r#"\"crc32c\":"#).unwrap();
    let without = format!("{before}{}", after.split_once(',').unwrap().1);
    let padded = format!("{without:head$}");
    std::fs::write(&path, [&octets[..8], padded.as_bytes(), &octets[8 + head..]].concat()).unwrap();
    Model::load(&config(), &path, Device::Cpu).unwrap();
}
