//! What holds of any text that is taken for settings, a model's configuration or a checkpoint's
//! place: it is refused, or its values come back as they were when they are written and read again.
//! The fuzz target `settings` includes this file.

use clap::ValueEnum;

use crate::args::{Changes, Preset};
use crate::config::Config;
use crate::ports::Ports;
use crate::schedule::learning_rate;
use crate::settings::Settings;
use crate::training_state::Place;

/// Takes a text for one of these things, as `kind` says.
pub fn check_text(kind: u8, text: &str) {
    let preset = Preset::value_variants()[usize::from(kind >> 3) % 4];
    let fresh = |changes: &Changes| Settings::fresh(preset, changes);
    match kind % 4 {
        0 => {
            let Ok(settings) = fresh(&Changes::default()).unwrap().with_text(text) else { return };
            if settings.check().is_ok() {
                accepted(&settings);
            }
        }
        1 => {
            let set = text.lines().take(20).map(str::to_owned).collect();
            if let Ok(settings) = fresh(&Changes { set, ..Changes::default() }) {
                accepted(&settings);
            }
        }
        2 => {
            let Ok(config) = Config::from_text(text) else { return };
            assert_eq!(Config::from_text(&config.to_text().unwrap()).unwrap(), config);
        }
        _ => {
            let Ok(value) = serde_json::from_str(text) else { return };
            let Ok(place) = Place::read(value) else { return };
            accepted(&place.settings);
            let value = serde_json::to_value(&place).unwrap();
            assert_eq!(serde_json::to_value(Place::read(value.clone()).unwrap()).unwrap(), value);
        }
    }
}

fn accepted(settings: &Settings) {
    let text = Config::new(settings, Ports::default()).to_text().unwrap();
    assert_eq!(&Config::from_text(&text).unwrap().settings, settings);
    for done in [0.0, 0.01, 0.5, 1.0] {
        let rate =
            learning_rate(done, settings.learning_rate, settings.warm_up, settings.final_rate);
        assert!((0.0..=settings.learning_rate).contains(&rate), "{rate}");
    }
    assert_eq!(settings.model.decays().len(), settings.model.heads);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What fuzzing began with and what it has found, once more.
    #[test]
    fn seeds() {
        let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let mut seen = 0;
        for entry in
            std::fs::read_dir(Path::new(&manifest).join("../../fuzz/seeds/settings")).unwrap()
        {
            let octets = std::fs::read(entry.unwrap().path()).unwrap();
            super::check_text(octets[0], std::str::from_utf8(&octets[1..]).unwrap());
            seen += 1;
        }
        assert!(seen >= 6, "{seen}");
    }

    #[test]
    fn what_json_can_not_hold_is_refused() {
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
