//! Everything that a training run depends on but its data: preset, then file, then flags.

use std::path::Path;

use anyhow::{Context, bail};
use linformer::{ModelConfig, Optimizer, Precision};
use serde::{Deserialize, Serialize};
use tokenizer::field;

use crate::args::{Changes, Preset};

/// A training run's settings. Stand in config.json and in every checkpoint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where weights and orders come from.
    pub seed: u64,
    /// How often the dataset is gone through, at most.
    pub epochs: u64,
    /// Steps, at most; 0: no limit.
    pub max_steps: u64,
    /// Minutes, at most; 0: no limit.
    pub max_minutes: f64,
    /// Tokens in a step, at most, over all processes.
    pub batch: usize,
    /// Parts in which a process computes its share of a step, one after another: more take less
    /// memory.
    pub accumulate: usize,
    /// Tokens of one flow in a step, at most: a longer flow goes on in the next step from the state
    /// that it left.
    pub piece: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Share of the run in which the learning rate rises.
    pub warm_up: f64,
    /// The learning rate at the end, as a share of the highest.
    pub final_rate: f64,
    /// Share of flows held out for validation.
    pub validation_share: f64,
    /// Share of flows that training does not look at.
    pub test_share: f64,
    /// Flows, at most, that differ in time alone; 0: all.
    pub max_repeats: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validations without a better loss after which training ends; 0: however many.
    pub patience: u64,
    /// Nats per token by which the loss of the last steps may be above that of the steps before;
    /// beyond, training stops with an error. 0: no limit.
    pub spike: f64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
    /// What matrices are multiplied in: f32 or bf16.
    pub precision: Precision,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The architecture.
    pub model: ModelConfig,
}

impl Settings {
    fn preset(preset: Preset) -> Settings {
        let tiny = Settings {
            seed: 1,
            epochs: 30,
            max_steps: 0,
            max_minutes: 3.0,
            batch: 1024,
            accumulate: 1,
            piece: 512,
            learning_rate: 3e-3,
            warm_up: 0.05,
            final_rate: 0.05,
            validation_share: 0.1,
            test_share: 0.0,
            max_repeats: 16,
            validate_every: 250,
            patience: 0,
            spike: 2.0,
            checkpoint_seconds: 30.0,
            precision: Precision::F32,
            optimizer: Optimizer::default(),
            model: ModelConfig::tiny(),
        };
        let long = Settings {
            max_minutes: 0.0,
            batch: 16_384,
            piece: 8192,
            learning_rate: 2e-3,
            validate_every: 250,
            checkpoint_seconds: 120.0,
            ..tiny.clone()
        };
        let mut settings = match preset {
            Preset::Tiny => tiny,
            Preset::Small => Settings { model: ModelConfig::small(), ..long },
            Preset::Base => {
                Settings { batch: 65_536, learning_rate: 1e-3, model: ModelConfig::base(), ..long }
            }
            // As tcpflowgen's train.py: torch's AdamW as it comes, 2 of 10 epochs of warm-up, then
            // constant.
            Preset::Original => Settings {
                epochs: 10,
                learning_rate: 1e-4,
                warm_up: 0.2,
                final_rate: 1.0,
                optimizer: Optimizer { beta2: 0.999, weight_decay: 0.01, ..Optimizer::default() },
                model: ModelConfig::original(),
                ..long
            },
        };
        settings.model.vocab_size = field::VOCAB_SIZE;
        settings
    }

    /// The settings of a fresh run.
    pub fn fresh(preset: Preset, changes: &Changes) -> anyhow::Result<Settings> {
        Settings::preset(preset).changed(changes)
    }

