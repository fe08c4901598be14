//! Settings of a training run: a preset, then a TOML file, then the flags; the later one counts.

use std::path::Path;

use anyhow::{Context, bail};
use linformer::{ModelConfig, Optimizer, Precision};
use serde::{Deserialize, Serialize};
use tokenizer::field;

use crate::args::{Changes, Preset};
use crate::level::Level;
use crate::schedule::Schedule;

/// Names of settings that differ from the key they are written under, as `(name, key)`. Both are
/// read, in TOML files, by `--set` and in config.json.
const KEY_ALIASES: [(&str, &str); 4] = [
    ("gradient_accumulation", "accumulate"),
    ("max_sequence_piece", "piece"),
    ("warmup", "warm_up"),
    ("loss_spike_limit", "spike"),
];

/// Settings of a training run: all that its result depends on apart from the dataset. Written to
/// config.json and to every checkpoint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seed of the initial weights, the split and the order of flows.
    pub seed: u64,
    /// Largest number of passes over the training flows.
    pub epochs: u64,
    /// Largest number of steps; 0: no limit.
    pub max_steps: u64,
    /// Longest training time, in minutes; 0: no limit.
    pub max_minutes: f64,
    /// Largest number of tokens in a step, over all processes.
    pub batch: usize,
    /// Number of micro-batches that a process computes one after another in each step; their
    /// gradients are summed. More need less memory.
    #[serde(rename = "accumulate", alias = "gradient_accumulation")]
    pub gradient_accumulation: usize,
    /// Largest number of tokens of one flow in a step. A longer flow continues in the next step,
    /// from the recurrent state at the end of the piece before.
    #[serde(rename = "piece", alias = "max_sequence_piece")]
    pub max_sequence_piece: usize,
    /// Highest learning rate, reached at the end of the warmup.
    pub learning_rate: f64,
    /// Fraction of the run in which the learning rate rises.
    #[serde(rename = "warm_up", alias = "warmup")]
    pub warmup: f64,
    /// Learning rate at the end of the run, as a fraction of the highest.
    pub final_rate: f64,
    /// Fraction of the flows that is held out for validation.
    pub validation_share: f64,
    /// Fraction of the flows that is kept for a test: neither trained nor validated on.
    pub test_share: f64,
    /// Largest number of flows kept among those that differ in time alone; 0: all.
    pub max_repeats: u64,
    /// Number of steps from one validation to the next.
    pub validate_every: u64,
    /// Number of validations in a row without a lower loss after which training ends; 0: no limit.
    pub patience: u64,
    /// Largest rise of the loss, in nats per token, from the mean of the recent steps to that of
    /// the newest ones. Beyond, training stops with an error. 0: no limit.
    #[serde(rename = "spike", alias = "loss_spike_limit")]
    pub loss_spike_limit: f64,
    /// Seconds from one checkpoint to the next.
    pub checkpoint_seconds: f64,
    /// Number format of matrix products: f32 or bf16.
    pub precision: Precision,
    /// Constants of AdamW and the limit of the gradient's norm.
    pub optimizer: Optimizer,
    /// Architecture of the model.
    pub model: ModelConfig,
}

impl Settings {
    /// Returns the settings of a preset, for the vocabulary of a level's code.
    fn preset(preset: Preset, level: Level) -> Settings {
        let tiny = Settings {
            seed: 1,
            epochs: 30,
            max_steps: 0,
            max_minutes: 3.0,
            batch: 1024,
            gradient_accumulation: 1,
            max_sequence_piece: 512,
            learning_rate: 3e-3,
            warmup: 0.05,
            final_rate: 0.05,
            validation_share: 0.1,
            test_share: 0.0,
            max_repeats: 16,
            validate_every: 250,
            patience: 0,
            loss_spike_limit: 2.0,
            checkpoint_seconds: 30.0,
            precision: Precision::F32,
            optimizer: Optimizer::default(),
            model: ModelConfig::tiny(),
        };
        let long = Settings {
            max_minutes: 0.0,
            batch: 16_384,
            max_sequence_piece: 8192,
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
            // As in tcpflowgen's train.py: AdamW with PyTorch's defaults, a warmup of 2 of 10
            // epochs, then a constant learning rate.
            Preset::Original => Settings {
                epochs: 10,
                learning_rate: 1e-4,
                warmup: 0.2,
                final_rate: 1.0,
                optimizer: Optimizer { beta2: 0.999, weight_decay: 0.01, ..Optimizer::default() },
                model: ModelConfig::original(),
                ..long
            },
        };
        settings.model.vocab_size = level.vocab_size();
        settings
    }

