//! The model folder: what lies in it, and how it gets there.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use linformer::{Device, Model, ModelError, Trainer};

use crate::config::Config;

/// The weights that did best on the flows held out.
pub(crate) const MODEL: &str = "model.safetensors";
/// The training run's last state.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";
/// The state before that.
pub(crate) const PREVIOUS: &str = "checkpoint-previous.safetensors";
/// What the model is.
pub(crate) const CONFIG: &str = "config.json";
/// A line for each step and each validation.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// What names of event files begin with.
pub(crate) const EVENTS: &str = "events.out.tfevents.";
/// The curves.
pub(crate) const REPORT: &str = "training.html";

impl Config {
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = self.to_text()?;
        whole(&folder.join(CONFIG), |part| {
            fs::write(part, text).with_context(|| part.display().to_string())
        })
    }

    /// What stands beside a model that a path names.
    pub(crate) fn of_model(path: &Path) -> anyhow::Result<Config> {
        Config::read(&if path.is_dir() { path.join(CONFIG) } else { path.with_file_name(CONFIG) })
    }

    fn read(path: &Path) -> anyhow::Result<Config> {
        let at = || path.display().to_string();
        Config::from_text(&fs::read_to_string(path).with_context(at)?).with_context(at)
    }
}

/// Makes a file beside its place and moves it there once it is on the disk.
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name =
        path.file_name().with_context(|| format!("{}: no name for a file", path.display()))?;
    let part = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
    write(&part)?;
    let at = || path.display().to_string();
    File::open(&part).and_then(|file| file.sync_all()).with_context(at)?;
    fs::rename(&part, path).with_context(at)?;
    path.parent().map_or(Ok(()), |folder| {
        synced(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    })
}

/// Which of a folder's two training states stays beside a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    /// The last one, which becomes the one before.
    Last,
    /// The one before, with which the run went on: the last one is damaged, or not wanted.
    Previous,
}

/// Writes a training state; the one that it goes on from is kept.
pub(crate) fn write_checkpoint(
    folder: &Path,
    trainer: &Trainer,
    caller: &serde_json::Value,
    keep: Keep,
) -> anyhow::Result<()> {
    let (last, previous) = (folder.join(CHECKPOINT), folder.join(PREVIOUS));
    let part = folder.join(format!(".{CHECKPOINT}.part"));
    trainer.save(&part, caller)?;
    let at = || last.display().to_string();
    File::open(&part).and_then(|file| file.sync_all()).with_context(at)?;
    if keep == Keep::Last && last.exists() {
        // It keeps its own name until the new one takes it, where the file system has links: there
        // is one at any moment.
        let second = folder.join(format!(".{PREVIOUS}.part"));
        let linked = fs::hard_link(&last, &second).and_then(|()| fs::rename(&second, &previous));
        // One that a killed run left, or that is the one before already.
        let _absent = fs::remove_file(&second);
        if linked.is_err() {
            fs::rename(&last, &previous).with_context(at)?;
        }
    }
    fs::rename(&part, &last).with_context(at)?;
    synced(folder)
}

/// Puts the names in a folder on the disk: what was renamed stays so when the power goes.
fn synced(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| folder.display().to_string())
}

/// Reads the training state that a path names: a folder's last one, or a file.
pub(crate) fn read_checkpoint(
    path: &Path,
    device: Device,
) -> anyhow::Result<(Trainer, serde_json::Value)> {
    let file = if path.is_dir() { path.join(CHECKPOINT) } else { path.to_owned() };
    Trainer::load(&file, device).map_err(|error| instead(error, &file, PREVIOUS))
}

/// An error with a file, and the sound training state beside it that may be used in its stead.
fn instead(error: ModelError, file: &Path, name: &str) -> anyhow::Error {
    let other = file.with_file_name(name);
    match other != file && linformer::is_training_state(&other).unwrap_or(false) {
        true => anyhow!("{error}; sound is the checkpoint {}", other.display()),
        false => error.into(),
    }
}

/// Reads the model that a path names: a folder's best one, else its last checkpoint, or a file of
/// either kind.
pub(crate) fn read_model(path: &Path, device: Device) -> anyhow::Result<Model> {
    let file = match path.is_dir() {
        true if path.join(MODEL).exists() => path.join(MODEL),
        true => path.join(CHECKPOINT),
        false => path.to_owned(),
    };
    if !file.exists() {
        bail!("{}: expected a model folder, or a model or checkpoint in one", path.display());
    }
    let beside = file.with_file_name(CONFIG);
    let config = Config::read(&beside)?;
    if linformer::is_training_state(&file).map_err(|error| instead(error, &file, CHECKPOINT))? {
        let (trainer, _) =
            Trainer::load(&file, device).map_err(|error| instead(error, &file, PREVIOUS))?;
        if trainer.steps() == 0 {
            tracing::warn!(
                "{}: it has not learnt anything yet, its run has made no step",
                file.display()
            );
        }
        let model = trainer.into_model();
        linformer::ensure_same_config(&config.model, model.config(), &file)
            .with_context(|| unfit(&beside))?;
        return Ok(model);
    }
    Model::load(&config.model, &file, device).map_err(|error| match error {
        ModelError::OtherModel { .. } => anyhow::Error::new(error).context(unfit(&beside)),
        error => instead(error, &file, CHECKPOINT),
    })
}

fn unfit(config: &Path) -> String {
    format!("{}: it does not go with the weights beside it", config.display())
}

/// Keeps other runs out of the folder for as long as what comes back is held: the system lets go of
/// it however the run ends. `None` where the file system has no locks.
pub(crate) fn hold(folder: &Path) -> anyhow::Result<Option<File>> {
    let at = || folder.display().to_string();
    fs::create_dir_all(folder).with_context(at)?;
    let handle = File::open(folder).with_context(at)?;
    match handle.try_lock() {
        Ok(()) => Ok(Some(handle)),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: expected a folder to write to, found one that another run writes to", at())
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether a checkpoint's path is the folder, or a file in it.
pub(crate) fn is_of(checkpoint: &Path, folder: &Path) -> bool {
    let place = if checkpoint.is_dir() { Some(checkpoint) } else { checkpoint.parent() };
    let place =
        place.map(|place| if place.as_os_str().is_empty() { Path::new(".") } else { place });
    place
        .and_then(|place| place.canonicalize().ok())
        .is_some_and(|place| folder.canonicalize().is_ok_and(|f| f == place))
}

/// Who asks for a folder of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// A fresh run.
    Train,
    /// A fresh run, whatever lies there.
    TrainWithForce,
    /// A run that goes on elsewhere.
    Resume,
}

/// Makes the folder of a fresh run, or of one that goes on elsewhere.
pub(crate) fn create(folder: &Path, claim: Claim) -> anyhow::Result<()> {
    let at = || folder.display().to_string();
    fs::create_dir_all(folder).with_context(at)?;
    let is_empty = fs::read_dir(folder).with_context(at)?.next().is_none();
    if !is_empty && claim != Claim::TrainWithForce {
        let hint = match claim {
            Claim::Resume => "another, or the folder of the run itself",
            _ => "--force, or resume",
        };
        bail!("{}: expected no folder or an empty one, found one that is not empty ({hint})", at());
    }
    let ours = [MODEL, CHECKPOINT, PREVIOUS, CONFIG, METRICS, REPORT].map(|name| folder.join(name));
    let events = fs::read_dir(folder).with_context(at)?.flatten().map(|entry| entry.path());
    let is_event = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(EVENTS))
    };
    for path in events.filter(is_event).chain(ours).filter(|path| path.exists()) {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
