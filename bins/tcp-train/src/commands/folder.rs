//! The model folder: names of its files, checkpoint rotation, and the lock against other runs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use atomic_output::{AtomicFile, FolderLock};
use linformer::{Device, Model, ModelError, Trainer};

use crate::config::Config;
use crate::level::Level;

/// Weights with the lowest validation loss so far.
pub(crate) const MODEL: &str = "model.safetensors";
/// Latest training state: weights, optimizer moments and position in the dataset.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";
/// Training state that [`CHECKPOINT`] replaced, kept in case that one is damaged.
pub(crate) const PREVIOUS: &str = "checkpoint-previous.safetensors";
/// Architecture of the model and settings of the run that trained it.
pub(crate) const CONFIG: &str = "config.json";
/// JSON lines, one for each training step and each validation.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// Prefix of the names of TensorBoard event files.
pub(crate) const EVENTS: &str = "events.out.tfevents.";
/// Page with the loss curves of the run.
pub(crate) const REPORT: &str = "training.html";

impl Config {
    /// Writes the configuration into a model folder.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = self.to_text()?;
        write_atomic(&folder.join(CONFIG), |temporary| {
            fs::write(temporary, text).with_context(|| temporary.display().to_string())
        })
    }

    /// Reads the configuration of a model, given the model folder or a file in it.
    pub(crate) fn of_model(path: &Path) -> anyhow::Result<Config> {
        Config::read(&if path.is_dir() { path.join(CONFIG) } else { path.with_file_name(CONFIG) })
    }

    fn read(path: &Path) -> anyhow::Result<Config> {
        let at = || path.display().to_string();
        Config::from_text(&fs::read_to_string(path).with_context(at)?).with_context(at)
    }
}

/// Replaces the file at `path` by one that `write` writes at a temporary path. The new file appears
/// once its data is on the disk. A missing folder is an error, since the run has lost its output.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = AtomicFile::create_in_existing_folder(path)?;
    write(file.path())?;
    Ok(file.commit()?)
}

/// Training state of a folder that becomes [`PREVIOUS`] when the next one is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RotationPolicy {
    /// [`CHECKPOINT`] becomes [`PREVIOUS`] before the new state takes its name.
    KeepLast,
    /// [`PREVIOUS`] stays, since the run resumed from it: [`CHECKPOINT`] is damaged or unwanted.
    KeepPrevious,
}

/// Writes a training state to [`CHECKPOINT`]; the state that the run resumed from is kept.
pub(crate) fn write_checkpoint(
    folder: &Path,
    trainer: &Trainer,
    caller: &serde_json::Value,
    rotation: RotationPolicy,
) -> anyhow::Result<()> {
    let last = folder.join(CHECKPOINT);
    let mut file = AtomicFile::create_in_existing_folder(&last)?;
    trainer.save(file.path(), caller)?;
    // The rotation follows the sync: a full disk leaves both states as they were.
    file.flush_and_sync()?;
    if rotation == RotationPolicy::KeepLast && last.exists() {
        rotate(folder, &last)?;
    }
    Ok(file.commit()?)
}

/// Makes the last training state the previous one too. Where the file system has hard links it
/// keeps its own name, so that the folder holds a [`CHECKPOINT`] at any moment.
fn rotate(folder: &Path, last: &Path) -> anyhow::Result<()> {
    let previous = folder.join(PREVIOUS);
    let link = folder.join(format!(".{PREVIOUS}.part"));
    let linked = fs::hard_link(last, &link).and_then(|()| fs::rename(&link, &previous));
    // A link is left by a killed run, or if `previous` was a link to the same file: `rename` does
    // nothing then.
    let _ = fs::remove_file(&link);
    if linked.is_err() {
        fs::rename(last, &previous).with_context(|| last.display().to_string())?;
    }
    Ok(())
}

/// Reads a training state from a file, or the last one of a model folder.
pub(crate) fn read_checkpoint(
    path: &Path,
    device: Device,
) -> anyhow::Result<(Trainer, serde_json::Value)> {
    let file = if path.is_dir() { path.join(CHECKPOINT) } else { path.to_owned() };
    Trainer::load(&file, device).map_err(|error| with_fallback_hint(error, &file, PREVIOUS))
}

/// Adds to an error with a file the undamaged training state `name` of the same folder, if there is
/// one that can be used instead.
fn with_fallback_hint(error: ModelError, file: &Path, name: &str) -> anyhow::Error {
    let other = file.with_file_name(name);
    if other != file && linformer::is_training_state(&other).unwrap_or(false) {
        anyhow!("{error}; sound is the checkpoint {}", other.display())
    } else {
        error.into()
    }
}

/// Returns the file of a model: the path itself, or in a model folder the best weights if there are
/// any, else the last training state.
pub(crate) fn weights_at(path: &Path) -> PathBuf {
    if !path.is_dir() {
        path.to_owned()
    } else if path.join(MODEL).exists() {
        path.join(MODEL)
    } else {
        path.join(CHECKPOINT)
    }
}

/// Reads a model of flows from a file of weights or a training state, or from a model folder.
pub(crate) fn read_model(path: &Path, device: Device) -> anyhow::Result<Model> {
    read_model_of(path, Level::Flow, device)
}

