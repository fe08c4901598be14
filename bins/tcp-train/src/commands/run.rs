//! A training run: steps, validations, checkpoints.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clikit::text::count;
use clikit::{Console, Progress, Unit};
use linformer::{Batch, CarriedStates, ProcessGroup, StepReport, TensorMemory, Trainer};

use super::data::Data;
use super::folder::{self, CHECKPOINT, MODEL, PREVIOUS, RotationPolicy};
use super::memory::{memory, peak_memory};
use super::metrics::{Line, Metrics};
use super::report;
use super::rows::{self, Piece};
use super::summary::{Loss, TrainSummary};
use super::train::is_first;
use crate::config::Config;
use crate::fields::FieldLoss;
use crate::schedule::learning_rate;
use crate::training_state::{Best, INTERRUPTED, Place, REASONS};

/// Steps over which the training loss is averaged.
const RECENT: usize = 50;
/// Steps whose mean loss is held against that of the others of the recent ones.
const NEWEST: usize = 5;

pub(crate) struct Run<'a> {
    data: &'a Data,
    trainer: Trainer,
    place: Place,
    folder: PathBuf,
    team: Option<ProcessGroup>,
    console: &'a Console,
    /// Where this process is the one that writes.
    metrics: Option<Metrics>,
    /// Steps that the run takes if nothing else ends it.
    planned: u64,
    earlier_seconds: f64,
    started: Instant,
    saved: Instant,
    /// Steps at the last checkpoint that this run wrote.
    saved_steps: u64,
    /// Which of the checkpoints found the next one leaves.
    keep: RotationPolicy,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        data: &'a Data,
        mut trainer: Trainer,
        place: Place,
        folder: &Path,
        team: Option<ProcessGroup>,
        console: &'a Console,
    ) -> anyhow::Result<Run<'a>> {
        if data.train().is_empty() {
            bail!(
                "expected flows to train on, found {} and all of them held out",
                data.validation().len()
            );
        }
        let metrics = match is_first(team.as_ref()) {
            true => {
                Config::new(&place.settings, data.server_ports()).write(folder)?;
                Some(Metrics::open(folder, trainer.steps())?)
            }
            false => None,
        };
        trainer.set_precision(place.settings.precision);
        team.as_ref().map_or(Ok(()), |team| trainer.broadcast(team))?;
        let rows = data.epoch(0, &place.settings).len() as u64;
        let whole = place.settings.epochs.saturating_mul(rows);
        let planned =
            if place.settings.max_steps > 0 { place.settings.max_steps.min(whole) } else { whole };
        tracing::info!("{} weights, at most {planned} steps", trainer.model().num_parameters());
        Ok(Run {
            data,
            trainer,
            folder: folder.to_owned(),
            team,
            console,
            metrics,
            planned,
            earlier_seconds: place.seconds,
            place,
            started: Instant::now(),
            saved: Instant::now(),
            saved_steps: 0,
            keep: RotationPolicy::KeepLast,
        })
    }

    /// The same, where the first checkpoint leaves another one than the last.
    pub(crate) fn keeping(self, keep: RotationPolicy) -> Run<'a> {
        Run { keep, ..self }
    }

    pub(crate) fn go(mut self) -> anyhow::Result<()> {
        self.place.ended = false;
        if !self.folder.join(CHECKPOINT).exists() {
            // Whatever happens, there is a state to go on from.
            self.checkpoint()?;
        }
        let progress = self.console.progress("training", Some(self.planned), Unit::Items);
        let outcome = self.steps(&progress);
        progress.finish();
        let stopped_by = match outcome {
            Ok(reason) => reason,
            Err(error) => {
                self.metrics.as_mut().map_or(Ok(()), Metrics::flush)?;
                // What went wrong may have begun some steps before it showed.
                let is_young = self.saved_steps + NEWEST as u64 >= self.trainer.steps();
                let previous = self.folder.join(PREVIOUS);
                let last = match is_young && self.saved_steps > 0 && previous.exists() {
                    true => previous,
                    false => self.folder.join(CHECKPOINT),
                };
                return Err(if last.exists() {
                    error.context(format!(
                        "training stopped; the last good state is {}",
                        last.display()
                    ))
                } else {
                    error
                });
            }
        };
        if stopped_by != INTERRUPTED && self.is_unvalidated() {
            self.validate()?;
        }
        if !self.folder.join(MODEL).exists() {
            self.check_weights()?;
            self.write_model()?;
        }
        let summary = self.summary(stopped_by);
        if let Some(metrics) = &mut self.metrics {
            metrics.flush()?;
            report::write(&self.folder, &summary)?;
        }
        self.place.ended = stopped_by != INTERRUPTED;
        self.checkpoint()?;
        if stopped_by == INTERRUPTED {
            let steps = count(self.trainer.steps());
            self.console
                .left_out(format!("steps after {steps}: interrupted; go on with tcp-train resume"));
        }
        if self.metrics.is_some() { self.console.summary(&summary) } else { Ok(()) }
    }

    /// Steps until something ends the run; answers what.
    fn steps(&mut self, progress: &Progress) -> anyhow::Result<&'static str> {
        let interrupts = self.console.catch_interrupts();
        loop {
            let rows = self.data.epoch(self.place.epoch, &self.place.settings);
            while self.place.row < rows.len() {
                let (reason, done) = self.agreed(self.is_over(interrupts.requested()))?;
                if let Some(reason) = reason {
                    return Ok(reason);
                }
                self.step(&rows[self.place.row], done, progress)?;
            }
            self.place.epoch += 1;
            self.place.row = 0;
        }
    }

    /// What ends the run now, as this process sees it: an index into [`REASONS`].
    fn is_over(&self, interrupted: bool) -> Option<usize> {
        let limit = self.place.limit(self.trainer.steps(), self.seconds());
        limit.or(interrupted.then_some(REASONS.len() - 1))
    }

    /// What all processes hold to: a reason to end that any of them has, and the first one's
    /// progress.
    fn agreed(&self, reason: Option<usize>) -> anyhow::Result<(Option<&'static str>, f64)> {
        let Some(team) = &self.team else { return Ok((reason.map(|i| REASONS[i]), self.done())) };
        let mut votes = [0.0; REASONS.len() + 1];
        if let Some(reason) = reason {
            votes[reason] = 1.0;
        }
        votes[REASONS.len()] = if is_first(Some(team)) { self.done() } else { 0.0 };
        let sums = team.all_reduce_numbers(&votes)?;
        let reason = sums[..REASONS.len()].iter().position(|&votes| votes > 0.0);
        Ok((reason.map(|i| REASONS[i]), sums[REASONS.len()]))
    }

    fn step(&mut self, row: &[Piece], done: f64, progress: &Progress) -> anyhow::Result<()> {
        let settings = &self.place.settings;
        let rate =
            learning_rate(done, settings.learning_rate, settings.warm_up, settings.final_rate);
        let parts = self.own_parts(row);
        let packets = self.data.packets(row);
        let report = self.trainer.step(&parts, rate, self.team.as_ref())?;
        if let Some(team) = &self.team {
            self.trainer.share_states(&rows::going_on(row), team)?;
        }
        self.place.row += 1;
        self.place.fields.add(parts.iter().flat_map(Batch::targets), &report.losses);
        self.place.tokens += report.tokens;
        self.place.packets += packets;
        let bits = report.loss * report.tokens as f64 / std::f64::consts::LN_2 / packets.max(1.0);
        self.place.recent.push_back((report.loss, bits));
        if self.place.recent.len() > RECENT {
            self.place.recent.pop_front();
        }
        self.tell(&report, rate, bits, progress)?;
        let rise = self.rise();
        if self.place.settings.spike > 0.0 && rise > self.place.settings.spike {
            bail!(
                "step {}: the loss rose by {rise:.2} nats per token within {NEWEST} steps, a spike",
                report.step
            );
        }
        if report.step.is_multiple_of(self.place.settings.validate_every) {
            self.validate()?;
        }
        // A loss that is rising gets no checkpoint: the one before may be the last good one.
        let is_due = self.saved.elapsed().as_secs_f64() >= self.place.settings.checkpoint_seconds;
        if is_due && rise < (self.place.settings.spike / 2.0).max(0.1) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// This process's share of a step, in the parts that it computes one after another.
    fn own_parts(&self, row: &[Piece]) -> Vec<Batch> {
        let parts = self.place.settings.accumulate;
        let (rank, size) =
            self.team.as_ref().map_or((0, 1), |team| (team.info().rank, team.info().size));
        let all = rows::parts(row, parts * size);
        all[rank * parts..][..parts].iter().map(|part| self.data.batch(part)).collect()
    }

    /// How far the newest losses are above the recent ones before them, in nats per token.
    fn rise(&self) -> f64 {
        let losses: Vec<f64> = self.place.recent.iter().map(|recent| recent.0).collect();
        if losses.len() < RECENT {
            return 0.0;
        }
        let (before, newest) = losses.split_at(losses.len() - NEWEST);
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        mean(newest) - mean(before)
    }

    fn tell(
        &mut self,
        report: &StepReport,
        rate: f64,
        bits: f64,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let seconds = self.seconds();
        let line = Line::new(report.step, seconds)
            .with("epoch", self.place.epoch as f64)
            .with("loss", report.loss)
            .with("bits_per_packet", bits)
            .with("learning_rate", rate)
            .with("gradient_norm", report.gradient_norm)
            .with("tokens", self.place.tokens as f64)
            .with("memory", memory().unwrap_or(0) as f64)
            .with("tensor_memory", TensorMemory::read().now as f64);
        self.metrics.as_mut().map_or(Ok(()), |metrics| metrics.write(&line))?;
        let speed = self.place.tokens as f64 / seconds.max(1e-9);
        let left = seconds * (1.0 / self.done().max(1e-9) - 1.0);
        let loss = self.training_loss().nats_per_token;
        progress.message(format!(
            "training: loss {loss:.3}, {} tokens/s, {left:.0} s left",
            count(speed as u64)
        ));
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
        self.check_weights()?;
        let step = self.trainer.steps();
        let own = std::mem::take(&mut self.place.fields);
        let training = self.over_processes(&own)?;
        let validation = self.over_processes(&self.held_out_loss()?)?;
        let mut line = Line::new(step, self.seconds());
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
        self.place.stale += 1;
        if self.place.best.is_none_or(|best| nats_per_token < best.nats_per_token) {
            self.place.best = Some(Best { step, nats_per_token, bits_per_packet });
            self.place.stale = 0;
            self.write_model()?;
        }
        Ok(())
    }

    /// The loss on this process's share of the flows held out.
    fn held_out_loss(&self) -> anyhow::Result<FieldLoss> {
        let (rank, size) =
            self.team.as_ref().map_or((0, 1), |team| (team.info().rank, team.info().size));
        let own: Vec<u32> =
            self.data.validation().iter().copied().skip(rank).step_by(size).collect();
        let (mut loss, mut memories) = (FieldLoss::default(), CarriedStates::new());
        for row in self.data.in_rows(&own, self.place.settings.batch) {
            let batch = self.data.batch(&row);
            loss.add(
                batch.targets(),
                &self.trainer.model().losses_with_state(&batch, &mut memories)?,
            );
        }
        Ok(loss)
    }

    fn over_processes(&self, loss: &FieldLoss) -> anyhow::Result<FieldLoss> {
        let Some(team) = &self.team else { return Ok(loss.clone()) };
        Ok(FieldLoss::from_numbers(&team.all_reduce_numbers(&loss.numbers())?))
    }

    fn check_weights(&self) -> anyhow::Result<()> {
        match self.trainer.model().not_finite() {
            Some(name) => {
                bail!("step {}: weight {name} holds NaN or infinity", self.trainer.steps())
            }
            None => Ok(()),
        }
    }

    fn write_model(&self) -> anyhow::Result<()> {
        if self.metrics.is_none() {
            return Ok(());
        }
        folder::write_atomic(&self.folder.join(MODEL), |part| {
            Ok(self.trainer.model().save(part)?)
        })
    }

    fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.saved = Instant::now();
        self.check_weights()?;
        let mut place = self.place.clone();
        place.seconds = self.seconds();
        self.saved_steps = self.trainer.steps();
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        metrics.flush()?;
        let keep = std::mem::replace(&mut self.keep, RotationPolicy::KeepLast);
        folder::write_checkpoint(&self.folder, &self.trainer, &serde_json::to_value(&place)?, keep)
    }

    fn training_loss(&self) -> Loss {
        let n = self.place.recent.len().max(1) as f64;
        let (nats, bits) =
            self.place.recent.iter().fold((0.0, 0.0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
        Loss { nats_per_token: nats / n, bits_per_packet: bits / n }
    }

    fn summary(&self, stopped_by: &'static str) -> TrainSummary {
        let (place, data) = (&self.place, self.data);
        let train = data.count(data.train());
        let loss = |best: Best| Loss {
            nats_per_token: best.nats_per_token,
            bits_per_packet: best.bits_per_packet,
        };
        TrainSummary {
            train,
            validation: data.count(data.validation()),
            test: data.count(data.test()),
            duplicates: data.duplicates,
            repeats: data.repeats,
            max_repeats: place.settings.max_repeats,
            flows_in_pieces: data.in_pieces,
            weights: self.trainer.model().num_parameters() as u64,
            steps: self.trainer.steps(),
            epochs: place.tokens as f64 / train.tokens.saturating_sub(train.flows).max(1) as f64,
            training_loss: self.training_loss(),
            validation_loss: place.best.map(loss),
            best_step: place.best.map_or(0, |best| best.step),
            seconds: self.seconds(),
            tokens_per_second: place.tokens as f64 / self.seconds().max(1e-9),
            packets_per_second: place.packets / self.seconds().max(1e-9),
            stopped_by,
            processes: self.team.as_ref().map_or(1, |team| team.info().size),
            peak_memory: peak_memory(),
            peak_tensor_memory: TensorMemory::read().peak,
        }
    }
}
