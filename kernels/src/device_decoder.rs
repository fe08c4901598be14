//! A whole model on a GPU, one token of many sequences at a time.
//!
//! The scores of a slot depend on its own tokens alone, as in [`Decoder`]: they have the same bits
//! for any number of slots and any order of them. They differ from the CPU's by rounding, since
//! sums have another order.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::ffi::{self, CDecodeApi};
use crate::rows::Rows;
use crate::{Decoder, KernelError, WeightKind};

/// Model whose weights are on a GPU. Clones share them.
#[derive(Clone, Debug)]
pub struct DeviceDecoder {
    handle: Arc<DecoderHandle>,
    vocab: usize,
    padded_vocab: usize,
}

/// Owner of a C++ `Decoder`.
#[derive(Debug)]
struct DecoderHandle {
    api: &'static CDecodeApi,
    decoder: NonNull<c_void>,
}

// SAFETY: once made, the C++ decoder is only read: by `create_slots`, from any thread.
unsafe impl Send for DecoderHandle {}
// SAFETY: as above.
unsafe impl Sync for DecoderHandle {}

impl Drop for DecoderHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is the last owner, and no slots are left, which would share it.
        unsafe { (self.api.destroy)(self.decoder.as_ptr()) };
    }
}

impl DeviceDecoder {
    /// Copies a model to GPU number `device`. Returns `None` if this was built without CUDA.
    ///
    /// # Errors
    /// If the GPU lacks memory, the kernels do not support the model's heads, or the decoder's
    /// weights are bfloat16.
    pub fn new(decoder: &Decoder, device: usize) -> Result<Option<DeviceDecoder>, KernelError> {
        // SAFETY: the pointer is null or to a table that lives as long as the program.
        let Some(api) = (unsafe { ffi::lf_decode_api().as_ref() }) else { return Ok(None) };
        DeviceDecoder::with_api(decoder, device, api).map(Some)
    }

    /// Copies a model to a device that another table of functions serves, such as the tests'.
    ///
    /// # Errors
    /// If the device lacks memory, or the kernels do not support the model's heads.
    #[doc(hidden)]
    pub fn with_api(
        decoder: &Decoder,
        device: usize,
        api: &'static CDecodeApi,
    ) -> Result<DeviceDecoder, KernelError> {
        if decoder.kind() != WeightKind::Float {
            return Err(KernelError::Refused {
                operator: "decoder",
                message: "weights in bfloat16 are for the CPU".to_owned(),
            });
        }
        let (vocab, padded_vocab) = (decoder.vocab(), decoder.padded_vocab());
        let made = decoder.with_model(|model| {
            // SAFETY: the model's pointers are to memory that `decoder` holds, of the sizes that
            // the model says; the embedding has `vocab` rows.
            unsafe { (api.create)(model, vocab as i64, device as i32) }
        });
        let decoder = owned(made)?;
        Ok(DeviceDecoder { handle: Arc::new(DecoderHandle { api, decoder }), vocab, padded_vocab })
    }

    /// Allocates the memory of `slots` sequences, each at its start and without a token.
    ///
    /// # Errors
    /// If the GPU lacks memory.
    pub fn slots(&self, slots: usize) -> Result<DeviceSlots, KernelError> {
        let DecoderHandle { api, decoder } = *self.handle;
        // SAFETY: the decoder lives as long as its handle, which the slots share.
        let made = owned(unsafe { (api.create_slots)(decoder.as_ptr(), slots as i64) })?;
        Ok(DeviceSlots {
            decoder: self.clone(),
            slots: made,
            rows: Rows::new(slots, slots),
            is_running: false,
        })
    }
}

/// Sequences on a GPU that advance together.
#[derive(Debug)]
pub struct DeviceSlots {
    decoder: DeviceDecoder,
    slots: NonNull<c_void>,
    rows: Rows,
    /// Whether a step has begun that was not waited for.
    is_running: bool,
}

// SAFETY: the C++ side has no state of a thread, and `&mut` keeps calls apart.
unsafe impl Send for DeviceSlots {}

impl DeviceSlots {
    /// Sets the token that a slot reads in the next step. A slot without a token does not take
    /// part.
    pub fn set_token(&mut self, slot: usize, token: u16) {
        self.rows.set_token(slot, token);
    }

    /// Resets a slot to the start of a sequence.
    pub fn reset(&mut self, slot: usize) {
        self.rows.reset(slot);
    }

    /// Begins to run the model on the token of every slot that has one, and does not wait.
    ///
    /// # Errors
    /// If the GPU refuses the work.
    ///
    /// # Panics
    /// If a token is no id of the vocabulary, or another step was not waited for.
    pub fn begin(&mut self) -> Result<(), KernelError> {
        assert!(!self.is_running, "one step at a time");
        self.rows.collect(self.decoder.vocab);
        let rows = &self.rows;
        // SAFETY: the slots were made by this table and live as long as `self`; the lists are as
        // long as the number of rows, which is at most one for each slot.
        let code = unsafe {
            (self.decoder.handle.api.begin)(
                self.slots.as_ptr(),
                rows.slot_of_row().len() as i64,
                rows.slot_of_row().as_ptr(),
                rows.tokens().as_ptr(),
                rows.positions().as_ptr(),
            )
        };
        self.is_running = code == 0;
        ffi::outcome(OPERATOR, code)
    }

    /// Waits for the step. [`DeviceSlots::logits`] then returns the scores of a slot's next token.
    ///
    /// # Errors
    /// If the GPU failed.
    pub fn finish(&mut self) -> Result<(), KernelError> {
        // SAFETY: as in `begin`.
        let code = unsafe { (self.decoder.handle.api.finish)(self.slots.as_ptr()) };
        self.is_running = false;
        ffi::outcome(OPERATOR, code)
    }

    /// Returns the scores of a slot's next token, `[V]`, after a step in which it had a token and
    /// that was waited for.
    ///
    /// # Panics
    /// If a step is running.
    #[must_use]
    pub fn logits(&self, slot: usize) -> &[f32] {
        assert!(!self.is_running, "scores are those of a finished step");
        let start = self.rows.row_of(slot) * self.decoder.padded_vocab;
        // SAFETY: the scores have `padded_vocab` columns and as many rows as slots, of which
        // `row_of` names one. No step is running that would change them.
        unsafe {
            let all = (self.decoder.handle.api.logits)(self.slots.as_ptr());
            std::slice::from_raw_parts(all.add(start), self.decoder.vocab)
        }
    }
}

impl Drop for DeviceSlots {
    fn drop(&mut self) {
        // SAFETY: made by `create_slots` of this table, and nobody else owns them.
        unsafe { (self.decoder.handle.api.destroy_slots)(self.slots.as_ptr()) };
    }
}

/// Name of the operator in messages.
const OPERATOR: &str = "decoder on the GPU";

/// Returns what a call has made, or its message if it made nothing.
fn owned(made: *mut c_void) -> Result<NonNull<c_void>, KernelError> {
    NonNull::new(made).ok_or_else(|| ffi::failure(OPERATOR))
}
