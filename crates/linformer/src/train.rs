//! One training step: loss, gradients, clipping, AdamW.

use linformer_kernels::{AdamW, Bf16, ProcessGroup, clip_grad_norm};
use tch::{Device, Kind, Tensor};

use crate::{Batch, CarriedStates, Model, ModelError, Optimizer, Precision};

/// What a step has to say.
#[derive(Clone, PartialEq, Debug)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Nats per token, before the step, over all processes.
    pub loss: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// Tokens predicted, over all processes.
    pub tokens: u64,
    /// Nats of each token that this process predicted, in order.
    pub losses: Vec<f32>,
}

/// A model with what its optimizer remembers.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    pub(crate) steps: u64,
    pub(crate) exp_avg: Vec<Tensor>,
    pub(crate) exp_avg_sq: Vec<Tensor>,
    pub(crate) precision: Precision,
    /// Of sequences that the next step goes on with.
    pub(crate) carried: CarriedStates,
}

impl Trainer {
    /// A trainer that has not made a step.
    #[must_use]
    pub fn new(model: Model, optimizer: Optimizer) -> Trainer {
        let zeros = || model.parameters().iter().map(|(_, p)| p.detach().zeros_like()).collect();
        let (exp_avg, exp_avg_sq) = (zeros(), zeros());
        let carried = CarriedStates::new();
        Trainer {
            model,
            optimizer,
            steps: 0,
            exp_avg,
            exp_avg_sq,
            precision: Precision::F32,
            carried,
        }
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

    /// Computes in another precision from now on.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Puts weights and moments of the group's process 0 into those of the others.
    ///
    /// # Errors
    /// Where one of them is gone.
    pub fn broadcast(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        let weights: Vec<Tensor> =
            self.model.parameters().iter().map(|(_, p)| p.detach()).collect();
        [&weights, &self.exp_avg, &self.exp_avg_sq]
            .into_iter()
            .try_for_each(|all| group.broadcast(all))?;
        Ok(())
    }

    /// The sequences that were begun and go on in the next step.
    #[must_use]
    pub fn carried_sequences(&self) -> Vec<u64> {
        self.carried.sequences().collect()
    }

    /// Tells all processes what is remembered of `sequences`, which go on in the next step.
    ///
    /// # Errors
    /// Where one of them is gone.
    pub fn share_states(
        &mut self,
        sequences: &[u64],
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        self.carried.all_reduce(sequences, self.model.config(), self.model.device(), group)
    }

    /// One step at this learning rate on all of `parts`, which are computed one after another, and
    /// on those of the other processes of `group`. How tokens are shared out changes rounding alone:
    /// the loss is the mean of all. What is left of sequences that go on is kept for the next step,
    /// which must go on with them; gradients end at the piece's start.
    ///
    /// # Errors
    /// Where the loss or a gradient is no number: the weights are then as they were.
    pub fn step(
        &mut self,
        parts: &[Batch],
        learning_rate: f64,
        group: Option<&ProcessGroup>,
    ) -> Result<StepReport, ModelError> {
        let step = self.steps + 1;
        let own: usize = parts.iter().map(Batch::tokens).sum();
        let sum = |x: f64| {
            group.map_or(Ok(x), |group| group.all_reduce_numbers(&[x]).map(|sums| sums[0]))
        };
        let tokens = sum(own as f64)?;
        let (grads, losses, after) = self.gradients(parts, tokens)?;
        let loss = sum(losses.iter().map(|&loss| f64::from(loss)).sum())? / tokens;
        finite(step, "loss", loss)?;
        if let Some(group) = group {
            group.all_reduce_many(&grads)?;
        }
        let gradient_norm = clip_grad_norm(&grads, self.optimizer.max_grad_norm)?;
        finite(step, "gradient", gradient_norm)?;
        self.apply(&grads, step, learning_rate)?;
        self.steps = step;
        self.carried = after;
        Ok(StepReport { step, loss, gradient_norm, tokens: tokens as u64, losses })
    }

    /// The gradient of the sum of the losses over `tokens`, the losses, and what the parts leave
    /// behind.
    fn gradients(&self, parts: &[Batch], tokens: f64) -> Result<Gradients, ModelError> {
        let leaves: Vec<&Tensor> = self.model.parameters().iter().map(|(_, p)| p).collect();
        let mut all: Option<Vec<Tensor>> = None;
        let (mut losses, mut after) = (Vec::new(), CarriedStates::new());
        for part in parts.iter().filter(|part| part.tokens() > 0) {
            let (each, carried) = self.token_losses(part)?;
            after.take(part, carried);
            losses.extend(Vec::<f32>::try_from(&each.detach().to_device(Device::Cpu))?);
            let grads = Tensor::f_run_backward(
                &[&(each.sum(Kind::Float) / tokens)],
                &leaves,
                false,
                false,
            )?;
            match &mut all {
                None => all = Some(grads),
                Some(all) => all.iter_mut().zip(&grads).for_each(|(sum, grad)| *sum += grad),
            }
        }
        Ok((
            all.unwrap_or_else(|| leaves.iter().map(|p| p.detach().zeros_like()).collect()),
            losses,
            after,
        ))
    }

    fn token_losses(&self, part: &Batch) -> Result<(Tensor, CarriedStates), ModelError> {
        let _precision = match self.precision {
            Precision::F32 => None,
            Precision::Bf16 => Some(Bf16::begin(self.model.device())?),
        };
        self.model.token_losses(part, &self.carried)
    }

    /// AdamW in two groups: matrices decay, vectors do not.
    fn apply(&self, grads: &[Tensor], step: u64, learning_rate: f64) -> Result<(), ModelError> {
        let Optimizer { beta1, beta2, eps, weight_decay, .. } = self.optimizer;
        let adamw = AdamW { beta1, beta2, eps };
        for (decays, decay) in [(true, weight_decay), (false, 0.0)] {
            let params = self.model.parameters();
            let chosen: Vec<usize> =
                (0..params.len()).filter(|&i| (params[i].1.dim() > 1) == decays).collect();
            let pick =
                |all: &[Tensor]| chosen.iter().map(|&i| all[i].shallow_clone()).collect::<Vec<_>>();
            let values: Vec<Tensor> = chosen.iter().map(|&i| params[i].1.shallow_clone()).collect();
            adamw.step(
                &values,
                &pick(grads),
                (&pick(&self.exp_avg), &pick(&self.exp_avg_sq)),
                step,
                (learning_rate, decay),
            )?;
        }
        Ok(())
    }
}

/// Of the weights; the loss of each token; what the parts leave behind.
type Gradients = (Vec<Tensor>, Vec<f32>, CarriedStates);

fn finite(step: u64, what: &'static str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { step, what, value }) }
}
