//! A training run: steps, validations, checkpoints.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clikit::text::count;
use clikit::{Console, Progress, Unit};
use dataset::{FlowPiece, continued_flows, split_row};
use linformer::{Batch, CarriedStates, Precision, StepReport, TensorMemory, Trainer};

use super::data::SplitDataset;
use super::folder::{self, CHECKPOINT, MODEL, PREVIOUS, RotationPolicy};
use super::memory::{peak_memory, resident_memory};
use super::metrics::{MetricsLine, MetricsWriter};
use super::processes::Processes;
use super::report;
use super::summary::{Loss, TrainSummary};
use crate::config::Config;
use crate::fields::FieldLoss;
use crate::training_state::{BestValidation, StepLoss, StopCause, TrainingState};

/// Number of latest steps over which the training loss is averaged.
const RECENT: usize = 50;
/// Number of newest steps whose mean loss is compared with that of the other recent steps.
const NEWEST: usize = 5;

/// Training run under way in one process, with its open output files.
pub(crate) struct Run<'a> {
    data: &'a SplitDataset,
    trainer: Trainer,
    state: TrainingState,
    folder: PathBuf,
    processes: Processes,
    console: &'a Console,
    /// Open metrics files; `None` in processes that do not write.
    metrics: Option<MetricsWriter>,
    /// Number of steps until the limits of epochs and steps are reached.
    planned: u64,
    /// Training time before this session of the run, in seconds.
    earlier_seconds: f64,
    /// Start of this session.
    started: Instant,
    /// Time of the last checkpoint, or of the start.
    saved: Instant,
    /// Number of steps at the last checkpoint that this session wrote; 0: none yet.
    saved_steps: u64,
    /// Training state that becomes the previous one at the next checkpoint.
    rotation: RotationPolicy,
}

/// Decision of all processes before a step.
struct Agreement {
    /// Cause to stop for, if any process has one.
    stop: Option<StopCause>,
    /// Completed fraction of the run by the clock of rank 0, 0 to 1: all processes must use the
    /// same learning rate.
    completed: f64,
}

