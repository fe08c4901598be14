//! Files of models and of training states: weights in safetensors, the configuration as JSON in
//! their metadata.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::checksum::{self, PLACEHOLDER};
use super::{CarriedStates, Model, Trainer};
use crate::file::{METADATA_KEY, ModelMetadata, TensorFile, TrainingMetadata};
use crate::{ModelConfig, ModelError, Precision};

/// Prefixes of the tensors' names in a training state. `first.` and `second.` are AdamW's moments,
/// PyTorch's `exp_avg` and `exp_avg_sq`; `under_way.` are the carried states.
const MODEL: &str = "model.";
const EXP_AVG: &str = "first.";
const EXP_AVG_SQ: &str = "second.";
const CARRIED: &str = "under_way.";

impl Model {
    /// Writes the weights to `path`. Renaming and syncing the file is left to the caller.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let metadata = ModelMetadata {
            crc32c: Some(PLACEHOLDER.into()),
            format: "pt".into(),
            config: self.config().clone(),
        };
        write(path, self.parameters().iter().map(|(name, p)| (name.clone(), p)), &metadata)
    }

    /// Reads the weights of a model of this configuration.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, has the weights of another configuration, or has a
    /// weight missing or of another shape.
    pub fn load(config: &ModelConfig, path: &Path, device: Device) -> Result<Model, ModelError> {
        let (weights, metadata) = read(path)?;
        let format = |message: String| ModelError::format(path, message);
        let metadata = ModelMetadata::parse(&metadata).map_err(format)?;
        ensure_same_config(config, &metadata.config, path)?;
        let model = Model::from_weights(config, weights, device).map_err(format)?;
        match model.not_finite() {
            Some(name) => Err(format(format!("{name}: expected numbers, found NaN or infinity"))),
            None => Ok(model),
        }
    }

    /// Returns the name of the first weight that has a NaN or an infinity.
    #[must_use]
    pub fn not_finite(&self) -> Option<&str> {
        let is_finite = |p: &Tensor| bool::try_from(p.isfinite().all()).unwrap_or(false);
        self.parameters()
            .iter()
            .find(|(_, p)| !is_finite(&p.detach()))
            .map(|(name, _)| name.as_str())
    }
}

impl Trainer {
    /// Writes everything that the next step depends on, and a value of the caller's.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path, caller: &serde_json::Value) -> Result<(), ModelError> {
        let named = |prefix: &'static str, tensors: Vec<Tensor>| {
            let names =
                self.model.parameters().iter().map(move |(name, _)| format!("{prefix}{name}"));
            names.zip(tensors).collect::<Vec<_>>()
        };
        let clones = |all: &[Tensor]| all.iter().map(Tensor::shallow_clone).collect();
        let weights = self.model.parameters().iter().map(|(_, p)| p.detach()).collect();
        let all: Vec<(String, Tensor)> = [
            named(MODEL, weights),
            named(EXP_AVG, clones(&self.exp_avg)),
            named(EXP_AVG_SQ, clones(&self.exp_avg_sq)),
        ]
        .into_iter()
        .flatten()
        .chain(self.carried.named().map(|(name, tensor)| (format!("{CARRIED}{name}"), tensor)))
        .collect();
        let metadata = TrainingMetadata {
            crc32c: Some(PLACEHOLDER.into()),
            config: self.model.config().clone(),
            optimizer: self.optimizer,
            steps: self.steps,
            caller: caller.clone(),
        };
        write(path, all.iter().map(|(name, tensor)| (name.clone(), tensor)), &metadata)
    }

    /// Reads a file of [`Trainer::save`]: the trainer and the caller's value.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged or is no whole training state.
    pub fn load(path: &Path, device: Device) -> Result<(Trainer, serde_json::Value), ModelError> {
        let (mut tensors, metadata) = read(path)?;
        let format = |message: String| ModelError::format(path, message);
        let metadata = TrainingMetadata::parse(&metadata).map_err(format)?;
        let mut part = |prefix: &str| take_prefixed(&mut tensors, prefix);
        let (weights, exp_avg, exp_avg_sq) = (part(MODEL), part(EXP_AVG), part(EXP_AVG_SQ));
        let carried = part(CARRIED);
        let model = Model::from_weights(&metadata.config, weights, device).map_err(format)?;
        if let Some(name) = model.not_finite() {
            return Err(format(format!("{MODEL}{name}: expected numbers, found NaN or infinity")));
        }
        let moments =
            |mut all: HashMap<String, Tensor>, prefix: &str| -> Result<Vec<Tensor>, ModelError> {
                let mut found = Vec::new();
                for (name, p) in model.parameters() {
                    let tensor = all.remove(name).filter(|tensor| tensor.size() == p.size());
                    let tensor = tensor.ok_or_else(|| {
                        format(format!("{prefix}{name}: missing, or of another shape"))
                    })?;
                    found.push(tensor.to_device(device));
                }
                Ok(found)
            };
        let exp_avg = moments(exp_avg, EXP_AVG)?;
        let exp_avg_sq = moments(exp_avg_sq, EXP_AVG_SQ)?;
        let carried = CarriedStates::from_named(carried, &metadata.config, device)
            .map_err(|message| format(format!("{CARRIED}{message}")))?;
        let trainer = Trainer {
            model,
            optimizer: metadata.optimizer,
            steps: metadata.steps,
            exp_avg,
            exp_avg_sq,
            precision: Precision::F32,
            carried,
        };
        Ok((trainer, metadata.caller))
    }
}

