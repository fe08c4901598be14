//! One training step: loss, gradients, clipping, AdamW.

use linformer_kernels::{AdamW, clip_grad_norm};
use tch::Tensor;

use crate::{Batch, Model, ModelError};

/// The optimizer's constants.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of matrices; vectors do not decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together.
    pub clip: f64,
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.05, clip: 1.0 }
    }
}

/// What a step has to say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Nats per token, before the step.
    pub loss: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// Tokens predicted.
    pub tokens: usize,
}

/// A model with what its optimizer remembers.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    pub(crate) steps: u64,
    pub(crate) first: Vec<Tensor>,
    pub(crate) second: Vec<Tensor>,
}

impl Trainer {
    /// A trainer that has not made a step.
    #[must_use]
    pub fn new(model: Model, optimizer: Optimizer) -> Trainer {
        let zeros = || model.parameters().iter().map(|(_, p)| p.detach().zeros_like()).collect();
        let (first, second) = (zeros(), zeros());
        Trainer { model, optimizer, steps: 0, first, second }
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, without what its optimizer remembers.
    #[must_use]
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Steps made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step on one row at this learning rate.
    ///
    /// # Errors
    /// Where the loss or a gradient is no number: the weights are then as they were.
    pub fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<StepReport, ModelError> {
        let step = self.steps + 1;
        let loss = self.model.loss(batch)?;
        let value = f64::try_from(&loss.detach())?;
        finite(step, "loss", value)?;
        let leaves: Vec<&Tensor> = self.model.parameters().iter().map(|(_, p)| p).collect();
        let grads = Tensor::f_run_backward(&[&loss], &leaves, false, false)?;
        drop(loss);
        let gradient_norm = clip_grad_norm(&grads, self.optimizer.clip)?;
        finite(step, "gradient", gradient_norm)?;
        self.apply(&grads, step, learning_rate)?;
        self.steps = step;
        Ok(StepReport { step, loss: value, gradient_norm, tokens: batch.tokens() })
    }

    /// AdamW in two groups: matrices decay, vectors do not.
    fn apply(&self, grads: &[Tensor], step: u64, learning_rate: f64) -> Result<(), ModelError> {
        let Optimizer { beta1, beta2, eps, weight_decay, .. } = self.optimizer;
        let adamw = AdamW { beta1, beta2, eps };
        for (decays, decay) in [(true, weight_decay), (false, 0.0)] {
            let params = self.model.parameters();
            let chosen: Vec<usize> = (0..params.len()).filter(|&i| (params[i].1.dim() > 1) == decays).collect();
            let pick = |all: &[Tensor]| chosen.iter().map(|&i| all[i].shallow_clone()).collect::<Vec<_>>();
            let values: Vec<Tensor> = chosen.iter().map(|&i| params[i].1.shallow_clone()).collect();
            adamw.step(
                &values,
                &pick(grads),
                (&pick(&self.first), &pick(&self.second)),
                step,
                (learning_rate, decay),
            )?;
        }
        Ok(())
    }
}

fn finite(step: u64, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step, what, value }) }
}
