//! Reads any octets as a model or a checkpoint: tensors that fill their shapes, with their
//! metadata, or a refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linformer::file::{TensorFile, TrainingMetadata};

fuzz_target!(|octets: &[u8]| {
    let Some((&how, rest)) = octets.split_first() else { return };
    // Either the octets as they are, or a header up to a zero with its right length put before it, so
    // that mutations reach the parser behind the length.
    let file = match how % 2 {
        0 => rest.to_vec(),
        _ => {
            let header = rest.split(|octet| *octet == 0).next().unwrap_or_default();
            let values = rest.get(header.len() + 1..).unwrap_or_default();
            [&(header.len() as u64).to_le_bytes(), header, values].concat()
        }
    };
    let Ok(read) = TensorFile::parse(&file) else { return };
    for tensor in read.tensors() {
        assert_eq!(tensor.values().count() as i64, tensor.shape.iter().product::<i64>());
    }
    let Ok(metadata) = TrainingMetadata::parse(read.metadata()) else { return };
    assert_eq!(metadata.config.decays().len(), metadata.config.heads);
    let again = serde_json::to_string(&metadata).unwrap();
    let again = TrainingMetadata::parse(&again).unwrap();
    assert_eq!(
        (again.config, again.steps, again.caller),
        (metadata.config, metadata.steps, metadata.caller)
    );
});
