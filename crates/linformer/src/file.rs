//! Parser of model and training state files (safetensors): names, shapes, values and metadata. It
//! needs no libtorch; the `torch` module makes tensors of the values.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::{ModelConfig, Optimizer};

/// Key of the one entry in a file's `__metadata__`. There is only one, since safetensors keeps them
/// in a hash map: the order of two would differ from file to file.
pub const METADATA_KEY: &str = "linformer";

/// Largest number of elements along one dimension of a tensor.
const MAX_DIMENSION: usize = 1 << 32;
/// Largest number of steps of a training run: up to here, an `f64` holds every integer.
const MAX_STEPS: u64 = 1 << 53;

/// Contents of a safetensors file with 32-bit floats only.
#[derive(Debug)]
pub struct TensorFile<'a> {
    tensors: Vec<NamedTensor<'a>>,
    metadata: String,
}

/// Tensor of a file: name, shape and the octets of its values.
#[derive(Debug)]
pub struct NamedTensor<'a> {
    /// Name of the tensor.
    pub name: String,
    /// Number of elements along each dimension.
    pub shape: Vec<i64>,
    octets: &'a [u8],
}

impl NamedTensor<'_> {
    /// Returns the values in row-major order.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.octets.as_chunks().0.iter().map(|octets| f32::from_le_bytes(*octets))
    }
}

impl<'a> TensorFile<'a> {
    /// Parses the octets of a whole file.
    ///
    /// # Errors
    /// With a description of the fault, if they are no safetensors file of floats.
    pub fn parse(octets: &'a [u8]) -> Result<TensorFile<'a>, String> {
        let failed = |error: safetensors::SafeTensorError| format!("no safetensors file: {error}");
        check_ends(octets)?;
        let (header, metadata) = SafeTensors::read_metadata(octets).map_err(failed)?;
        let about = metadata
            .metadata()
            .as_ref()
            .and_then(|all| all.get(METADATA_KEY))
            .cloned()
            .unwrap_or_default();
        let data = &octets[8 + header..];
        let mut tensors = Vec::new();
        for (name, info) in metadata.tensors() {
            if info.dtype != Dtype::F32 {
                return Err(format!("{name}: expected F32, found {:?}", info.dtype));
            }
            if let Some(n) = info.shape.iter().find(|&&n| n > MAX_DIMENSION) {
                return Err(format!(
                    "{name}: expected at most {MAX_DIMENSION} elements along a dimension, found {n}"
                ));
            }
            let shape = info.shape.iter().map(|&n| n as i64).collect();
            tensors.push(NamedTensor {
                name,
                shape,
                octets: &data[info.data_offsets.0..info.data_offsets.1],
            });
        }
        Ok(TensorFile { tensors, metadata: about })
    }

    /// Returns the tensors, in no particular order.
    #[must_use]
    pub fn tensors(&self) -> &[NamedTensor<'a>] {
        &self.tensors
    }

    /// Returns the text under [`METADATA_KEY`]; empty without one.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }
}

/// Checks that no tensor ends beyond the file. The safetensors crate adds to an end before it
/// compares it with the file's, and overflows.
fn check_ends(octets: &[u8]) -> Result<(), String> {
    let header = octets.split_first_chunk().and_then(|(len, rest)| {
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        serde_json::from_slice::<HashMap<String, serde_json::Value>>(rest.get(..len)?).ok()
    });
    // If the header does not parse at all, the safetensors crate returns the reason.
    let ends = header
        .into_iter()
        .flatten()
        .filter_map(|(name, place)| Some((name, place.get("data_offsets")?.get(1)?.as_u64()?)));
    match ends.into_iter().find(|(_, end)| *end > octets.len() as u64) {
        Some((name, end)) => {
            Err(format!("{name}: expected values within the file, found an end at {end}"))
        }
        None => Ok(()),
    }
}

/// Metadata of a model file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelMetadata {
    /// Checksum of the file, eight hexadecimal digits, always the first field. Absent in files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// Layout of the weights: `pt`, that of PyTorch.
    pub format: String,
    /// Architecture of the model.
    pub config: ModelConfig,
}

impl ModelMetadata {
    /// Parses the metadata.
    ///
    /// # Errors
    /// With a description of the fault, if the file is no model.
    pub fn parse(text: &str) -> Result<ModelMetadata, String> {
        serde_json::from_str(text).map_err(|error| format!("no model: {error}"))
    }
}

/// Metadata of a training state file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingMetadata {
    /// Checksum of the file, as in [`ModelMetadata::crc32c`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// Architecture of the model.
    pub config: ModelConfig,
    /// Constants of the optimizer.
    pub optimizer: Optimizer,
    /// Number of steps made so far.
    pub steps: u64,
    /// Value that the caller stored with the state.
    pub caller: serde_json::Value,
}

impl TrainingMetadata {
    /// Parses the metadata and checks its values.
    ///
    /// # Errors
    /// With a description of the fault, if the file is no training state.
    pub fn parse(text: &str) -> Result<TrainingMetadata, String> {
        let about: TrainingMetadata =
            serde_json::from_str(text).map_err(|error| format!("no training state: {error}"))?;
        about.config.check().map_err(|error| error.to_string())?;
        if about.steps > MAX_STEPS {
            return Err(format!("steps: expected at most {MAX_STEPS}, found {}", about.steps));
        }
        Ok(about)
    }
}