/// Like [`read_model`], for a model of a level.
///
/// # Errors
/// Also if the model is of another level.
pub(crate) fn read_model_of(path: &Path, level: Level, device: Device) -> anyhow::Result<Model> {
    let file = weights_at(path);
    if !file.exists() {
        bail!("{}: expected a model folder, or a model or checkpoint in one", path.display());
    }
    let config_path = file.with_file_name(CONFIG);
    let config = Config::read(&config_path)?;
    if config.level() != level {
        let (expected, found) = (level.model_name(), config.level().model_name());
        bail!("{}: expected {expected}, found {found}", path.display());
    }
    if linformer::is_training_state(&file)
        .map_err(|error| with_fallback_hint(error, &file, CHECKPOINT))?
    {
        let (trainer, _) = Trainer::load(&file, device)
            .map_err(|error| with_fallback_hint(error, &file, PREVIOUS))?;
        if trainer.steps() == 0 {
            tracing::warn!(
                "{}: it has not learnt anything yet, its run has made no step",
                file.display()
            );
        }
        let model = trainer.into_model();
        linformer::ensure_same_config(&config.model, model.config(), &file)
            .with_context(|| mismatch(&config_path))?;
        return Ok(model);
    }
    Model::load(&config.model, &file, device).map_err(|error| match error {
        ModelError::OtherModel { .. } => anyhow::Error::new(error).context(mismatch(&config_path)),
        error => with_fallback_hint(error, &file, CHECKPOINT),
    })
}

/// Message for weights of another architecture than the configuration.
fn mismatch(config: &Path) -> String {
    format!("{}: it does not go with the weights beside it", config.display())
}

/// Creates the folder if it does not exist, and locks it against other runs until the lock is
/// dropped.
pub(crate) fn lock_folder(folder: &Path) -> anyhow::Result<FolderLock> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let lock = atomic_output::lock_folder(folder)?;
    // Temporaries of killed runs of earlier versions: no process writes them now, since these held
    // the same lock.
    for name in [MODEL, CHECKPOINT, PREVIOUS, CONFIG, REPORT] {
        let _ = fs::remove_file(folder.join(format!(".{name}.part")));
    }
    Ok(lock)
}

/// Returns whether the path of a checkpoint is the folder itself or a file in it.
pub(crate) fn is_in_folder(checkpoint: &Path, folder: &Path) -> bool {
    let parent = if checkpoint.is_dir() { Some(checkpoint) } else { checkpoint.parent() };
    let parent = parent.map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    parent
        .and_then(|parent| parent.canonicalize().ok())
        .is_some_and(|parent| folder.canonicalize().is_ok_and(|folder| folder == parent))
}

/// Returns whether a folder holds the weights of a run, of a model or of a training state.
pub(crate) fn holds_weights(folder: &Path) -> bool {
    [MODEL, CHECKPOINT, PREVIOUS].iter().any(|name| folder.join(name).exists())
}

/// Use that a run makes of its output folder, which decides whether the folder may hold files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FolderUse {
    /// Fresh run: the folder must be empty.
    Train,
    /// Fresh run under `--force`: the files of an earlier run are removed, others stay.
    TrainWithForce,
    /// Run resumed from another folder: the folder must be empty.
    Resume,
}

/// Checks whether a run may write to a folder: before any work, as [`create`] does it again.
///
/// # Errors
/// If the folder is not empty and `folder_use` does not allow for files in it, or a file in it has
/// the name of a run's file, but not the content of one.
pub(crate) fn ensure_usable(folder: &Path, folder_use: FolderUse) -> anyhow::Result<()> {
    let at = || folder.display().to_string();
    if !folder.exists() {
        return Ok(());
    }
    let is_empty = fs::read_dir(folder).with_context(at)?.next().is_none();
    if !is_empty && folder_use != FolderUse::TrainWithForce {
        let hint = match folder_use {
            FolderUse::Resume => "another, or the folder of the run itself",
            _ => "--force, or resume",
        };
        bail!("{}: expected no folder or an empty one, found one that is not empty ({hint})", at());
    }
    match files_of_runs(folder)?.into_iter().find(|path| !is_of_a_run(path)) {
        Some(path) => {
            bail!("{}: expected a file of an earlier run to replace, found another", path.display())
        }
        None => Ok(()),
    }
}

/// Creates the folder of a fresh run or of one that resumes from another folder, and removes the
/// files of an earlier run.
///
/// # Errors
/// As [`ensure_usable`].
pub(crate) fn create(folder: &Path, folder_use: FolderUse) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    ensure_usable(folder, folder_use)?;
    for path in files_of_runs(folder)? {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Lists the files in a folder that have the name of a run's file.
fn files_of_runs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let ours = [MODEL, CHECKPOINT, PREVIOUS, CONFIG, METRICS, REPORT];
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ours.contains(&&*name) || name.starts_with(EVENTS)
    });
    paths.sort();
    Ok(paths)
}

/// Returns whether a file that has the name of a run's file has the content of one too, or none.
fn is_of_a_run(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let head = || {
        let mut head = Vec::new();
        let _ = fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
        head
    };
    let holds = |text: &str| String::from_utf8_lossy(&head()).contains(text);
    let has_keys = |text: &str, keys: &[&str]| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        keys.iter().all(|key| value.get(key).is_some())
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        _ if !metadata.is_file() => false,
        _ if metadata.len() == 0 => true,
        CONFIG => {
            let keys = ["token_code", "model", "settings"];
            has_keys(&fs::read_to_string(path).unwrap_or_default(), &keys)
        }
        METRICS => {
            let line = clikit::first_line(path).unwrap_or_default();
            has_keys(&line, &["step", "seconds"])
        }
        REPORT => holds("<title>Training</title>"),
        MODEL | CHECKPOINT | PREVIOUS => holds(r#"{"__metadata__":{"linformer":"#),
        _ => holds("brain.Event:2"),
    }
}
