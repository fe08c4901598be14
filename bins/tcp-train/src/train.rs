//! A dataset to a model.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clikit::text::count;
use clikit::{Console, Progress, Unit};
use linformer::{Model, StepReport, Trainer};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{Resume, Train};
use crate::data::Data;
use crate::folder::{self, Config, METRICS, MODEL};
use crate::schedule::learning_rate;
use crate::settings::Settings;
use crate::summary::{Loss, TrainSummary};

/// Steps over which the training loss is averaged.
const RECENT: usize = 50;

/// Where a run stands, beside weights and optimizer. Stands in every checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    settings: Settings,
    data: u64,
    epoch: u64,
    row: usize,
    tokens: u64,
    packets: f64,
    seconds: f64,
    best: Option<Best>,
    recent: VecDeque<(f64, f64)>,
}

/// The validation that went best.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Best {
    step: u64,
    nats_per_token: f64,
    bits_per_packet: f64,
}

/// Makes a model.
pub(crate) fn train(args: &Train, console: &Console) -> anyhow::Result<()> {
    let settings = Settings::fresh(args.preset, &args.changes)?;
    let device = linformer::device(&args.machine.device)?;
    linformer::set_threads(args.machine.threads());
    let data = Data::load(&args.input_dir, &args.output_dir, &settings, console)?;
    folder::create(&args.output_dir, args.force)?;
    let trainer = Trainer::new(Model::new(&settings.model, settings.seed, device)?, settings.optimizer);
    let place = Place {
        data: data.fingerprint(),
        settings,
        epoch: 0,
        row: 0,
        tokens: 0,
        packets: 0.0,
        seconds: 0.0,
        best: None,
        recent: VecDeque::new(),
    };
    Run::new(&data, trainer, place, &args.output_dir, console)?.go()
}

/// Goes on with a run that was stopped.
pub(crate) fn resume(args: &Resume, console: &Console) -> anyhow::Result<()> {
    let device = linformer::device(&args.machine.device)?;
    linformer::set_threads(args.machine.threads());
    let (trainer, caller) = folder::read_checkpoint(&args.checkpoint_path, device)?;
    let at = || args.checkpoint_path.display().to_string();
    let mut place: Place = serde_json::from_value(caller).with_context(at)?;
    let model = place.settings.model.clone();
    place.settings = place.settings.changed(&args.changes)?;
    if place.settings.model != model {
        bail!("{}: the architecture of a model that is trained already cannot be changed", at());
    }
    let data = Data::load(&args.input_dir, &args.output_dir, &place.settings, console)?;
    if data.fingerprint() != place.data {
        bail!("{}: expected the dataset, batch and seed that {} was trained with", args.input_dir.display(), at());
    }
    carry_over(&args.checkpoint_path, &args.output_dir, trainer.steps())?;
    Run::new(&data, trainer, place, &args.output_dir, console)?.go()
}

/// Brings the best model and the metrics up to `steps` into the folder that goes on with the run.
fn carry_over(checkpoint: &Path, folder: &Path, steps: u64) -> anyhow::Result<()> {
    let from = if checkpoint.is_dir() { checkpoint } else { checkpoint.parent().unwrap_or(checkpoint) };
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let lines = fs::read_to_string(from.join(METRICS)).unwrap_or_default();
    let is_earlier = |line: &&str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        value["step"].as_u64().is_some_and(|step| step <= steps)
    };
    let kept: String = lines.lines().filter(is_earlier).flat_map(|line| [line, "\n"]).collect();
    let path = folder.join(METRICS);
    folder::whole(&path, |part| fs::write(part, kept).with_context(|| part.display().to_string()))?;
    let (model, to) = (from.join(MODEL), folder.join(MODEL));
    if model.exists() && !to.exists() {
        fs::copy(&model, &to).with_context(|| model.display().to_string())?;
    }
    Ok(())
}

struct Run<'a> {
    data: &'a Data,
    trainer: Trainer,
    place: Place,
    folder: PathBuf,
    console: &'a Console,
    metrics: BufWriter<File>,
    /// Steps that the run takes if nothing else ends it.
    planned: u64,
    earlier_seconds: f64,
    started: Instant,
    saved: Instant,
}

