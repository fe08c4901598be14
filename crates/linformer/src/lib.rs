//! A decoder-only transformer with causal linear attention: the model, one training step, sampling.