/// Removes the tensors whose names have the prefix, and returns them without it.
fn take_prefixed(all: &mut HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let (taken, rest) = std::mem::take(all)
        .into_iter()
        .partition::<HashMap<_, _>, _>(|(name, _)| name.starts_with(prefix));
    *all = rest;
    taken.into_iter().map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect()
}

/// Returns whether a file is a training state, and not a model alone.
///
/// # Errors
/// If the file cannot be read, is no safetensors file or is damaged.
pub fn is_training_state(path: &Path) -> Result<bool, ModelError> {
    let (_, metadata) = read(path)?;
    Ok(TrainingMetadata::parse(&metadata).is_ok())
}

/// Checks that a file's weights have the requested configuration.
///
/// # Errors
/// With the key of the first value that differs.
pub fn ensure_same_config(
    requested: &ModelConfig,
    of_file: &ModelConfig,
    path: &Path,
) -> Result<(), ModelError> {
    let values = |config: &ModelConfig| serde_json::to_value(config).unwrap_or_default();
    let (requested, of_file) = (values(requested), values(of_file));
    let differs =
        |(name, value): &(&String, &serde_json::Value)| requested[name.as_str()] != **value;
    match of_file.as_object().into_iter().flatten().find(differs) {
        Some((name, value)) => Err(ModelError::OtherModel {
            path: path.to_owned(),
            field: name.clone(),
            expected: requested[name.as_str()].to_string(),
            found: value.to_string(),
        }),
        None => Ok(()),
    }
}

/// Shape and little-endian octets of a tensor, which a [`TensorView`] borrows.
struct TensorOctets {
    shape: Vec<usize>,
    octets: Vec<u8>,
}

/// Writes tensors and metadata as a safetensors file with its checksum.
fn write<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (String, &'a Tensor)>,
    metadata: &impl Serialize,
) -> Result<(), ModelError> {
    let metadata = serde_json::to_string(metadata)
        .map_err(|error| ModelError::format(path, error.to_string()))?;
    let mut all = Vec::new();
    for (name, tensor) in tensors {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let flat =
            tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
        let octets = Vec::<f32>::try_from(&flat)?.into_iter().flat_map(f32::to_le_bytes).collect();
        all.push((name, TensorOctets { shape, octets }));
    }
    let failed = |error: safetensors::SafeTensorError| ModelError::format(path, error.to_string());
    let mut views = Vec::new();
    for (name, tensor) in &all {
        let view =
            TensorView::new(Dtype::F32, tensor.shape.clone(), &tensor.octets).map_err(failed)?;
        views.push((name.clone(), view));
    }
    let metadata = Some(HashMap::from([(METADATA_KEY.to_owned(), metadata)]));
    serialize_to_file(views, &metadata, path).map_err(failed)?;
    checksum::write(path)
}

/// Reads and checks a safetensors file: its named tensors, and the text of its metadata.
fn read(path: &Path) -> Result<(HashMap<String, Tensor>, String), ModelError> {
    let octets = fs::read(path).map_err(ModelError::io(path))?;
    let file = TensorFile::parse(&octets).map_err(|message| ModelError::format(path, message))?;
    checksum::check(path, &octets, file.metadata().contains("crc32c"))?;
    let mut tensors = HashMap::new();
    for named in file.tensors() {
        let values: Vec<f32> = named.values().collect();
        let tensor = Tensor::f_from_slice(&values)?.f_view(named.shape.as_slice())?;
        tensors.insert(named.name.clone(), tensor);
    }
    Ok((tensors, file.metadata().to_owned()))
}
