//! Sequences laid end to end in one row, with their boundaries: nothing is padded, nothing looks across.

use linformer_kernels::Bounds;

/// One row: what the model reads, what it shall say next, and where each sequence begins.
#[derive(Debug)]
pub struct Batch {
    pub(crate) inputs: Vec<i64>,
    pub(crate) targets: Vec<i64>,
    pub(crate) bounds: Bounds,
}

impl Batch {
    /// Of each sequence, all tokens but the last are read and all but the first predicted. A sequence of fewer than
    /// two tokens has nothing to predict and is left out.
    #[must_use]
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a [u16]>) -> Batch {
        let (mut inputs, mut targets, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for tokens in sequences.into_iter().filter(|tokens| tokens.len() > 1) {
            inputs.extend(tokens[..tokens.len() - 1].iter().map(|&t| i64::from(t)));
            targets.extend(tokens[1..].iter().map(|&t| i64::from(t)));
            lengths.push(tokens.len() - 1);
        }
        Batch { inputs, targets, bounds: Bounds::from_lengths(&lengths) }
    }

    /// Tokens predicted.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.targets.len()
    }

    /// The tokens predicted, in order.
    pub fn targets(&self) -> impl Iterator<Item = u16> + '_ {
        self.targets.iter().map(|&t| t as u16)
    }
}