    /// Returns the settings of a fresh run: a preset with the changes of a file and of flags.
    ///
    /// # Errors
    /// As [`Settings::changed`].
    pub fn fresh(preset: Preset, changes: &Changes) -> anyhow::Result<Settings> {
        Settings::fresh_at(Level::Flow, preset, changes)
    }

    /// Returns the settings of a fresh run of a level.
    ///
    /// # Errors
    /// As [`Settings::changed`].
    pub fn fresh_at(level: Level, preset: Preset, changes: &Changes) -> anyhow::Result<Settings> {
        let settings = Settings::preset(preset, level).changed(changes)?;
        match settings.level() {
            Some(found) if found == level => Ok(settings),
            _ => bail!(
                "settings: model.vocab_size: expected {}, the token ids of the code, found {}",
                level.vocab_size(),
                settings.model.vocab_size
            ),
        }
    }

    /// Returns the level of the model that a run with these settings trains.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        Level::of_vocab_size(self.model.vocab_size)
    }

    /// Returns these settings with the changes of the `--config` file, then of `--set`, then of the
    /// other flags.
    ///
    /// # Errors
    /// If the file cannot be read, or a name or a value is not that of a setting.
    pub fn changed(self, changes: &Changes) -> anyhow::Result<Settings> {
        let mut settings = match &changes.config {
            Some(path) => self.with_file(path)?,
            None => self,
        };
        for assignment in &changes.set {
            let at = || format!("--set {assignment}");
            let change = parse_assignment(assignment).with_context(at)?;
            settings = settings.merged(change).with_context(at)?;
        }
        let put = |to: &mut u64, from: Option<u64>| *to = from.unwrap_or(*to);
        put(&mut settings.seed, changes.seed);
        put(&mut settings.epochs, changes.epochs);
        put(&mut settings.max_steps, changes.max_steps);
        settings.max_minutes = changes.max_minutes.unwrap_or(settings.max_minutes);
        settings.batch = changes.batch.unwrap_or(settings.batch);
        settings.gradient_accumulation =
            changes.accumulate.unwrap_or(settings.gradient_accumulation);
        put(&mut settings.max_repeats, changes.max_repeats);
        put(&mut settings.patience, changes.patience);
        put(&mut settings.validate_every, changes.validate_every);
        settings.learning_rate = changes.learning_rate.unwrap_or(settings.learning_rate);
        settings.precision = changes.precision.map_or(settings.precision, Into::into);
        settings.check()?;
        Ok(settings)
    }

    /// Returns these settings with the changes of a TOML file.
    fn with_file(self, path: &Path) -> anyhow::Result<Settings> {
        let at = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(at)?;
        self.with_text(&text).with_context(at)
    }

    /// Returns these settings with the changes of a TOML text. The result is not checked.
    ///
    /// # Errors
    /// If the text is not TOML, or a name or the type of a value is not that of a setting.
    pub fn with_text(self, text: &str) -> anyhow::Result<Settings> {
        self.merged(toml::from_str(text)?)
    }

    /// Returns these settings with the changes of a table, which may nest.
    fn merged(self, changes: toml::Table) -> anyhow::Result<Settings> {
        let mut all = toml::Table::try_from(self).context("settings")?;
        merge(&mut all, changes)?;
        Ok(all.try_into()?)
    }

    /// Returns the learning rate schedule of the run.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule { peak: self.learning_rate, warmup: self.warmup, final_rate: self.final_rate }
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// Names the first setting out of range, by the key that it is written under.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_positive = |x: f64| x > 0.0 && x.is_finite();
        let is_limit = |x: f64| x >= 0.0 && x.is_finite();
        let is_fraction = |x: f64| (0.0..=1.0).contains(&x);
        let is_below_one = |x: f64| (0.0..1.0).contains(&x);
        let Optimizer { beta1, beta2, eps, weight_decay, max_grad_norm } = self.optimizer;
        let is_accumulation = (1..=65_536).contains(&self.gradient_accumulation);
        let (fraction, below_one) = ("0 to 1", "at least 0 and under 1");
        let rules = [
            ("epochs", "1 or more", self.epochs >= 1),
            ("batch", "1 or more", self.batch >= 1),
            ("accumulate", "1 to 65536", is_accumulation),
            ("optimizer.beta1", below_one, is_below_one(beta1)),
            ("optimizer.beta2", below_one, is_below_one(beta2)),
            ("optimizer.eps", "more than 0", is_positive(eps)),
            ("optimizer.weight_decay", fraction, is_fraction(weight_decay)),
            ("optimizer.clip", "more than 0", is_positive(max_grad_norm)),
            ("model.norm_eps", "more than 0", is_positive(self.model.norm_eps)),
            ("model.attention_eps", "more than 0", is_positive(self.model.attention_eps)),
            ("spike", "0 or more", is_limit(self.loss_spike_limit)),
            ("checkpoint_seconds", "0 or more", is_limit(self.checkpoint_seconds)),
            ("piece", "1 or more", self.max_sequence_piece >= 1),
            ("validation_share", below_one, is_below_one(self.validation_share)),
            ("test_share", below_one, is_below_one(self.test_share)),
            ("learning_rate", "more than 0", is_positive(self.learning_rate)),
            ("warm_up", fraction, is_fraction(self.warmup)),
            ("final_rate", fraction, is_fraction(self.final_rate)),
            ("validate_every", "1 or more", self.validate_every >= 1),
            ("max_minutes", "0 or more", is_limit(self.max_minutes)),
        ];
        if let Some((key, expected, _)) = rules.iter().find(|(_, _, is_met)| !is_met) {
            bail!("settings: {key}: expected {expected}");
        }
        if self.level().is_none() {
            let found = self.model.vocab_size;
            bail!(
                "settings: model.vocab_size: expected {}, the token ids of the code, found {found}",
                field::VOCAB_SIZE
            );
        }
        self.model.check().map_err(Into::into)
    }
}

