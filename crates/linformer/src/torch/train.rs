//! One training step: loss, gradients, clipping, AdamW.

use linformer_kernels::{AdamW, AdamWStep, ProcessGroup, clip_grad_norm, layers};
use tch::{Device, Kind, Tensor};

use super::{Batch, CarriedStates, Model};
use crate::{ModelError, Optimizer, Precision};

/// Figures of one training step.
#[derive(Clone, PartialEq, Debug)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss before the step over all processes, in nats per token.
    pub loss: f64,
    /// Total norm of all gradients before clipping.
    pub gradient_norm: f64,
    /// Number of targets over all processes.
    pub tokens: u64,
    /// Loss of each target of this process in nats, in order.
    pub losses: Vec<f32>,
}

/// Model in training, with the state of its optimizer.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    /// Number of steps made so far.
    pub(crate) steps: u64,
    /// Running average of each parameter's gradient.
    pub(crate) exp_avg: Vec<Tensor>,
    /// Running average of each parameter's squared gradient.
    pub(crate) exp_avg_sq: Vec<Tensor>,
    pub(crate) precision: Precision,
    /// States of the sequences that the next step continues.
    pub(crate) carried: CarriedStates,
}

impl Trainer {
    /// Creates a trainer that has made no step.
    #[must_use]
    pub fn new(model: Model, optimizer: Optimizer) -> Trainer {
        let zeros = || model.parameters().iter().map(|(_, p)| p.detach().zeros_like()).collect();
        let (exp_avg, exp_avg_sq) = (zeros(), zeros());
        Trainer {
            model,
            optimizer,
            steps: 0,
            exp_avg,
            exp_avg_sq,
            precision: Precision::F32,
            carried: CarriedStates::new(),
        }
    }

