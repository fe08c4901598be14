//! Weights and training states in safetensors files, their configuration as JSON.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::checksum::{self, NONE_YET};
use crate::file::{METADATA, ModelMetadata, TensorFile, TrainingMetadata};
use crate::{CarriedStates, Model, ModelConfig, ModelError, Precision, Trainer};

impl Model {
    /// Writes the weights. Neither renames nor syncs: the caller does.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let about = ModelMetadata {
            crc32c: Some(NONE_YET.into()),
            format: "pt".into(),
            config: self.config().clone(),
        };
        write(path, self.parameters().iter().map(|(name, p)| (name.clone(), p)), &about)
    }

    /// Reads the weights of a model of this configuration.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, holds another configuration's weights, or lacks a
    /// weight or has one of another shape.
    pub fn load(config: &ModelConfig, path: &Path, device: Device) -> Result<Model, ModelError> {
        let (weights, about) = read(path)?;
        let about =
            ModelMetadata::parse(&about).map_err(|message| ModelError::format(path, message))?;
        ensure_same_config(config, &about.config, path)?;
        let model = Model::from_weights(config, weights, device)
            .map_err(|message| ModelError::format(path, message))?;
        match model.not_finite() {
            Some(name) => Err(ModelError::format(
                path,
                format!("{name}: expected numbers, found NaN or infinity"),
            )),
            None => Ok(model),
        }
    }

    /// The name of the first weight of which not all values are numbers.
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
    /// Writes everything that the next step depends on, and what the caller wants kept beside it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path, caller: &serde_json::Value) -> Result<(), ModelError> {
        let named = |prefix: &'static str, tensors: Vec<Tensor>| {
            let names =
                self.model.parameters().iter().map(move |(name, _)| format!("{prefix}{name}"));
            names.zip(tensors).collect::<Vec<_>>()
        };
        let clones = |all: &[Tensor]| all.iter().map(Tensor::shallow_clone).collect();
        let weights = self.model.parameters().iter().map(|(_, p)| p.detach()).collect();
        let all: Vec<(String, Tensor)> = [
            named("model.", weights),
            named("first.", clones(&self.exp_avg)),
            named("second.", clones(&self.exp_avg_sq)),
        ]
        .into_iter()
        .flatten()
        .chain(self.carried.named().map(|(name, tensor)| (format!("under_way.{name}"), tensor)))
        .collect();
        let about = TrainingMetadata {
            crc32c: Some(NONE_YET.into()),
            config: self.model.config().clone(),
            optimizer: self.optimizer,
            steps: self.steps,
            caller: caller.clone(),
        };
        write(path, all.iter().map(|(name, tensor)| (name.clone(), tensor)), &about)
    }

    /// Reads what [`Trainer::save`] has written: the trainer, and what the caller kept beside it.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged or is no whole training state.
    pub fn load(path: &Path, device: Device) -> Result<(Trainer, serde_json::Value), ModelError> {
        let (mut tensors, about) = read(path)?;
        let about =
            TrainingMetadata::parse(&about).map_err(|message| ModelError::format(path, message))?;
        let mut part = |prefix: &str| -> HashMap<String, Tensor> {
            let names: Vec<String> =
                tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
            names
                .iter()
                .map(|name| {
                    (name[prefix.len()..].to_owned(), tensors.remove(name).expect("listed"))
                })
                .collect()
        };
        let (weights, exp_avg, exp_avg_sq) = (part("model."), part("first."), part("second."));
        let under_way = part("under_way.");
        let format = |message: String| ModelError::format(path, message);
        let model = Model::from_weights(&about.config, weights, device).map_err(format)?;
        if let Some(name) = model.not_finite() {
            return Err(format(format!("model.{name}: expected numbers, found NaN or infinity")));
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
        let exp_avg = moments(exp_avg, "first.")?;
        let exp_avg_sq = moments(exp_avg_sq, "second.")?;
        let carried = CarriedStates::from_named(under_way, &about.config, device)
            .map_err(|message| format(format!("under_way.{message}")))?;
        let (optimizer, steps, precision) = (about.optimizer, about.steps, Precision::F32);
        Ok((
            Trainer { model, optimizer, steps, exp_avg, exp_avg_sq, precision, carried },
            about.caller,
        ))
    }
}

/// Whether a file holds a training state, and not a model alone.
///
/// # Errors
/// Where it is no safetensors file, or a damaged one.
pub fn is_training_state(path: &Path) -> Result<bool, ModelError> {
    let (_, about) = read(path)?;
    Ok(TrainingMetadata::parse(&about).is_ok())
}

/// Refuses a file whose weights are of another configuration than the one asked for.
///
/// # Errors
/// With the first value that differs.
pub fn ensure_same_config(
    asked: &ModelConfig,
    of_file: &ModelConfig,
    path: &Path,
) -> Result<(), ModelError> {
    let values = |config: &ModelConfig| serde_json::to_value(config).unwrap_or_default();
    let (asked, of_file) = (values(asked), values(of_file));
    let differs = |(name, value): &(&String, &serde_json::Value)| asked[name.as_str()] != **value;
    match of_file.as_object().into_iter().flatten().find(differs) {
        Some((name, value)) => Err(ModelError::OtherModel {
            path: path.to_owned(),
            field: name.clone(),
            expected: asked[name.as_str()].to_string(),
            found: value.to_string(),
        }),
        None => Ok(()),
    }
}

struct Bytes {
    shape: Vec<usize>,
    octets: Vec<u8>,
}

fn write<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (String, &'a Tensor)>,
    about: &impl Serialize,
) -> Result<(), ModelError> {
    let about = serde_json::to_string(about)
        .map_err(|error| ModelError::format(path, error.to_string()))?;
    let mut all = Vec::new();
    for (name, tensor) in tensors {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let flat =
            tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
        let octets = Vec::<f32>::try_from(&flat)?.into_iter().flat_map(f32::to_le_bytes).collect();
        all.push((name, Bytes { shape, octets }));
    }
    let failed = |error: safetensors::SafeTensorError| ModelError::format(path, error.to_string());
    let mut views = Vec::new();
    for (name, bytes) in &all {
        let view =
            TensorView::new(Dtype::F32, bytes.shape.clone(), &bytes.octets).map_err(failed)?;
        views.push((name.clone(), view));
    }
    let metadata = Some(HashMap::from([(METADATA.to_owned(), about)]));
    serialize_to_file(views, &metadata, path).map_err(failed)?;
    checksum::put(path)
}

/// Tensors by name, and what stands beside them.
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
