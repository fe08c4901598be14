//! Property of any text that is parsed as settings, a configuration or a training state: it is
//! refused, or its values survive writing and reading. The fuzz target `settings` calls
//! [`check_text`].

use clap::ValueEnum;

use crate::args::{Changes, Preset};
use crate::config::Config;
use crate::ports::SeenServerPorts;
use crate::settings::Settings;
use crate::training_state::TrainingState;

/// Parses a text and checks that an accepted value survives writing and reading.
///
/// `kind % 4` selects the format: settings in TOML, `--set` assignments by line, config.json, or
/// the training state of a checkpoint. `kind / 8 % 4` selects the preset under the settings.
///
/// # Panics
/// If the property does not hold.
pub fn check_text(kind: u8, text: &str) {
    let preset = Preset::value_variants()[usize::from(kind >> 3) % 4];
    let fresh = |changes: &Changes| Settings::fresh(preset, changes);
    match kind % 4 {
        0 => {
            let Ok(settings) = fresh(&Changes::default()).unwrap().with_text(text) else { return };
            if settings.check().is_ok() {
                check_settings(&settings);
            }
        }
        1 => {
            let set = text.lines().take(20).map(str::to_owned).collect();
            if let Ok(settings) = fresh(&Changes { set, ..Changes::default() }) {
                check_settings(&settings);
            }
        }
        2 => {
            let Ok(config) = Config::from_text(text) else { return };
            assert_eq!(Config::from_text(&config.to_text().unwrap()).unwrap(), config);
        }
        _ => {
            let Ok(value) = serde_json::from_str(text) else { return };
            let Ok(state) = TrainingState::from_json(value) else { return };
            check_settings(&state.settings);
            let value = serde_json::to_value(&state).unwrap();
            let again = TrainingState::from_json(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(again).unwrap(), value);
        }
    }
}

/// Checks that settings survive config.json and that their learning rate stays below its peak.
fn check_settings(settings: &Settings) {
    let text = Config::new(settings, SeenServerPorts::default()).to_text().unwrap();
    assert_eq!(&Config::from_text(&text).unwrap().settings, settings);
    for completed in [0.0, 0.01, 0.5, 1.0] {
        let rate = settings.schedule().rate(completed);
        assert!((0.0..=settings.learning_rate).contains(&rate), "{rate}");
    }
    assert_eq!(settings.model.decays().len(), settings.model.heads);
}

#[cfg(test)]
mod tests {
    /// Replays the seeds of the fuzz target `settings`, among them the texts that once failed.
    #[test]
    fn seeds() {
        let seeds = testkit::fuzz_seeds("settings");
        for seed in &seeds {
            let octets = std::fs::read(seed).unwrap();
            super::check_text(octets[0], std::str::from_utf8(&octets[1..]).unwrap());
        }
        assert!(seeds.len() >= 6, "{}", seeds.len());
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused() {
        for value in [
            "spike=inf",
            "optimizer.clip=inf",
            "max_minutes=inf",
            "checkpoint_seconds=inf",
            "model.attention_eps=nan",
        ] {
            let changes =
                crate::args::Changes { set: vec![value.to_owned()], ..Default::default() };
            let refused = crate::settings::Settings::fresh(crate::args::Preset::Tiny, &changes)
                .unwrap_err()
                .to_string();
            assert!(refused.starts_with("settings: ") && refused.contains("expected"), "{refused}");
        }
    }

    #[test]
    fn a_learning_rate_comes_back_to_the_last_bit() {
        super::check_text(1, "learning_rate=0.11791870367106105");
    }
}
