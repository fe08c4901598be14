//! config.json: the architecture of a model, the settings of its training run and its tokens.

use anyhow::{Context, bail};
use clap::ValueEnum;
use linformer::ModelConfig;
use serde::{Deserialize, Serialize};
use tokenizer::field;

use crate::level::Level;
use crate::ports::SeenServerPorts;
use crate::settings::Settings;

/// Contents of config.json, which every model folder holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Name of the token code that the model reads and writes.
    token_code: String,
    /// Version of the token code: token ids of other versions mean other things.
    token_version: u32,
    /// Name and version of the program that wrote the file.
    tool: String,
    /// Architecture of the model, the one under `settings` once more.
    pub model: ModelConfig,
    /// Settings of the run that trained the model.
    pub settings: Settings,
    /// Facts about the training flows; absent in files of versions that did not record them.
    #[serde(default)]
    pub trained_on: Option<TrainedOn>,
}

/// Facts about the flows that a model was trained on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainedOn {
    /// Server ports of the training flows: `22,80,8000-8003`.
    pub server_ports: SeenServerPorts,
}

impl Config {
    /// Returns the configuration of a model that a run with these settings trains.
    #[must_use]
    pub fn new(settings: &Settings, server_ports: SeenServerPorts) -> Config {
        let (name, version) = settings.level().unwrap_or(Level::Flow).code();
        Config {
            token_code: name.to_owned(),
            token_version: version,
            tool: concat!("tcp-train ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: settings.model.clone(),
            settings: settings.clone(),
            trained_on: Some(TrainedOn { server_ports }),
        }
    }

    /// Returns the configuration as indented JSON with a final newline.
    ///
    /// # Errors
    /// If serialisation to JSON fails.
    pub fn to_text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self).context("config.json")? + "\n")
    }

    /// Parses a configuration.
    ///
    /// # Errors
    /// If the text is not such JSON, or the model is for another token code, version or vocabulary
    /// size than this program's.
    pub fn from_text(text: &str) -> anyhow::Result<Config> {
        let config: Config = serde_json::from_str(text)?;
        let Some(level) = config.code_level() else {
            let found = format!("{} version {}", config.token_code, config.token_version);
            bail!("expected tokens {} version {}, found {found}", field::NAME, field::VERSION);
        };
        if config.model.vocab_size != level.vocab_size() {
            let (expected, found) = (level.vocab_size(), config.model.vocab_size);
            bail!(
                "model.vocab_size: expected {expected}, as many tokens as the code has, found \
                 {found}"
            );
        }
        config.model.check()?;
        Ok(config)
    }

    /// Returns the level of the model.
    #[must_use]
    pub fn level(&self) -> Level {
        self.code_level().unwrap_or(Level::Flow)
    }

    fn code_level(&self) -> Option<Level> {
        let code = (self.token_code.as_str(), self.token_version);
        Level::value_variants().iter().copied().find(|level| level.code() == code)
    }
}
