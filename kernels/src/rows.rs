//! Rows of a decoder's step: one for each slot that has a token.

/// Sequences that advance together, and the rows of their last step.
#[derive(Debug)]
pub(crate) struct Rows {
    slots: Vec<Slot>,
    /// Slot of each row of the step.
    slot: Vec<i32>,
    /// Token of each row of the step.
    tokens: Vec<i32>,
    /// Position of each row's token in its sequence.
    positions: Vec<i64>,
}

/// Place of one sequence.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Token of the next step, if the slot takes part in it.
    token: Option<u16>,
    /// Number of tokens read so far.
    position: i64,
    /// Row of the slot in the last step that it took part in.
    row: usize,
}

impl Rows {
    /// Creates slots at the start of a sequence and without a token, with room for `rows` rows.
    pub(crate) fn new(slots: usize, rows: usize) -> Rows {
        Rows {
            slots: vec![Slot::default(); slots],
            slot: Vec::with_capacity(rows),
            tokens: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
        }
    }

    /// Returns the number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Sets the token that a slot reads in the next step.
    pub(crate) fn set_token(&mut self, slot: usize, token: u16) {
        self.slots[slot].token = Some(token);
    }

    /// Resets a slot to the start of a sequence.
    pub(crate) fn reset(&mut self, slot: usize) {
        self.slots[slot] = Slot::default();
    }

    /// Collects a row for each slot that has a token, and takes the tokens from the slots.
    ///
    /// # Panics
    /// If a token is no id of the vocabulary.
    pub(crate) fn collect(&mut self, vocab: usize) {
        self.slot.clear();
        self.tokens.clear();
        self.positions.clear();
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Some(token) = slot.token.take() {
                assert!(usize::from(token) < vocab, "tokens are ids of the vocabulary");
                slot.row = self.slot.len();
                self.slot.push(i as i32);
                self.tokens.push(i32::from(token));
                self.positions.push(slot.position);
                slot.position += 1;
            }
        }
    }

    /// Appends rows of a spare slot, the one after the last, up to a multiple of `n`.
    pub(crate) fn fill_up(&mut self, n: usize) {
        let rows = self.slot.len().next_multiple_of(n);
        self.slot.resize(rows, self.slots.len() as i32);
        self.tokens.resize(rows, 0);
        self.positions.resize(rows, 0);
    }

    /// Returns the row of a slot in the last step that it took part in.
    pub(crate) fn row_of(&self, slot: usize) -> usize {
        self.slots[slot].row
    }

    /// Returns the slot of each row.
    pub(crate) fn slot_of_row(&self) -> &[i32] {
        &self.slot
    }

    /// Returns the token of each row.
    pub(crate) fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Returns the position of each row's token in its sequence.
    pub(crate) fn positions(&self) -> &[i64] {
        &self.positions
    }
}
