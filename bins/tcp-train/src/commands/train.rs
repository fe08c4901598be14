//! The subcommands `train` and `resume`: a dataset to a model.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clikit::Console;
use clikit::text::count;
use linformer::{Device, Model, Trainer};

use super::data::{Sequences, SplitDataset};
use super::folder::{self, CHECKPOINT, FolderUse, METRICS, MODEL, PREVIOUS, RotationPolicy};
use super::processes::{Processes, Torchrun};
use super::run::Run;
use crate::args::{Resume, Train};
use crate::level::Level;
use crate::settings::Settings;
use crate::training_state::TrainingState;

/// Trains a model from its initial weights. Processes that torchrun has started anew resume their
/// own run instead.
pub(crate) fn train(args: &Train, console: &Console) -> anyhow::Result<()> {
    let torchrun = Torchrun::from_environment();
    let restart = torchrun.as_ref().filter(|run| run.is_restart);
    if let Some(run) = restart
        && is_of_torchrun(&args.output_dir, run)?
    {
        return resume(&args.resumed(), console);
    }
    let settings = Settings::fresh_at(args.level, args.preset, &args.changes)?;
    clikit::warn_if_named_like_a_file(&args.output_dir, "a model is a folder");
    // The first processes of a run may end before their first checkpoint, with a configuration and
    // empty metrics in the folder.
    let is_begun = restart.is_some() && !folder::holds_weights(&args.output_dir);
    let folder_use =
        if args.force || is_begun { FolderUse::TrainWithForce } else { FolderUse::Train };
    let (processes, device) = Processes::init(&args.machine, &args.input_dir)?;
    let is_writer = processes.is_writer();
    // A folder that is there is locked first, so that a run that writes to it is named before its
    // files are judged.
    let is_there = is_writer && args.output_dir.is_dir();
    let early_lock = if is_there { Some(folder::lock_folder(&args.output_dir)?) } else { None };
    if is_writer {
        folder::ensure_usable(&args.output_dir, folder_use)?;
    }
    let data = SplitDataset::load(
        &of_data(&args.input_dir, args.traces.as_deref(), &settings)?,
        args.reading,
        &args.output_dir,
        &settings,
        console,
    )?;
    if is_writer && !data.is_by_capture() {
        tracing::warn!(
            "{}: no flow names its capture (column source): flows of one capture may be on both \
             sides of the split",
            args.input_dir.display()
        );
    }
    let _lock = match early_lock {
        None if is_writer => Some(folder::lock_folder(&args.output_dir)?),
        lock => lock,
    };
    if is_writer {
        folder::create(&args.output_dir, folder_use)?;
    }
    let model = Model::new(&settings.model, settings.seed, device)?;
    let trainer = Trainer::new(model, settings.optimizer);
    let mut state = TrainingState::new(settings, data.fingerprint());
    state.torchrun = torchrun.map(|run| run.id);
    Run::new(&data, trainer, state, &args.output_dir, processes, console)?.train()
}

/// Returns the sequences that a run with these settings trains on.
///
/// # Errors
/// If a hosts table is there for a model of flows, or none for a model of traces.
fn of_data<'a>(
    dataset: &'a Path,
    traces: Option<&'a Path>,
    settings: &Settings,
) -> anyhow::Result<Sequences<'a>> {
    match (settings.level(), traces) {
        (Some(Level::Trace), Some(hosts)) => Ok(Sequences::Hosts { dataset, hosts }),
        (Some(Level::Trace), None) => bail!("expected --traces HOSTS for a model of traces"),
        (_, Some(hosts)) => {
            bail!("{}: expected --level trace with a hosts table", hosts.display())
        }
        (_, None) => Ok(Sequences::Flows(dataset)),
    }
}

/// Returns whether the checkpoint in a folder was written by an earlier start of this run.
fn is_of_torchrun(folder: &Path, run: &Torchrun) -> anyhow::Result<bool> {
    let path = folder.join(CHECKPOINT);
    if !path.exists() {
        return Ok(false);
    }
    let (_, caller) = folder::read_checkpoint(&path, Device::Cpu)?;
    let state = TrainingState::from_json(caller).with_context(|| path.display().to_string())?;
    Ok(state.torchrun.as_ref() == Some(&run.id))
}