    /// Returns the model with its current weights.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the model and drops the optimizer's state.
    #[must_use]
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Returns the number of steps made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the precision of matrix products from the next step on.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Returns who computes the matrix products: an instruction set of this processor, or libtorch.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        layers::engine(self.model.device(), self.precision == Precision::Bf16)
    }

    /// Returns whether the device has products in bfloat16 that are faster than those in float.
    #[must_use]
    pub fn has_fast_bf16(&self) -> bool {
        self.model.device().is_cuda() || layers::has_bf16()
    }

    /// Copies the weights and moments of rank 0 to all processes of the group.
    ///
    /// # Errors
    /// If another process is gone.
    pub fn broadcast(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        let weights: Vec<Tensor> =
            self.model.parameters().iter().map(|(_, p)| p.detach()).collect();
        for tensors in [&weights, &self.exp_avg, &self.exp_avg_sq] {
            group.broadcast(tensors)?;
        }
        Ok(())
    }

    /// Returns the sequences whose states are carried to the next step.
    #[must_use]
    pub fn carried_sequences(&self) -> Vec<u64> {
        self.carried.sequences().collect()
    }

    /// Gives every process the carried states of `sequences`, which the next step continues.
    ///
    /// # Errors
    /// If another process is gone.
    pub fn share_states(
        &mut self,
        sequences: &[u64],
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        self.carried.all_reduce(sequences, self.model.config(), self.model.device(), group)
    }

    /// Makes one step with this learning rate on all `parts`, which are computed one after another
    /// (gradient accumulation), and on those of the other processes of `group`. The loss is the
    /// mean over all targets; how they are divided changes rounding alone.
    ///
    /// The states of sequences that continue are carried to the next step, which has to continue
    /// them. Gradients end at the start of each piece.
    ///
    /// # Errors
    /// If the loss or a gradient is NaN or infinite. The weights are then those before the step.
    pub fn step(
        &mut self,
        parts: &[Batch],
        learning_rate: f64,
        group: Option<&ProcessGroup>,
    ) -> Result<StepReport, ModelError> {
        let step = self.steps + 1;
        let own: usize = parts.iter().map(Batch::tokens).sum();
        let sum = |x: f64| match group {
            Some(group) => group.all_reduce_numbers(&[x]).map(|sums| sums[0]),
            None => Ok(x),
        };
        let tokens = sum(own as f64)?;
        let Gradients { grads, losses, carried } = self.gradients(parts, tokens)?;
        let loss = sum(losses.iter().map(|&loss| f64::from(loss)).sum())? / tokens;
        ensure_finite(step, "loss", loss)?;
        if let Some(group) = group {
            group.all_reduce_many(&grads)?;
        }
        let gradient_norm = clip_grad_norm(&grads, self.optimizer.max_grad_norm)?;
        ensure_finite(step, "gradient", gradient_norm)?;
        self.apply(&grads, step, learning_rate)?;
        self.steps = step;
        self.carried = carried;
        Ok(StepReport { step, loss, gradient_norm, tokens: tokens as u64, losses })
    }

    /// Computes the gradients of the sum of the losses divided by `tokens`.
    fn gradients(&self, parts: &[Batch], tokens: f64) -> Result<Gradients, ModelError> {
        let leaves: Vec<&Tensor> = self.model.parameters().iter().map(|(_, p)| p).collect();
        let mut sums: Option<Vec<Tensor>> = None;
        let (mut computed, mut carried) = (Vec::new(), CarriedStates::new());
        for part in parts.iter().filter(|part| part.tokens() > 0) {
            let (each, after) = self.token_losses(part)?;
            carried.update(part, after);
            let grads = Tensor::f_run_backward(
                &[&(each.sum(Kind::Float) / tokens)],
                &leaves,
                false,
                false,
            )?;
            computed.push(each.detach());
            match &mut sums {
                None => sums = Some(grads),
                Some(sums) => sums.iter_mut().zip(&grads).for_each(|(sum, grad)| *sum += grad),
            }
        }
        // After all is queued: a copy from a GPU waits for what was queued before it.
        let mut losses = Vec::new();
        for each in &computed {
            losses.extend(Vec::<f32>::try_from(&each.to_device(Device::Cpu))?);
        }
        let zeros = || leaves.iter().map(|p| p.detach().zeros_like()).collect();
        Ok(Gradients { grads: sums.unwrap_or_else(zeros), losses, carried })
    }

    /// Computes the loss of each target in the trainer's precision, and the states after the part.
    fn token_losses(&self, part: &Batch) -> Result<(Tensor, CarriedStates), ModelError> {
        let _products = self.precision.enable(self.model.device())?;
        self.model.token_losses(part, &self.carried)
    }

    /// Updates the weights by AdamW in two groups: matrices with weight decay, vectors without.
    fn apply(&self, grads: &[Tensor], step: u64, lr: f64) -> Result<(), ModelError> {
        let Optimizer { beta1, beta2, eps, weight_decay, .. } = self.optimizer;
        let adamw = AdamW { beta1, beta2, eps };
        let params = self.model.parameters();
        for (are_matrices, weight_decay) in [(true, weight_decay), (false, 0.0)] {
            let chosen: Vec<usize> =
                (0..params.len()).filter(|&i| (params[i].1.dim() > 1) == are_matrices).collect();
            let pick =
                |all: &[Tensor]| chosen.iter().map(|&i| all[i].shallow_clone()).collect::<Vec<_>>();
            let values: Vec<Tensor> = chosen.iter().map(|&i| params[i].1.shallow_clone()).collect();
            adamw.step(AdamWStep {
                params: &values,
                grads: &pick(grads),
                exp_avg: &pick(&self.exp_avg),
                exp_avg_sq: &pick(&self.exp_avg_sq),
                step,
                lr,
                weight_decay,
            })?;
        }
        Ok(())
    }
}

/// Result of forward and backward over all parts of a step.
struct Gradients {
    /// Gradient of each parameter, in the order of the parameters.
    grads: Vec<Tensor>,
    /// Loss of each target in nats, in order.
    losses: Vec<f32>,
    /// States of the sequences that continue.
    carried: CarriedStates,
}

/// Checks that a quantity of a step is finite.
fn ensure_finite(step: u64, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step, what, value }) }
}