/// Parses `NAME=VALUE` into a table. A value that is not TOML, such as `bf16`, is taken as a
/// string.
fn parse_assignment(text: &str) -> anyhow::Result<toml::Table> {
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    let quoted = || toml::from_str(&format!("{name} = {value:?}"));
    Ok(toml::from_str(&format!("{name} = {value}")).or_else(|_| quoted())?)
}

/// Overwrites values of `all` by those of `changes`, table by table. `all` has the keys that are
/// written to config.json.
///
/// # Errors
/// If `changes` sets one value by both of its names.
fn merge(all: &mut toml::Table, mut changes: toml::Table) -> anyhow::Result<()> {
    for (alias, key) in KEY_ALIASES.into_iter().chain(linformer::KEY_ALIASES) {
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
            (settings.learning_rate, settings.warmup, settings.final_rate),
            (1e-4, 0.2, 1.0)
        );
        let ModelConfig { hidden_size, heads, layers, ffn_size, .. } = settings.model;
        assert_eq!((hidden_size, heads, layers, ffn_size, settings.epochs), (256, 8, 8, 1024, 10));
    }

    #[test]
    fn a_setting_has_its_written_name_and_the_fields() {
        let by = |text: &str| with_file(text).unwrap();
        let written = "accumulate = 3\npiece = 40\nwarm_up = 0.25\nspike = 7.0\n";
        let fields = "gradient_accumulation = 3\nmax_sequence_piece = 40\nwarmup = 0.25\n\
                      loss_spike_limit = 7.0\n";
        assert_eq!(by(written), by(fields));
        let settings = by(fields);
        assert_eq!((settings.gradient_accumulation, settings.max_sequence_piece), (3, 40));
        assert_eq!((settings.warmup, settings.loss_spike_limit), (0.25, 7.0));
        let json = serde_json::to_value(&settings).unwrap();
        for (name, key) in KEY_ALIASES {
            assert!(json.get(name).is_none() && json.get(key).is_some(), "{key}: {json}");
        }
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
