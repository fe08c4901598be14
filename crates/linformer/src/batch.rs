//! Sequences laid end to end in one row, with their boundaries: nothing is padded, nothing looks
//! across.

use linformer_kernels::CuSeqlens;

/// One row: what the model reads, what it shall say next, and where each sequence begins.
#[derive(Debug)]
pub struct Batch {
    pub(crate) inputs: Vec<i64>,
    pub(crate) targets: Vec<i64>,
    pub(crate) bounds: CuSeqlens,
    /// Where some are pieces of longer sequences: which ones, for each.
    pub(crate) pieces: Option<Vec<PieceInfo>>,
}

/// A part of a sequence, or all of it.
#[derive(Clone, Copy, Debug)]
pub struct SequencePiece<'a> {
    /// The caller's number for the sequence.
    pub sequence: u64,
    /// Its place in the sequence: the first of `tokens` is that of this number.
    pub start: usize,
    /// All but the last are read and all but the first predicted: the piece after begins with the
    /// last.
    pub tokens: &'a [u16],
    /// Whether another piece comes after it.
    pub continues: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PieceInfo {
    pub(crate) sequence: u64,
    pub(crate) has_begun: bool,
    pub(crate) continues: bool,
}

impl Batch {
    /// Of each sequence, all tokens but the last are read and all but the first predicted. A
    /// sequence of fewer than two tokens has nothing to predict and is left out.
    #[must_use]
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a [u16]>) -> Batch {
        let whole =
            |(sequence, tokens)| SequencePiece { sequence, start: 0, tokens, continues: false };
        Batch::pack_pieces((0..).zip(sequences).map(whole))
    }

    /// The same with parts of sequences: what the model remembers of one is carried from batch to
    /// batch.
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
        let bounds = CuSeqlens::from_lengths(&lengths).starting_at(&starts);
        let pieces = all.iter().any(|piece| piece.has_begun || piece.continues).then_some(all);
        Batch { inputs, targets, bounds, pieces }
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

    /// How many tokens each sequence has to predict, in order.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.bounds.offsets().windows(2).map(|pair| (pair[1] - pair[0]) as usize)
    }
}
