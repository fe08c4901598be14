//! What the octets of a model or a training state say: names, shapes and values, and what stands
//! beside them. Tensors are made of it elsewhere.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::{ModelConfig, Optimizer};

/// The one entry of a file's metadata: with two, their order in the file would be by chance.
#[cfg(feature = "torch")]
pub(crate) const METADATA: &str = NAME;
const NAME: &str = "linformer";

/// Elements along one dimension of a tensor, at most.
const LARGEST: usize = 1 << 32;
/// Steps of a training run, at most: what a double counts by ones.
const MOST_STEPS: u64 = 1 << 53;

/// A safetensors file whose tensors are all of 32-bit floats.
#[derive(Debug)]
pub struct TensorFile<'a> {
    tensors: Vec<NamedTensor<'a>>,
    metadata: String,
}

/// A tensor's values as they stand in a file.
#[derive(Debug)]
pub struct NamedTensor<'a> {
    /// Its name.
    pub name: String,
    /// Elements along each dimension.
    pub shape: Vec<i64>,
    octets: &'a [u8],
}

impl NamedTensor<'_> {
    /// The values, the last dimension running fastest.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.octets.as_chunks().0.iter().map(|octets| f32::from_le_bytes(*octets))
    }
}

impl<'a> TensorFile<'a> {
    /// Reads a whole file's octets.
    ///
    /// # Errors
    /// Says what makes it none.
    pub fn parse(octets: &'a [u8]) -> Result<TensorFile<'a>, String> {
        let failed = |error: safetensors::SafeTensorError| format!("no safetensors file: {error}");
        check_ends(octets)?;
        let (header, metadata) = SafeTensors::read_metadata(octets).map_err(failed)?;
        let about =
            metadata.metadata().as_ref().and_then(|all| all.get(NAME)).cloned().unwrap_or_default();
        let data = &octets[8 + header..];
        let mut tensors = Vec::new();
        for (name, info) in metadata.tensors() {
            if info.dtype != Dtype::F32 {
                return Err(format!("{name}: expected F32, found {:?}", info.dtype));
            }
            if let Some(n) = info.shape.iter().find(|&&n| n > LARGEST) {
                return Err(format!(
                    "{name}: expected at most {LARGEST} elements along a dimension, found {n}"
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

    /// The tensors, in no order.
    #[must_use]
    pub fn tensors(&self) -> &[NamedTensor<'a>] {
        &self.tensors
    }

    /// What stands beside them; empty where nothing does.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }
}

/// Refuses a header that places a tensor beyond the file: the library adds to such a place before
/// it looks at it.
fn check_ends(octets: &[u8]) -> Result<(), String> {
    let header = octets.split_first_chunk().and_then(|(len, rest)| {
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        serde_json::from_slice::<HashMap<String, serde_json::Value>>(rest.get(..len)?).ok()
    });
    // Where it is no header at all, the library says why.
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

/// What stands beside the tensors of a model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelMetadata {
    /// A checksum of the file, first of all. Not in files of programs that knew of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// Whose layout of weights it is.
    pub format: String,
    /// The architecture.
    pub config: ModelConfig,
}

impl ModelMetadata {
    /// Reads it.
    ///
    /// # Errors
    /// Says what makes it no model.
    pub fn parse(text: &str) -> Result<ModelMetadata, String> {
        serde_json::from_str(text).map_err(|error| format!("no model: {error}"))
    }
}

/// What stands beside the tensors of a training state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingMetadata {
    /// As [`ModelMetadata::crc32c`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// The architecture.
    pub config: ModelConfig,
    /// The optimizer's constants.
    pub optimizer: Optimizer,
    /// Steps made.
    pub steps: u64,
    /// What the caller keeps there.
    pub caller: serde_json::Value,
}

impl TrainingMetadata {
    /// Reads it.
    ///
    /// # Errors
    /// Says what makes it no training state.
    pub fn parse(text: &str) -> Result<TrainingMetadata, String> {
        let about: TrainingMetadata =
            serde_json::from_str(text).map_err(|error| format!("no training state: {error}"))?;
        about.config.check().map_err(|error| error.to_string())?;
        if about.steps > MOST_STEPS {
            return Err(format!("steps: expected at most {MOST_STEPS}, found {}", about.steps));
        }
        Ok(about)
    }
}