impl<'a> Run<'a> {
    fn new(
        data: &'a Data,
        trainer: Trainer,
        place: Place,
        folder: &Path,
        console: &'a Console,
    ) -> anyhow::Result<Run<'a>> {
        if data.train().is_empty() {
            bail!("expected flows to train on, found {} and all of them held out", data.validation().len());
        }
        Config::new(&place.settings).write(folder)?;
        let path = folder.join(METRICS);
        let metrics =
            File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        let rows = data.rows(0, &place.settings).len() as u64;
        let whole = place.settings.epochs.saturating_mul(rows);
        let planned = if place.settings.max_steps > 0 { place.settings.max_steps.min(whole) } else { whole };
        tracing::info!("{} weights, at most {planned} steps", trainer.model().size());
        Ok(Run {
            data,
            trainer,
            folder: folder.to_owned(),
            console,
            metrics: BufWriter::new(metrics),
            planned,
            earlier_seconds: place.seconds,
            place,
            started: Instant::now(),
            saved: Instant::now(),
        })
    }

    fn go(mut self) -> anyhow::Result<()> {
        let progress = self.console.progress("training", Some(self.planned), Unit::Items);
        let outcome = self.steps(&progress);
        progress.finish();
        let stopped_by = match outcome {
            Ok(reason) => reason,
            Err(error) => {
                self.metrics.flush().context(METRICS)?;
                let last = self.folder.join(folder::CHECKPOINT);
                return Err(if last.exists() {
                    error.context(format!("training stopped; the last good state is {}", last.display()))
                } else {
                    error
                });
            }
        };
        if stopped_by != INTERRUPTED && self.is_unvalidated() {
            self.validate()?;
        }
        self.checkpoint()?;
        if !self.folder.join(MODEL).exists() {
            self.write_model()?;
        }
        if stopped_by == INTERRUPTED {
            let steps = count(self.trainer.steps());
            self.console.left_out(format!("steps after {steps}: interrupted; go on with tcp-train resume"));
        }
        self.console.summary(&self.summary(stopped_by))
    }

    /// Steps until something ends the run; answers what.
    fn steps(&mut self, progress: &Progress) -> anyhow::Result<&'static str> {
        let interrupts = self.console.catch_interrupts();
        loop {
            let rows = self.data.rows(self.place.epoch, &self.place.settings);
            while self.place.row < rows.len() {
                if let Some(reason) = self.is_over() {
                    return Ok(reason);
                }
                if interrupts.requested() {
                    return Ok(INTERRUPTED);
                }
                self.step(&rows[self.place.row], progress)?;
            }
            self.place.epoch += 1;
            self.place.row = 0;
        }
    }

    fn is_over(&self) -> Option<&'static str> {
        let settings = &self.place.settings;
        if self.place.epoch >= settings.epochs {
            return Some("the last epoch");
        }
        if settings.max_steps > 0 && self.trainer.steps() >= settings.max_steps {
            return Some("the number of steps");
        }
        let is_late = settings.max_minutes > 0.0 && self.seconds() >= settings.max_minutes * 60.0;
        is_late.then_some("the time limit")
    }

    fn step(&mut self, row: &[u32], progress: &Progress) -> anyhow::Result<()> {
        let settings = &self.place.settings;
        let rate = learning_rate(self.done(), settings.learning_rate, settings.warm_up, settings.final_rate);
        let batch = self.data.batch(row);
        let packets = self.data.count(row).packets as f64;
        self.place.row += 1;
        if batch.tokens() == 0 {
            return Ok(());
        }
        let report = self.trainer.step(&batch, rate)?;
        self.place.tokens += report.tokens as u64;
        self.place.packets += packets;
        let bits = report.loss * report.tokens as f64 / std::f64::consts::LN_2 / packets.max(1.0);
        self.place.recent.push_back((report.loss, bits));
        if self.place.recent.len() > RECENT {
            self.place.recent.pop_front();
        }
        self.tell(&report, rate, progress)?;
        if report.step.is_multiple_of(self.place.settings.validate_every) {
            self.validate()?;
        }
        if self.saved.elapsed().as_secs_f64() >= self.place.settings.checkpoint_seconds {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn tell(&mut self, report: &StepReport, rate: f64, progress: &Progress) -> anyhow::Result<()> {
        let speed = self.place.tokens as f64 / self.seconds().max(1e-9);
        let line = json!({
            "step": report.step, "epoch": self.place.epoch, "loss": report.loss, "learning_rate": rate,
            "gradient_norm": report.gradient_norm, "tokens": self.place.tokens, "seconds": self.seconds(),
        });
        writeln!(self.metrics, "{line}").context(METRICS)?;
        let left = self.seconds() * (1.0 / self.done().max(1e-9) - 1.0);
        let loss = self.training_loss().nats_per_token;
        progress.message(format!("training: loss {loss:.3}, {} tokens/s, {left:.0} s left", count(speed as u64)));
        progress.set(((self.done() * self.planned as f64) as u64).max(report.step));
        Ok(())
    }

    /// The share of the run that is behind: of its steps, or of its time.
    fn done(&self) -> f64 {
        let of_steps = self.trainer.steps() as f64 / self.planned.max(1) as f64;
        match self.place.settings.max_minutes {
            limit if limit > 0.0 => of_steps.max(self.seconds() / (limit * 60.0)),
            _ => of_steps,
        }
    }

    fn seconds(&self) -> f64 {
        self.earlier_seconds + self.started.elapsed().as_secs_f64()
    }

    fn is_unvalidated(&self) -> bool {
        !self.trainer.steps().is_multiple_of(self.place.settings.validate_every)
    }

    /// Measures the flows held out; the best weights so far become the model.
    fn validate(&mut self) -> anyhow::Result<()> {
        let part = self.data.validation();
        if part.is_empty() {
            return Ok(());
        }
        let (mut nats, mut tokens) = (0.0, 0_u64);
        for row in self.data.in_rows(part, self.place.settings.batch) {
            let losses = self.trainer.model().losses(&self.data.batch(&row))?;
            nats += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            tokens += losses.len() as u64;
        }
        let packets = self.data.count(part).packets;
        let step = self.trainer.steps();
        let nats_per_token = nats / tokens.max(1) as f64;
        let bits_per_packet = nats / std::f64::consts::LN_2 / packets.max(1) as f64;
        let line = json!({
            "step": step, "validation_loss": nats_per_token, "validation_bits_per_packet": bits_per_packet,
            "seconds": self.seconds(),
        });
        writeln!(self.metrics, "{line}").context(METRICS)?;
        tracing::info!("step {step}: validation loss {nats_per_token:.4}, {bits_per_packet:.2} bits per packet");
        if self.place.best.is_none_or(|best| nats_per_token < best.nats_per_token) {
            self.place.best = Some(Best { step, nats_per_token, bits_per_packet });
            self.write_model()?;
        }
        Ok(())
    }

    fn write_model(&self) -> anyhow::Result<()> {
        folder::whole(&self.folder.join(MODEL), |part| Ok(self.trainer.model().save(part)?))
    }

    fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.place.seconds = self.seconds();
        self.metrics.flush().context(METRICS)?;
        let caller = serde_json::to_value(&self.place).context("checkpoint")?;
        folder::write_checkpoint(&self.folder, &self.trainer, &caller)?;
        self.saved = Instant::now();
        Ok(())
    }

    fn training_loss(&self) -> Loss {
        let n = self.place.recent.len().max(1) as f64;
        let (nats, bits) = self.place.recent.iter().fold((0.0, 0.0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
        Loss { nats_per_token: nats / n, bits_per_packet: bits / n }
    }

    fn summary(&self, stopped_by: &'static str) -> TrainSummary {
        let (place, data) = (&self.place, self.data);
        let train = data.count(data.train());
        let loss = |best: Best| Loss { nats_per_token: best.nats_per_token, bits_per_packet: best.bits_per_packet };
        TrainSummary {
            train,
            validation: data.count(data.validation()),
            duplicates: data.duplicates,
            cut_flows: data.cut,
            weights: self.trainer.model().size() as u64,
            steps: self.trainer.steps(),
            epochs: place.tokens as f64 / train.tokens.saturating_sub(train.flows).max(1) as f64,
            training_loss: self.training_loss(),
            validation_loss: place.best.map(loss),
            best_step: place.best.map_or(0, |best| best.step),
            seconds: self.seconds(),
            tokens_per_second: place.tokens as f64 / self.seconds().max(1e-9),
            packets_per_second: place.packets / self.seconds().max(1e-9),
            stopped_by,
        }
    }
}

const INTERRUPTED: &str = "an interruption";
