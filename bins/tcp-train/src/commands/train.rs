//! A dataset to a model: fresh runs and resumed ones.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clikit::text::count;
use clikit::{Console, is_dash};
use linformer::{Device, Model, ProcessGroup, Trainer};

use super::data::Data;
use super::folder::{self, FolderUse, METRICS, MODEL, PREVIOUS, RotationPolicy};
use super::run::Run;
use crate::args::{Machine, Resume, Train};
use crate::fields::FieldLoss;
use crate::settings::Settings;
use crate::training_state::Place;

/// Makes a model.
pub(crate) fn train(args: &Train, console: &Console) -> anyhow::Result<()> {
    let settings = Settings::fresh(args.preset, &args.changes)?;
    clikit::warn_if_named_like_a_file(&args.output_dir, "a model is a folder");
    let (team, device) = begin(&args.machine, &args.input_dir)?;
    let data = Data::load(&args.input_dir, &args.output_dir, &settings, console)?;
    let writes = is_first(team.as_ref());
    let _held = if writes { Some(folder::lock_folder(&args.output_dir)?) } else { None };
    if writes {
        folder::create(
            &args.output_dir,
            if args.force { FolderUse::TrainWithForce } else { FolderUse::Train },
        )?;
    }
    let trainer =
        Trainer::new(Model::new(&settings.model, settings.seed, device)?, settings.optimizer);
    let place = Place {
        data: data.fingerprint(),
        settings,
        epoch: 0,
        row: 0,
        tokens: 0,
        packets: 0.0,
        seconds: 0.0,
        best: None,
        stale: 0,
        recent: VecDeque::new(),
        fields: FieldLoss::default(),
        ended: false,
    };
    Run::new(&data, trainer, place, &args.output_dir, team, console)?.go()
}

/// Goes on with a run that was stopped.
pub(crate) fn resume(args: &Resume, console: &Console) -> anyhow::Result<()> {
    let (team, device) = begin(&args.machine, &args.input_dir)?;
    let writes = is_first(team.as_ref());
    let is_own = folder::is_in_folder(&args.checkpoint_path, &args.output_dir);
    // Before its checkpoint is read: a run that still writes there would go on from a later one.
    let own = if writes && is_own { Some(folder::lock_folder(&args.output_dir)?) } else { None };
    let (trainer, caller) = folder::read_checkpoint(&args.checkpoint_path, device)?;
    let at = || args.checkpoint_path.display().to_string();
    let mut place = Place::read(caller).with_context(at)?;
    let before = place.settings.clone();
    place.settings = place.settings.changed(&args.changes)?;
    if place.settings.model != before.model {
        bail!("{}: the architecture of a model that is trained already cannot be changed", at());
    }
    // Rows would be others, and the place in them would mean another one.
    for (name, now, then) in [
        ("batch", place.settings.batch, before.batch),
        ("piece", place.settings.piece, before.piece),
    ] {
        if now != then {
            bail!(
                "settings: {name}: expected {then}, which {} was trained with, found {now}",
                at()
            );
        }
    }
    let data = Data::load(&args.input_dir, &args.output_dir, &place.settings, console)?;
    if data.fingerprint() != place.data {
        bail!(
            "{}: expected the dataset, split and seed that {} was trained with",
            args.input_dir.display(),
            at()
        );
    }
    let _held = if writes && !is_own { Some(folder::lock_folder(&args.output_dir)?) } else { own };
    if writes && !is_own {
        folder::create(&args.output_dir, FolderUse::Resume)?;
    }
    if is_own && let Some(reason) = place.has_ended(trainer.steps()) {
        let steps = count(trainer.steps());
        console.line(&format!(
            "{}: nothing to do: the run has ended after {steps} steps, by {reason}",
            at()
        ));
        return Ok(());
    }
    if trainer.steps() == 0 {
        console.line(&format!("{}: its run has made no step: training begins anew", at()));
    }
    if writes {
        carry_over(&args.checkpoint_path, &args.output_dir, trainer.steps())?;
    }
    let keep = if is_own && args.checkpoint_path.ends_with(PREVIOUS) {
        RotationPolicy::KeepPrevious
    } else {
        RotationPolicy::KeepLast
    };
    Run::new(&data, trainer, place, &args.output_dir, team, console)?.keeping(keep).go()
}

/// Joins the other processes, where there are any, and says what to compute with.
fn begin(machine: &Machine, input: &Path) -> anyhow::Result<(Option<ProcessGroup>, Device)> {
    let place = linformer::ProcessInfo::from_variables(|name| std::env::var(name).ok())?;
    let place = place.filter(|place| place.size > 1);
    if place.is_some() && is_dash(input) {
        bail!("standard input: expected a dataset that every process can read, found a stream");
    }
    let device = match &place {
        Some(place) if machine.device == "cuda" => format!("cuda:{}", place.local_rank),
        _ => machine.device.clone(),
    };
    let device = linformer::device(&device)?;
    linformer::set_threads(machine.threads());
    let team = place.map(ProcessGroup::init).transpose()?;
    if let Some(team) = &team {
        tracing::info!("process {} of {}", team.info().rank + 1, team.info().size);
    }
    Ok((team, device))
}

/// Whether this is the process that writes.
pub(crate) fn is_first(team: Option<&ProcessGroup>) -> bool {
    team.is_none_or(ProcessGroup::is_rank_zero)
}

/// Brings the best model and the metrics up to `steps` into the folder that goes on with the run.
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
    folder::write_atomic(&path, |part| {
        fs::write(part, kept).with_context(|| part.display().to_string())
    })?;
    let (model, to) = (from.join(MODEL), folder.join(MODEL));
    if model.exists() && !to.exists() {
        folder::write_atomic(&to, |part| {
            fs::copy(&model, part)
                .map(drop)
                .with_context(|| format!("{} from {}", to.display(), model.display()))
        })?;
    }
    Ok(())
}