/// Resumes a run from a checkpoint, in the folder of the run or in another.
pub(crate) fn resume(args: &Resume, console: &Console) -> anyhow::Result<()> {
    let (processes, device) = Processes::init(&args.machine, &args.input_dir)?;
    let is_writer = processes.is_writer();
    let is_own = folder::is_in_folder(&args.checkpoint_path, &args.output_dir);
    // The folder is locked before its checkpoint is read: a run that still writes there would
    // replace the checkpoint afterwards.
    let own_lock =
        if is_writer && is_own { Some(folder::lock_folder(&args.output_dir)?) } else { None };
    let (trainer, caller) = folder::read_checkpoint(&args.checkpoint_path, device)?;
    let at = || args.checkpoint_path.display().to_string();
    let mut state = TrainingState::from_json(caller).with_context(at)?;
    let before = state.settings.clone();
    state.settings = state.settings.changed(&args.changes)?;
    ensure_resumable(&before, &state.settings, &at())?;
    if is_writer && !is_own {
        folder::ensure_usable(&args.output_dir, FolderUse::Resume)?;
    }
    let data = SplitDataset::load(
        &of_data(&args.input_dir, args.traces.as_deref(), &state.settings)?,
        args.reading,
        &args.output_dir,
        &state.settings,
        console,
    )?;
    if data.fingerprint() != state.dataset_fingerprint {
        bail!(
            "{}: expected the dataset, split and seed that {} was trained with",
            args.input_dir.display(),
            at()
        );
    }
    let _lock =
        if is_writer && !is_own { Some(folder::lock_folder(&args.output_dir)?) } else { own_lock };
    if is_writer && !is_own {
        folder::create(&args.output_dir, FolderUse::Resume)?;
    }
    let steps = trainer.steps();
    if is_own && let Some(cause) = state.finished_by(steps) {
        console.line(&format!(
            "{}: nothing to do: the run has ended after {} steps, by {}",
            at(),
            count(steps),
            cause.name()
        ));
        return Ok(());
    }
    if steps == 0 {
        console.line(&format!("{}: its run has made no step: training begins anew", at()));
    }
    if is_writer {
        carry_over(&args.checkpoint_path, &args.output_dir, steps)?;
    }
    let rotation = if is_own && args.checkpoint_path.ends_with(PREVIOUS) {
        RotationPolicy::KeepPrevious
    } else {
        RotationPolicy::KeepLast
    };
    Run::new(&data, trainer, state, &args.output_dir, processes, console)?
        .with_first_rotation(rotation)
        .train()
}

/// Fails if the settings of a run have changed in a way that its checkpoint `at` does not allow.
fn ensure_resumable(before: &Settings, now: &Settings, at: &str) -> anyhow::Result<()> {
    if now.model != before.model {
        bail!("{at}: the architecture of a model that is trained already cannot be changed");
    }
    // These two decide how flows are packed into rows, and the checkpoint holds the index of a row.
    for (key, found, expected) in [
        ("batch", now.batch, before.batch),
        ("piece", now.max_sequence_piece, before.max_sequence_piece),
    ] {
        if found != expected {
            bail!(
                "settings: {key}: expected {expected}, which {at} was trained with, found {found}"
            );
        }
    }
    Ok(())
}

/// Copies the best model, and the metrics up to `steps`, from the folder of a checkpoint to the
/// folder of the resumed run.
fn carry_over(checkpoint: &Path, folder: &Path, steps: u64) -> anyhow::Result<()> {
    let from =
        if checkpoint.is_dir() { checkpoint } else { checkpoint.parent().unwrap_or(checkpoint) };
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let lines = fs::read_to_string(from.join(METRICS)).unwrap_or_default();
    let is_earlier = |line: &&str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        value["step"].as_u64().is_some_and(|step| step <= steps)
    };
    let kept: String = lines.lines().filter(is_earlier).flat_map(|line| [line, "\n"]).collect();
    let path = folder.join(METRICS);
    folder::write_atomic(&path, |temporary| {
        fs::write(temporary, kept).with_context(|| temporary.display().to_string())
    })?;
    let (model, to) = (from.join(MODEL), folder.join(MODEL));
    if model.exists() && !to.exists() {
        folder::write_atomic(&to, |temporary| {
            fs::copy(&model, temporary)
                .map(drop)
                .with_context(|| format!("{} from {}", to.display(), model.display()))
        })?;
    }
    Ok(())
}