    /// These settings with a file's and the flags' changes.
    pub fn changed(self, changes: &Changes) -> anyhow::Result<Settings> {
        let mut settings = match &changes.config {
            Some(path) => self.with_file(path)?,
            None => self,
        };
        for assignment in &changes.set {
            let place = || format!("--set {assignment}");
            settings =
                settings.merged(assigned(assignment).with_context(place)?).with_context(place)?;
        }
        let put = |to: &mut u64, from: Option<u64>| *to = from.unwrap_or(*to);
        put(&mut settings.seed, changes.seed);
        put(&mut settings.epochs, changes.epochs);
        put(&mut settings.max_steps, changes.max_steps);
        settings.max_minutes = changes.max_minutes.unwrap_or(settings.max_minutes);
        settings.batch = changes.batch.unwrap_or(settings.batch);
        settings.accumulate = changes.accumulate.unwrap_or(settings.accumulate);
        put(&mut settings.max_repeats, changes.max_repeats);
        put(&mut settings.patience, changes.patience);
        put(&mut settings.validate_every, changes.validate_every);
        settings.learning_rate = changes.learning_rate.unwrap_or(settings.learning_rate);
        settings.precision = changes.precision.map_or(settings.precision, Into::into);
        settings.check()?;
        Ok(settings)
    }

    fn with_file(self, path: &Path) -> anyhow::Result<Settings> {
        let at = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(at)?;
        self.with_text(&text).with_context(at)
    }

    /// These settings with those of a TOML text in their place; not checked yet.
    pub fn with_text(self, text: &str) -> anyhow::Result<Settings> {
        self.merged(toml::from_str(text)?)
    }

    fn merged(self, changes: toml::Table) -> anyhow::Result<Settings> {
        let mut all = toml::Table::try_from(self).context("settings")?;
        merge(&mut all, changes)?;
        Ok(all.try_into()?)
    }

    /// Refuses settings that no run can be made with.
    ///
    /// # Errors
    /// Names the first that is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let rules = [
            ("epochs", "1 or more", self.epochs >= 1),
            ("batch", "1 or more", self.batch >= 1),
            ("accumulate", "1 to 65536", (1..=65_536).contains(&self.accumulate)),
            (
                "optimizer.beta1",
                "at least 0 and under 1",
                (0.0..1.0).contains(&self.optimizer.beta1),
            ),
            (
                "optimizer.beta2",
                "at least 0 and under 1",
                (0.0..1.0).contains(&self.optimizer.beta2),
            ),
            (
                "optimizer.eps",
                "more than 0",
                self.optimizer.eps > 0.0 && self.optimizer.eps.is_finite(),
            ),
            (
                "optimizer.weight_decay",
                "0 to 1",
                (0.0..=1.0).contains(&self.optimizer.weight_decay),
            ),
            (
                "optimizer.clip",
                "more than 0",
                self.optimizer.max_grad_norm > 0.0 && self.optimizer.max_grad_norm.is_finite(),
            ),
            (
                "model.norm_eps",
                "more than 0",
                self.model.norm_eps > 0.0 && self.model.norm_eps.is_finite(),
            ),
            (
                "model.attention_eps",
                "more than 0",
                self.model.attention_eps > 0.0 && self.model.attention_eps.is_finite(),
            ),
            ("spike", "0 or more", self.spike >= 0.0 && self.spike.is_finite()),
            (
                "checkpoint_seconds",
                "0 or more",
                self.checkpoint_seconds >= 0.0 && self.checkpoint_seconds.is_finite(),
            ),
            ("piece", "1 or more", self.piece >= 1),
            (
                "validation_share",
                "at least 0 and under 1",
                (0.0..1.0).contains(&self.validation_share),
            ),
            ("test_share", "at least 0 and under 1", (0.0..1.0).contains(&self.test_share)),
            (
                "learning_rate",
                "more than 0",
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            ),
            ("warm_up", "0 to 1", (0.0..=1.0).contains(&self.warm_up)),
            ("final_rate", "0 to 1", (0.0..=1.0).contains(&self.final_rate)),
            ("validate_every", "1 or more", self.validate_every >= 1),
            ("max_minutes", "0 or more", self.max_minutes >= 0.0 && self.max_minutes.is_finite()),
        ];
        if let Some((name, expected, _)) = rules.iter().find(|rule| !rule.2) {
            bail!("settings: {name}: expected {expected}");
        }
        if self.model.vocab_size != field::VOCAB_SIZE {
            let found = self.model.vocab_size;
            bail!(
                "settings: model.vocab_size: expected {}, the token ids of the code, found {found}",
                field::VOCAB_SIZE
            );
        }
        self.model.check().map_err(Into::into)
    }
}