impl<'a> Run<'a> {
    /// Prepares a run from `state`: writes config.json and opens the metrics files, if this process
    /// writes, and gives all processes the weights of rank 0.
    ///
    /// # Errors
    /// If there are no flows to train on, a file cannot be written, or a process is lost.
    pub(crate) fn new(
        data: &'a SplitDataset,
        mut trainer: Trainer,
        state: TrainingState,
        folder: &Path,
        processes: Processes,
        console: &'a Console,
    ) -> anyhow::Result<Run<'a>> {
        if data.train().is_empty() {
            bail!(
                "expected flows to train on, found {} and all of them held out",
                data.validation().len()
            );
        }
        let settings = &state.settings;
        let metrics = if processes.is_writer() {
            Config::new(settings, data.server_ports()).write(folder)?;
            Some(MetricsWriter::open(folder, trainer.steps())?)
        } else {
            None
        };
        trainer.set_precision(settings.precision);
        processes.group().map_or(Ok(()), |group| trainer.broadcast(group))?;
        let rows = data.epoch(0, settings).len() as u64;
        let all_epochs = settings.epochs.saturating_mul(rows);
        let planned =
            if settings.max_steps > 0 { settings.max_steps.min(all_epochs) } else { all_epochs };
        if settings.precision == Precision::Bf16 && !trainer.has_fast_bf16() {
            tracing::warn!(
                "this processor has no AVX512_BF16, so that bf16 is slower than f32 here"
            );
        }
        tracing::info!(
            "{} weights, at most {planned} steps, products in {} by {}",
            trainer.model().num_parameters(),
            settings.precision,
            trainer.engine()
        );
        Ok(Run {
            data,
            trainer,
            folder: folder.to_owned(),
            processes,
            console,
            metrics,
            planned,
            earlier_seconds: state.seconds,
            state,
            started: Instant::now(),
            saved: Instant::now(),
            saved_steps: 0,
            rotation: RotationPolicy::KeepLast,
        })
    }

    /// Sets the rotation of the first checkpoint; later ones always keep the last.
    pub(crate) fn with_first_rotation(self, rotation: RotationPolicy) -> Run<'a> {
        Run { rotation, ..self }
    }

    /// Trains until a limit is reached or the user interrupts, then writes the report, the last
    /// checkpoint and the summary.
    ///
    /// # Errors
    /// If a loss, gradient or weight is NaN or infinite, the loss spikes, a file cannot be written,
    /// or a process is lost. The message names the last good training state.
    pub(crate) fn train(mut self) -> anyhow::Result<()> {
        self.state.finished = false;
        if !self.folder.join(CHECKPOINT).exists() {
            // A run that fails in its first steps can be resumed too.
            self.checkpoint()?;
        }
        let progress = self.console.progress("training", Some(self.planned), Unit::Items);
        let outcome = self.steps(&progress);
        progress.finish();
        let cause = match outcome {
            Ok(cause) => cause,
            Err(error) => return Err(self.with_last_good_state(error)?),
        };
        if cause != StopCause::Interrupted && self.is_unvalidated() {
            self.validate()?;
        }
        if !self.folder.join(MODEL).exists() {
            self.check_weights()?;
            self.write_model()?;
        }
        let summary = self.summary(cause);
        if let Some(metrics) = &mut self.metrics {
            metrics.flush()?;
            report::write(&self.folder, &summary)?;
        }
        self.state.finished = cause != StopCause::Interrupted;
        self.checkpoint()?;
        if cause == StopCause::Interrupted {
            let steps = count(self.trainer.steps());
            self.console
                .left_out(format!("steps after {steps}: interrupted; go on with tcp-train resume"));
        }
        if self.metrics.is_some() { self.console.summary(&summary) } else { Ok(()) }
    }

    /// Flushes the metrics and adds the training state to resume from to an error that stopped the
    /// run.
    fn with_last_good_state(&mut self, error: anyhow::Error) -> anyhow::Result<anyhow::Error> {
        self.metrics.as_mut().map_or(Ok(()), MetricsWriter::flush)?;
        // A fault may begin some steps before it shows: a checkpoint of these steps is not good.
        let is_young = self.saved_steps + NEWEST as u64 >= self.trainer.steps();
        let previous = self.folder.join(PREVIOUS);
        let last = if is_young && self.saved_steps > 0 && previous.exists() {
            previous
        } else {
            self.folder.join(CHECKPOINT)
        };
        Ok(if last.exists() {
            error.context(format!("training stopped; the last good state is {}", last.display()))
        } else {
            error
        })
    }

    /// Makes steps until a cause to stop arises, and returns the cause.
    fn steps(&mut self, progress: &Progress) -> anyhow::Result<StopCause> {
        let interrupts = self.console.catch_interrupts();
        loop {
            let rows = self.data.epoch(self.state.epoch, &self.state.settings);
            while self.state.row < rows.len() {
                let local = self.local_stop_cause(interrupts.requested());
                let Agreement { stop, completed } = self.all_agree_to_stop(local)?;
                if let Some(cause) = stop {
                    return Ok(cause);
                }
                self.step(&rows[self.state.row], completed, progress)?;
            }
            self.state.epoch += 1;
            self.state.row = 0;
        }
    }

    /// Returns the cause for which this process would stop the run now.
    fn local_stop_cause(&self, is_interrupted: bool) -> Option<StopCause> {
        let limit = self.state.reached_limit(self.trainer.steps(), self.seconds());
        limit.or(is_interrupted.then_some(StopCause::Interrupted))
    }

    /// Shares stop causes among all processes: if any of them has one, all stop. Shares the
    /// progress of rank 0 too.
    fn all_agree_to_stop(&self, local: Option<StopCause>) -> anyhow::Result<Agreement> {
        const CAUSES: usize = StopCause::ALL.len();
        let mut votes = [0.0; CAUSES + 1];
        for (vote, cause) in votes.iter_mut().zip(StopCause::ALL) {
            *vote = if local == Some(cause) { 1.0 } else { 0.0 };
        }
        votes[CAUSES] = if self.processes.is_writer() { self.completed() } else { 0.0 };
        let sums = self.processes.sum(&votes)?;
        let stop = StopCause::ALL.into_iter().zip(&sums).find(|(_, votes)| **votes > 0.0);
        Ok(Agreement { stop: stop.map(|(cause, _)| cause), completed: sums[CAUSES] })
    }

    /// Trains on a row, reports the step, and validates and writes a checkpoint if they are due.
    fn step(
        &mut self,
        row: &[FlowPiece],
        completed: f64,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let rate = self.state.settings.schedule().rate(completed);
        let micro_batches = self.local_micro_batches(row);
        let packets = self.data.packets(row);
        let report = self.trainer.step(&micro_batches, rate, self.processes.group())?;
        if let Some(group) = self.processes.group() {
            self.trainer.share_states(&continued_flows(row), group)?;
        }
        self.state.row += 1;
        self.state.loss_by_field.add(micro_batches.iter().flat_map(Batch::targets), &report.losses);
        self.state.tokens += report.tokens;
        self.state.packets += packets;
        let bits = report.loss * report.tokens as f64 / std::f64::consts::LN_2 / packets.max(1.0);
        let loss = StepLoss { nats_per_token: report.loss, bits_per_packet: bits };
        self.state.recent_losses.push_back(loss);
        if self.state.recent_losses.len() > RECENT {
            self.state.recent_losses.pop_front();
        }
        self.report_step(&report, rate, bits, progress)?;
        let rise = self.loss_rise();
        let limit = self.state.settings.loss_spike_limit;
        if limit > 0.0 && rise > limit {
            bail!(
                "step {}: the loss rose by {rise:.2} nats per token within {NEWEST} steps, a spike",
                report.step
            );
        }
        if report.step.is_multiple_of(self.state.settings.validate_every) {
            self.validate()?;
        }
        // While the loss rises, no checkpoint is written: the present one may be the last good one.
        let is_due = self.saved.elapsed().as_secs_f64() >= self.state.settings.checkpoint_seconds;
        if is_due && rise < (limit / 2.0).max(0.1) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Returns the micro-batches of a row that this process computes, one after another.
    fn local_micro_batches(&self, row: &[FlowPiece]) -> Vec<Batch> {
        let own = self.state.settings.gradient_accumulation;
        let all = split_row(row, own * self.processes.size());
        let first = self.processes.rank() * own;
        all[first..][..own].iter().map(|part| self.data.batch(part)).collect()
    }

    /// Returns how far the mean loss of the newest steps is above that of the recent steps before
    /// them, in nats per token; 0 until there are enough steps.
    fn loss_rise(&self) -> f64 {
        let losses: Vec<f64> =
            self.state.recent_losses.iter().map(|loss| loss.nats_per_token).collect();
        if losses.len() < RECENT {
            return 0.0;
        }
        let (before, newest) = losses.split_at(losses.len() - NEWEST);
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        mean(newest) - mean(before)
    }

    /// Writes the metrics of a step and updates the progress line. `bits`: bits per packet.
    fn report_step(
        &mut self,
        report: &StepReport,
        rate: f64,
        bits: f64,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let seconds = self.seconds();
        let line = MetricsLine::new(report.step, seconds)
            .with("epoch", self.state.epoch as f64)
            .with("loss", report.loss)
            .with("bits_per_packet", bits)
            .with("learning_rate", rate)
            .with("gradient_norm", report.gradient_norm)
            .with("tokens", self.state.tokens as f64)
            .with("memory", resident_memory().unwrap_or(0) as f64)
            .with("tensor_memory", TensorMemory::read().now as f64);
        self.metrics.as_mut().map_or(Ok(()), |metrics| metrics.write(&line))?;
        let speed = self.state.tokens as f64 / seconds.max(1e-9);
        let left = seconds * (1.0 / self.completed().max(1e-9) - 1.0);
        let loss = self.training_loss().nats_per_token;
        progress.message(format!(
            "training: loss {loss:.3}, {} tokens/s, {left:.0} s left",
            count(speed as u64)
        ));
        progress.set(((self.completed() * self.planned as f64) as u64).max(report.step));
        Ok(())
    }

    /// Returns the completed fraction of the run: of its steps or of its time, the larger one.
    fn completed(&self) -> f64 {
        let of_steps = self.trainer.steps() as f64 / self.planned.max(1) as f64;
        match self.state.settings.max_minutes {
            limit if limit > 0.0 => of_steps.max(self.seconds() / (limit * 60.0)),
            _ => of_steps,
        }
    }

    /// Returns the training time of all sessions of the run, in seconds.
    fn seconds(&self) -> f64 {
        self.earlier_seconds + self.started.elapsed().as_secs_f64()
    }

    /// Returns whether a step was made after the last validation.
    fn is_unvalidated(&self) -> bool {
        !self.trainer.steps().is_multiple_of(self.state.settings.validate_every)
    }

    /// Computes the loss of the validation flows. If it is the lowest so far, the weights become
    /// the model.
    fn validate(&mut self) -> anyhow::Result<()> {
        self.check_weights()?;
        let step = self.trainer.steps();
        let own = std::mem::take(&mut self.state.loss_by_field);
        let training = self.sum_over_processes(&own)?;
        let validation = self.sum_over_processes(&self.local_validation_loss()?)?;
        let mut line = MetricsLine::new(step, self.seconds());
        if !training.is_empty() {
            line = line.with_loss("training", &training);
        }
        if validation.is_empty() {
            return self.metrics.as_mut().map_or(Ok(()), |metrics| metrics.write(&line));
        }
        let nats_per_token = validation.nats_per_token();
        let bits_per_packet = validation.bits_per_packet();
        if !nats_per_token.is_finite() {
            bail!("step {step}: the validation loss is {nats_per_token}");
        }
        self.metrics
            .as_mut()
            .map_or(Ok(()), |metrics| metrics.write(&line.with_loss("validation", &validation)))?;
        tracing::info!(
            "step {step}: validation loss {nats_per_token:.4}, {bits_per_packet:.2} bits per packet"
        );
        self.state.validations_since_best += 1;
        if self.state.best.is_none_or(|best| nats_per_token < best.nats_per_token) {
            self.state.best = Some(BestValidation { step, nats_per_token, bits_per_packet });
            self.state.validations_since_best = 0;
            self.write_model()?;
        }
        Ok(())
    }

    /// Returns the loss of this process's share of the validation flows.
    fn local_validation_loss(&self) -> anyhow::Result<FieldLoss> {
        let (rank, size) = (self.processes.rank(), self.processes.size());
        let own: Vec<u32> =
            self.data.validation().iter().copied().skip(rank).step_by(size).collect();
        let (mut loss, mut states) = (FieldLoss::default(), CarriedStates::new());
        for row in self.data.pack(&own, self.state.settings.batch) {
            let batch = self.data.batch(&row);
            let losses = self.trainer.model().losses_with_state(&batch, &mut states)?;
            loss.add(batch.targets(), &losses);
        }
        Ok(loss)
    }

    /// Returns the sum of a loss over all processes.
    fn sum_over_processes(&self, loss: &FieldLoss) -> anyhow::Result<FieldLoss> {
        Ok(FieldLoss::from_numbers(&self.processes.sum(&loss.to_numbers())?))
    }

    /// Fails if a weight is NaN or infinite.
    fn check_weights(&self) -> anyhow::Result<()> {
        match self.trainer.model().not_finite() {
            Some(name) => {
                bail!("step {}: weight {name} holds NaN or infinity", self.trainer.steps())
            }
            None => Ok(()),
        }
    }

    /// Writes the weights as the model of the folder, if this process writes.
    fn write_model(&self) -> anyhow::Result<()> {
        if self.metrics.is_none() {
            return Ok(());
        }
        folder::write_atomic(&self.folder.join(MODEL), |temporary| {
            Ok(self.trainer.model().save(temporary)?)
        })
    }

    /// Writes a checkpoint; a process that does not write checks its weights only.
    fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.saved = Instant::now();
        self.check_weights()?;
        let state = TrainingState { seconds: self.seconds(), ..self.state.clone() };
        self.saved_steps = self.trainer.steps();
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        metrics.flush()?;
        let rotation = std::mem::replace(&mut self.rotation, RotationPolicy::KeepLast);
        let state = serde_json::to_value(&state)?;
        folder::write_checkpoint(&self.folder, &self.trainer, &state, rotation)
    }

    /// Returns the mean loss of the recent steps.
    fn training_loss(&self) -> Loss {
        let losses = &self.state.recent_losses;
        let n = losses.len().max(1) as f64;
        let mean = |of: fn(&StepLoss) -> f64| losses.iter().fold(0.0, |sum, x| sum + of(x)) / n;
        Loss {
            nats_per_token: mean(|loss| loss.nats_per_token),
            bits_per_packet: mean(|loss| loss.bits_per_packet),
        }
    }

    /// Returns the summary of the run, which `cause` stopped.
    fn summary(&self, cause: StopCause) -> TrainSummary {
        let (state, data) = (&self.state, self.data);
        let train = data.count(data.train());
        let loss = |best: BestValidation| Loss {
            nats_per_token: best.nats_per_token,
            bits_per_packet: best.bits_per_packet,
        };
        TrainSummary {
            train,
            validation: data.count(data.validation()),
            test: data.count(data.test()),
            duplicates: data.duplicates,
            repeats: data.repeats,
            max_repeats: state.settings.max_repeats,
            flows_in_pieces: data.in_pieces,
            weights: self.trainer.model().num_parameters() as u64,
            steps: self.trainer.steps(),
            epochs: state.tokens as f64 / train.tokens.saturating_sub(train.flows).max(1) as f64,
            training_loss: self.training_loss(),
            validation_loss: state.best.map(loss),
            best_step: state.best.map_or(0, |best| best.step),
            seconds: self.seconds(),
            tokens_per_second: state.tokens as f64 / self.seconds().max(1e-9),
            packets_per_second: state.packets / self.seconds().max(1e-9),
            stopped_by: cause.name(),
            processes: self.processes.size(),
            peak_memory: peak_memory(),
            peak_tensor_memory: TensorMemory::read().peak,
        }
    }
}
