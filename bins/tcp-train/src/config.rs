//! config.json: what a model is, and how it was trained.

use anyhow::{Context, bail};
use linformer::ModelConfig;
use serde::{Deserialize, Serialize};
use tokenizer::field;

use crate::ports::Ports;
use crate::settings::Settings;

/// config.json.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The code of its tokens.
    token_code: String,
    /// The code's version.
    token_version: u32,
    /// The program that wrote it.
    tool: String,
    /// The architecture.
    pub model: ModelConfig,
    /// How it was trained.
    pub settings: Settings,
    /// What it was trained on; not in folders of programs that did not say.
    #[serde(default)]
    pub trained_on: Option<TrainedOn>,
}

/// What a model has seen of its dataset.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainedOn {
    /// The server ports of the flows that it learnt from: `22,80,8000-8003`.
    pub server_ports: Ports,
}

impl Config {
    pub fn new(settings: &Settings, server_ports: Ports) -> Config {
        Config {
            token_code: field::NAME.to_owned(),
            token_version: field::VERSION,
            tool: concat!("tcp-train ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: settings.model.clone(),
            settings: settings.clone(),
            trained_on: Some(TrainedOn { server_ports }),
        }
    }

    pub fn to_text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self).context("config.json")? + "\n")
    }

    /// Reads it, and refuses a model of other tokens.
    ///
    /// # Errors
    /// Where the text is no configuration that this program can use.
    pub fn from_text(text: &str) -> anyhow::Result<Config> {
        let config: Config = serde_json::from_str(text)?;
        if (config.token_code.as_str(), config.token_version) != (field::NAME, field::VERSION) {
            let found = format!("{} version {}", config.token_code, config.token_version);
            bail!("expected tokens {} version {}, found {found}", field::NAME, field::VERSION);
        }
        if config.model.vocab_size != field::VOCAB_SIZE {
            let (expected, found) = (field::VOCAB_SIZE, config.model.vocab_size);
            bail!(
                "model.vocab_size: expected {expected}, as many tokens as the code has, found {found}"
            );
        }
        config.model.check()?;
        Ok(config)
    }
}
