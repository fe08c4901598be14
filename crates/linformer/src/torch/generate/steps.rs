//! Slots of a device, which advance together.

use linformer_kernels::{Decoder, DecoderState, DeviceSlots, KernelError};

/// Sequences that a device runs together, one token of each at a time.
pub(super) trait Slots {
    /// Resets a slot to the start of a sequence.
    fn reset(&mut self, slot: usize);
    /// Sets the token that a slot reads in the next step.
    fn set_token(&mut self, slot: usize, token: u16);
    /// Begins a step of the slots that have a token.
    fn begin(&mut self) -> Result<(), KernelError>;
    /// Waits for the step.
    fn finish(&mut self) -> Result<(), KernelError>;
    /// Returns the scores of a slot's next token, after a step that it took part in.
    fn logits(&self, slot: usize) -> &[f32];
}

/// Slots of this thread on the CPU, which computes a step where it begins.
pub(super) struct CpuSlots<'a> {
    decoder: &'a Decoder,
    state: DecoderState,
}

impl CpuSlots<'_> {
    /// Creates slots at the start of a sequence and without a token.
    pub(super) fn new(decoder: &Decoder, slots: usize) -> CpuSlots<'_> {
        CpuSlots { decoder, state: decoder.state(slots) }
    }
}

impl Slots for CpuSlots<'_> {
    fn reset(&mut self, slot: usize) {
        self.decoder.reset(&mut self.state, slot);
    }

    fn set_token(&mut self, slot: usize, token: u16) {
        self.state.set_token(slot, token);
    }

    fn begin(&mut self) -> Result<(), KernelError> {
        self.decoder.step(&mut self.state);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        Ok(())
    }

    fn logits(&self, slot: usize) -> &[f32] {
        self.decoder.logits(&self.state, slot)
    }
}

impl Slots for DeviceSlots {
    fn reset(&mut self, slot: usize) {
        DeviceSlots::reset(self, slot);
    }

    fn set_token(&mut self, slot: usize, token: u16) {
        DeviceSlots::set_token(self, slot, token);
    }

    fn begin(&mut self) -> Result<(), KernelError> {
        DeviceSlots::begin(self)
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        DeviceSlots::finish(self)
    }

    fn logits(&self, slot: usize) -> &[f32] {
        DeviceSlots::logits(self, slot)
    }
}
