//! The folder of a classifier: that of its model, with the classifier beside the weights.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use atomic_output::{AtomicFolder, FileKind, OnExisting};
use linformer::{LinearProbe, Model};
use serde::{Deserialize, Serialize};

use super::figures::{ClassFigures, Figures};
use crate::args::SplitBy;
use crate::commands::folder::{CONFIG, MODEL};
use crate::config::Config;

/// Weights of the classifier.
const PROBES: &str = "classifier.json";

/// Contents of config.json in the folder of a classifier: that of the model, and a table more.
#[derive(Serialize, Deserialize)]
struct ConfigFile {
    #[serde(flatten)]
    model: serde_json::Map<String, serde_json::Value>,
    classifier: ClassifierConfig,
}

/// Description of a classifier in its config.json.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ClassifierConfig {
    /// Classes, in the order of the classifier's scores.
    pub(crate) classes: Vec<ClassConfig>,
    /// Numbers of packets after which there is a verdict, besides the end of the flow.
    pub(crate) packets: Vec<u64>,
    /// Whether the model sees the server's port.
    pub(crate) with_port: bool,
    /// Penalty of the linear classifier.
    pub(crate) l2: f64,
    /// Flows that were held out.
    pub(crate) split: SplitConfig,
    /// Figures over flows held out.
    pub(crate) held_out: HeldOut,
}

/// Class of a classifier.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ClassConfig {
    /// Label of the class.
    pub(crate) name: String,
    /// Number of flows that it was learnt from.
    pub(crate) flows: u64,
    /// Number of groups or captures of these flows.
    pub(crate) units: u64,
    /// Figures over flows held out.
    pub(crate) held_out: ClassFigures,
}

/// Split of the flows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SplitConfig {
    /// Flows that are held out together.
    pub(crate) by: SplitBy,
    /// Seed of the split.
    pub(crate) seed: u64,
    /// Groups or captures of each part.
    pub(crate) folds: Vec<Vec<String>>,
}

/// Figures over flows held out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct HeldOut {
    /// Of the linear classifier, at the ends of the flows.
    pub(crate) probe: Figures,
    /// Of the 5 nearest neighbours, at the ends of the flows.
    pub(crate) neighbours: Figures,
    /// Of the linear classifier, after the numbers of packets.
    pub(crate) after_packets: Vec<Figures>,
}

impl ClassifierConfig {
    fn read(folder: &Path) -> anyhow::Result<ClassifierConfig> {
        let path = folder.join(CONFIG);
        let at = || path.display().to_string();
        let text = fs::read_to_string(&path).with_context(at)?;
        // The tokens first: a classifier of another version may differ in all else.
        Config::from_text(&text).with_context(at)?;
        let file: ConfigFile = serde_json::from_str(&text)
            .with_context(|| format!("{}: expected that of a classifier", at()))?;
        Ok(file.classifier)
    }
}

/// Linear classifiers of each moment: of each number of packets, then of the end.
pub(crate) type Probes = Vec<LinearProbe>;

/// Files that a classifier may replace.
const CLASSIFIER: FileKind = FileKind {
    name: "a classifier",
    is_at: |path| {
        let folder = path.parent().unwrap_or(Path::new("."));
        let is_ours = |name: &OsStr| [CONFIG, PROBES, MODEL].iter().any(|ours| name == *ours);
        path.file_name().is_some_and(is_ours) && ClassifierConfig::read(folder).is_ok()
    },
};

/// Returns what happens with a folder that is there.
pub(crate) fn on_existing(force: bool) -> OnExisting {
    CLASSIFIER.on_existing(force)
}

/// Writes the folder of a classifier.
pub(crate) fn write(
    output: AtomicFolder,
    classifier: ClassifierConfig,
    probes: &Probes,
    model: &Model,
    config: &Config,
) -> anyhow::Result<()> {
    let write = |name: &str, text: String| {
        let path = output.path().join(name);
        fs::write(&path, text + "\n").with_context(|| path.display().to_string())
    };
    let serde_json::Value::Object(of_model) = serde_json::to_value(config)? else {
        bail!("{CONFIG}: expected a table");
    };
    let file = ConfigFile { model: of_model, classifier };
    write(CONFIG, serde_json::to_string_pretty(&file)?)?;
    write(PROBES, serde_json::to_string(probes)?)?;
    model.save(&output.path().join(MODEL))?;
    Ok(output.commit()?)
}

/// Reads the folder of a classifier.
///
/// # Errors
/// If it is none, or its model reads another token code.
pub(crate) fn read(folder: &Path) -> anyhow::Result<(ClassifierConfig, Probes)> {
    let config = ClassifierConfig::read(folder)?;
    let path = folder.join(PROBES);
    let at = || path.display().to_string();
    let probes: Probes =
        serde_json::from_slice(&fs::read(&path).with_context(at)?).with_context(at)?;
    let (classes, moments) = (config.classes.len(), config.packets.len() + 1);
    let fits = |probe: &LinearProbe| {
        probe.bias.len() == classes && probe.weight.len().is_multiple_of(classes.max(1))
    };
    if probes.len() != moments || !probes.iter().all(fits) {
        bail!("{}: expected {moments} classifiers of {classes} classes, as config.json says", at());
    }
    Ok((config, probes))
}
