//! Sequences end to end in one row, with their boundaries: without padding, and without attention
//! from one sequence to another.

use linformer_kernels::CuSeqlens;

/// Row of sequences: input tokens, target tokens and the boundaries of the sequences.
#[derive(Debug)]
pub struct Batch {
    /// Token ids that the model reads, `[N]`.
    pub(crate) inputs: Vec<i64>,
    /// Token id that follows each input, `[N]`.
    pub(crate) targets: Vec<i64>,
    /// Boundaries of the sequences, and the position of each one's first token.
    pub(crate) cu_seqlens: CuSeqlens,
    /// Sequence of each piece; absent if all are whole sequences.
    pub(crate) pieces: Option<Vec<PieceInfo>>,
}

/// Part of a sequence, or all of it.
#[derive(Clone, Copy, Debug)]
pub struct SequencePiece<'a> {
    /// Number of the sequence, chosen by the caller.
    pub sequence: u64,
    /// Index in the sequence of the first of `tokens`.
    pub start: usize,
    /// Tokens of the piece. All but the last are inputs and all but the first are targets, so the
    /// next piece begins with the last one.
    pub tokens: &'a [u16],
    /// Whether another piece of the sequence follows.
    pub continues: bool,
}

/// Place of a piece in its sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PieceInfo {
    /// Number of the sequence.
    pub(crate) sequence: u64,
    /// Whether an earlier batch had a piece of the sequence.
    pub(crate) has_begun: bool,
    /// Whether a later batch has a piece of the sequence.
    pub(crate) continues: bool,
}

impl Batch {
    /// Packs whole sequences. Of each, all tokens but the last are inputs and all but the first are
    /// targets; one of fewer than two tokens has no target and is left out.
    #[must_use]
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a [u16]>) -> Batch {
        let whole =
            |(sequence, tokens)| SequencePiece { sequence, start: 0, tokens, continues: false };
        Batch::pack_pieces((0..).zip(sequences).map(whole))
    }

    /// Packs pieces of sequences, whose recurrent states are carried from batch to batch.
    #[must_use]
    pub fn pack_pieces<'a>(pieces: impl IntoIterator<Item = SequencePiece<'a>>) -> Batch {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let (mut lengths, mut starts, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces.into_iter().filter(|piece| piece.tokens.len() > 1) {
            let tokens = piece.tokens;
            inputs.extend(tokens[..tokens.len() - 1].iter().map(|&t| i64::from(t)));
            targets.extend(tokens[1..].iter().map(|&t| i64::from(t)));
            lengths.push(tokens.len() - 1);
            starts.push(piece.start);
            let (sequence, continues) = (piece.sequence, piece.continues);
            all.push(PieceInfo { sequence, has_begun: piece.start > 0, continues });
        }
        let cu_seqlens = CuSeqlens::from_lengths(&lengths).starting_at(&starts);
        let pieces = all.iter().any(|piece| piece.has_begun || piece.continues).then_some(all);
        Batch { inputs, targets, cu_seqlens, pieces }
    }

    /// Returns the number of targets.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.targets.len()
    }

    /// Iterates over the targets, in order.
    pub fn targets(&self) -> impl Iterator<Item = u16> + '_ {
        self.targets.iter().map(|&t| t as u16)
    }
}
