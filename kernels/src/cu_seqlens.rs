//! Boundaries of the sequences in a packed row.

use std::cell::RefCell;
use std::ptr::null_mut;

use tch::{Device, Kind, Tensor};

use crate::KernelError;
use crate::ffi::{self, outcome, owned};

/// Cumulative sequence lengths (FlashAttention's `cu_seqlens`): 0, then the end of each of `S`
/// sequences that lie end to end in a row of `N` tokens. Recurrent states restart at each.
#[derive(Debug)]
pub struct CuSeqlens {
    offsets: Vec<i64>,
    tensor: Tensor,
    /// Position of each sequence's first token, `[S]`; absent if all are 0.
    starts: Option<(Vec<i64>, Tensor)>,
    /// Segments that GPUs compute at once, on each GPU that has asked for them.
    segments: RefCell<Vec<(Device, Tensor)>>,
}

impl CuSeqlens {
    /// Creates the boundaries from the length of each sequence, in tokens. Empty sequences are
    /// allowed.
    #[must_use]
    pub fn from_lengths(lengths: &[usize]) -> CuSeqlens {
        let mut offsets = vec![0];
        for &length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length as i64);
        }
        let tensor = Tensor::from_slice(&offsets);
        CuSeqlens { offsets, tensor, starts: None, segments: RefCell::default() }
    }

    /// Sets the position of each sequence's first token, for sequences whose earlier tokens were
    /// in another row.
    ///
    /// # Panics
    /// If `starts` does not have one number for each sequence.
    #[must_use]
    pub fn starting_at(mut self, starts: &[usize]) -> CuSeqlens {
        assert_eq!(starts.len(), self.sequences(), "one start for each sequence");
        let starts: Vec<i64> = starts.iter().map(|&start| start as i64).collect();
        let tensor = Tensor::from_slice(&starts);
        self.segments.get_mut().clear();
        self.starts = starts.iter().any(|&start| start > 0).then_some((starts, tensor));
        self
    }

    /// Creates the boundaries of one sequence of `tokens`.
    #[must_use]
    pub fn single(tokens: usize) -> CuSeqlens {
        CuSeqlens::from_lengths(&[tokens])
    }

    /// Returns 0, then the end of each sequence: `S + 1` offsets in tokens.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Returns the number of sequences, `S`.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Returns the number of tokens of all sequences together, `N`.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.offsets[self.offsets.len() - 1]
    }

    /// Returns the number of tokens of the longest sequence.
    #[must_use]
    pub fn longest(&self) -> i64 {
        self.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// Returns the position of a sequence's first token.
    #[must_use]
    pub fn start_of(&self, sequence: usize) -> i64 {
        self.starts.as_ref().map_or(0, |starts| starts.0[sequence])
    }

    /// Returns the exclusive upper bound of all positions: the number of rows that rotary tables
    /// need.
    #[must_use]
    pub fn max_position(&self) -> i64 {
        let each = self.offsets.windows(2).enumerate();
        each.map(|(i, pair)| self.start_of(i) + pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// Returns the index of each token's sequence, `[N]`.
    pub fn sequence_of(&self) -> Tensor {
        let each = self.offsets.windows(2).enumerate();
        let all: Vec<i64> =
            each.flat_map(|(i, pair)| (pair[0]..pair[1]).map(move |_| i as i64)).collect();
        Tensor::from_slice(&all)
    }

    /// Returns each token's position in its sequence, `[N]`.
    pub fn position_of(&self) -> Tensor {
        self.count_from(|sequence| self.start_of(sequence))
    }

    /// Returns how many tokens of its own sequence precede each token in the row, `[N]`.
    pub(crate) fn tokens_before(&self) -> Tensor {
        self.count_from(|_| 0)
    }

    /// Counts up within each sequence, from `first(sequence)`.
    fn count_from(&self, first: impl Fn(usize) -> i64) -> Tensor {
        let each = self.offsets.windows(2).enumerate();
        let all: Vec<i64> =
            each.flat_map(|(i, pair)| first(i)..first(i) + pair[1] - pair[0]).collect();
        Tensor::from_slice(&all).to_kind(Kind::Int64)
    }

    /// Returns the positions of the first tokens, `[S]`, int64 on the CPU; none if all are 0.
    pub(crate) fn starts(&self) -> Option<&Tensor> {
        self.starts.as_ref().map(|starts| &starts.1)
    }

    /// Returns the segments of all sequences on a GPU, which are copied there once; none on the
    /// CPU.
    ///
    /// # Errors
    /// If this was built without the feature `cuda`.
    pub(crate) fn segments_on(&self, device: Device) -> Result<Option<Tensor>, KernelError> {
        let Device::Cuda(index) = device else { return Ok(None) };
        let mut all = self.segments.borrow_mut();
        if let Some((_, found)) = all.iter().find(|(of, _)| *of == device) {
            return Ok(Some(found.shallow_clone()));
        }
        let mut made = [null_mut(); 1];
        // SAFETY: all pointers are to live tensors or null; `made` has room for the result.
        let code = unsafe {
            ffi::lf_segments(
                made.as_mut_ptr(),
                self.tensor.as_ptr(),
                ffi::optional(self.starts()),
                index as i32,
            )
        };
        outcome("segments", code)?;
        let [made] = owned(made);
        all.push((device, made.shallow_clone()));
        Ok(Some(made))
    }

    /// Returns the offsets, `[S + 1]`, int64 on the CPU.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}