/// `name = value` as a table; a value that is no TOML is a text.
fn assigned(text: &str) -> anyhow::Result<toml::Table> {
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    let quoted = || toml::from_str(&format!("{name} = {value:?}"));
    Ok(toml::from_str(&format!("{name} = {value}")).or_else(|_| quoted())?)
}

/// Puts `changes` over `all`, table by table. `all` has the keys that are written to config.json.
///
/// # Errors
/// If `changes` sets one value by both of its names.
fn merge(all: &mut toml::Table, mut changes: toml::Table) -> anyhow::Result<()> {
    for (alias, key) in linformer::KEY_ALIASES {
        if let Some(value) = changes.remove(alias)
            && changes.insert(key.to_owned(), value).is_some()
        {
            bail!("{key} and {alias}: expected one of them, they are one setting");
        }
    }
    for (key, value) in changes {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(changes)) => {
                merge(inner, changes)?;
            }
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> anyhow::Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let changes = Changes {
            config: Some(file.path().to_owned()),
            max_steps: Some(7),
            ..Changes::default()
        };
        Settings::fresh(Preset::Tiny, &changes)
    }

    #[test]
    fn a_file_changes_what_it_names_and_flags_go_before_it() {
        let settings = with_file("batch = 99\nmax_steps = 3\n[model]\nlayers = 2\n").unwrap();
        assert_eq!((settings.batch, settings.max_steps, settings.model.layers), (99, 7, 2));
        assert_eq!(settings.model.hidden_size, ModelConfig::tiny().hidden_size);
    }

    #[test]
    fn original_is_the_originals_architecture_and_optimizer() {
        let settings = Settings::fresh(Preset::Original, &Changes::default()).unwrap();
        let Optimizer { beta1, beta2, eps, weight_decay, max_grad_norm } = settings.optimizer;
        assert_eq!((beta1, beta2, eps, weight_decay, max_grad_norm), (0.9, 0.999, 1e-8, 0.01, 1.0));
        assert_eq!(
            (settings.learning_rate, settings.warm_up, settings.final_rate),
            (1e-4, 0.2, 1.0)
        );
        let ModelConfig { hidden_size, heads, layers, ffn_size, .. } = settings.model;
        assert_eq!((hidden_size, heads, layers, ffn_size, settings.epochs), (256, 8, 8, 1024, 10));
    }

    #[test]
    fn a_setting_has_its_written_name_and_the_fields() {
        let by = |text: &str| with_file(text).unwrap();
        let written = "[model]\nwidth = 96\nfeed = 48\nconv = 3\n[optimizer]\nclip = 0.5\n";
        let fields = "[model]\nhidden_size = 96\nffn_size = 48\nconv_kernel = 3\n\
                      [optimizer]\nmax_grad_norm = 0.5\n";
        assert_eq!(by(written), by(fields));
        assert_eq!(by(written).model.hidden_size, 96);
        let error = with_file("[model]\nwidth = 96\nhidden_size = 96\n").unwrap_err();
        assert!(format!("{error:#}").contains("width and hidden_size"), "{error:#}");
    }

    #[test]
    fn an_unknown_name_or_a_wrong_value_is_refused() {
        let error = format!("{:#}", with_file("bach = 99\n").unwrap_err());
        assert!(error.contains("unknown field `bach`"), "{error}");
        assert_eq!(
            with_file("epochs = 0\n").unwrap_err().to_string(),
            "settings: epochs: expected 1 or more"
        );
    }
}
